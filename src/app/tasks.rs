//! The tasks of the process: every one has a name and an owner, and none dies unseen.
//!
//! A server in which one task has failed looks alive and is not. So a task that fails before the process stops ends
//! the process, and the report names it. Tasks of single requests and connections go to the tracker that `tracker`
//! hands out: they are waited for, and their failures stay their own.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

/// A task that ended as it should not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the task {name} failed: {cause}")]
pub struct Failure {
    /// Its name.
    pub name: &'static str,
    /// Its error, or what its panic said.
    pub cause: String,
}

/// The deadline passed first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("still running at the deadline: {}", if names.is_empty() { "requests".to_owned() } else { names.join(", ") })]
pub struct Unfinished {
    /// The named tasks that were stopped then, sorted; empty where only unnamed ones of the tracker were left.
    pub names: Vec<&'static str>,
}

/// The tasks of one process. Clones are handles to the same.
#[derive(Debug, Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    running: BTreeMap<u64, (&'static str, AbortHandle)>,
    failures: Vec<Failure>,
}

impl Tasks {
    /// No tasks yet; `stop` is what tells them, and everybody else, to end.
    pub fn new(stop: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), stop, state: Arc::default() }
    }

    /// The token that ends the process.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// The tracker for tasks without a name; `close_and_wait` waits for them too.
    pub fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    /// Runs a named task. Its error or panic ends the process, unless it is ending already.
    pub fn spawn<F, E>(&self, name: &'static str, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let task = self.tracker.spawn(future);
        let id = self.enter(name, task.abort_handle());
        let tasks = self.clone();
        self.tracker.spawn(async move {
            let ended = task.await;
            tasks.state().running.remove(&id);
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tasks.fail(name, error.to_string()),
                // Without a panic it was stopped by `close_and_wait`, which reports it.
                Err(gone) => {
                    if let Ok(panic) = gone.try_into_panic() {
                        tasks.fail(name, panic_text(&*panic));
                    }
                }
            }
        });
    }

    /// Starts a named thread. Its panic ends the process, unless it is ending already; the thread's owner waits for it.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn spawn_thread<T>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<Option<T>>>
    where
        T: Send + 'static,
    {
        let tasks = self.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            // The work is not used again after a panic, and the process ends.
            catch_unwind(AssertUnwindSafe(work)).map_err(|panic| tasks.fail(name, panic_text(&*panic))).ok()
        })
    }

    /// Starts a named thread with a runtime of its own, which works until `until`. Tasks are spawned there by its handle.
    ///
    /// # Errors
    /// The system gives no thread, or no runtime.
    pub fn spawn_runtime(&self, name: &'static str, until: CancellationToken) -> io::Result<Handle> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        self.spawn_thread(name, move || runtime.block_on(until.cancelled()))?;
        Ok(handle)
    }

    /// What failed before the process was told to stop, first failure first.
    pub fn failed(&self) -> Vec<Failure> {
        self.state().failures.clone()
    }

    /// Tells everybody to stop and waits for all tasks, at most this long; then stops the named ones where they are.
    ///
    /// # Errors
    /// Who was still running.
    pub async fn close_and_wait(&self, deadline: Duration) -> Result<(), Unfinished> {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok() {
            return Ok(());
        }
        let mut names = Vec::new();
        for (name, task) in self.state().running.values() {
            task.abort();
            names.push(*name);
        }
        names.sort_unstable();
        Err(Unfinished { names })
    }

    fn enter(&self, name: &'static str, task: AbortHandle) -> u64 {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.running.insert(id, (name, task));
        id
    }

    fn fail(&self, name: &'static str, cause: String) {
        error!(task = name, %cause, "task failed");
        if !self.stop.is_cancelled() {
            self.state().failures.push(Failure { name, cause });
            self.stop.cancel();
        }
    }

    /// The lists stay whole whatever panics beside them, so a poisoned lock is used on.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked without a word".to_owned())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;

    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    fn tasks() -> Tasks {
        Tasks::new(CancellationToken::new())
    }

    #[tokio::test]
    async fn a_task_that_fails_stops_the_process_and_is_named() {
        let tasks = tasks();
        tasks.spawn("conductor", async { Err("the journal is gone") });
        tasks.stop().cancelled().await;
        assert_eq!(tasks.failed(), [Failure { name: "conductor", cause: "the journal is gone".to_owned() }]);
    }

    #[tokio::test]
    async fn a_task_that_panics_stops_the_process_and_is_named() {
        let tasks = tasks();
        tasks.spawn::<_, Infallible>("conductor", async { panic!("step {}", 7) });
        tasks.stop().cancelled().await;
        assert_eq!(tasks.failed()[0].to_string(), "the task conductor failed: step 7");
    }

    #[tokio::test]
    async fn a_task_that_ends_well_stops_nobody() {
        let tasks = tasks();
        tasks.spawn::<_, Infallible>("import", async { Ok(()) });
        tasks.tracker().close();
        tasks.tracker().wait().await;
        assert!(!tasks.stop().is_cancelled());
        assert!(tasks.failed().is_empty());
    }

    #[tokio::test]
    async fn everybody_is_told_to_stop_and_waited_for() {
        let tasks = tasks();
        let stop = tasks.stop().clone();
        tasks.spawn("listener", async move {
            stop.cancelled().await;
            Err("closed while stopping")
        });
        assert_eq!(tasks.close_and_wait(SOON).await, Ok(()));
        assert!(tasks.failed().is_empty(), "an error while stopping is no failure of the process");
    }

    #[tokio::test]
    async fn who_does_not_stop_is_named_and_stopped() {
        let tasks = tasks();
        tasks.spawn("watcher", pending::<Result<(), Infallible>>());
        tasks.spawn("listener", pending::<Result<(), Infallible>>());
        let unfinished = tasks.close_and_wait(Duration::ZERO).await.unwrap_err();
        assert_eq!(unfinished.to_string(), "still running at the deadline: listener, watcher");
        assert_eq!(tasks.close_and_wait(SOON).await, Ok(()), "they were stopped");
        assert!(tasks.failed().is_empty());
    }

    #[tokio::test]
    async fn a_thread_that_panics_stops_the_process_and_is_named() {
        let tasks = tasks();
        let thread = tasks.spawn_thread("journal", || -> u8 { panic!("disk") }).unwrap();
        tasks.stop().cancelled().await;
        assert_eq!(thread.join().unwrap(), None);
        assert_eq!(tasks.failed(), [Failure { name: "journal", cause: "disk".to_owned() }]);
        let name = tasks.spawn_thread("reader", || thread::current().name().map(str::to_owned)).unwrap();
        assert_eq!(name.join().unwrap(), Some(Some("reader".to_owned())));
    }
}
