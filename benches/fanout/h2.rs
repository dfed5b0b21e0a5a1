//! The little of HTTP/2 that a gRPC client of many streams needs, written by hand because the client's cost is measured
//! too: it answers SETTINGS and PING, gives windows back, and never decodes a header.
//!
//! It does not watch the server's windows: a stream has at most two answers of about 70 bytes under way, and 128 of
//! them are well below the smallest window that a connection may have.

use std::time::Instant;

use anyhow::{Result, bail, ensure};

use crate::converse::{Talk, pieces};

/// What every connection begins with: the preface, SETTINGS with a stream window of 1 GiB and no push, and as much for
/// the connection, so that windows are given back rarely.
const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \x00\x00\x0c\x04\x00\x00\x00\x00\x00\x00\x04\x40\x00\x00\x00\x00\x02\x00\x00\x00\x00\
    \x00\x00\x04\x08\x00\x00\x00\x00\x00\x40\x00\x00\x00";
const SETTINGS_ACK: &[u8] = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00";
/// Received bytes after which the connection's window is filled up.
const REFILL: u32 = 1024 * 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const HEAD: usize = 9;
const PREFIX: usize = 5;

/// What one gRPC call says and hears.
pub trait Call {
    /// The first message, and whether it is the only one.
    fn first(&mut self) -> (Vec<u8>, bool);
    /// Takes one message; what it gives is sent as the answer.
    ///
    /// # Errors
    /// It cannot be understood.
    fn message(&mut self, message: &[u8], at: Instant) -> Result<Option<Vec<u8>>>;
    /// The server ended the stream.
    fn ended(&mut self, why: &str);
}

/// A connection with its calls; the first has stream 1, the next 3.
#[derive(Debug)]
pub struct Connection<C> {
    path: &'static str,
    calls: Vec<Stream<C>>,
    rest: Vec<u8>,
    received: u32,
    ended: usize,
}

#[derive(Debug)]
struct Stream<C> {
    call: C,
    rest: Vec<u8>,
}

impl<C: Call> Connection<C> {
    /// A connection that will open these calls.
    pub fn new(path: &'static str, calls: Vec<C>) -> Self {
        let calls = calls.into_iter().map(|call| Stream { call, rest: Vec::new() }).collect();
        Self { path, calls, rest: Vec::new(), received: 0, ended: 0 }
    }

    /// The calls, however they ended.
    pub fn into_calls(self) -> Vec<C> {
        self.calls.into_iter().map(|stream| stream.call).collect()
    }

    fn frame(&mut self, frame: &[u8], at: Instant, out: &mut Vec<u8>) -> Result<()> {
        let Some((&[_, _, _, kind, flags, a, b, c, d], payload)) = frame.split_first_chunk::<HEAD>() else {
            bail!("a frame without a head")
        };
        let id = u32::from_be_bytes([a & 0x7f, b, c, d]);
        match kind {
            DATA => self.data(id, flags, payload, at, out)?,
            HEADERS if flags & END_STREAM != 0 => self.end(id, "the server ended the stream")?,
            RST_STREAM => self.end(id, &format!("RST_STREAM {payload:?}"))?,
            SETTINGS if flags & ACK == 0 => out.extend_from_slice(SETTINGS_ACK),
            PING if flags & ACK == 0 => {
                head(out, payload.len(), PING, ACK, 0);
                out.extend_from_slice(payload);
            }
            // The streams end one by one, and say so.
            GOAWAY => {}
            _ => {}
        }
        Ok(())
    }

    fn data(&mut self, id: u32, flags: u8, payload: &[u8], at: Instant, out: &mut Vec<u8>) -> Result<()> {
        ensure!(flags & PADDED == 0, "this client takes no padding");
        self.received += u32::try_from(payload.len())?;
        if self.received >= REFILL {
            head(out, 4, WINDOW_UPDATE, 0, 0);
            out.extend_from_slice(&self.received.to_be_bytes());
            self.received = 0;
        }
        let Some(Stream { call, rest }) = self.calls.get_mut(place(id)) else { bail!("data for no stream: {id}") };
        pieces(rest, payload, grpc_length, |message| {
            let body = message.get(PREFIX..).unwrap_or_default();
            if let Some(answer) = call.message(body, at)? {
                data_frame(out, id, &answer, false);
            }
            Ok(())
        })?;
        if flags & END_STREAM != 0 { self.end(id, "the server ended the stream") } else { Ok(()) }
    }

    fn end(&mut self, id: u32, why: &str) -> Result<()> {
        if let Some(stream) = self.calls.get_mut(place(id)) {
            stream.call.ended(why);
            self.ended += 1;
        }
        if self.ended == self.calls.len() {
            bail!("every stream ended: {why}");
        }
        Ok(())
    }
}

impl<C: Call> Talk for Connection<C> {
    fn open(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(OPENING);
        let fields = fields(self.path);
        for (stream, id) in self.calls.iter_mut().zip((1..).step_by(2)) {
            head(out, fields.len(), HEADERS, END_HEADERS, id);
            out.extend_from_slice(&fields);
            let (message, only) = stream.call.first();
            data_frame(out, id, &message, only);
        }
    }

    fn take(&mut self, bytes: &[u8], at: Instant, out: &mut Vec<u8>) -> Result<()> {
        let mut rest = std::mem::take(&mut self.rest);
        let taken = pieces(&mut rest, bytes, frame_length, |frame| self.frame(frame, at, out));
        self.rest = rest;
        taken
    }
}

fn place(id: u32) -> usize {
    (id as usize).saturating_sub(1) / 2
}

fn frame_length(bytes: &[u8]) -> Option<usize> {
    let [a, b, c, ..] = bytes else { return None };
    Some(HEAD + u32::from_be_bytes([0, *a, *b, *c]) as usize)
}

fn grpc_length(bytes: &[u8]) -> Option<usize> {
    let [_, a, b, c, d, ..] = bytes else { return None };
    Some(PREFIX + u32::from_be_bytes([*a, *b, *c, *d]) as usize)
}

fn head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, id: u32) {
    let [_, a, b, c] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags]);
    out.extend_from_slice(&id.to_be_bytes());
}

fn data_frame(out: &mut Vec<u8>, id: u32, message: &[u8], last: bool) {
    head(out, PREFIX + message.len(), DATA, if last { END_STREAM } else { 0 }, id);
    out.push(0);
    out.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(message);
}

/// The header fields of a call: static ones by their place in HPACK's table, the others written out and not kept.
fn fields(path: &str) -> Vec<u8> {
    const POST: u8 = 0x83;
    const HTTP: u8 = 0x86;
    let mut fields = vec![POST, HTTP];
    let mut field = |name: &[u8], value: &str| {
        fields.extend_from_slice(name);
        fields.push(u8::try_from(value.len()).unwrap_or(0));
        fields.extend_from_slice(value.as_bytes());
    };
    field(&[0x04], path);
    field(&[0x01], "fanout");
    field(&[0x0f, 0x10], "application/grpc");
    field(b"\x00\x02te", "trailers");
    fields
}
