//! A stream that does not wait for ever: not for a request's head, not for a reader that takes nothing, and not
//! forgetting to let a peer read the answer it was given early.
//!
//! hyper has a timer for the head of an HTTP/1 request, but starts it while a kept connection idles, and none for the
//! bytes by which it tells HTTP/1 from HTTP/2, nor for a peer whose window stays shut. All three are questions of when
//! bytes move, so they are answered here, below HTTP, and end the connection as an IO error. Not a place for policy:
//! the times come from `listen`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::activity::Activity;

/// The first bytes of every HTTP/2 connection (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much of an unread request is thrown away so that its sender sees the answer: twice the largest import.
const LINGER_BYTES_MAX: usize = 2 * crate::flag::limits::FILE_BYTES_MAX;

/// How long a peer may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From the first byte of a request's head (or from the connection's start) to its last.
    pub head: Duration,
    /// With bytes to send and a peer that takes none.
    pub stall: Duration,
    /// After an early answer, for the rest of the request to be thrown away.
    pub linger: Duration,
}

/// What the peer speaks, as far as it has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    /// Only this many bytes so far, all of them the HTTP/2 preface.
    Undecided(usize),
    Http1,
    Http2,
}

/// A stream with [`Patience`]: TCP, a Unix socket, or TLS over one of them.
#[derive(Debug)]
pub struct Socket<T> {
    stream: T,
    activity: Arc<Activity>,
    patience: Patience,
    speaks: Speaks,
    /// Runs while a head is awaited, with the number of requests that had begun when it was set.
    head: Option<(Pin<Box<Sleep>>, usize)>,
    stall: Option<Pin<Box<Sleep>>>,
    linger: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<T> Socket<T> {
    /// Takes over a stream that was just accepted; `head` is the time that is left for the first request's head.
    pub fn new(stream: T, activity: Arc<Activity>, patience: Patience, head: Pin<Box<Sleep>>) -> Self {
        let head = Some((head, 0));
        Self { stream, activity, patience, speaks: Speaks::Undecided(0), head, stall: None, linger: None }
    }

    /// Looks at what arrived: decides the protocol, and starts the time for a head at its first byte.
    fn arrived(&mut self, bytes: &[u8]) {
        if let Speaks::Undecided(seen) = self.speaks {
            let rest = &PREFACE[seen..];
            let same = rest.iter().zip(bytes).take_while(|(a, b)| a == b).count();
            self.speaks = match same {
                _ if same == rest.len() => Speaks::Http2,
                _ if same == bytes.len() => Speaks::Undecided(seen + same),
                _ => Speaks::Http1,
            };
        } else if self.speaks == Speaks::Http1 && self.activity.is_idle() && !bytes.is_empty() {
            let started = self.activity.started();
            if self.head.as_ref().is_none_or(|(_, since)| *since != started) {
                self.head = Some((Box::pin(sleep(self.patience.head)), started));
            }
        }
        if self.speaks == Speaks::Http2 {
            // From here on the pings find out whether the peer lives.
            self.head = None;
        }
    }

    /// Fails when the head that is awaited takes too long.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some((timer, started)) = &mut self.head else { return Poll::Pending };
        if self.activity.started() != *started {
            self.head = None;
            return Poll::Pending;
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the request's head did not arrive in time"))
    }

    /// Passes on what a write came to; fails when the peer has taken nothing for too long.
    fn poll_stall<N>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<N>>) -> Poll<io::Result<N>> {
        if wrote.is_ready() {
            self.stall = None;
            return wrote;
        }
        let time = self.patience.stall;
        ready!(self.stall.get_or_insert_with(|| Box::pin(sleep(time))).as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Socket<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, into) {
            Poll::Ready(Ok(())) => {
                this.arrived(&into.filled()[before..]);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.poll_head(cx).map(Err),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.poll_stall(cx, wrote)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write_vectored(cx, bytes);
        this.poll_stall(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS keeps bytes of its own, and it is the flush that waits for the peer to take them.
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.poll_stall(cx, flushed)
    }

    /// Closes the sending side; after an HTTP/1 answer that came before the request's end, throws the rest away for a
    /// while, since closing on unread bytes resets the connection and can take the answer with it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if this.speaks != Speaks::Http1 || !this.activity.left_unread() {
                return Poll::Ready(Ok(()));
            }
        }
        let time = this.patience.linger;
        let (timer, left) = this.linger.get_or_insert_with(|| (Box::pin(sleep(time)), LINGER_BYTES_MAX));
        let mut scratch = [0; 8192];
        loop {
            if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut into = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut into));
            let bytes = into.filled().len();
            *left = left.saturating_sub(bytes);
            if read.is_err() || bytes == 0 || *left == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
