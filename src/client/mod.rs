//! The Rust client: subscribe, evaluate in process, acknowledge.
//!
//! What to do with a message is decided in `sync::replica`; here connections are made, kept and made again.

pub mod convert;
pub mod subscription;
