//! A stream that its connection drives: a follower that knows what comes next, no task and no queue.
//!
//! flagd's clients take an end with OK for a stream that goes on, so a follower can only end with an error.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use connectrpc::{ConnectError, EncodedBody, EncodedStream};
use prometheus_client::metrics::gauge::Gauge;
use tokio_stream::Stream;
use tokio_util::sync::ReusableBoxFuture;

use super::fault;
use crate::serve::http::problem::{Missing, Problem};

/// What a stream does next: a message and how it goes on, or its end.
pub type Step<F> = Result<(EncodedBody, F), ConnectError>;

/// A stream between two messages.
pub trait Follower: Sized + Send + 'static {
    /// Waits for what comes next.
    fn next(self) -> impl Future<Output = Step<Self>> + Send;
}

/// The follower as a stream.
pub fn drive<F: Follower>(follower: F) -> EncodedStream {
    Box::pin(Driven { next: ReusableBoxFuture::new(follower.next()), over: false })
}

/// Why a stream of an environment ends that is there no more.
pub fn gone() -> ConnectError {
    fault::refused(&Problem::NotFound(Missing::Environment, "the environment".to_owned()))
}

/// Counts a stream for as long as it lives.
#[derive(Debug)]
pub struct Open(Gauge);

impl Open {
    /// One more.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

struct Driven<F> {
    next: ReusableBoxFuture<'static, Step<F>>,
    over: bool,
}

impl<F: Follower> Stream for Driven<F> {
    type Item = Result<EncodedBody, ConnectError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match ready!(self.next.poll(cx)) {
            Ok((message, follower)) => {
                self.next.set(follower.next());
                Ok(message)
            }
            Err(error) => {
                self.over = true;
                Err(error)
            }
        }))
    }
}
