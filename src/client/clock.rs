//! The client's clock: what flagd's rules mean by now. Intervals are measured elsewhere, by tokio's clock, which tests
//! can stop.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::flag::time::Timestamp;

/// The time now. A clock that stands before 1970 reads as 1970.
#[expect(clippy::disallowed_methods, reason = "this is the client's one clock")]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
