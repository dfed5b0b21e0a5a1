//! Reading a request's body: never more than a limit, never longer than a time.
//!
//! A declared length over the limit is refused before a byte is read; a body without one, or one that lies, when the
//! limit is passed. Nothing is decompressed. Not a JSON layer for evaluation contexts: those have their own in `ofrep`.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use serde::de::DeserializeOwned;
use tokio::time::{Sleep, sleep, timeout};

use super::problem::Problem;
use crate::flag::limits::FILE_BYTES_MAX;

/// How much and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimit {
    /// Bytes.
    pub bytes: usize,
    /// From the first byte awaited to the last.
    pub time: Duration,
}

/// An evaluation: a context of a few attributes.
pub const EVALUATE: BodyLimit = BodyLimit { bytes: 64 * 1024, time: Duration::from_secs(10) };
/// An administrative request: one definition.
pub const ADMIN: BodyLimit = BodyLimit { bytes: 1024 * 1024, time: Duration::from_secs(10) };
/// An import: a whole flag file, over a slow line too.
pub const IMPORT: BodyLimit = BodyLimit { bytes: FILE_BYTES_MAX, time: Duration::from_secs(60) };

/// The limits of every kind of body, as the settings have them.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Of an evaluation.
    pub evaluate: BodyLimit,
    /// Of an admin request.
    pub admin: BodyLimit,
    /// Of an import.
    pub import: BodyLimit,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { evaluate: EVALUATE, admin: ADMIN, import: IMPORT }
    }
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// It has more bytes than the limit.
    #[error("the body has more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// It did not arrive in time.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The connection broke, or the body's framing is wrong.
    #[error("the body broke off")]
    Broken,
}

impl From<BodyFault> for Problem {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge { limit } => Self::BodyTooLarge { limit },
            BodyFault::TooSlow => Self::RequestTimeout,
            BodyFault::Broken => Self::BadRequest("the body broke off".into()),
        }
    }
}

/// Reads a whole body. A body that arrives in one piece is not copied.
///
/// # Errors
/// It is too large, too slow, or broke off.
pub async fn read<B>(body: B, limit: BodyLimit) -> Result<Bytes, BodyFault>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > limit.bytes as u64 {
        return Err(BodyFault::TooLarge { limit: limit.bytes });
    }
    timeout(limit.time, collect(body, limit.bytes)).await.map_err(|_| BodyFault::TooSlow)?
}

async fn collect<B>(mut body: B, limit: usize) -> Result<Bytes, BodyFault>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut first = Bytes::new();
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyFault::Broken)?.into_data() else { continue };
        if data.len() > limit - first.len() - rest.len() {
            return Err(BodyFault::TooLarge { limit });
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.into() })
}

/// A body for readers that know no time: it breaks off where it takes too long.
#[derive(Debug)]
pub struct Timed<B> {
    body: B,
    time: Duration,
    /// Set where the body is waited for; most have arrived with their head.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<B> Timed<B> {
    /// Takes a body and how long it may take, counted from when it is first waited for.
    pub fn new(body: B, time: Duration) -> Self {
        Self { body, time, alarm: None }
    }
}

