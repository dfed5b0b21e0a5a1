//! What one stream has to say, between its driver and its connection: room for two pieces, and no more memory than that.
//!
//! tokio's channel keeps room for 32 whatever its bound; for ten thousand quiet streams that is most of what they hold.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::frame::Piece;

/// Pieces that wait for the transport: enough to keep it busy, too few to count as a queue.
pub const ROOM: usize = 2;

#[derive(Debug, Default)]
struct State {
    first: Option<Piece>,
    second: Option<Piece>,
    /// Told when there is something to take.
    reader: Option<Waker>,
    /// Told when there is room, or nobody reads any more.
    writer: Option<Waker>,
    reader_gone: bool,
    writer_gone: bool,
}

type Shared = Arc<Mutex<State>>;

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The driver's end.
#[derive(Debug)]
pub struct Outbox(Shared);

/// The connection's end.
#[derive(Debug)]
pub struct Inbox(Shared);

/// Nobody reads any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// Both ends.
pub fn outbox() -> (Outbox, Inbox) {
    let shared = Shared::default();
    (Outbox(Arc::clone(&shared)), Inbox(shared))
}

impl Outbox {
    /// Whether a piece could be put in now.
    pub fn has_room(&self) -> bool {
        lock(&self.0).second.is_none()
    }

    /// Puts a piece in.
    ///
    /// # Errors
    /// There is no room, or nobody reads: the piece comes back.
    pub fn put(&self, piece: Piece) -> Result<(), Piece> {
        let mut state = lock(&self.0);
        if state.reader_gone || state.second.is_some() {
            return Err(piece);
        }
        if state.first.is_none() {
            state.first = Some(piece)
        } else {
            state.second = Some(piece)
        }
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Waits until nobody reads any more or, where it is `wanted`, until there is room.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub async fn room(&self, wanted: bool) -> Result<(), Closed> {
        poll_fn(|cx| {
            let mut state = lock(&self.0);
            match () {
                () if state.reader_gone => Poll::Ready(Err(Closed)),
                () if wanted && state.second.is_none() => Poll::Ready(Ok(())),
                () => {
                    remember(&mut state.writer, cx);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Waits for room and puts a piece in; gives up where nobody reads.
    pub async fn send(&self, piece: Piece) {
        if self.room(true).await.is_ok() {
            // Nobody else puts anything in.
            drop(self.put(piece));
        }
    }
}

fn remember(held: &mut Option<Waker>, cx: &Context<'_>) {
    match held {
        Some(held) => held.clone_from(cx.waker()),
        None => *held = Some(cx.waker().clone()),
    }
}

impl Inbox {
    /// The next piece; none where there will be no more.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        let mut state = lock(&self.0);
        let Some(piece) = state.first.take() else {
            if state.writer_gone {
                return Poll::Ready(None);
            }
            remember(&mut state.reader, cx);
            return Poll::Pending;
        };
        state.first = state.second.take();
        let writer = state.writer.take();
        drop(state);
        writer.into_iter().for_each(Waker::wake);
        Poll::Ready(Some(piece))
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.writer_gone = true;
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.reader_gone = true;
        state.first = None;
        state.second = None;
        let writer = state.writer.take();
        drop(state);
        writer.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::subscription::frame::Frame;

    fn piece(text: &'static [u8]) -> Piece {
        Piece::Frame(Frame::whole(text))
    }

    async fn next(inbox: &mut Inbox) -> Option<Piece> {
        poll_fn(|cx| inbox.poll_next(cx)).await
    }

    #[tokio::test]
    async fn pieces_come_out_in_order_and_no_more_than_two_wait() {
        let (outbox, mut inbox) = outbox();
        assert!(outbox.put(piece(b"1")).is_ok() && outbox.has_room());
        assert!(outbox.put(piece(b"2")).is_ok() && !outbox.has_room());
        assert!(outbox.put(piece(b"3")).is_err());
        let (sent, first) = tokio::join!(outbox.send(piece(b"3")), next(&mut inbox));
        let ((), Some(Piece::Frame(first))) = (sent, first) else { panic!("a frame") };
        assert_eq!(first, Frame::whole(&b"1"[..]));
        for expected in [&b"2"[..], b"3"] {
            let Some(Piece::Frame(frame)) = next(&mut inbox).await else { panic!("a frame") };
            assert_eq!(frame, Frame::whole(expected));
        }
        drop(outbox);
        assert!(next(&mut inbox).await.is_none());
    }

    #[tokio::test]
    async fn a_reader_that_goes_is_noticed_also_by_who_wants_no_room() {
        let (outbox, inbox) = outbox();
        let (closed, ()) = tokio::join!(outbox.room(false), async { drop(inbox) });
        assert_eq!(closed, Err(Closed));
        assert!(outbox.put(piece(b"1")).is_err());
    }

    #[tokio::test]
    async fn whoever_waits_for_a_piece_is_woken_by_it_and_by_the_end() {
        let (outbox, mut inbox) = outbox();
        let (got, ()) = tokio::join!(next(&mut inbox), async { drop(outbox.put(piece(b"1"))) });
        assert!(got.is_some());
        let (got, ()) = tokio::join!(next(&mut inbox), async { drop(outbox) });
        assert!(got.is_none());
    }
}
