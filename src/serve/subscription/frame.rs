//! Messages as bytes: what is the same for everybody is made once and shared, what is a stream's own stands before it.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::HeaderMap;
use hyper::body::{Body, Bytes, Frame as HttpFrame};

use super::End;
use super::outbox::Inbox;
use crate::sync::kills::KillList;
use crate::sync::message::{ClientMessage, Epoch, ServerMessage};
use crate::sync::object::Entry;

/// Shared bytes up to this many are copied behind their head: one piece costs less than two.
const COPIED: usize = 4 * 1024;

/// One message on its way to one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What comes first.
    head: Bytes,
    /// What follows; may be empty.
    rest: Bytes,
}

impl Frame {
    /// A message in one piece.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self { head: bytes.into(), rest: Bytes::new() }
    }

    /// A stream's own bytes before shared ones.
    pub fn joined(mut head: Vec<u8>, shared: &Bytes) -> Self {
        if shared.len() > COPIED {
            return Self { head: head.into(), rest: shared.clone() };
        }
        head.extend_from_slice(shared);
        Self::whole(head)
    }
}

/// How messages look in one protocol.
pub trait Wire: Send + Sync + 'static {
    /// What the surface is called.
    const SURFACE: &'static str;
    /// Which of the shared forms is this protocol's: below [`FORMS`].
    const FORM: usize;

    /// A kill set, without what is a stream's own. `part` counts from 0.
    fn kills(list: &KillList, part: usize, epoch: Epoch, environment: &std::sync::Arc<str>) -> Bytes;

    /// A chunk, without what is a stream's own.
    fn chunk(entries: &[Entry]) -> Bytes;

    /// A part of a kill set with its nonce; none where this part is not sent by itself. `last`: no part follows.
    fn kills_frame(nonce: u64, shared: &Bytes, last: bool) -> Option<Frame>;

    /// A chunk with its nonce.
    fn chunk_frame(nonce: u64, shared: &Bytes) -> Frame;

    /// Any other message. `id` is where the client is, as far as it may resume there.
    fn message(message: &ServerMessage, id: Option<&str>) -> Option<Frame>;

    /// What is said before anything else, if something is.
    fn opening(&self, environment: &str) -> Option<Frame>;
}

/// How many protocols share.
pub const FORMS: usize = 2;

/// What a client says, one message after the other.
pub trait Inbound: Send + 'static {
    /// The next message; none where it will say no more.
    fn next(&mut self) -> impl Future<Output = Result<Option<ClientMessage>, End>> + Send;
}

/// What the driver puts out.
#[derive(Debug)]
pub enum Piece {
    /// A message.
    Frame(Frame),
    /// The stream ends; boxed, since it is larger than what is said often.
    End(Box<End>),
}

/// The body of a stream's answer.
pub struct StreamBody {
    pieces: Inbox,
    rest: Bytes,
    over: bool,
    /// The trailers that say why a stream ended; none where the protocol has none.
    trailers: Option<fn(&End) -> HeaderMap>,
}

impl fmt::Debug for StreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamBody").field("over", &self.over).finish_non_exhaustive()
    }
}

impl StreamBody {
    /// The body that a driver fills.
    pub fn new(pieces: Inbox, trailers: Option<fn(&End) -> HeaderMap>) -> Self {
        Self { pieces, rest: Bytes::new(), over: false, trailers }
    }

    fn end(&mut self, end: &End) -> Option<Result<HttpFrame<Bytes>, Infallible>> {
        self.over = true;
        self.trailers.map(|trailers| Ok(HttpFrame::trailers(trailers(end))))
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<HttpFrame<Bytes>, Infallible>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(HttpFrame::data(std::mem::take(&mut self.rest)))));
        }
        Poll::Ready(match ready!(self.pieces.poll_next(cx)) {
            Some(Piece::Frame(Frame { head, rest })) => {
                self.rest = rest;
                Some(Ok(HttpFrame::data(head)))
            }
            Some(Piece::End(end)) => self.end(&end),
            // The driver gave up on a client that took nothing, and could not even say so.
            None => self.end(&End::TooSlow),
        })
    }
}
