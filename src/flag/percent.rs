//! A percentage as an exact whole number of thousandths, so that floating point cannot shift a cohort.

use std::fmt;

use serde_json::Number;

/// A share of users: 0 to 100,000 thousandths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Percent(u32);

/// Why a text is not a percentage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PercentFault {
    /// Not a decimal number.
    #[error("not a number")]
    NotANumber,
    /// Below 0 or above 100.
    #[error("outside 0 to 100")]
    OutOfRange,
    /// More than three digits after the point.
    #[error("has more than three decimals")]
    TooFine,
}

impl Percent {
    /// Nobody.
    pub const ZERO: Self = Self(0);
    /// Everybody.
    pub const ALL: Self = Self(100_000);

    /// A share in thousandths of a percent; none above 100,000.
    pub fn from_thousandths(thousandths: u32) -> Option<Self> {
        (thousandths <= Self::ALL.0).then_some(Self(thousandths))
    }

    /// The share in thousandths of a percent, 0 to 100,000.
    pub fn thousandths(self) -> u32 {
        self.0
    }

    /// Reads decimal text such as `5`, `0.125` or `5%` exactly. Trailing zeros are no decimals.
    ///
    /// # Errors
    /// Why it is not a percentage.
    pub fn parse(text: &str) -> Result<Self, PercentFault> {
        let text = text.trim();
        let text = text.strip_suffix('%').map_or(text, str::trim_end);
        if text.starts_with('-') && text.len() > 1 && text[1..].bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            let nothing = text[1..].bytes().all(|b| matches!(b, b'0' | b'.'));
            return if nothing { Self::parse(&text[1..]) } else { Err(PercentFault::OutOfRange) };
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || (fraction.is_empty() && text.ends_with('.')) {
            return Err(PercentFault::NotANumber);
        }
        let fraction = fraction.trim_end_matches('0');
        let whole = whole.trim_start_matches('0');
        if whole.len() > 3 {
            return Err(PercentFault::OutOfRange);
        }
        let whole: u32 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| PercentFault::NotANumber)? };
        if whole > 100 || (whole == 100 && !fraction.is_empty()) {
            return Err(PercentFault::OutOfRange);
        }
        if fraction.len() > 3 {
            return Err(PercentFault::TooFine);
        }
        let fraction: u32 = if fraction.is_empty() {
            0
        } else {
            format!("{fraction:0<3}").parse().map_err(|_| PercentFault::NotANumber)?
        };
        Ok(Self(whole * 1000 + fraction))
    }

    /// The percentage as the shortest exact JSON number: `5`, `0.125`.
    pub fn to_number(self) -> Number {
        if self.0.is_multiple_of(1000) {
            return Number::from(self.0 / 1000);
        }
        // Three decimals below 100 have one shortest f64 form, which prints as those decimals.
        Number::from_f64(f64::from(self.0) / 1000.0).expect("a finite quotient of finite numbers")
    }
}

impl fmt::Display for Percent {
    /// `5%`, `0.125%`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.to_number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_read_exactly() {
        for (text, thousandths) in [
            ("5", 5_000),
            ("5%", 5_000),
            ("0.125", 125),
            ("100", 100_000),
            ("100.000", 100_000),
            ("0", 0),
            ("-0", 0),
            ("33.333 %", 33_333),
            ("007", 7_000),
        ] {
            assert_eq!(Percent::parse(text), Ok(Percent(thousandths)), "{text}");
        }
    }

    #[test]
    fn what_is_no_percentage_is_refused_with_the_reason() {
        for (text, fault) in [
            ("NaN", PercentFault::NotANumber),
            ("", PercentFault::NotANumber),
            (".5", PercentFault::NotANumber),
            ("5.", PercentFault::NotANumber),
            ("1e2", PercentFault::NotANumber),
            ("-1", PercentFault::OutOfRange),
            ("100.001", PercentFault::OutOfRange),
            ("99999999999999999999", PercentFault::OutOfRange),
            ("0.0001", PercentFault::TooFine),
        ] {
            assert_eq!(Percent::parse(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn every_percentage_prints_as_the_text_that_reads_back() {
        for thousandths in 0..=100_000 {
            let percent = Percent(thousandths);
            assert_eq!(Percent::parse(&percent.to_string()), Ok(percent));
        }
    }
}
