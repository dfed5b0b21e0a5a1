//! What a connection is doing: how many requests are under way, and whether one was left half read.
//!
//! hyper does not tell its IO what it is in the middle of, and its IO does not tell hyper how long a peer dawdles. This
//! is the little that both sides need to know: a few atomics that the service counts up and down, and that the socket
//! and the idle timer look at. Not a metric.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use hyper::body::{Body, Frame, SizeHint};

/// The state of one connection, shared by its socket, its service and its timer.
#[derive(Debug, Default)]
pub struct Activity {
    started: AtomicUsize,
    under_way: AtomicUsize,
    unread: AtomicBool,
}

impl Activity {
    /// A request has begun: its head is read. It lasts until every clone of what is returned is gone.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.started.fetch_add(1, Ordering::Relaxed);
        self.unread.store(false, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }

    /// How many requests have begun since the connection was made.
    pub fn started(&self) -> usize {
        self.started.load(Ordering::Relaxed)
    }

    /// True where no request is under way.
    pub fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0
    }

    /// True where the last request's body was dropped before its end, so that the peer may still be sending it.
    pub fn left_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }
}

/// Stands for one request under way.
#[derive(Debug)]
pub struct UnderWay(Arc<Activity>);

impl Clone for UnderWay {
    fn clone(&self) -> Self {
        self.0.under_way.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body that keeps its request under way for as long as it lives. As a request's body it also notes when it is
/// dropped before its end.
#[derive(Debug)]
pub struct Counted<B: Body> {
    body: B,
    under_way: UnderWay,
    incoming: bool,
}

impl<B: Body> Counted<B> {
    /// The body of a request.
    pub fn request(body: B, under_way: UnderWay) -> Self {
        Self { body, under_way, incoming: true }
    }

    /// The body of an answer.
    pub fn response(body: B, under_way: UnderWay) -> Self {
        Self { body, under_way, incoming: false }
    }
}

impl<B: Body> Drop for Counted<B> {
    fn drop(&mut self) {
        if self.incoming && !self.body.is_end_stream() {
            self.under_way.0.unread.store(true, Ordering::Relaxed);
        }
    }
}

impl<B: Body + Unpin> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{Empty, Full};
    use hyper::body::Bytes;

    #[test]
    fn a_request_is_under_way_until_both_bodies_are_gone() {
        let activity = Arc::new(Activity::default());
        let under_way = activity.begin();
        let request = Counted::request(Empty::<Bytes>::new(), under_way.clone());
        let response = Counted::response(Full::new(Bytes::from_static(b"x")), under_way);
        assert!(!activity.is_idle());
        drop(request);
        assert!(!activity.is_idle());
        drop(response);
        assert!(activity.is_idle());
        assert_eq!(activity.started(), 1);
        assert!(!activity.left_unread());
    }

    #[test]
    fn a_body_dropped_before_its_end_is_noted_until_the_next_request() {
        let activity = Arc::new(Activity::default());
        drop(Counted::request(Full::new(Bytes::from_static(b"x")), activity.begin()));
        assert!(activity.left_unread());
        drop(Counted::request(Empty::<Bytes>::new(), activity.begin()));
        assert!(!activity.left_unread());
    }
}
