//! Who follows this node now: one entry per open subscription, gone when its stream ends.
//!
//! What a subscriber said it applied is kept beside its name, so that it can be listed and counted. Nothing here knows
//! a user: instance ids are random, names are what operators chose.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;

use crate::flag::key::EnvironmentName;

/// One open subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// Random per process of the client.
    pub instance_id: String,
    /// A name for people; may be empty.
    pub name: String,
    /// What it follows.
    pub environment: EnvironmentName,
    /// Whether it acknowledges.
    pub acks: bool,
    /// The kill generation that it said it applied; 0 for none.
    pub generation: u64,
    /// The revision that it said it applied; 0 for none.
    pub revision: u64,
    /// How many objects it refused in its newest transfer.
    pub rejected: usize,
}

/// All open subscriptions of this node.
#[derive(Debug, Default)]
pub struct Subscribers {
    open: DashMap<u64, Subscriber>,
    next: AtomicU64,
}

/// A subscription's entry; dropping it takes the entry out.
#[derive(Debug)]
pub struct Seat {
    id: u64,
    all: Arc<Subscribers>,
}

impl Subscribers {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// True where nobody follows.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// All of them, in no particular order.
    pub fn list(&self) -> Vec<Subscriber> {
        self.open.iter().map(|entry| entry.value().clone()).collect()
    }

    /// Takes in a subscription.
    pub fn enter(self: &Arc<Self>, subscriber: Subscriber) -> Seat {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.insert(id, subscriber);
        Seat { id, all: Arc::clone(self) }
    }
}

impl Seat {
    /// Changes what is known of the subscription.
    pub fn update(&self, change: impl FnOnce(&mut Subscriber)) {
        if let Some(mut entry) = self.all.open.get_mut(&self.id) {
            change(entry.value_mut());
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.all.open.remove(&self.id);
    }
}
