//! A reader of server-sent events over a plain HTTP/1.1 connection: what a browser's `EventSource` does, step by step.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use super::GUARD;

/// An open stream.
#[derive(Debug)]
pub struct EventStream {
    stream: BufReader<TcpStream>,
    rest: String,
    /// The headers of the answer, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// One block of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// The `id`.
    pub id: Option<String>,
    /// The `event`.
    pub event: Option<String>,
    /// The `data`.
    pub data: Option<String>,
    /// The `retry`.
    pub retry: Option<String>,
    /// A comment.
    pub comment: Option<String>,
}

impl Block {
    /// The data as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.data.as_deref().unwrap_or("null")).expect("JSON")
    }
}

impl EventStream {
    /// Opens a stream; the status where it is not 200.
    pub fn open(address: &str, path: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(GUARD)).expect("a guard");
        let mut request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).expect("it is sent");
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).expect("an answer");
        let status: u16 = line.split_whitespace().nth(1).expect("a status").parse().expect("a number");
        let mut headers = Vec::new();
        loop {
            line.clear();
            stream.read_line(&mut line).expect("a header");
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if status == 200 { Ok(Self { stream, rest: String::new(), headers }) } else { Err(status) }
    }

    /// The next block; none at the end of the stream.
    pub fn next(&mut self) -> Option<Block> {
        loop {
            if let Some((block, rest)) = self.rest.split_once("\n\n") {
                let mut parsed = Block::default();
                for line in block.lines() {
                    let (name, value) = line.split_once(": ").unwrap_or((line, ""));
                    let field = match name {
                        "id" => &mut parsed.id,
                        "event" => &mut parsed.event,
                        "data" => &mut parsed.data,
                        "retry" => &mut parsed.retry,
                        "" => &mut parsed.comment,
                        other => panic!("a field {other:?}"),
                    };
                    *field = Some(value.to_owned());
                }
                self.rest = rest.to_owned();
                return Some(parsed);
            }
            let mut size = String::new();
            if self.stream.read_line(&mut size).expect("something within the guard") == 0 {
                return None;
            }
            let size = usize::from_str_radix(size.trim(), 16).expect("a chunk");
            let mut chunk = vec![0; size + 2];
            self.stream.read_exact(&mut chunk).expect("a whole chunk");
            if size == 0 {
                return None;
            }
            self.rest.push_str(std::str::from_utf8(&chunk[..size]).expect("UTF-8"));
        }
    }

    /// The next event with data.
    pub fn event(&mut self) -> Option<Block> {
        loop {
            match self.next() {
                Some(block) if block.data.is_none() => {}
                other => return other,
            }
        }
    }
}
