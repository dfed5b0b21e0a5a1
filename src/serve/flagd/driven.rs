//! A stream that goes on by itself: a follower that knows what comes next, in a task of its own.
//!
//! The task and not the connection drives it, since a peer that reads nothing keeps its connection from asking: such a
//! follower would hold what it holds, its right to be here would not be judged again, and a stopping server would wait
//! for it. One message waits to be read; a follower whose message nobody takes is given up. flagd's clients take an end
//! with OK for a stream that goes on, so every end is an error.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use connectrpc::{ConnectError, EncodedBody, EncodedStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::Stream;
use tokio_util::task::TaskTracker;

use super::fault;
use crate::serve::http::problem::{Missing, Problem};

/// What a stream does next: a message and how it goes on, or its end.
pub type Step<F> = Result<(EncodedBody, F), ConnectError>;

/// A stream between two messages.
pub trait Follower: Sized + Send + 'static {
    /// Waits for what comes next.
    fn next(self) -> impl Future<Output = Step<Self>> + Send;
}

/// How streams are kept going.
#[derive(Debug, Clone)]
pub struct Drive {
    /// Where their tasks are counted.
    pub tasks: TaskTracker,
    /// How long a client may leave a message unread.
    pub stall: Duration,
}

impl Drive {
    /// The follower as a stream.
    pub fn start<F: Follower>(&self, follower: F) -> EncodedStream {
        let (out, messages) = mpsc::channel(1);
        self.tasks.spawn(drive(follower, out, self.stall));
        Box::pin(Driven { messages, over: false })
    }
}

async fn drive<F: Follower>(follower: F, out: mpsc::Sender<Result<EncodedBody, ConnectError>>, stall: Duration) {
    let mut follower = follower;
    loop {
        let step = tokio::select! {
            () = out.closed() => return,
            step = follower.next() => step,
        };
        match step {
            Ok((message, next)) => {
                follower = next;
                if !matches!(timeout(stall, out.send(Ok(message))).await, Ok(Ok(()))) {
                    return;
                }
            }
            Err(error) => {
                // Nobody may be there to hear it.
                drop(timeout(stall, out.send(Err(error))).await);
                return;
            }
        }
    }
}

/// Why a stream of an environment ends that is there no more.
pub fn gone() -> ConnectError {
    fault::refused(&Problem::NotFound(Missing::Environment, "the environment".to_owned()))
}

struct Driven {
    messages: mpsc::Receiver<Result<EncodedBody, ConnectError>>,
    over: bool,
}

impl Stream for Driven {
    type Item = Result<EncodedBody, ConnectError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let given_up = || Err(ConnectError::unavailable("nothing was read for too long: open another stream"));
        let item = ready!(self.messages.poll_recv(cx)).unwrap_or_else(given_up);
        self.over = item.is_err();
        Poll::Ready(Some(item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::metrics::Open;
    use hyper::body::Bytes;
    use prometheus_client::metrics::gauge::Gauge;
    use tokio_stream::StreamExt as _;

    /// Says the same for ever, and is counted while it lives.
    struct Talker {
        _open: Open,
    }

    impl Follower for Talker {
        async fn next(self) -> Step<Self> {
            Ok((EncodedBody::from(Bytes::from_static(b"x")), self))
        }
    }

    fn talk(stall: Duration) -> (EncodedStream, Gauge, TaskTracker) {
        let (open, tasks) = (Gauge::default(), TaskTracker::new());
        let drive = Drive { tasks: tasks.clone(), stall };
        let stream = drive.start(Talker { _open: Open::new(&open) });
        tasks.close();
        (stream, open, tasks)
    }

    #[tokio::test]
    async fn a_follower_that_nobody_reads_is_given_up_and_its_stream_never_ends_well() {
        let (mut stream, open, tasks) = talk(Duration::from_millis(1));
        // The task ends by itself although the stream is still there.
        tasks.wait().await;
        assert_eq!(open.get(), 0);
        assert!(stream.next().await.is_some_and(|item| item.is_ok()), "what was said before is still there");
        let end = stream.next().await.expect("an end");
        assert!(end.is_err_and(|error| error.code == connectrpc::ErrorCode::Unavailable));
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_stream_that_is_read_goes_on_and_ends_with_its_reader() {
        let (mut stream, open, tasks) = talk(Duration::from_secs(30));
        for _ in 0..10 {
            assert!(stream.next().await.is_some_and(|item| item.is_ok()));
        }
        assert_eq!(open.get(), 1);
        drop(stream);
        tasks.wait().await;
        assert_eq!(open.get(), 0);
    }
}
