//! What a flag **answers**: compile, bucket, evaluate, explain.
//!
//! Pure and total: everything that can fail fails in `compile`, which turns definitions into a set that requests read;
//! `evaluate` borrows from that set and from the request, and allocates nothing but for some rules of flagd's. It does
//! not know where definitions come from, who asks, or what is done with the answer.

pub mod affected;
pub mod bucket;
pub mod cbor;
mod chunks;
pub mod compile;
pub mod compiled;
pub mod condition;
pub mod context;
pub mod decode;
pub mod evaluate;
pub mod explain;
pub mod fractional;
pub mod logic;
pub mod murmur3;
pub mod number;
pub mod object;
pub mod outcome;
pub mod ranges;
pub mod rfc3339;
pub mod semver;
pub mod serving;
pub mod set;
mod table;
pub mod translate;
pub mod weighted;
pub mod why;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod samples;
