//! The background work of a client: follows, puts what comes in force, and tells who listens.
//!
//! It does not die: should a message bring it down, what is served goes on answering and everything is asked for anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Client;
use super::builder::{Progress, Telling};
use super::events::{Event, Listeners};
use super::options::Options;
use super::state::{Source, State, flag_sets};
use super::subscription::{Update, follow_from};
use crate::eval::affected::affected;
use crate::eval::set::CompiledSet;
use crate::flag::key::FlagId;
use crate::sync::object::ObjectKey;
use crate::sync::replica::{Changed, Event as Fact, Kept, Replica};

/// Unusable objects of one transfer that are named in the log; the server is told of all.
const LOGGED_MAX: usize = 20;

/// What the background work and the handles have in common.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) state: State,
    pub(super) listeners: Listeners,
    /// The newest copy, to be kept.
    pub(super) copies: watch::Sender<Option<Kept>>,
}

/// The background work before it starts.
pub(super) struct Driver {
    shared: Arc<Shared>,
    options: Options,
    kept: Option<Replica>,
    progress: Telling,
}

impl Driver {
    /// Follows by the options, from a copy that was kept if there is one: it answers from now on.
    pub(super) fn new(shared: Arc<Shared>, options: Options, kept: Option<Replica>) -> Self {
        if let Some(replica) = &kept {
            serve(&shared.state, replica, Source::File, true);
            shared.listeners.tell(&Event::Ready);
        }
        Self { shared, options, kept, progress: watch::Sender::default() }
    }

    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Starts the work, which ends when the client is told to stop.
    pub(super) fn start(self, client: &Client) {
        let (stop, tracker) = (client.stop().clone(), client.tracker().clone());
        client.tracker().spawn(self.supervise(stop, tracker));
    }

    async fn supervise(self, stop: CancellationToken, tracker: TaskTracker) {
        let Self { shared, options, mut kept, progress } = self;
        while !stop.is_cancelled() {
            let (shared_too, options_too) = (Arc::clone(&shared), options.clone());
            let (stop_too, progress_too) = (stop.clone(), progress.clone());
            let replica = kept.take().unwrap_or_default();
            let following = tracker.spawn(async move {
                let tell = |update: &Update, replica: &Replica| on_update(&shared_too, &progress_too, update, replica);
                follow_from(replica, &options_too, &stop_too, tell).await
            });
            match following.await {
                Ok(Ok(())) => break,
                Ok(Err(fault)) => shared.fault(&fault.to_string()),
                Err(_) => shared.fault("following the server failed; everything is asked for anew"),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(options.backoff_cap) => {}
            }
        }
        shared.state.change(|served| served.status.connected = false);
        shared.listeners.close();
    }
}

impl Shared {
    fn fault(&self, what: &str) {
        tracing::warn!(what, "the flag client has a problem");
        self.state.change(|served| served.status.connected = false);
        self.listeners.tell(&Event::Error(what.to_owned()));
    }
}

/// Puts an update in force, and then tells who listens.
fn on_update(shared: &Shared, progress: &Telling, update: &Update, replica: &Replica) {
    match update {
        Update::Connected => {
            shared.state.change(|served| {
                (served.status.connected, served.status.denied) = (true, false);
            });
            shared.listeners.recovered();
        }
        Update::Stale => {
            tracing::warn!("nothing was heard of the flag server; the last flags are served");
            shared.state.change(|served| served.status.stale = true);
            shared.listeners.tell(&Event::Stale);
        }
        Update::Fresh => {
            shared.state.change(|served| served.status.stale = false);
            shared.listeners.tell(&Event::Fresh);
        }
        Update::Disconnected { why, denied, retry_in } => {
            log_end(why, *denied, *retry_in);
            shared.state.change(|served| {
                (served.status.connected, served.status.denied) = (false, *denied);
            });
            progress.send_modify(|progress| progress.failed = true);
            shared.listeners.tell(&Event::Error(why.clone()));
        }
        Update::Event { event, .. } => on_fact(shared, progress, event, replica),
    }
}

