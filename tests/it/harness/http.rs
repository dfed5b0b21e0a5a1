//! A small blocking HTTP/1.1 client that keeps its connection: what a backend without any library would do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::GUARD;

/// A connection to one plane of a server.
#[derive(Debug)]
pub struct Client {
    address: String,
    token: Option<String>,
    stream: Option<BufReader<TcpStream>>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }
}

impl Client {
    /// A client of the server at `address` that sends a token, if there is one.
    pub fn new(address: &str, token: Option<String>) -> Self {
        Self { address: address.to_owned(), token, stream: None }
    }

    /// The same server with another token, or none.
    pub fn with_token(&self, token: Option<&str>) -> Self {
        Self::new(&self.address, token.map(str::to_owned))
    }

    /// GET.
    pub fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    /// POST of a JSON value.
    pub fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// PUT of a JSON value.
    pub fn put(&mut self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// Any request. A connection that the server closed meanwhile is opened again, once.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let fresh = self.stream.is_none();
        match self.try_send(method, path, headers, body) {
            Ok(answer) => answer,
            Err(error) if fresh => panic!("{method} {path} to {}: {error}", self.address),
            Err(_) => {
                self.stream = None;
                self.try_send(method, path, headers, body)
                    .unwrap_or_else(|error| panic!("{method} {path} to {}: {error}", self.address))
            }
        }
    }

    /// Any request, once.
    pub fn try_send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let answer = self.exchange(method, path, headers, body);
        let closes =
            |answer: &Answer| answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if answer.as_ref().map_or(true, closes) {
            self.stream = None;
        }
        answer
    }

    fn exchange(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<Answer> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(GUARD))?;
            stream.set_write_timeout(Some(GUARD))?;
            self.stream = Some(BufReader::new(stream));
        }
        let stream = self.stream.as_mut().expect("just opened");
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n", self.address, body.len());
        if let Some(token) = &self.token {
            request.push_str(&format!("authorization: Bearer {token}\r\n"));
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        stream.get_mut().write_all(&bytes)?;
        read_answer(stream, method)
    }
}

fn read_answer(stream: &mut BufReader<TcpStream>, method: &str) -> std::io::Result<Answer> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(std::io::Error::other("closed before an answer"));
    }
    let status = line.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("not a status line: {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let answer = Answer { status, headers, body: Vec::new() };
    let mut body = Vec::new();
    if answer.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk)?;
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else if method != "HEAD" && status != 304 && status != 204 {
        let length = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        body.resize(length, 0);
        stream.read_exact(&mut body)?;
    }
    Ok(Answer { body, ..answer })
}
