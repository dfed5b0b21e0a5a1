//! Waiting until subscribers have confirmed a kill or a restore: a line that lives while they do, and the names of those
//! who have not.

use std::io::{IsTerminal as _, Write};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Output;
use super::failure::Failure;
use super::http::{Admin, Ask, encode};
use crate::app::settings::value;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many are named.
const NAMES: usize = 20;
/// The longest that a server waits.
const SERVER_WAIT: Duration = Duration::from_secs(60);

/// The longest that the command waits.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// How many have to confirm, as the server reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word(String);

/// Reads `all` or a percentage.
///
/// # Errors
/// In words for people.
pub fn word(text: &str) -> Result<Word, String> {
    let wrong = || format!("{text:?} is neither `all` nor a percentage above 0% and up to 100%, such as 99.9%");
    if text == "all" {
        return Ok(Word(text.to_owned()));
    }
    let percent: f64 = text.strip_suffix('%').and_then(|number| number.trim().parse().ok()).ok_or_else(wrong)?;
    if percent > 0.0 && percent <= 100.0 { Ok(Word(format!("{percent}%"))) } else { Err(wrong()) }
}

/// Reads a time such as `30s`.
///
/// # Errors
/// In words for people.
pub fn patience(text: &str) -> Result<Duration, String> {
    let time = value::duration(text).map_err(|wrong| format!("{text:?} {}; {}", wrong.problem, wrong.fix))?;
    if time <= TIMEOUT_MAX { Ok(time) } else { Err(format!("{text:?} is longer than an hour")) }
}

/// Somebody who waits.
#[derive(Debug)]
pub struct Waiting<'a> {
    admin: &'a Admin,
    environment: &'a str,
    word: Word,
    timeout: Duration,
    /// Where the living line goes; none where nobody could see it live.
    live: bool,
}

impl<'a> Waiting<'a> {
    /// Waits at most `timeout` for as many as `word` says.
    pub fn new(admin: &'a Admin, environment: &'a str, word: Word, timeout: Duration) -> Self {
        Self { admin, environment, word, timeout, live: std::io::stderr().is_terminal() }
    }

    /// What to add to the command itself: where nobody watches a line, it waits itself, and so tells a token that may
    /// kill and not read who has confirmed.
    pub fn query(&self) -> String {
        if self.live {
            return String::new();
        }
        let timeout = self.timeout.min(SERVER_WAIT).as_millis();
        format!("?wait={}&timeout={timeout}ms&names={NAMES}", encode(&self.word.0))
    }