fn on_fact(shared: &Shared, progress: &Telling, fact: &Fact, replica: &Replica) {
    let (before, hash_before) = shared.state.read(|served| (served.status.source, served.set.fractional_hash()));
    let flags = match fact {
        Fact::Kills { killed, restored, .. } => {
            serve(&shared.state, replica, before, false);
            affected(replica.set(), killed.iter().chain(restored).cloned().collect(), BTreeSet::new())
        }
        Fact::Objects { changed, rejected, full, .. } => {
            let sets = changed.iter().any(|changed| changed.key.flag_set().is_some());
            serve(&shared.state, replica, Source::Server, sets);
            if full.is_some() {
                shared.state.change(|served| served.status.full_transfers += 1);
            }
            let fresh: BTreeSet<&ObjectKey> = changed.iter().map(|changed| &changed.key).collect();
            for object in rejected.iter().filter(|object| fresh.contains(&object.key)).take(LOGGED_MAX) {
                tracing::warn!(object = %object.key, code = object.code, "the flag server sent what cannot be used");
            }
            if hash_before == replica.set().fractional_hash() {
                touched(replica.set(), changed)
            } else {
                replica.set().iter().map(|flag| flag.id().clone()).collect()
            }
        }
        Fact::Resync(reason) => {
            tracing::warn!(?reason, "what the flag server sent did not fit; everything was asked for");
            return;
        }
        Fact::KillsUnusable | Fact::Bookmark(_) | Fact::Pong(_) | Fact::Goodbye(_) => return,
        Fact::Error { code, message } => {
            tracing::warn!(code, message, "the flag server reports an error");
            return;
        }
    };
    let served = matches!(fact, Fact::Objects { .. });
    // Kills that came before the first flags are kept with those.
    if let Some(kept) = replica.kept() {
        shared.copies.send_replace(Some(kept));
    }
    if served && before == Source::Nothing {
        shared.listeners.tell(&Event::Ready);
    }
    if !flags.is_empty() {
        shared.listeners.tell(&Event::ConfigurationChanged { flags });
    }
    if served {
        progress.send_if_modified(|progress| !std::mem::replace(&mut progress.served, true));
    }
}

/// Makes the copy what is served. `sets`: there may be other flag sets than before.
fn serve(state: &State, replica: &Replica, source: Source, sets: bool) {
    state.change(|served| {
        // A copy that is made anew has its kills first: until its flags are there, the ones in force answer.
        served.set = match replica.revision() {
            Some(_) => replica.set().clone(),
            None => served.set.with_kills(Arc::clone(replica.kills().kills())),
        };
        if sets {
            served.flag_sets = flag_sets(&served.set);
        }
        let status = &mut served.status;
        status.source = source;
        status.environment = replica.environment().cloned();
        status.revision = replica.revision().or(status.revision);
        status.kill_generation = replica.kills().generation();
        status.flags = served.set.len();
        status.rejected = replica.rejected().count();
    });
}

/// The flags that may answer differently: those that changed, and those that ask them or a segment that changed.
fn touched(set: &CompiledSet, changed: &[Changed]) -> BTreeSet<FlagId> {
    let (mut flags, mut segments) = (BTreeSet::new(), BTreeSet::new());
    for Changed { key, .. } in changed {
        match key {
            ObjectKey::Flag(id) => drop(flags.insert(id.clone())),
            ObjectKey::Segment(name) => drop(segments.insert(name.clone())),
            ObjectKey::Other { .. } => {}
        }
    }
    affected(set, flags, segments)
}

fn log_end(why: &str, denied: bool, retry_in: Duration) {
    let seconds = retry_in.as_secs_f64();
    if denied {
        tracing::warn!(
            why,
            seconds,
            "the flag server refuses this client; the last flags are served until it does not"
        );
    } else {
        tracing::info!(why, seconds, "the stream of flags ended; the last flags are served until it is back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::kept::format::tests::kept;
    use crate::flag::time::Generation;
    use crate::sync::hash::SetHash;
    use crate::sync::message::{KillPart, ServerBody, ServerMessage};

    #[test]
    fn the_flags_in_force_answer_while_a_copy_is_made_anew() {
        let shared = Shared::default();
        let restored = Replica::restored(kept(5));
        serve(&shared.state, &restored, Source::File, true);
        let mut anew = Replica::default();
        let part = KillPart {
            epoch: [7; 16],
            generation: Generation(91),
            environment: Arc::from("production"),
            entries: Vec::new(),
            count: 0,
            set_hash: SetHash::EMPTY,
            part: 0,
            parts: 1,
            complete_to: Generation(91),
        };
        let outcome = anew.on_message(ServerMessage { nonce: 1, body: ServerBody::Kills(part) });
        for event in &outcome.events {
            on_fact(&shared, &Telling::default(), event, &anew);
        }
        shared.state.read(|served| {
            assert_eq!((served.set.len(), served.status.flags), (1, 1));
            assert!(served.set.kills().is_empty(), "the newer kill set is in force at once");
            assert_eq!(served.status.source, Source::File);
            assert!(served.find(None, "grün").is_some(), "the flag sets are known");
        });
    }
}
