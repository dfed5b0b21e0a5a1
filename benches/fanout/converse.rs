//! One connection of a client, as cheap as it can be: bytes in, bytes out, no buffer while nothing happens.
//!
//! Ten thousand of these share one thread with a clock that decides about milliseconds, so a message costs one read,
//! one write and no queue. What the bytes mean is the business of who implements [`Talk`].

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use anyhow::Result;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use crate::clock;

/// Bytes of one read; more of them come in the next.
const READ: usize = 16 * 1024;

/// One side of a conversation.
pub trait Talk {
    /// What is said first.
    fn open(&mut self, out: &mut Vec<u8>);
    /// Takes what came, and answers.
    ///
    /// # Errors
    /// The other side does not keep to the protocol, or has ended it.
    fn take(&mut self, bytes: &[u8], at: Instant, out: &mut Vec<u8>) -> Result<()>;
}

/// Connects without delay of small packets.
pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Talks until the other side closes.
pub async fn converse(mut stream: TcpStream, talk: &mut (impl Talk + Unpin)) -> Result<()> {
    let mut out = Vec::new();
    talk.open(&mut out);
    poll_fn(|cx| turn(&mut stream, talk, &mut out, cx)).await
}

fn turn(stream: &mut TcpStream, talk: &mut impl Talk, out: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<Result<()>> {
    loop {
        while !out.is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, out) {
                Poll::Ready(Ok(written)) => drop(out.drain(..written)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => break,
            }
        }
        let mut space = [const { MaybeUninit::uninit() }; READ];
        let mut read = ReadBuf::uninit(&mut space);
        match Pin::new(&mut *stream).poll_read(cx, &mut read) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
            Poll::Ready(Ok(())) if read.filled().is_empty() => return Poll::Ready(Ok(())),
            Poll::Ready(Ok(())) => {
                if let Err(error) = talk.take(read.filled(), clock::now(), out) {
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

/// Splits what came into whole pieces: `piece` gives the length of the first one, if it is all there.
pub fn pieces(
    rest: &mut Vec<u8>,
    bytes: &[u8],
    piece: impl Fn(&[u8]) -> Option<usize>,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let held = (!rest.is_empty()).then(|| {
        rest.extend_from_slice(bytes);
        std::mem::take(rest)
    });
    let mut left = held.as_deref().unwrap_or(bytes);
    while let Some((whole, behind)) = piece(left).and_then(|length| left.split_at_checked(length)) {
        take(whole)?;
        left = behind;
    }
    rest.extend_from_slice(left);
    Ok(())
}
