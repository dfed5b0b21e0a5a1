//! How a client is set up and started.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::Client;
use super::driver::{Driver, Shared};
use super::kept::file::Files;
use super::kept::keeper;
use super::options::{Options, OptionsFault};
use super::random;
use crate::flag::key::FlagSetName;
use crate::sync::replica::Replica;

/// What a client is made of. Every setting has a default but the server's address.
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    options: Options,
    flag_set: Option<String>,
    wait: Duration,
    keep: Option<PathBuf>,
    keep_pause: Duration,
}

impl Builder {
    pub(super) fn new(url: &str) -> Self {
        let options = Options { denied: Some(Duration::from_secs(5 * 60)), ..Options::new(url, random::id()) };
        Self { options, flag_set: None, wait: Duration::from_secs(5), keep: None, keep_pause: Duration::from_secs(5) }
    }

    /// The token to present.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.options.token = Some(token.into());
        self
    }

    /// The environment; otherwise the one that the token decides.
    pub fn environment(mut self, environment: impl Into<String>) -> Self {
        self.options.environment = environment.into();
        self
    }

    /// A name for people, under which the server lists this client.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = name.into();
        self
    }

    /// A word about this client, such as its region; at most eight, of at most 64 bytes.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.labels.insert(name.into(), value.into());
        self
    }

    /// The identity of this process, 1 to 64 visible ASCII characters; random otherwise. A second client with the same
    /// one takes the first one's place in the server's counts.
    pub fn instance_id(mut self, id: impl Into<String>) -> Self {
        self.options.instance_id = id.into();
        self
    }

    /// Only the flags of this flag set; empty: only those in none. Otherwise a key means the flag in no flag set, else
    /// the one in the first set by name.
    pub fn flag_set(mut self, name: impl Into<String>) -> Self {
        self.flag_set = Some(name.into());
        self
    }

    /// How long `connect` waits for the first flags of the server; 5 s otherwise, zero not at all. It succeeds in any
    /// case, and where a last-known-good file answers it waits only for the first attempt.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// How long a connection, or a poll of the kill set, may take; 5 s otherwise.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect = timeout;
        self
    }

    /// The longest first wait between two attempts, and the longest of all; 1 s and 10 s otherwise. What the server
    /// asks for counts instead, whatever it is.
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        (self.options.backoff_base, self.options.backoff_cap) = (base, cap);
        self
    }

    /// A stream that was healthy for this long ends the doubling of waits; 60 s otherwise.
    pub fn steady(mut self, steady: Duration) -> Self {
        self.options.steady = steady;
        self
    }

    /// After this long without a message the flags count as stale and the stream as dead; 45 s otherwise. The server
    /// speaks at least every 18 s.
    pub fn silence(mut self, silence: Duration) -> Self {
        self.options.silence = silence;
        self
    }

    /// How long to leave the server alone after it refused the token; 5 min otherwise.
    pub fn denied_wait(mut self, wait: Duration) -> Self {
        self.options.denied = Some(wait);
        self
    }

    /// How often to ask for the kill set beside the stream: while it is not healthy, and while it is; 10 s and 60 s
    /// otherwise, zero never.
    pub fn kill_polls(mut self, unhealthy: Duration, healthy: Duration) -> Self {
        (self.options.kills_unhealthy, self.options.kills_healthy) = (unhealthy, healthy);
        self
    }

    /// Keeps the last known good flags in this file and one beside it, and starts with them. One file belongs to one
    /// process.
    pub fn keep(mut self, path: impl Into<PathBuf>) -> Self {
        self.keep = Some(path.into());
        self
    }

    /// The least time between two writes of the file; 5 s otherwise. A kill is written at once.
    pub fn keep_pause(mut self, pause: Duration) -> Self {
        self.keep_pause = pause;
        self
    }

    /// Starts the client on the present tokio runtime. A server that is away, or that refuses the token, is no error:
    /// the last-known-good file answers, or code defaults do, and the client goes on trying.
    ///
    /// # Errors
    /// An option that cannot be used.
    pub async fn connect(self) -> Result<Client, OptionsFault> {
        let Self { options, flag_set, wait, keep, keep_pause } = self;
        options.check()?;
        if let Some(name) = flag_set.as_deref().filter(|name| !name.is_empty()) {
            let fault = |fault| OptionsFault { option: "flag_set", what: format!("{fault}") };
            FlagSetName::new(name).map_err(fault)?;
        }
        let (files, kept) = load(keep, &options.environment).await;
        let has_file = kept.is_some();
        let shared = Arc::new(Shared::default());
        let client = Client::new(Arc::clone(&shared), flag_set);
        if let Some(files) = files {
            let (copies, stop, held) = (shared.copies.subscribe(), client.stop().clone(), Arc::clone(&shared));
            client.tracker().spawn(async move {
                keeper::run(files, copies, keep_pause, stop).await;
                drop(held);
            });
        }
        let driver = Driver::new(shared, options, kept);
        let mut progress = driver.progress();
        driver.start(&client);
        let enough = progress.wait_for(|progress| progress.served || (has_file && progress.failed));
        let _in_time = timeout(wait, enough).await;
        Ok(client)
    }
}

/// The files, and the copy that they keep, ready to answer.
async fn load(keep: Option<PathBuf>, environment: &str) -> (Option<Files>, Option<Replica>) {
    let Some(path) = keep else { return (None, None) };
    let mut files = Files::at(&path);
    let environment = environment.to_owned();
    let loading = tokio::task::spawn_blocking(move || {
        let replica = files.load(&environment).map(Replica::restored);
        (files, replica)
    });
    match loading.await {
        Ok((files, replica)) => (Some(files), replica),
        Err(error) => {
            tracing::warn!(%error, "loading the last-known-good file failed");
            (Some(Files::at(&path)), None)
        }
    }
}

/// How far a client has come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// The server's flags are in force.
    pub(super) served: bool,
    /// An attempt failed.
    pub(super) failed: bool,
}

/// Tells how far a client has come.
pub(super) type Telling = watch::Sender<Progress>;
