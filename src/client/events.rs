//! What a program is told about its client. Only the newest counts: what waits is merged, so a listener that never
//! looks costs a few names and no queue.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::flag::key::FlagId;

/// Something happened to the flags or to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// There are flags now, from the file or from the server. Once.
    Ready,
    /// Nothing was heard of the server for longer than the options allow. Values are served all the same.
    Stale,
    /// The server is heard again.
    Fresh,
    /// Flags may answer differently: edited, deleted, killed or restored, they themselves or what they ask for.
    ConfigurationChanged {
        /// Which, since the last time it was said.
        flags: BTreeSet<FlagId>,
    },
    /// Something is wrong, in words for people: the last of what was. The client goes on trying.
    Error(String),
}

/// What waits for one listener.
#[derive(Debug, Default)]
struct Waiting {
    ready: bool,
    /// The newest of stale and fresh.
    stale: Option<bool>,
    changed: Option<BTreeSet<FlagId>>,
    error: Option<String>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Mailbox {
    waiting: Mutex<Waiting>,
    news: Notify,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, event: Event) {
        let mut waiting = self.lock();
        match event {
            Event::Ready => waiting.ready = true,
            Event::Stale => waiting.stale = Some(true),
            Event::Fresh => waiting.stale = Some(false),
            Event::ConfigurationChanged { flags } => waiting.changed.get_or_insert_default().extend(flags),
            Event::Error(what) => waiting.error = Some(what),
        }
        drop(waiting);
        self.news.notify_one();
    }
}

/// The events of one client for one listener.
#[derive(Debug)]
pub struct Events(Arc<Mailbox>);

impl Events {
    /// The next event; none once the client is closed and everything was told.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            {
                let mut waiting = self.0.lock();
                if std::mem::take(&mut waiting.ready) {
                    return Some(Event::Ready);
                }
                if let Some(stale) = waiting.stale.take() {
                    return Some(if stale { Event::Stale } else { Event::Fresh });
                }
                if let Some(flags) = waiting.changed.take() {
                    return Some(Event::ConfigurationChanged { flags });
                }
                if let Some(what) = waiting.error.take() {
                    return Some(Event::Error(what));
                }
                if waiting.closed {
                    return None;
                }
            }
            self.0.news.notified().await;
        }
    }
}

/// Everybody who listens.
#[derive(Debug, Default)]
pub(super) struct Listeners(Mutex<Listening>);

#[derive(Debug, Default)]
struct Listening {
    mailboxes: Vec<Weak<Mailbox>>,
    /// What a listener that comes now has missed and that still holds.
    ready: bool,
    stale: bool,
    error: Option<String>,
    closed: bool,
}

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, Listening> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new listener. One that comes late is told first what still holds: ready, stale, the present error.
    pub(super) fn listen(&self) -> Events {
        let mailbox = Arc::new(Mailbox::default());
        let mut listening = self.lock();
        *mailbox.lock() = Waiting {
            ready: listening.ready,
            stale: listening.stale.then_some(true),
            changed: None,
            error: listening.error.clone(),
            closed: listening.closed,
        };
        listening.mailboxes.retain(|mailbox| mailbox.strong_count() > 0);
        listening.mailboxes.push(Arc::downgrade(&mailbox));
        Events(mailbox)
    }

    /// Tells everybody.
    pub(super) fn tell(&self, event: &Event) {
        let mut listening = self.lock();
        match event {
            Event::Ready => listening.ready = true,
            Event::Stale => listening.stale = true,
            Event::Fresh => listening.stale = false,
            Event::ConfigurationChanged { .. } => {}
            Event::Error(what) => listening.error = Some(what.clone()),
        }
        listening.mailboxes.iter().filter_map(Weak::upgrade).for_each(|mailbox| mailbox.put(event.clone()));
    }

    /// The last error is over: who comes later need not hear of it.
    pub(super) fn recovered(&self) {
        self.lock().error = None;
    }

    /// Nothing will happen any more.
    pub(super) fn close(&self) {
        let mut listening = self.lock();
        listening.closed = true;
        for mailbox in listening.mailboxes.iter().filter_map(Weak::upgrade) {
            mailbox.lock().closed = true;
            mailbox.news.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::key::FlagKey;

    fn changed(names: &[&str]) -> Event {
        let flag = |name: &&str| FlagId::plain(FlagKey::new(name).unwrap());
        Event::ConfigurationChanged { flags: names.iter().map(flag).collect() }
    }

    #[tokio::test]
    async fn what_waits_is_merged_and_the_newest_counts() {
        let listeners = Listeners::default();
        let mut slow = listeners.listen();
        for event in [Event::Ready, Event::Stale, changed(&["a"]), Event::Fresh, changed(&["b", "a"])] {
            listeners.tell(&event);
        }
        listeners.tell(&Event::Error("one".to_owned()));
        listeners.tell(&Event::Error("two".to_owned()));
        listeners.close();
        let mut told = Vec::new();
        while let Some(event) = slow.next().await {
            told.push(event);
        }
        assert_eq!(told, [Event::Ready, Event::Fresh, changed(&["a", "b"]), Event::Error("two".to_owned())]);
        let mut late = listeners.listen();
        assert_eq!((late.next().await, late.next().await), (Some(Event::Ready), Some(Event::Error("two".to_owned()))));
        listeners.recovered();
        let mut later = listeners.listen();
        assert_eq!((later.next().await, later.next().await), (Some(Event::Ready), None));
    }

    #[tokio::test]
    async fn a_listener_that_waits_is_woken_and_one_that_left_is_forgotten() {
        let listeners = Listeners::default();
        let mut waiting = listeners.listen();
        drop(listeners.listen());
        let (event, ()) = tokio::join!(waiting.next(), async { listeners.tell(&Event::Stale) });
        assert_eq!(event, Some(Event::Stale));
        drop(listeners.listen());
        assert_eq!(listeners.lock().mailboxes.len(), 2);
    }
}
