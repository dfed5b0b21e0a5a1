//! Generated wire types of `proto/`, nothing else. Only the edges (`serve`, `client`) import this.

/// The package `rampart.v1`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::too_many_lines,
    clippy::allow_attributes_without_reason,
    unused_qualifications,
    reason = "generated code"
)]
pub mod rampart_v1 {
    tonic::include_proto!("rampart.v1");
}

/// flagd's packages `flagd.evaluation.v1`, `flagd.evaluation.v2` and `flagd.sync.v1`.
#[cfg(feature = "server")]
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::too_many_lines,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::enum_glob_use,
    clippy::needless_pass_by_value,
    clippy::float_cmp,
    missing_debug_implementations,
    rust_2018_idioms,
    unused_qualifications,
    dead_code,
    reason = "generated code"
)]
pub mod flagd_wire {
    connectrpc::include_generated!();
}
