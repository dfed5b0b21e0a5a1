//! Semantic versions (semver.org 2.0.0), borrowed from their text and compared without allocation.
//!
//! Strict: three numbers, no leading `v`, no leading zeros; flagd's partial versions have a function of their own. Build
//! metadata is checked and ignored, as precedence demands. Numbers beyond 64 bits are not versions.

use std::cmp::Ordering;

use crate::flag::definition::SemverTest;

/// One version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version<'t> {
    numbers: [u64; 3],
    pre_release: &'t str,
}

/// A version that owns its text, as compiled definitions hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedVersion {
    numbers: [u64; 3],
    pre_release: Box<str>,
}

impl<'t> Version<'t> {
    /// Reads `1.2.3`, `1.2.3-rc.1` or `1.2.3-rc.1+build.5`.
    pub fn parse(text: &'t str) -> Option<Self> {
        let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
        let (core, pre_release) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
        let mut parts = core.split('.');
        let numbers = [number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?];
        let well_formed = parts.next().is_none()
            && pre_release.is_none_or(|pre| pre.split('.').all(|part| is_identifier(part) && !has_leading_zero(part)))
            && build.is_none_or(|build| build.split('.').all(is_identifier));
        well_formed.then_some(Self { numbers, pre_release: pre_release.unwrap_or("") })
    }

    /// Reads `1` or `1.2` as the first version that begins so.
    pub fn parse_partial(text: &'t str) -> Option<Self> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Some(Self { numbers: [number(major)?, number(minor)?, 0], pre_release: "" })
    }

    /// Major, minor and patch.
    pub fn numbers(&self) -> [u64; 3] {
        self.numbers
    }

    /// Orders by precedence (semver.org item 11).
    pub fn precedence(&self, other: &Version<'_>) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| compare_pre_release(self.pre_release, other.pre_release))
    }

    /// Whether the version passes a test against a definition's operand.
    pub fn passes(&self, test: SemverTest, operand: &OwnedVersion) -> bool {
        let operand = operand.borrow();
        let order = self.precedence(&operand);
        match test {
            SemverTest::Equal => order.is_eq(),
            SemverTest::Less => order.is_lt(),
            SemverTest::LessOrEqual => order.is_le(),
            SemverTest::Greater => order.is_gt(),
            SemverTest::GreaterOrEqual => order.is_ge(),
            SemverTest::Caret => {
                // Up to and including the leftmost number that is not zero; all three where all are zero.
                let fixed = operand.numbers.iter().position(|number| *number != 0).unwrap_or(2);
                order.is_ge() && self.numbers[..=fixed] == operand.numbers[..=fixed]
            }
            SemverTest::Tilde => order.is_ge() && self.numbers[..2] == operand.numbers[..2],
        }
    }

    /// The same version with its own text.
    pub fn to_owned(self) -> OwnedVersion {
        OwnedVersion { numbers: self.numbers, pre_release: self.pre_release.into() }
    }
}

impl OwnedVersion {
    fn borrow(&self) -> Version<'_> {
        Version { numbers: self.numbers, pre_release: &self.pre_release }
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits && !has_leading_zero(text) { text.parse().ok() } else { None }
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_numeric(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// True for a number written with a zero too many.
fn has_leading_zero(text: &str) -> bool {
    text.len() > 1 && text.starts_with('0') && is_numeric(text)
}

fn compare_pre_release(left: &str, right: &str) -> Ordering {
    match (left.is_empty(), right.is_empty()) {
        (true, true) => return Ordering::Equal,
        // A release comes after its own pre-releases.
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(left), Some(right)) => {
                let order = compare_identifier(left, right);
                if order.is_ne() {
                    return order;
                }
            }
        }
    }
}

fn compare_identifier(left: &str, right: &str) -> Ordering {
    match (is_numeric(left), is_numeric(right)) {
        // Without leading zeros the longer number is the larger one, however many digits it has.
        (true, true) => left.len().cmp(&right.len()).then_with(|| left.cmp(right)),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => left.cmp(right),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_follows_the_specification() {
        let rising = [
            "0.0.0-0",
            "0.0.0",
            "0.9.9",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-beta.99999999999999999999999",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.2.0",
            "1.10.0",
            "2.0.0",
        ];
        for (i, left) in rising.iter().enumerate() {
            for (j, right) in rising.iter().enumerate() {
                let (left, right) = (Version::parse(left).unwrap(), Version::parse(right).unwrap());
                assert_eq!(left.precedence(&right), i.cmp(&j), "{left:?} {right:?}");
            }
        }
        let build = Version::parse("1.0.0+build.007").unwrap();
        assert!(build.precedence(&Version::parse("1.0.0").unwrap()).is_eq());
    }

    #[test]
    fn what_is_no_semantic_version_is_refused() {
        for text in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "v1.2.3",
            "01.2.3",
            "1.2.3-",
            "1.2.3-01",
            "1.2.3-a..b",
            "1.2.3+",
            "1.2.x",
            " 1.2.3",
            "1.2.-3",
            "+1.2.3",
            "1.2.18446744073709551616",
            "1.2.3-ä",
        ] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
        for text in ["1.2.3-0a", "1.2.3--", "1.2.3-x-y.0", "1.0.0+001", "1.2.18446744073709551615"] {
            assert!(Version::parse(text).is_some(), "{text}");
        }
    }

    #[test]
    fn one_or_two_numbers_are_the_first_version_that_begins_so() {
        for (text, numbers) in [("1", Some([1, 0, 0])), ("1.2", Some([1, 2, 0])), ("0.10", Some([0, 10, 0]))] {
            assert_eq!(Version::parse_partial(text).map(|version| version.numbers()), numbers, "{text}");
        }
        for text in ["", ".", "1.", "01", "1.2.3", "1-rc", "1.x", "v1"] {
            assert_eq!(Version::parse_partial(text), None, "{text}");
        }
    }

    #[test]
    fn caret_and_tilde_keep_the_numbers_they_promise() {
        use SemverTest::{Caret, Tilde};
        for (test, operand, version, passes) in [
            (Caret, "1.2.3", "1.2.3", true),
            (Caret, "1.2.3", "1.9.0", true),
            (Caret, "1.2.3", "1.2.2", false),
            (Caret, "1.2.3", "2.0.0", false),
            (Caret, "0.2.3", "0.2.9", true),
            (Caret, "0.2.3", "0.3.0", false),
            (Caret, "0.0.3", "0.0.3", true),
            (Caret, "0.0.3", "0.0.4", false),
            (Caret, "0.0.0", "0.0.1", false),
            (Caret, "1.2.3", "1.2.3-rc.1", false),
            (Tilde, "1.2.3", "1.2.9", true),
            (Tilde, "1.2.3", "1.3.0", false),
            (Tilde, "1.2.3", "1.2.2", false),
        ] {
            let operand = Version::parse(operand).unwrap().to_owned();
            assert_eq!(
                Version::parse(version).unwrap().passes(test, &operand),
                passes,
                "{version} {test:?} {operand:?}"
            );
        }
    }
}
