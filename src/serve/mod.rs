//! The **wire**: OFREP and the admin API over HTTP, native gRPC, flagd's protocols. Wire types stop here.

pub mod activity;
pub mod connection;
pub mod door;
pub mod edge;
pub mod flagd;
pub mod grpc;
pub mod home;
pub mod http;
pub mod listen;
pub mod metadata;
pub mod metrics;
pub mod rate;
pub mod selection;
pub mod socket;
pub mod subscription;
pub mod tls;
pub mod transport;