    /// Looks again and again until the word has reached as many, or time is up; the last receipts. `first` are those
    /// that came with the command, if they did.
    ///
    /// # Errors
    /// Those of the server.
    pub async fn follow(&self, generation: u64, first: &Value, began: Instant) -> Result<Value, Failure> {
        if first["reached"] == true || !first.is_null() && began.elapsed() >= self.timeout {
            return Ok(first.clone());
        }
        let environment = encode(self.environment);
        let wait = encode(&self.word.0);
        let path = format!("/v1/environments/{environment}/receipts?generation={generation}&names={NAMES}");
        loop {
            let left = self.timeout.saturating_sub(began.elapsed());
            // Short waits, so that there is something to show; the answer comes as soon as there is one.
            let pause = if left.is_zero() { left } else { LOOK_EVERY.min(left) };
            let asked = format!("{path}&wait={wait}&timeout={}ms", pause.as_millis());
            let receipts = match self.admin.ask(Ask::get(&asked)).await {
                Ok(answer) => answer.body,
                // It is done all the same: what came with it is what can be said.
                Err(failure) if failure.is_denied() && !first.is_null() => return Ok(first.clone()),
                Err(failure) if failure.is_denied() => {
                    return Err(Failure::denied(format!(
                        "it is in force, and who has confirmed is not known: {failure}; a token with the scope read \
                         sees receipts"
                    )));
                }
                Err(failure) => return Err(failure),
            };
            self.show(&receipts);
            if receipts["reached"] == true || began.elapsed() >= self.timeout {
                self.clear();
                return Ok(receipts);
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    #[expect(clippy::print_stderr, reason = "a line that lives belongs to the terminal, not to the output")]
    fn show(&self, receipts: &Value) {
        if self.live {
            eprint!("\r\x1b[2K{}", line(receipts));
        }
    }

    #[expect(clippy::print_stderr, reason = "as above")]
    fn clear(&self) {
        if self.live {
            eprint!("\r\x1b[2K");
        }
    }
}

/// `9 998 of 10 000 confirmed, 2 pending, slowest 143 ms`.
fn line(receipts: &Value) -> String {
    let count = |name: &str| receipts[name].as_u64().unwrap_or(0);
    if count("subscribers") == 0 {
        return "nobody subscribes: there is nobody to confirm".to_owned();
    }
    let having = count("confirmed") + count("lateJoined");
    let mut text = format!("{} of {} confirmed", grouped(having), grouped(count("subscribers")));
    for name in ["pending", "rejected", "unconfirmable", "disconnected"] {
        if count(name) > 0 {
            text.push_str(&format!(", {} {name}", grouped(count(name))));
        }
    }
    if count("maxUs") > 0 {
        text.push_str(&format!(", slowest {}", milliseconds(count("maxUs"))));
    }
    text
}

fn milliseconds(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{:.1} ms", micros as f64 / 1_000.0),
        10_000..10_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{:.1} s", micros as f64 / 1_000_000.0),
    }
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// The last line, the names of those who have not confirmed, and a failure where the word was not reached.
///
/// # Errors
/// It was not; or the output is gone.
pub fn conclude(out: &mut dyn Write, receipts: &Value, output: Output) -> Result<(), Failure> {
    if output != Output::Json {
        writeln!(out, "{}", line(receipts))?;
        let missing = receipts["missing"].as_array().map(Vec::as_slice).unwrap_or_default();
        for client in missing {
            writeln!(out, "  {}", described(client))?;
        }
        let count = |name: &str| receipts[name].as_u64().unwrap_or(0);
        let named = u64::try_from(missing.len()).unwrap_or(u64::MAX);
        let others = count("subscribers").saturating_sub(count("confirmed") + count("lateJoined") + named);
        if others > 0 {
            writeln!(out, "  and {} more", grouped(others))?;
        }
    }
    if receipts["reached"] == true {
        return Ok(());
    }
    Err(Failure::unconfirmed(format!("not confirmed by all who were waited for: {}", line(receipts))))
}

/// `pending: billing-7 (instance 3f…), rampart-rust 0.1.0, has generation 12, last heard of 2026-11-24T10:00:00Z`.
fn described(client: &Value) -> String {
    let text = |name: &str| client[name].as_str().unwrap_or_default();
    let mut words = format!("{}: ", text("state"));
    match text("name") {
        "" => words.push_str(&format!("instance {}", text("instanceId"))),
        name => words.push_str(&format!("{name} (instance {})", text("instanceId"))),
    }
    if !text("sdk").is_empty() {
        words.push_str(&format!(", {}", text("sdk")));
    }
    words.push_str(&format!(", has generation {}, last heard of {}", client["generation"], text("lastSeen")));
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_line_says_who_has_it_and_who_has_not() {
        let receipts = json!({
            "subscribers": 10_000, "confirmed": 9_990, "lateJoined": 8, "pending": 2, "rejected": 0,
            "unconfirmable": 0, "disconnected": 0, "maxUs": 143_210,
        });
        assert_eq!(line(&receipts), "9 998 of 10 000 confirmed, 2 pending, slowest 143 ms");
        assert_eq!(line(&json!({"subscribers": 0})), "nobody subscribes: there is nobody to confirm");
    }

    #[test]
    fn what_was_not_reached_is_a_failure_with_a_code_of_its_own() {
        let mut receipts = json!({"subscribers": 3, "confirmed": 1, "pending": 2, "reached": false, "missing": [
            {"state": "pending", "name": "billing", "instanceId": "i7", "generation": 4, "lastSeen": "t"}]});
        let mut out = Vec::new();
        let failure = conclude(&mut out, &receipts, Output::Table).unwrap_err();
        assert_eq!(failure.code(), 5);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "1 of 3 confirmed, 2 pending\n  pending: billing (instance i7), has generation 4, last heard of t\n  and 1 more\n"
        );
        receipts["reached"] = json!(true);
        assert!(conclude(&mut Vec::new(), &receipts, Output::Table).is_ok());
    }

    #[test]
    fn words_and_times_are_read_or_explained() {
        assert_eq!(word("all"), Ok(Word("all".to_owned())));
        assert_eq!(word("99.9%"), Ok(Word("99.9%".to_owned())));
        for wrong in ["", "some", "0%", "101%", "-1%", "NaN%", "50"] {
            assert!(word(wrong).is_err(), "{wrong}");
        }
        assert_eq!(patience("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(patience("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["", "s", "-1s", "2h", "1.5s", "99999999999999999999s"] {
            assert!(patience(wrong).is_err(), "{wrong}");
        }
    }
}
