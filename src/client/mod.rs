//! The Rust client: subscribe, evaluate in process, acknowledge.
//!
//! [`Client::connect`] follows a server in the background; [`Client::bool`] and its siblings answer at once, with the
//! server's own evaluation core, from a state that is swapped whole. When the server is away the last flags answer, for
//! as long as it takes; with [`builder::Builder::keep`] also after a restart. What to do with a message is decided in
//! `sync::replica`; here connections are made, kept and made again.

mod backoff;
pub mod builder;
mod clock;
pub mod convert;
mod driver;
pub mod evaluation;
pub mod events;
mod kept;
mod kill_poll;
#[cfg(feature = "openfeature")]
pub mod openfeature;
pub mod options;
pub mod random;
pub mod state;
mod stream;
pub mod subscription;

use std::fmt;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::builder::Builder;
use self::driver::Shared;
use self::events::Events;
use self::options::OptionsFault;
use self::state::{State, Status};

/// A client of one server and environment: it follows in the background and answers in process. A clone is a handle to
/// the same client; with the last handle the background work ends, and the server is told.
#[derive(Clone)]
pub struct Client(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    flag_set: Option<String>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Client {
    /// Starts a client of the data plane at a URL such as `http://127.0.0.1:8013`, with every setting at its default.
    /// It waits up to 5 s for the first flags. A server that is away is no error: the client goes on trying.
    ///
    /// # Errors
    /// The URL cannot be used. TLS is not spoken: `https` is refused.
    pub async fn connect(url: &str) -> Result<Self, OptionsFault> {
        Self::builder(url).connect().await
    }

    /// A client with settings of its own.
    pub fn builder(url: &str) -> Builder {
        Builder::new(url)
    }

    /// How the client is now.
    pub fn status(&self) -> Status {
        self.state().read(|served| served.status.clone())
    }

    /// What happens from now on, after what already holds: ready, stale, the present error. Each listener is told
    /// everything; what one does not take in time is merged.
    pub fn events(&self) -> Events {
        self.0.shared.listeners.listen()
    }

    /// Ends the background work: tells the server, keeps the last flags in the file, and waits for both. The last
    /// flags go on answering.
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }

    fn new(shared: Arc<Shared>, flag_set: Option<String>) -> Self {
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        Self(Arc::new(Handle { shared, flag_set, stop, tracker }))
    }

    #[inline]
    fn state(&self) -> &State {
        &self.0.shared.state
    }

    #[inline]
    fn flag_set(&self) -> Option<&str> {
        self.0.flag_set.as_deref()
    }

    fn stop(&self) -> &CancellationToken {
        &self.0.stop
    }

    fn tracker(&self) -> &TaskTracker {
        &self.0.tracker
    }
}