impl<B: Body + Unpin> Body for Timed<B> {
    type Data = B::Data;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BodyFault>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(|_| BodyFault::Broken)));
        }
        let time = self.time;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep(time)));
        alarm.as_mut().poll(cx).map(|()| Some(Err(BodyFault::TooSlow)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// True where the headers call the body JSON, or nothing at all.
pub fn says_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return true };
    let essence = value.to_str().unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Reads an administrative body as JSON of a certain shape.
///
/// # Errors
/// The problem to answer with.
pub async fn json<T, B>(headers: &HeaderMap, body: B, limit: BodyLimit) -> Result<T, Problem>
where
    T: DeserializeOwned,
    B: Body<Data = Bytes> + Unpin,
{
    if !says_json(headers) {
        return Err(Problem::UnsupportedMediaType { expected: "application/json" });
    }
    let bytes = read(body, limit).await?;
    serde_json::from_slice(&bytes).map_err(|error| Problem::BadJson { detail: error.to_string(), pointer: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::extract::Request;
    use axum::routing::post;
    use http::HeaderValue;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;
    use std::convert::Infallible;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use crate::serve::listen::{ListenOptions, Listener};

    const SMALL: BodyLimit = BodyLimit { bytes: 10, time: Duration::from_secs(30) };

    fn chunks(sizes: &[usize]) -> impl Body<Data = Bytes> + Unpin {
        let frames: Vec<_> =
            sizes.iter().map(|size| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'a'; *size])))).collect();
        StreamBody::new(tokio_stream::iter(frames))
    }

    #[tokio::test]
    async fn a_body_up_to_the_limit_is_read_and_one_byte_more_is_not() {
        for sizes in [&[][..], &[10], &[4, 6], &[0, 1, 0, 9], &[1; 10]] {
            let length = read(chunks(sizes), SMALL).await.unwrap().len();
            assert_eq!(length, sizes.iter().sum::<usize>(), "{sizes:?}");
        }
        for sizes in [&[11][..], &[4, 7], &[10, 1], &[1; 11]] {
            assert_eq!(read(chunks(sizes), SMALL).await, Err(BodyFault::TooLarge { limit: 10 }), "{sizes:?}");
        }
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_too_slow() {
        let frames = tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let limit = BodyLimit { time: Duration::from_millis(20), ..SMALL };
        assert_eq!(read(StreamBody::new(frames), limit).await, Err(BodyFault::TooSlow));
    }

    #[tokio::test]
    async fn a_timed_body_breaks_off_and_a_quick_one_does_not() {
        let frames = tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let slow = Timed::new(StreamBody::new(frames), Duration::from_millis(20));
        assert_eq!(slow.collect().await.unwrap_err(), BodyFault::TooSlow);
        let quick = Timed::new(chunks(&[4, 6]), Duration::ZERO);
        assert_eq!(quick.collect().await.unwrap().to_bytes().len(), 10);
    }

    #[tokio::test]
    async fn json_is_read_where_it_is_called_json() {
        let read = async |kind: Option<&'static str>, text: &'static str| {
            let mut headers = HeaderMap::new();
            if let Some(kind) = kind {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            }
            json::<Vec<u8>, _>(&headers, Full::new(Bytes::from_static(text.as_bytes())), ADMIN).await
        };
        for kind in
            [None, Some("application/json"), Some("Application/JSON; charset=utf-8"), Some("application/x+json")]
        {
            assert_eq!(read(kind, "[1]").await, Ok(vec![1]), "{kind:?}");
        }
        for kind in ["text/plain", "", "application/yaml"] {
            let problem = read(Some(kind), "[1]").await.unwrap_err();
            assert_eq!(problem.code(), "unsupported-media-type", "{kind}");
        }
        assert_eq!(read(None, "[1,").await.unwrap_err().code(), "bad-json");
    }

    /// Sends a head and then up to 100 MB; what came back, and how many bytes the server let us send.
    async fn pour(head: &str, limit: BodyLimit) -> (String, usize) {
        let routes = Router::new().route(
            "/",
            post(move |request: Request| async move {
                read(request.into_body(), limit).await.map(|bytes| bytes.len().to_string()).map_err(Problem::from)
            }),
        );
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = TaskTracker::new().spawn(listener.serve(
            routes,
            ListenOptions::default(),
            TaskTracker::new(),
            stop.clone(),
        ));
        let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        let head = head.to_owned();
        let writing = TaskTracker::new().spawn(async move {
            writer.write_all(head.as_bytes()).await.unwrap();
            let chunk = [&b"10000\r\n"[..], &[b'a'; 65_536], b"\r\n"].concat();
            let mut sent = 0;
            while sent < 100_000_000 && writer.write_all(&chunk).await.is_ok() {
                sent += chunk.len();
            }
            sent
        });
        let mut answer = Vec::new();
        let read = timeout(Duration::from_secs(30), reader.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "the guard of 30 s");
        let sent = writing.await.unwrap();
        stop.cancel();
        served.await.unwrap();
        (String::from_utf8(answer).unwrap(), sent)
    }

    #[tokio::test]
    async fn a_hundred_megabytes_are_refused_without_reading_them() {
        for head in [
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
        ] {
            let (answer, sent) = pour(head, EVALUATE).await;
            assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body-too-large"), "{answer}");
            assert!(sent < 60_000_000, "{sent} bytes were taken");
        }
    }

    #[tokio::test]
    async fn a_body_that_is_announced_and_not_sent_is_408() {
        let limit = BodyLimit { time: Duration::from_millis(60), ..EVALUATE };
        let routes = Router::new().route(
            "/",
            post(move |request: Request| async move {
                read(request.into_body(), limit).await.map(|_| "read").map_err(Problem::from)
            }),
        );
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let options = ListenOptions::default();
        let served =
            TaskTracker::new().spawn(listener.serve(routes, options, TaskTracker::new(), CancellationToken::new()));
        stream.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").await.unwrap();
        let mut answer = [0; 12];
        let read = timeout(Duration::from_secs(30), stream.read_exact(&mut answer)).await;
        assert!(read.is_ok(), "the guard of 30 s");
        assert_eq!(&answer, b"HTTP/1.1 408");
        served.abort();
    }
}
