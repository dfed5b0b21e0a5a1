//! HTTP: problems, bodies, callers, OFREP. The accept loop is beside this folder.

#[allow(unused_qualifications, reason = "utoipa's macros write paths out")]
pub mod admin;
pub mod body;
pub mod caller;
pub mod cors;
pub mod entity_tag;
#[cfg(test)]
pub(in crate::serve) mod fixture;
pub mod ofrep;
pub mod problem;
pub mod request_id;
pub mod stream;
