//! RFC 3339 times read without allocation, for `before` and `after`.
//!
//! `flag::time` reads the same texts and more, but explains what is wrong, which allocates; a request's attribute needs
//! no explanation. Digits beyond microseconds are cut off. A leap second counts as the second before it.

use crate::flag::time::Timestamp;

/// Reads `2025-10-16T08:00:00Z`, with any number of decimals and with an offset in place of `Z`.
pub fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let separated = |at: usize, any_of: &[u8]| bytes.get(at).is_some_and(|byte| any_of.contains(byte));
    if !(separated(4, b"-")
        && separated(7, b"-")
        && separated(10, b"Tt ")
        && separated(13, b":")
        && separated(16, b":"))
    {
        return None;
    }
    let (year, month, day) = (digits(bytes, 0, 4)?, digits(bytes, 5, 2)?, digits(bytes, 8, 2)?);
    let (hour, minute, second) = (digits(bytes, 11, 2)?, digits(bytes, 14, 2)?, digits(bytes, 17, 2)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (micros, end) = fraction(bytes, 19)?;
    let offset_minutes = offset(&bytes[end..])?;
    let minutes = days_since_epoch(year, month, day) * 1_440 + hour * 60 + minute - offset_minutes;
    Some(Timestamp::from_micros((minutes * 60 + second.min(59)) * 1_000_000 + micros))
}

fn digits(bytes: &[u8], at: usize, count: usize) -> Option<i64> {
    let digits = bytes.get(at..at + count)?;
    digits.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

/// The microseconds of a fraction that may begin at `at`, and where it ends.
fn fraction(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    if bytes.get(at) != Some(&b'.') {
        return Some((0, at));
    }
    let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let digit = |place: usize| if place < digits { i64::from(bytes[at + 1 + place] - b'0') } else { 0 };
    let micros = (0..6).fold(0, |micros, place| micros * 10 + digit(place));
    Some((micros, at + 1 + digits))
}

/// Minutes east of UTC; the text must end with the offset.
fn offset(bytes: &[u8]) -> Option<i64> {
    let (sign, rest) = bytes.split_first()?;
    match sign {
        b'Z' | b'z' => rest.is_empty().then_some(0),
        b'+' | b'-' if rest.len() == 5 && rest[2] == b':' => {
            let (hours, minutes) = (digits(rest, 0, 2)?, digits(rest, 3, 2)?);
            let total = hours * 60 + minutes;
            (hours <= 23 && minutes <= 59).then_some(if *sign == b'-' { -total } else { total })
        }
        _ => None,
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar. Years are counted from March, so that the leap day is the
/// last of its year; 153 days make five months from March on.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + (153 * month_from_march + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_rfc_3339_time_is_refused() {
        for text in [
            "",
            "2025-10-16",
            "2025-10-16T08:00:00",
            "2025-10-16T08:00Z",
            "2025-13-16T08:00:00Z",
            "2025-02-29T08:00:00Z",
            "2025-10-16T24:00:00Z",
            "2025-10-16T08:60:00Z",
            "2025-10-16T08:00:61Z",
            "2025-10-16T08:00:00.Z",
            "2025-10-16T08:00:00+0200",
            "2025-10-16T08:00:00+24:00",
            "2025-10-16T08:00:00Zx",
            "2025-10-16T08:00:00+02:0ä",
            "+025-10-16T08:00:00Z",
            "2025-10-16T08:00:00.5",
            "2025-10-16T08:00:00é",
            "1900-02-29T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_reads_what_the_explaining_reader_reads(
            year in 0i64..=9998, month in 1i64..=12, day in 1i64..=31, hour in 0i64..24, minute in 0i64..60,
            second in 0i64..60, fraction in prop::option::of("[0-9]{1,6}"), offset in prop::option::of((-14i64..=14, 0i64..60)),
        ) {
            let fraction = fraction.map(|digits| format!(".{digits}")).unwrap_or_default();
            let offset = offset.map_or("Z".to_owned(), |(hours, minutes)| {
                format!("{}{:02}:{minutes:02}", if hours < 0 { '-' } else { '+' }, hours.abs())
            });
            let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{offset}");
            prop_assert_eq!(parse(&text), Timestamp::parse(&text).ok(), "{}", text);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*", tail in "[0-9TZ:.+ é-]{0,12}") {
            let _ = parse(&text);
            let _ = parse(&format!("2025-10-16T{tail}"));
        }
    }
}
