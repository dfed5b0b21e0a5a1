//! What was published on one lane lately, and how long it took to reach each client: a ring of histograms.
//!
//! Latencies are taken on one monotonic clock of this node, from just before the publish to the receipt.

use std::collections::VecDeque;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::receipts::{NotPublished, Receipts};
use crate::flag::time::Timestamp;
use crate::sync::message::Lane;

/// Publishes of one lane whose latencies are kept.
const KEPT: usize = 64;
/// The longest latency that is told apart, in microseconds: ten minutes.
const LONGEST: u64 = 600_000_000;

/// One publish on one lane.
#[derive(Debug)]
struct Published {
    position: u64,
    /// How many clients had come before it.
    joins: u64,
    at: Timestamp,
    since: Instant,
    /// In microseconds; made for the first receipt.
    latencies: Option<Box<Histogram<u32>>>,
    reported: bool,
}

/// The publishes of one lane, oldest first.
#[derive(Debug, Default)]
pub struct Track {
    ring: VecDeque<Published>,
    served: u64,
    started: bool,
}

impl Track {
    /// Something new for clients is served from now on. The first publish is the boot, which nobody waits for.
    pub fn publish(&mut self, position: u64, joins: u64, at: Timestamp, since: Instant) {
        let reported = !std::mem::replace(&mut self.started, true);
        self.ring.push_back(Published { position, joins, at, since, latencies: None, reported });
        if self.ring.len() > KEPT {
            self.ring.pop_front();
        }
        self.serve(position);
    }

    /// A position is served that brings nothing new.
    pub fn serve(&mut self, position: u64) {
        self.served = self.served.max(position);
    }

    /// What a client must have confirmed to have a position, and how many clients had come before that was published.
    ///
    /// A revision that changed nothing for clients needs no more than the last one that did.
    ///
    /// # Errors
    /// The position is not served yet.
    pub fn needed(&self, lane: Lane, position: u64) -> Result<(u64, u64), NotPublished> {
        if position > self.served || position == 0 {
            return Err(NotPublished { lane, position, served: self.served });
        }
        // Of one that is forgotten nobody can say who came later.
        Ok(self.find(position).map_or((position, u64::MAX), |held| match lane {
            Lane::Kills => (position, held.joins),
            Lane::Objects => (held.position, held.joins),
        }))
    }

    /// The last publish at or below a position.
    fn find(&self, position: u64) -> Option<&Published> {
        self.ring.iter().rev().find(|held| held.position <= position)
    }

    /// An answer without counts: the latencies so far.
    pub fn receipts(&self, lane: Lane, position: u64) -> Receipts {
        let held = self.find(position);
        let latencies = held.and_then(|held| held.latencies.as_deref());
        let at = |quantile| latencies.map_or(0, |latencies| latencies.value_at_quantile(quantile));
        Receipts {
            published_at: held.map(|held| held.at),
            first_us: latencies.map_or(0, Histogram::min),
            p50_us: at(0.5),
            p99_us: at(0.99),
            max_us: latencies.map_or(0, Histogram::max),
            ..Receipts::none(lane, position)
        }
    }

    /// A client that had confirmed `before` has confirmed `after`: how long each publish between took to reach it, as
    /// far as it was there when that was published.
    pub fn received(&mut self, before: u64, after: u64, joined: u64, now: Instant) -> Vec<Duration> {
        let reached = self.ring.iter_mut().rev().take_while(|held| held.position > before);
        let mut took = Vec::new();
        for held in reached.filter(|held| held.position <= after && joined < held.joins) {
            let latency = now.saturating_duration_since(held.since);
            let micros = u64::try_from(latency.as_micros()).unwrap_or(LONGEST).clamp(1, LONGEST);
            let fresh =
                || Box::new(Histogram::new_with_bounds(1, LONGEST, 2).expect("the bounds and digits are valid"));
            held.latencies.get_or_insert_with(fresh).saturating_record(micros);
            took.push(latency);
        }
        took
    }

    /// The publishes that nobody reported yet.
    pub fn unreported(&self) -> impl Iterator<Item = u64> {
        self.ring.iter().filter(|held| !held.reported).map(|held| held.position)
    }

    /// How long ago a position was published.
    pub fn age(&self, position: u64) -> Duration {
        self.find(position).map_or(Duration::MAX, |held| held.since.elapsed())
    }

    /// A publish was reported.
    pub fn report(&mut self, position: u64) {
        if let Some(held) = self.ring.iter_mut().find(|held| held.position == position) {
            held.reported = true;
        }
    }
}
