//! Regular expressions of other systems, where they mean the same here.
//!
//! LaunchDarkly's SDKs use the engine of their language (Go, Java, JavaScript, Python, .NET, …). Taken over is what all
//! of them and Rust's `regex` read alike: literals, `.`, classes without set operators, anchors, groups, alternation and
//! repetition. `\d` and `\w` are written out as ASCII classes, since here they stand for all of Unicode. Everything
//! else is refused by name. Texts with line breaks are read differently by the SDKs themselves.

/// Escaped characters that are themselves in every engine.
const PUNCTUATION: &str = r"\.+*?()|[]{}^$-/";

/// The same pattern for Rust's `regex`.
///
/// # Errors
/// What in it is not read alike everywhere.
pub(super) fn common(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars().peekable();
    // True where a repetition may follow.
    let mut repeatable = false;
    while let Some(character) = rest.next() {
        match character {
            '\\' => {
                out.push_str(&escape(rest.next(), false)?);
                repeatable = true;
            }
            '[' => {
                out.push('[');
                class(&mut rest, &mut out)?;
                repeatable = true;
            }
            '(' => {
                out.push('(');
                if rest.peek() == Some(&'?') {
                    rest.next();
                    if rest.next() != Some(':') {
                        return Err("a group that begins with `(?` and is not `(?:`".to_owned());
                    }
                    out.push_str("?:");
                }
                repeatable = false;
            }
            '*' | '+' | '?' | '{' => {
                if !repeatable {
                    return Err(format!("`{character}` with nothing before it to repeat"));
                }
                out.push(character);
                if character == '{' {
                    bounds(&mut rest, &mut out)?;
                }
                match rest.peek() {
                    Some('?') => out.extend(rest.next()),
                    Some('+') => return Err("a possessive repetition".to_owned()),
                    _ => {}
                }
                repeatable = false;
            }
            ']' | '}' => return Err(format!("`{character}` without its opening bracket")),
            '|' | '^' | '$' => {
                out.push(character);
                repeatable = false;
            }
            other => {
                out.push(other);
                repeatable = true;
            }
        }
    }
    Ok(out)
}

fn escape(character: Option<char>, in_class: bool) -> Result<String, String> {
    let class = |inner: &str| if in_class { inner.to_owned() } else { format!("[{inner}]") };
    match character {
        Some('d') => Ok(class("0-9")),
        Some('w') => Ok(class("0-9A-Za-z_")),
        Some(other) if PUNCTUATION.contains(other) => Ok(format!("\\{other}")),
        Some(other) => Err(format!("the escape `\\{}`", other.escape_default())),
        None => Err("a backslash at the end".to_owned()),
    }
}

fn class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) -> Result<(), String> {
    if rest.peek() == Some(&'^') {
        out.extend(rest.next());
    }
    let mut empty = true;
    let mut last = None;
    // A hyphen beside `\d` is itself at either end of the class; elsewhere engines refuse it or make a range of it.
    let mut after_set = false;
    let mut after_hyphen = false;
    while let Some(character) = rest.next() {
        let is_set = character == '\\' && matches!(rest.peek(), Some('d' | 'w'));
        let is_last = rest.peek() == Some(&']');
        if (is_set && after_hyphen) || (character == '-' && after_set && !is_last) {
            return Err("`-` beside `\\d` or `\\w` inside a class".to_owned());
        }
        after_hyphen = character == '-' && !empty;
        after_set = is_set;
        match character {
            ']' if empty => return Err("an empty class".to_owned()),
            ']' => {
                out.push(']');
                return Ok(());
            }
            '\\' => out.push_str(&escape(rest.next(), true)?),
            '[' => return Err("`[` inside a class".to_owned()),
            '&' | '~' | '-' if last == Some(character) => {
                return Err(format!("`{character}{character}` inside a class"));
            }
            other => out.push(other),
        }
        last = Some(character);
        empty = false;
    }
    Err("a class without its end".to_owned())
}

