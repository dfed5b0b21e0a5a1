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
