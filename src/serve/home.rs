//! Where a connection is served: on the threads that evaluate, until it subscribes; from then on on a thread of those
//! that are kept for subscriptions, socket and all.
//!
//! A flood of evaluations keeps its own threads busy and no others, so it cannot delay a kill; ten thousand subscribers
//! that are told of one cannot delay an evaluation. Nobody can tell beforehand what a connection will ask for, so it
//! begins among the evaluations, and with its first subscription its task, the tasks of its streams and the
//! registration of its socket move over. A client that evaluates on the connection on which it subscribes takes its own
//! evaluations along. Without such threads everything stays where it is.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use http::Extensions;
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The threads that are kept for subscriptions, by their runtimes. Cheap to clone; none where there are none.
#[derive(Debug, Clone, Default)]
pub struct Lanes {
    handles: Arc<[Handle]>,
    next: Arc<AtomicUsize>,
}

impl Lanes {
    /// These runtimes, each of one thread.
    pub fn new(handles: Vec<Handle>) -> Self {
        Self { handles: handles.into(), next: Arc::default() }
    }

    /// A home for a connection that was just accepted.
    pub fn home(&self) -> Home {
        if self.handles.is_empty() {
            return Home(None);
        }
        let (leaves, arrived) = (CancellationToken::new(), AtomicBool::new(false));
        Home(Some(Arc::new(Moving { lanes: self.clone(), lane: OnceLock::new(), leaves, arrived })))
    }
}

struct Moving {
    lanes: Lanes,
    /// Chosen when the connection moves, not when it is accepted: others never do.
    lane: OnceLock<Handle>,
    /// Cancelled when the connection is to move.
    leaves: CancellationToken,
    /// The connection's task runs on its lane.
    arrived: AtomicBool,
}

impl Moving {
    fn lane(&self) -> &Handle {
        self.lane.get_or_init(|| {
            let at = self.lanes.next.fetch_add(1, Ordering::Relaxed) % self.lanes.handles.len();
            self.lanes.handles[at].clone()
        })
    }
}

/// Where one connection is served; in the extensions of its requests.
#[derive(Clone, Default)]
pub struct Home(Option<Arc<Moving>>);

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moves = self.0.as_ref().is_some_and(|moving| moving.leaves.is_cancelled());
        f.debug_struct("Home").field("moves", &moves).finish()
    }
}

impl Home {
    /// Moves the connection over, if it has not moved, and says where work for it is to be spawned.
    pub fn settle(&self) -> Settled {
        Settled(self.0.as_ref().map(|moving| {
            let lane = moving.lane().clone();
            moving.leaves.cancel();
            lane
        }))
    }

    /// True once the connection's task runs on its lane: the socket is to be registered there.
    pub fn has_arrived(&self) -> bool {
        self.0.as_ref().is_some_and(|moving| moving.arrived.load(Ordering::Relaxed))
    }

    /// Spawns the connection's own task.
    pub fn spawn_connection(&self, tasks: &TaskTracker, work: impl Future<Output = ()> + Send + 'static) {
        let Some(moving) = &self.0 else {
            tasks.spawn(work);
            return;
        };
        let (moving, tracker) = (Arc::clone(moving), tasks.clone());
        let stay = stay(Box::pin(work), Arc::clone(&moving));
        tasks.spawn(async move {
            if let Some(rest) = stay.await {
                let lane = moving.lane().clone();
                let arriving = async move {
                    moving.arrived.store(true, Ordering::Relaxed);
                    rest.await;
                };
                tracker.spawn_on(arriving, &lane);
            }
        });
    }

    /// Spawns the task of one of its streams.
    pub fn spawn_stream(&self, tasks: &TaskTracker, work: impl Future<Output = ()> + Send + 'static) {
        let Some(moving) = &self.0 else {
            tasks.spawn(work);
            return;
        };
        if moving.leaves.is_cancelled() {
            tasks.spawn_on(work, moving.lane());
            return;
        }
        let (moving, tracker) = (Arc::clone(moving), tasks.clone());
        let stay = stay(Box::pin(work), Arc::clone(&moving));
        tasks.spawn(async move {
            if let Some(rest) = stay.await {
                tracker.spawn_on(rest, moving.lane());
            }
        });
    }
}

/// Works until it is done, or until the connection is to move: then gives back what is left to do.
async fn stay(work: Work, moving: Arc<Moving>) -> Option<Work> {
    let mut work = Some(work);
    let mut leaves: Option<Pin<Box<WaitForCancellationFutureOwned>>> = None;
    poll_fn(move |cx| {
        let Some(doing) = &mut work else { return Poll::Ready(None) };
        if doing.as_mut().poll(cx).is_ready() {
            work = None;
            return Poll::Ready(None);
        }
        // Not before it had to wait: most requests are answered at once.
        let leaves = leaves.get_or_insert_with(|| Box::pin(moving.leaves.clone().cancelled_owned()));
        match leaves.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(work.take()),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Where work for a connection that has moved is spawned.
#[derive(Debug, Clone)]
pub struct Settled(Option<Handle>);

impl Settled {
    /// Spawns it there.
    pub fn spawn(&self, tasks: &TaskTracker, work: impl Future<Output = ()> + Send + 'static) {
        match &self.0 {
            Some(lane) => tasks.spawn_on(work, lane),
            None => tasks.spawn(work),
        };
    }
}

/// Where the connection of a request is served.
pub fn of(extensions: &Extensions) -> Home {
    extensions.get::<Home>().cloned().unwrap_or_default()
}
