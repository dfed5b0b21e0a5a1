//! How flagd writes its values: Go's booleans and times, ports, names with texts, lists with commas.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::app::settings::value::Wrong;

fn wrong<T>(problem: impl Into<String>, fix: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { problem: problem.into(), fix: fix.into() })
}

/// A boolean, as Go's `strconv.ParseBool` takes it.
///
/// # Errors
/// It is none.
pub fn switch(text: &str) -> Result<bool, Wrong> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => wrong("is not a boolean", "write true or false"),
    }
}

/// A port; 0 lets the system choose.
///
/// # Errors
/// It is none.
pub fn port(text: &str) -> Result<u16, Wrong> {
    text.parse().or_else(|_| wrong("is not a port", "write a number from 0 to 65535"))
}

/// A whole number that is not negative.
///
/// # Errors
/// It is none.
pub fn number(text: &str) -> Result<u64, Wrong> {
    text.parse().or_else(|_| wrong("is not a whole number", "write a number such as 1000000"))
}

/// A time as Go's `time.ParseDuration` takes it, in whole milliseconds: `1m30s`, `1.5h`, `250ms`, `0`.
///
/// # Errors
/// It is none, is negative, or is too long to count.
pub fn duration(text: &str) -> Result<Duration, Wrong> {
    let fix = "write numbers with units, such as 1m30s, 500ms or 0s";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return wrong("is a negative time", fix);
    }
    match go_seconds(text.strip_prefix('+').unwrap_or(text)).map(Duration::try_from_secs_f64) {
        Some(Ok(duration)) => Ok(duration),
        _ => wrong("is not a time", fix),
    }
}

/// The seconds of a sequence of numbers with units.
fn go_seconds(mut text: &str) -> Option<f64> {
    // The longer unit first where one begins with the other.
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("\u{b5}s", 1e-6),
        ("\u{3bc}s", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    let mut sum = 0.0;
    if text.is_empty() {
        return None;
    }
    while !text.is_empty() {
        let end = text.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let (digits, rest) = text.split_at(end);
        let number: f64 = digits.parse().ok()?;
        let (unit, scale) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        sum += number * scale;
        text = &rest[unit.len()..];
    }
    Some(sum)
}

/// Texts between commas; a text with a comma stands in double quotes, as in CSV.
pub fn list(text: &str) -> Vec<String> {
    let (mut texts, mut current, mut quoted) = (Vec::new(), String::new(), false);
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => texts.push(std::mem::take(&mut current)),
            other => current.push(other),
        }
    }
    texts.push(current);
    texts.into_iter().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect()
}

/// Names and texts of several options; a later one wins. One with a single `=` is taken whole, so that its text may
/// hold commas.
///
/// # Errors
/// A part that has no `=`, or no name.
pub fn pairs(texts: &[String]) -> Result<BTreeMap<String, String>, Wrong> {
    let mut pairs = BTreeMap::new();
    for text in texts {
        if text.trim_start().starts_with('{') {
            let fix = "write a JSON object whose values are strings";
            let map: Option<BTreeMap<String, String>> = serde_json::from_str(text).ok();
            let Some(map) = map else { return wrong("is not a JSON object of strings", fix) };
            pairs.extend(map);
            continue;
        }
        let parts = if text.matches('=').count() == 1 { vec![text.clone()] } else { list(text) };
        for part in parts {
            match part.split_once('=') {
                Some((name, value)) if !name.trim().is_empty() => {
                    pairs.insert(name.trim().to_owned(), value.trim_matches('"').to_owned());
                }
                _ => return wrong("is no name=text", "write name=text, and the option again for the next one"),
            }
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_as_go_reads_them() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("250ms", 250),
            ("1h0m0.5s", 3_600_500),
            ("+2s", 2000),
            ("1000000ns", 1),
            ("1000\u{b5}s", 1),
        ] {
            assert_eq!(duration(text).unwrap().as_millis(), millis, "{text}");
        }
        for text in ["", "5", "s", "-1s", "1 s", "1d", "1.2.3s", "1S", "1e400h", "."] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn booleans_are_read_as_go_reads_them() {
        assert_eq!((switch("T"), switch("0")), (Ok(true), Ok(false)));
        for text in ["", "yes", "on", "tRUE", "2"] {
            assert!(switch(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_and_texts_may_hold_commas_and_equals_signs() {
        let found = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            let pairs = pairs(&texts)?;
            Ok::<_, Wrong>(pairs.into_iter().map(|(name, text)| format!("{name}:{text}")).collect::<Vec<_>>())
        };
        assert_eq!(found(&["a=1,b=2"]).unwrap(), ["a:1", "b:2"]);
        assert_eq!(found(&["a=1,2"]).unwrap(), ["a:1,2"], "a single = takes the text whole");
        assert_eq!(found(&["a=1", "a=2"]).unwrap(), ["a:2"]);
        assert_eq!(found(&[r#"{"a":"x=y,z"}"#]).unwrap(), ["a:x=y,z"]);
        for text in ["a", "=1", "a=1,b,c=2", r#"{"a":1}"#] {
            assert!(found(&[text]).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_have_commas_and_quotes() {
        assert_eq!(list("a, b,\"c,d\""), ["a", "b", "c,d"]);
        assert_eq!(list(""), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn no_text_makes_a_value_panic(text in any::<String>()) {
            let _read = (duration(&text), port(&text), switch(&text), number(&text), list(&text));
            let _pairs = pairs(&[text]);
        }

        #[test]
        fn what_go_prints_is_read_back(millis in 0_u64..1_000_000_000) {
            let text = format!("{}h{}m{}.{:03}s", millis / 3_600_000, millis / 60_000 % 60, millis / 1000 % 60, millis % 1000);
            let read = duration(&text).unwrap();
            prop_assert!(read.abs_diff(Duration::from_millis(millis)) < Duration::from_micros(1), "{} {:?}", text, read);
        }
    }
}
