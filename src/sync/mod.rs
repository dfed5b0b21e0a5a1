//! How a subscriber **keeps up**: the protocol's two state machines, without IO, clock or threads.
//!
//! State-based: what a client at revision R lacks is "objects and tombstones newer than R", read from the newest view,
//! so a subscriber costs a few integers and never a queue. `serve` and `client` move the messages; they know nothing
//! of the rules. The wire form of the messages is in `proto/rampart/v1/subscription.proto`.

pub mod decode;
pub mod hash;
pub mod kills;
pub mod limits;
pub mod message;
pub mod object;
pub mod objects;
pub mod outgoing;
pub mod replica;
pub mod server;
#[cfg(test)]
mod simulation;
mod sorted;
pub mod transfer;
pub mod view;
