//! The third way for a kill to arrive: asking for the whole kill set over HTTP, on a connection of its own.
//!
//! Often while no stream is healthy, seldom while one is, and at once when a bookmark says that the server knows a kill
//! that this client does not. Nothing is applied here: what comes back goes to the one owner of the copy.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::options::{Options, Target};
use super::random::Dice;
use super::stream::deepest;
use crate::flag::time::Generation;
use crate::sync::hash::SetHash;
use crate::sync::message::{KillEntry, KillPart};

/// Bytes of an answer: every flag may be killed, under the longest names.
const BODY_BYTES_MAX: usize = 128 * 1024 * 1024;
/// How long to leave a server alone that does not let this client in, where the options do not say.
const DENIED: Duration = Duration::from_secs(5 * 60);
/// The longest wait that an answer may ask for.
const RETRY_AFTER_MAX: u64 = 60 * 60;

/// What the stream's owner says about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// The stream is open and speaks.
    pub healthy: bool,
    /// How often the server was seen to know a kill that is not held here.
    pub behind: u64,
}

/// What a poll came to.
#[derive(Debug, PartialEq, Eq)]
enum Polled {
    /// A kill set, and what names it.
    Set(Box<KillPart>, Option<String>),
    /// The same set as before.
    Unchanged,
    /// The server does not let this client in, or has no such thing.
    Refused,
    /// The server is busy.
    Later(Duration),
}

/// Polls as long as the health is told, and hands on what comes.
pub async fn run(
    options: &Options,
    target: &Target,
    mut health: watch::Receiver<Health>,
    found: mpsc::Sender<KillPart>,
) {
    let mut dice = Dice::default();
    let mut known = *health.borrow_and_update();
    let mut etag = None;
    let mut next = after(Instant::now(), &mut dice, interval(options, known));
    loop {
        let due = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = health.changed() => {
                let Ok(()) = changed else { return };
                let newest = *health.borrow_and_update();
                next = reconsidered(options, Instant::now(), &mut dice, next, (known, newest));
                known = newest;
            }
            () = due => {
                let wait = match timeout(options.connect, poll(options, target, etag.as_deref())).await {
                    Ok(Ok(Polled::Set(part, named))) => {
                        etag = named;
                        let Ok(()) = found.send(*part).await else { return };
                        None
                    }
                    Ok(Ok(Polled::Unchanged)) => None,
                    Ok(Ok(Polled::Refused)) => Some(options.denied.unwrap_or(DENIED)),
                    Ok(Ok(Polled::Later(wait))) => Some(wait),
                    Ok(Err(why)) => {
                        tracing::debug!(why, "the kill set cannot be polled");
                        None
                    }
                    Err(_) => None,
                };
                let every = interval(options, known);
                next = after(Instant::now(), &mut dice, every.map(|every| wait.unwrap_or(every).max(every)));
            }
        }
    }
}

/// How often to poll; none: never.
fn interval(options: &Options, health: Health) -> Option<Duration> {
    let every = if health.healthy { options.kills_healthy } else { options.kills_unhealthy };
    (!every.is_zero()).then_some(every)
}

/// About that much later, so that a fleet does not poll as one.
fn after(now: Instant, dice: &mut Dice, every: Option<Duration>) -> Option<Instant> {
    now.checked_add(dice.about(every?))
}

/// When to poll after the health changed. A poll that is due is only ever moved forward, so that a stream that comes
/// and goes does not keep it from happening.
fn reconsidered(
    options: &Options,
    now: Instant,
    dice: &mut Dice,
    next: Option<Instant>,
    (before, health): (Health, Health),
) -> Option<Instant> {
    if health.behind > before.behind && (options.kills_healthy, options.kills_unhealthy) != Default::default() {
        return Some(now);
    }
    let soon = after(now, dice, interval(options, health));
    match (next, soon) {
        (Some(next), Some(soon)) => Some(next.min(soon)),
        (next, soon) => next.or(soon),
    }
}

/// Asks once.
async fn poll(options: &Options, target: &Target, etag: Option<&str>) -> Result<Polled, String> {
    let said = |error: &dyn std::error::Error| deepest(error);
    let stream = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(|error| said(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| said(&error))?;
    let mut path = "/v1/kills".to_owned();
    if !options.environment.is_empty() {
        // The alphabet of environment names needs no escapes.
        path.push_str("?environment=");
        path.push_str(&options.environment);
    }
    let mut request = hyper::Request::get(path)
        .header(header::HOST, target.authority.as_str())
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close");
    if let Some(token) = &options.token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if let Some(etag) = etag {
        request = request.header(header::IF_NONE_MATCH, etag);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| said(&error))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| said(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|error| said(&*error))?;
        understood(&head, &body.to_bytes())
    };
    let mut exchange = pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // The connection has to be driven meanwhile. Where it ends first, what came is still to be read.
        _ = connection => exchange.await,
    }
}

fn understood(head: &http::response::Parts, body: &[u8]) -> Result<Polled, String> {
    match head.status.as_u16() {
        200 => {
            let part = kill_part(body)?;
            let etag = head.headers.get(header::ETAG).and_then(|value| value.to_str().ok()).map(str::to_owned);
            Ok(Polled::Set(Box::new(part), etag))
        }
        304 => Ok(Polled::Unchanged),
        401 | 403 | 404 => Ok(Polled::Refused),
        429 | 503 => {
            let seconds = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Ok(Polled::Later(Duration::from_secs(seconds.unwrap_or(0).min(RETRY_AFTER_MAX))))
        }
        status => Err(format!("the server answered {status}")),
    }
}

