//! The integration tests: one binary; the modules are the table of contents.

#![allow(clippy::disallowed_methods, reason = "tests are processes and clients of their own")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says that it failed by panicking")]

mod admin;
mod allocation;
mod bad_input;
mod cli;
mod client;
mod cohorts;
mod durability;
mod faults;
mod flag_file;
mod flagd_evaluation;
mod flagd_events;
mod flagd_sync;
mod fractional;
mod full_disk;
mod harness;
mod import;
mod journal;
mod journal_faults;
mod journal_sample;
mod journal_vectors;
mod ofrep;
mod one_answer;
mod phase_9;
mod power_cut;
mod routes;
mod set_hash;
mod start;
mod subscribe;
