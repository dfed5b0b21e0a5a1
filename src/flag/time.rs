//! Plain numbers for positions and moments: revision, generation, timestamp.
//!
//! Nobody here can ask what time it is: a timestamp is an argument everywhere in the core.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A position in the journal: starts at 1, never reused, never called "version". 0 means "before the first record".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// Before the first record.
    pub const ZERO: Self = Self(0);

    /// The revision that follows.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The kill lane's own counter, monotone across restarts and nodes; never a journal revision. 0 means "no kill yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// Before the first kill.
    pub const ZERO: Self = Self(0);

    /// The generation that follows `self` at `now`: `max(self + 1, now in µs)`, so that nodes that cannot talk to
    /// each other still count in about the same order.
    pub fn following(self, now: Timestamp) -> Self {
        Self((self.0 + 1).max(u64::try_from(now.micros()).unwrap_or(0)))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A moment in microseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment that many microseconds after the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This moment moved by `micros` microseconds; saturates at the ends of the range.
    #[must_use]
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Reads RFC 3339 text such as `2025-10-16T08:00:00Z`; an offset or `Z` is required.
    ///
    /// # Errors
    /// What is wrong with the text, in words for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.parse::<jiff::Timestamp>()
            .map(|moment| Self(moment.as_microsecond()))
            .map_err(|error| format!("not an RFC 3339 time with an offset, such as 2025-10-16T08:00:00Z ({error})"))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with microseconds; the bare number where it lies outside the years RFC 3339 can name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(moment) => write!(f, "{moment:.6}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_and_prints_rfc_3339() {
        let moment = Timestamp::parse("2025-10-16T10:00:00.25+02:00").expect("a valid time");
        assert_eq!(moment.to_string(), "2025-10-16T08:00:00.250000Z");
        assert!(Timestamp::parse("2025-10-16").is_err());
    }

    #[test]
    fn generations_follow_the_clock_and_never_go_back() {
        let late = Generation::ZERO.following(Timestamp::from_micros(500));
        assert_eq!(late, Generation(500));
        assert_eq!(late.following(Timestamp::from_micros(3)), Generation(501));
        assert_eq!(late.following(Timestamp::from_micros(-3)), Generation(501));
    }
}
