//! The clock of the program: what it measures with, and how it waits.
//!
//! One file, so that the rule against clocks elsewhere has one exception here. Not for the server: that has its own.

use std::future::pending;
use std::time::{Duration, Instant};

/// Now, by a clock that does not go back.
#[expect(clippy::disallowed_methods, reason = "this is the home of the clock of this program")]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits: for a machine to settle, or because a client must not come back at once.
pub async fn pause(time: Duration) {
    let waited: Result<(), _> = tokio::time::timeout(time, pending()).await;
    drop(waited);
}

/// Milliseconds with their fraction.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
