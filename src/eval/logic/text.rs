//! Numbers as text and texts as numbers, the way JavaScript converts them.

use std::fmt::Write;

/// The text of a number: `1.0` is `1`, and an exponent is written from 10²¹ on and below 10⁻⁶.
pub fn of_number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs();
    let mut text = if value < 0.0 { "-".to_owned() } else { String::new() };
    if (1e-6..1e21).contains(&magnitude) {
        // Rust writes the shortest digits that read back as the same number, as JavaScript does, without exponent.
        let _ = write!(text, "{magnitude}");
        return text;
    }
    let exponential = format!("{magnitude:e}");
    match exponential.split_once("e-") {
        Some(_) => text.push_str(&exponential),
        None => text.push_str(&exponential.replace('e', "e+")),
    }
    text
}

/// The number that a text writes; NaN where it writes none. Spaces around it do not count, and nothing is zero.
pub fn to_number(text: &str) -> f64 {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{FEFF}');
    if text.is_empty() {
        return 0.0;
    }
    for (prefixes, radix) in [(["0x", "0X"], 16), (["0o", "0O"], 8), (["0b", "0B"], 2)] {
        if let Some(digits) = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)) {
            return in_radix(digits, radix);
        }
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned == "Infinity" {
        return if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    // Rust also reads `inf` and `nan`, in any case.
    if unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return text.parse().unwrap_or(f64::NAN);
    }
    f64::NAN
}

fn in_radix(digits: &str, radix: u32) -> f64 {
    let mut value = 0.0;
    for digit in digits.chars() {
        let Some(digit) = digit.to_digit(radix) else { return f64::NAN };
        value = value * f64::from(radix) + f64::from(digit);
    }
    if digits.is_empty() { f64::NAN } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_written_as_javascript_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e6, "1000000"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (1e21, "1e+21"),
            (-1.5e300, "-1.5e+300"),
            (0.000_001, "0.000001"),
            (0.000_000_1, "1e-7"),
            (1.5e-9, "1.5e-9"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(of_number(value), text);
        }
    }

    #[test]
    fn texts_are_read_as_javascript_reads_them() {
        for (text, value) in [
            ("", 0.0),
            (" \t\n", 0.0),
            (" 12 ", 12.0),
            ("+.5", 0.5),
            ("5.", 5.0),
            ("-1e3", -1000.0),
            ("0x1f", 31.0),
            ("0b101", 5.0),
            ("0o17", 15.0),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            assert_eq!(to_number(text).to_bits(), value.to_bits(), "{text}");
        }
        for text in ["abc", "1a", "1 2", "-", ".", "1e", "0x", "0xg", "-0x1", "inf", "infinity", "nan", "NaN", "1_000"]
        {
            assert!(to_number(text).is_nan(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in any::<f64>().prop_filter("a number", |value| value.is_finite())) {
            prop_assert!((to_number(&of_number(value)) - value).abs() == 0.0);
        }

        #[test]
        fn any_text_is_read(text: String) {
            to_number(&text);
        }
    }
}
