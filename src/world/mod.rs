//! What is **true**: `Change`, `Record` (the hash chain) and the fold `World::apply`. Pure and total.
//!
//! `change` lists every way the world may change, `record` is one revision, `chain` makes it evidence (and specifies the
//! hash, byte by byte), `fold` turns records into a `World`. Nothing here reads a disk, a clock or random bytes: the
//! journal keeps what is made here, and `control` decides what may be made.

pub mod canonical;
pub mod chain;
pub mod change;
pub mod checkpoint;
pub mod digest;
pub mod environment;
pub mod fold;
pub mod record;
#[cfg(test)]
mod samples;
