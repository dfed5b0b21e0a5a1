//! The published OpenFeature clients and the example subscribers over real sockets against the real binary: one test
//! binary; the modules are the table of contents.
//!
//! What they need comes from package registries: `make clients` installs it into this folder. `cargo test` leaves this
//! binary out; `make test` and `cargo test --test clients` run it.

#![allow(clippy::disallowed_methods, reason = "tests are processes and clients of their own")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says that it failed by panicking")]

mod differential;
#[path = "../it/harness/mod.rs"]
#[allow(dead_code, reason = "the integration tests use all of it")]
mod harness;
mod providers;
mod script;
mod snippets;
mod subscriber;
mod table;