fn bounds(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) -> Result<(), String> {
    let mut inner = String::new();
    for character in rest.by_ref() {
        if character == '}' {
            let (low, high) = inner.split_once(',').unwrap_or((&inner, "0"));
            let number = |text: &str| !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
            if !number(low) || !(high.is_empty() || number(high)) {
                break;
            }
            out.push_str(&inner);
            out.push('}');
            return Ok(());
        }
        inner.push(character);
    }
    Err("`{` that is no repetition such as {2} or {2,3}".to_owned())
}

/// A pattern that finds an ASCII text whatever the case, as if both sides had been lowered character by character.
/// None where the text is not ASCII: which other characters are lowered to its own is then not settled.
pub(super) fn lowered(text: &str) -> Option<String> {
    if !text.is_ascii() || text.bytes().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    let mut out = String::with_capacity(text.len() * 4);
    for character in text.chars() {
        match character.to_ascii_lowercase() {
            // The two characters beyond ASCII that lower to ASCII letters.
            'i' => out.push_str(r"[iI\u{130}]"),
            'k' => out.push_str(r"[kK\u{212A}]"),
            lower @ 'a'..='z' => {
                out.push('[');
                out.push(lower);
                out.push(lower.to_ascii_uppercase());
                out.push(']');
            }
            other if r"\.+*?()|[]{}^$".contains(other) => {
                out.push('\\');
                out.push(other);
            }
            other => out.push(other),
        }
    }
    Some(out)
}

/// True where lowering changes nothing of the text and no other text is lowered to it.
pub(super) fn has_no_case(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_engine_reads_alike_is_kept() {
        for (pattern, wanted) in [
            (r"^qa-\d{2,3}$", r"^qa-[0-9]{2,3}$"),
            (r"(?:a|b)+?.*\.com", r"(?:a|b)+?.*\.com"),
            (r"[^\w.-]", r"[^0-9A-Za-z_.-]"),
            (r"\/x\-y", r"\/x\-y"),
            (r"[-\d][\w-][^-\d]", r"[-0-9][0-9A-Za-z_-][^-0-9]"),
            (r"[!\-\d\-a]", r"[!\-0-9\-a]"),
        ] {
            assert_eq!(common(pattern).as_deref(), Ok(wanted));
            assert!(regex::Regex::new(wanted).is_ok(), "{wanted}");
        }
    }

    #[test]
    fn what_engines_read_differently_is_refused() {
        for pattern in [
            r"(?i)a",
            r"(?=a)",
            r"(?<n>a)",
            r"\s",
            r"\bx",
            r"(a)\1",
            r"\p{L}",
            "[a[b]]",
            "[a&&b]",
            "[]a]",
            "a++",
            "a{,2}",
            "*a",
            "a{x}",
            "a}",
            r"\<",
            "a\\",
            "[a",
            r"^[!-\d]$",
            r"[\w-.]",
            r"[a-z-\d]",
            r"[\d-\w]",
        ] {
            assert!(common(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn lowered_texts_match_exactly_what_lowers_to_them() {
        let pattern = regex::Regex::new(&format!("^{}$", lowered("Kim.i").expect("ASCII"))).expect("a pattern");
        for text in ["kim.i", "KIM.I", "\u{212A}im.i", "k\u{130}m.i"] {
            assert!(pattern.is_match(text), "{text}");
        }
        assert!(!pattern.is_match("kimxi") && lowered("é").is_none());
        // Every character that lowers to an ASCII letter is in that letter's class.
        for letter in 'a'..='z' {
            let pattern =
                regex::Regex::new(&format!("^{}$", lowered(&letter.to_string()).expect("ASCII"))).expect("one");
            for other in '\u{0}'..=char::MAX {
                let lower = if other == '\u{130}' { 'i' } else { other.to_lowercase().next().unwrap_or(other) };
                assert_eq!(pattern.is_match(other.encode_utf8(&mut [0; 4])), lower == letter, "{other:?} {letter}");
            }
        }
    }
}
