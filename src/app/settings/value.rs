//! How values are written: times with a unit, sizes in binary units, addresses with a port.
//!
//! A number without a unit is refused where a unit matters: `5` means five of what? Not a place for defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::HeaderName;
use tracing_subscriber::EnvFilter;

use crate::eval::fractional::FractionalHash;
use crate::flag::key::EnvironmentName;

use super::table::Kind;
use super::{DataPlaneAuth, JournalKind, LogFormat, Origins};

/// What is shown instead of a secret.
pub const REDACTED: &str = "[redacted]";

/// Why a text is not such a value, to be read behind the text itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// `is not a time`.
    pub problem: String,
    /// `write 500ms, …`.
    pub fix: String,
}

fn wrong<T>(problem: impl Into<String>, fix: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { problem: problem.into(), fix: fix.into() })
}

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text. Whoever asks must not show it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Kind {
    /// Checks a value as far as it can be checked alone.
    ///
    /// # Errors
    /// Why it is not a value of this kind.
    pub fn check(self, text: &str) -> Result<(), Wrong> {
        match self {
            Self::Path => path(text).map(drop),
            Self::Address => address(text).map(drop),
            Self::Environment => environment(text).map(drop),
            Self::Switch => switch(text).map(drop),
            Self::Choice(words) => choice(text, words),
            Self::Duration(least, most) => {
                let value = duration(text)?;
                within(least <= value && value <= most, &show_duration(least), &show_duration(most))
            }
            Self::Bytes(least, most) => {
                let value = bytes(text)? as u64;
                within(least <= value && value <= most, &show_bytes(least), &show_bytes(most))
            }
            Self::Count(least, most) => {
                let value: u64 = count(text)?;
                within(least <= value && value <= most, &least.to_string(), &most.to_string())
            }
            Self::Filter => filter(text).map(drop),
            Self::Secret => secret(text).map(drop),
            Self::Token => token(text).map(drop),
            Self::Pairs => pairs(text).map(drop),
            Self::Headers => headers(text).map(drop),
            Self::Origins => origins(text).map(drop),
            Self::Url => url(text).map(drop),
        }
    }

    /// What a value looks like, for people.
    pub fn describe(self) -> String {
        match self {
            Self::Path => "a path".to_owned(),
            Self::Address => "address:port".to_owned(),
            Self::Environment => "a name".to_owned(),
            Self::Switch => "`true` or `false`".to_owned(),
            Self::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "),
            Self::Duration(least, most) => format!("{} to {}", show_duration(least), show_duration(most)),
            Self::Bytes(least, most) => format!("{} to {}", show_bytes(least), show_bytes(most)),
            Self::Count(least, most) => format!("{least} to {most}"),
            Self::Filter => "directives".to_owned(),
            Self::Secret => "a secret".to_owned(),
            Self::Token => "a token".to_owned(),
            Self::Pairs => "`name=text,…`".to_owned(),
            Self::Headers => "`Header=name,…`".to_owned(),
            Self::Origins => "origins with commas between them, or `*`".to_owned(),
            Self::Url => "a URL".to_owned(),
        }
    }
}

fn within(holds: bool, least: &str, most: &str) -> Result<(), Wrong> {
    if holds { Ok(()) } else { wrong("is out of range", format!("write a value from {least} to {most}")) }
}

fn choice(text: &str, words: &[&str]) -> Result<(), Wrong> {
    if words.contains(&text) {
        return Ok(());
    }
    wrong("is not a choice here", format!("write one of: {}", words.join(", ")))
}