/// An answer to `GET /v1/kills`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    epoch: String,
    environment: String,
    generation: u64,
    complete_to: u64,
    set_hash: String,
    count: u32,
    killed: Vec<Killed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Killed {
    flag_set: Option<String>,
    key: String,
    generation: u64,
    #[serde(default)]
    restored: bool,
}

/// The kill set in an answer, in one part. Its count and hash are judged where it is taken.
fn kill_part(body: &[u8]) -> Result<KillPart, String> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| format!("not a kill set: {error}"))?;
    let sixteen = |text: &str| {
        let bytes = (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok()).flatten();
        bytes.map(u128::to_be_bytes).ok_or_else(|| "not a kill set: 32 hexadecimal digits are expected".to_owned())
    };
    let entries = answer.killed.into_iter().map(|killed| KillEntry {
        flag_set: killed.flag_set.map(Arc::from),
        key: Arc::from(killed.key),
        generation: Generation(killed.generation),
        restored: killed.restored,
    });
    Ok(KillPart {
        epoch: sixteen(&answer.epoch)?,
        generation: Generation(answer.generation),
        environment: Arc::from(answer.environment),
        entries: entries.collect(),
        count: answer.count,
        set_hash: SetHash::from_bytes(sixteen(&answer.set_hash)?),
        part: 0,
        parts: 1,
        complete_to: Generation(answer.complete_to),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const EMPTY: &str = r#"{"epoch":"000102030405060708090a0b0c0d0e0f","environment":"production","generation":9,
        "completeTo":9,"setHash":"00000000000000000000000000000000","count":0,"killed":[]}"#;

    #[test]
    fn an_answer_is_read_as_a_kill_set_in_one_part() {
        let body = EMPTY.replace("[]", r#"[{"key":"a","generation":4},{"flagSet":"s","key":"b","generation":9}]"#);
        let part = kill_part(body.as_bytes()).unwrap();
        assert_eq!((part.generation, part.complete_to, part.part, part.parts), (Generation(9), Generation(9), 0, 1));
        assert_eq!(part.epoch[15], 15);
        let names: Vec<_> = part.entries.iter().map(|entry| (entry.flag_set.as_deref(), &*entry.key)).collect();
        assert_eq!(names, [(None, "a"), (Some("s"), "b")]);
        for bad in ["", "[]", &EMPTY.replace("0001", "xx01"), &EMPTY.replace("0001", "")] {
            assert!(kill_part(bad.as_bytes()).is_err());
        }
    }

    fn options() -> Options {
        Options::new("http://127.0.0.1:1", "test".to_owned())
    }

    fn health(healthy: bool, behind: u64) -> Health {
        Health { healthy, behind }
    }

    #[test]
    fn polls_are_moved_forward_and_never_back() {
        let (options, mut dice) = (options(), Dice::new(3));
        let now = Instant::now();
        let seconds = |next: Option<Instant>| next.unwrap().duration_since(now).as_secs_f64();
        let slow = after(now, &mut dice, interval(&options, health(true, 0)));
        assert!((48.0..=72.0).contains(&seconds(slow)));
        let soon = reconsidered(&options, now, &mut dice, slow, (health(true, 0), health(false, 0)));
        assert!((8.0..=12.0).contains(&seconds(soon)), "the stream is gone");
        assert_eq!(reconsidered(&options, now, &mut dice, soon, (health(false, 0), health(true, 0))), soon);
        assert_eq!(reconsidered(&options, now, &mut dice, slow, (health(true, 0), health(true, 1))), Some(now));
        let off = Options { kills_healthy: Duration::ZERO, kills_unhealthy: Duration::ZERO, ..options };
        assert_eq!(reconsidered(&off, now, &mut dice, None, (health(true, 0), health(true, 1))), None);
    }

    /// Serves one canned answer per connection and gives back what was asked.
    async fn answer(listener: &TcpListener, answer: String) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(asked).unwrap()
    }

    #[tokio::test]
    async fn a_poll_presents_the_token_and_what_it_knows_already() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut options = Options::new(&url, "test".to_owned());
        options.environment = "staging".to_owned();
        options.token = Some("rampart_x".to_owned());
        let target = options.check().unwrap();
        let ok = format!("HTTP/1.1 200 OK\r\netag: \"e1\"\r\ncontent-length: {}\r\n\r\n{EMPTY}", EMPTY.len());
        let (asked, polled) = tokio::join!(answer(&listener, ok), poll(&options, &target, None));
        assert!(asked.starts_with("GET /v1/kills?environment=staging HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("authorization: Bearer rampart_x\r\n") && !asked.contains("if-none-match"), "{asked}");
        let Ok(Polled::Set(part, Some(etag))) = polled else { panic!("{polled:?}") };
        assert_eq!((part.generation, etag.as_str()), (Generation(9), "\"e1\""));
        for (head, wanted) in [
            ("304 Not Modified\r\n", Polled::Unchanged),
            ("401 Unauthorized\r\ncontent-length: 0\r\n", Polled::Refused),
            ("503 Unavailable\r\nretry-after: 7\r\ncontent-length: 0\r\n", Polled::Later(Duration::from_secs(7))),
        ] {
            let (asked, polled) =
                tokio::join!(answer(&listener, format!("HTTP/1.1 {head}\r\n")), poll(&options, &target, Some(&etag)));
            assert!(asked.contains("if-none-match: \"e1\"\r\n"), "{asked}");
            assert_eq!(polled.unwrap(), wanted);
        }
    }
}
