//! Rampart: a feature-flag server whose rollouts guard themselves.
#![doc = include_str!("ARCHITECTURE.md")]

pub mod flag;

pub mod eval;

pub mod access;

pub mod world;

pub mod sync;

#[cfg(feature = "client")]
pub mod proto;

#[cfg(feature = "client")]
pub mod client;

#[cfg(feature = "server")]
pub mod snapshot;

#[cfg(feature = "server")]
pub mod journal;

#[cfg(feature = "server")]
pub mod control;

#[cfg(feature = "server")]
pub mod source;

#[cfg(feature = "server")]
pub mod serve;

#[cfg(feature = "server")]
pub mod app;

#[cfg(feature = "server")]
pub mod cli;