fn chosen<T>(text: &str, choices: &[(&'static str, T)]) -> Result<T, Wrong>
where
    T: Copy,
{
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    choice(text, &words)?;
    let found = choices.iter().find(|(word, _)| *word == text);
    found.map_or_else(|| wrong("is not a choice here", "write another word"), |(_, value)| Ok(*value))
}

/// `sqlite` or `memory`.
///
/// # Errors
/// It is another word.
pub fn journal(text: &str) -> Result<JournalKind, Wrong> {
    chosen(text, &[("sqlite", JournalKind::Sqlite), ("memory", JournalKind::Memory)])
}

/// `optional` or `required`.
///
/// # Errors
/// It is another word.
pub fn auth(text: &str) -> Result<DataPlaneAuth, Wrong> {
    chosen(text, &[("optional", DataPlaneAuth::Optional), ("required", DataPlaneAuth::Required)])
}

/// `v2` or `v3`.
///
/// # Errors
/// It is another word.
pub fn fractional_hash(text: &str) -> Result<FractionalHash, Wrong> {
    chosen(text, &FractionalHash::ALL)
}

/// `text` or `json`.
///
/// # Errors
/// It is another word.
pub fn log_format(text: &str) -> Result<LogFormat, Wrong> {
    chosen(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
}

/// `true` or `false`.
///
/// # Errors
/// It is another word.
pub fn switch(text: &str) -> Result<bool, Wrong> {
    chosen(text, &[("true", true), ("false", false)])
}

/// A path; whether it leads anywhere is found when it is opened.
///
/// # Errors
/// It is empty or holds a NUL byte.
pub fn path(text: &str) -> Result<PathBuf, Wrong> {
    if text.is_empty() || text.contains('\0') {
        return wrong("is not a path", "name a file or folder, or leave the setting out");
    }
    Ok(PathBuf::from(text))
}

/// An IP address with a port.
///
/// # Errors
/// It is none.
pub fn address(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().or_else(|_| {
        let fix = "write an IP address and a port, such as 127.0.0.1:8013, 0.0.0.0:8013 or [::]:8013";
        wrong("is not an address to listen on", fix)
    })
}

/// The name of an environment.
///
/// # Errors
/// It is no valid name.
pub fn environment(text: &str) -> Result<EnvironmentName, Wrong> {
    EnvironmentName::new(text)
        .or_else(|fault| wrong(format!("cannot name an environment ({fault})"), "write a name such as production"))
}

/// Directives of `tracing`.
///
/// # Errors
/// They cannot be parsed.
pub fn filter(text: &str) -> Result<String, Wrong> {
    let fix = "write a level (error, warn, info, debug, trace) or directives such as info,rampart=debug";
    // The parser steps over bytes as if each were a character, and panics where it is not.
    if text.trim().is_empty() || !text.is_ascii() {
        return wrong("is not a log filter", fix);
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => wrong(format!("is not a log filter ({error})"), fix),
    }
}

/// A secret that fits an HTTP header.
///
/// # Errors
/// It is empty, or holds spaces or characters outside ASCII.
pub fn secret(text: &str) -> Result<Secret, Wrong> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong(
            "is empty or holds spaces or characters outside ASCII",
            "write a token that fits an HTTP header, or leave the setting out",
        );
    }
    Ok(Secret(text.to_owned()))
}

/// A token of Rampart.
///
/// # Errors
/// It is none.
pub fn token(text: &str) -> Result<Secret, Wrong> {
    crate::access::token::known(text).map(|_| Secret(text.to_owned())).or_else(|fault| {
        wrong(format!("is no token ({fault})"), "make one with random digits, or leave the setting out")
    })
}

/// Names and texts: `name=text,name=text`, or a JSON object of texts where a text holds a comma.
///
/// # Errors
/// It is neither, a name is empty, or one stands twice.
pub fn pairs(text: &str) -> Result<Vec<(String, String)>, Wrong> {
    let fix = "write name=text,name=text, or a JSON object of texts such as {\"name\":\"text\"}";
    let pairs: Option<Vec<(String, String)>> = if text.trim_start().starts_with('{') {
        let map: Option<BTreeMap<String, String>> = serde_json::from_str(text).ok();
        map.map(|map| map.into_iter().collect())
    } else {
        let pair = |pair: &str| pair.split_once('=').map(|(name, text)| (name.trim().to_owned(), text.to_owned()));
        text.split(',').map(pair).collect()
    };
    let Some(pairs) = pairs else { return wrong("is no list of names and texts", fix) };
    let names: BTreeSet<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    if names.contains("") || names.len() < pairs.len() {
        return wrong("has an empty name, or one that stands twice", fix);
    }
    Ok(pairs)
}

/// Header names and the attributes that they become.
///
/// # Errors
/// They are no [`pairs`], or one of the names is no header's.
pub fn headers(text: &str) -> Result<Vec<(HeaderName, String)>, Wrong> {
    let header = |(header, name): (String, String)| match HeaderName::try_from(header.as_str()) {
        Ok(found) if !name.is_empty() => Ok((found, name)),
        Ok(_) => wrong("has a header without an attribute", "write Header=attribute, such as X-Region=region"),
        Err(_) => wrong(format!("has {header:?}, which is no header's name"), "write a name such as X-Region"),
    };
    pairs(text)?.into_iter().map(header).collect()
}

/// Origins as browsers send them, with commas between them, or `*` for all.
///
/// # Errors
/// One of them is no origin, or not written as browsers write it: it would match no page.
pub fn origins(text: &str) -> Result<Origins, Wrong> {
    if text.trim() == "*" {
        return Ok(Origins::Any);
    }
    text.split(',').map(|origin| self::origin(origin.trim())).collect::<Result<_, _>>().map(Origins::Only)
}

fn origin(text: &str) -> Result<String, Wrong> {
    let example = "write each as a browser sends it, such as https://shop.example or http://localhost:3000";
    if text == "*" {
        return wrong("has `*` among other origins", "write `*` alone, or only the others");
    }
    let Some((scheme, host)) = text.split_once("://") else {
        return wrong(format!("holds {text:?}, which is not an origin"), example);
    };
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let scheme_fits = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| lower(byte) || b"+-.".contains(&byte));
    if host.contains(['/', '?', '#']) {
        let fix = "leave out what comes after the host and the port, the last slash too";
        return wrong(format!("holds {text:?}, and an origin has no path"), fix);
    }
    if !scheme_fits || host.is_empty() || !host.bytes().all(|byte| lower(byte) || b"-._:[]".contains(&byte)) {
        return wrong(format!("holds {text:?}, which is not an origin"), example);
    }
    if (scheme == "https" && host.ends_with(":443")) || (scheme == "http" && host.ends_with(":80")) {
        let fix = "leave the port out: browsers do not send the usual one";
        return wrong(format!("holds {text:?}, which no browser sends"), fix);
    }
    Ok(text.to_owned())
}

/// The address of a server for its clients.
///
/// # Errors
/// It is none that a path can be added to.
pub fn url(text: &str) -> Result<String, Wrong> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}?#@".contains(&byte);
    if host.is_none_or(|host| host.is_empty() || host.starts_with('/') || !host.bytes().all(plain)) {
        let fix = "write http:// or https://, a host, and a path where there is one, such as https://flags.example";
        return wrong("is not the URL of a server", fix);
    }
    Ok(text.to_owned())
}

