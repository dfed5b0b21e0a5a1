//! A little HTTP/1.1 client on one kept connection: enough for the admin API, for evaluations and for receipts.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::converse;

/// Bytes of one read.
const READ: usize = 16 * 1024;

/// A kept connection.
#[derive(Debug)]
pub struct Keep {
    stream: TcpStream,
    address: SocketAddr,
    token: Option<String>,
    rest: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON, where the status is a good one.
    ///
    /// # Errors
    /// It is not.
    pub fn json(&self) -> Result<Value> {
        ensure!((200..300).contains(&self.status), "{}: {}", self.status, String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).context("an answer that is not JSON")
    }
}

impl Keep {
    /// Connects; a token is sent with every request.
    pub async fn connect(address: SocketAddr, token: Option<String>) -> Result<Self> {
        let stream = converse::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        Ok(Self { stream, address, token, rest: Vec::new() })
    }

    /// The bytes of a request.
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let token = self.token.as_ref().map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n{token}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        request
    }

    /// Asks, and waits for the answer.
    pub async fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        let request = self.request(method, path, body);
        self.send(&request).await
    }

    /// Sends prepared bytes of one request, and waits for the answer.
    pub async fn send(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).await?;
        self.answer().await
    }

    /// Sends several requests at once; every answer must be a good one.
    pub async fn pipeline(&mut self, method: &str, path: &str, bodies: &[Vec<u8>]) -> Result<()> {
        let requests: Vec<u8> = bodies.iter().flat_map(|body| self.request(method, path, body)).collect();
        self.stream.write_all(&requests).await?;
        for _ in bodies {
            let answer = self.answer().await?;
            if !(200..300).contains(&answer.status) {
                bail!("{path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
            }
        }
        Ok(())
    }

    async fn answer(&mut self) -> Result<Answer> {
        loop {
            if let Some((answer, length)) = parse(&self.rest)? {
                self.rest.drain(..length);
                return Ok(answer);
            }
            let mut space = [0; READ];
            let read = self.stream.read(&mut space).await?;
            ensure!(read > 0, "the server closed the connection");
            self.rest.extend_from_slice(space.get(..read).unwrap_or_default());
        }
    }
}

/// The first answer in these bytes, and how long it is.
fn parse(bytes: &[u8]) -> Result<Option<(Answer, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(bytes.get(..end).unwrap_or_default())?;
    let status = head.get(9..12).and_then(|status| status.parse().ok()).context("no status")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    let length = length.transpose()?.unwrap_or(0);
    let body = bytes.get(end + 4..end + 4 + length).map(<[u8]>::to_vec);
    Ok(body.map(|body| (Answer { status, body }, end + 4 + length)))
}