/// A whole number.
///
/// # Errors
/// It is none, or does not fit.
pub fn count<T: FromStr>(text: &str) -> Result<T, Wrong> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.map_or_else(|| wrong("is not a number that fits here", "write a whole number, such as 512"), Ok)
}

/// A time: `500ms`, `5s`, `2m`, `1h`.
///
/// # Errors
/// It is none, or too long to count.
pub fn duration(text: &str) -> Result<Duration, Wrong> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    scaled(text, &UNITS)
        .map(Duration::from_millis)
        .map_or_else(|| wrong("is not a time", "write a whole number and its unit, such as 500ms, 5s, 2m or 1h"), Ok)
}

/// A size: `64KiB`, `1MiB`, `65536`.
///
/// # Errors
/// It is none, or too large to count.
pub fn bytes(text: &str) -> Result<usize, Wrong> {
    const UNITS: [(&str, u64); 4] = [("", 1), ("KiB", 1024), ("MiB", 1024 * 1024), ("GiB", 1024 * 1024 * 1024)];
    scaled(text, &UNITS).and_then(|bytes| usize::try_from(bytes).ok()).map_or_else(
        || wrong("is not a size", "write bytes as a whole number, or with KiB, MiB or GiB, such as 64KiB"),
        Ok,
    )
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*scale)
}

/// The shortest way to write a time of whole milliseconds.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".to_owned(),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    }
}

/// The shortest way to write a size.
pub fn show_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = UNITS.iter().find(|(_, scale)| bytes > 0 && bytes.is_multiple_of(*scale));
    unit.map_or_else(|| bytes.to_string(), |(name, scale)| format!("{}{name}", bytes / scale))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_carry_their_unit() {
        for (text, millis) in [("500ms", 500), ("5s", 5000), ("2m", 120_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "-5s", "1.5s", "5 s", "5S", "5d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_binary_units() {
        for (text, size) in [("65536", 65_536), ("64KiB", 65_536), ("1MiB", 1_048_576), ("1GiB", 1 << 30)] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "KiB", "64KB", "64kib", "1.5MiB", "-1", "64 KiB", "18446744073709551615GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_need_an_ip_and_a_port() {
        for text in ["127.0.0.1:8013", "0.0.0.0:0", "[::1]:8013"] {
            assert!(address(text).is_ok(), "{text}");
        }
        for text in ["8013", ":8013", "localhost:8013", "127.0.0.1", "127.0.0.1:99999", "::1:8013"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_plain_and_fit() {
        assert_eq!(count::<u32>("4096"), Ok(4096));
        for text in ["", "+1", "-1", "1_000", "4294967296", "1e3"] {
            assert!(count::<u32>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        for text in ["https://shop.example", "http://localhost:3000", "capacitor://localhost", "http://[::1]:8080"] {
            assert_eq!(origins(text), Ok(Origins::Only(vec![text.to_owned()])), "{text}");
        }
        let two = vec!["https://a.example".to_owned(), "https://b.example:8443".to_owned()];
        assert_eq!(origins("https://a.example, https://b.example:8443"), Ok(Origins::Only(two)));
        assert_eq!(origins(" * "), Ok(Origins::Any));
        for (text, fix) in [
            ("https://shop.example/", "the last slash too"),
            ("https://shop.example/app", "leave out what comes after"),
            ("https://shop.example:443", "leave the port out"),
            ("http://shop.example:80", "leave the port out"),
            ("shop.example", "as a browser sends it"),
            ("https://Shop.example", "as a browser sends it"),
            ("https://*.example", "as a browser sends it"),
            ("https://a.example,", "as a browser sends it"),
            ("https://a.example,*", "write `*` alone"),
            ("null", "as a browser sends it"),
            ("", "as a browser sends it"),
        ] {
            let found = origins(text).unwrap_err();
            assert!(found.fix.contains(fix), "{text:?}: {found:?}");
        }
    }

    #[test]
    fn urls_name_a_server() {
        for text in ["https://flags.example", "http://127.0.0.1:8013/", "https://flags.example/base"] {
            assert_eq!(url(text), Ok(text.to_owned()));
        }
        for text in
            ["", "flags.example", "ftp://flags.example", "https://", "https:///x", "https://a/?b", "https://a b"]
        {
            assert!(url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_is_not_shown_and_fits_a_header() {
        assert_eq!(format!("{:?}", secret("hunter2").unwrap()), "[redacted]");
        for text in ["", "two words", "naïve", "line\n"] {
            assert!(secret(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_log_filter_that_its_parser_cannot_stand_is_refused() {
        assert!(filter("info,rampart=debug").is_ok());
        for text in ["", " ", "rampart=loud", " \u{112cb}=", "größe=debug"] {
            assert!(filter(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn pairs_are_a_list_or_an_object() {
        let found = |text: &str| pairs(text).unwrap().into_iter().map(|(a, b)| format!("{a}:{b}")).collect::<Vec<_>>();
        assert_eq!(found("a=1, b=x=y"), ["a:1", "b:x=y"]);
        assert_eq!(found(r#"{"a":"1,2","b":""}"#), ["a:1,2", "b:"]);
        for text in ["", "a", "=1", "a=1,a=2", "a=1,", r#"{"a":1}"#, "{a:1}"] {
            assert!(pairs(text).is_err(), "{text}");
        }
        assert_eq!(headers("X-Region=region").unwrap()[0].0.as_str(), "x-region");
        for text in ["X Region=region", "X-Region="] {
            assert!(headers(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(millis in any::<u32>(), size in any::<u32>()) {
            let time = Duration::from_millis(u64::from(millis));
            prop_assert_eq!(duration(&show_duration(time)), Ok(time));
            prop_assert_eq!(bytes(&show_bytes(u64::from(size))), Ok(size as usize));
        }

        #[test]
        fn no_text_makes_a_kind_panic(text in any::<String>()) {
            for setting in crate::app::settings::table::TABLE {
                let _checked = setting.kind.check(&text);
            }
        }
    }
}
