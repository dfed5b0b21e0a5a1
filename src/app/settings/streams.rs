//! The settings of subscriptions: how they are kept alive, and how many are taken.

use std::time::Duration;

use super::fault::SettingFault;
use super::{Values, value};

/// How subscriptions are kept alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streams {
    /// Between two bookmarks on a quiet stream.
    pub bookmark_interval: Duration,
    /// Between two HTTP/2 pings.
    pub keepalive_interval: Duration,
    /// How long a ping may stay unanswered.
    pub keepalive_timeout: Duration,
    /// How long the receipt of a kill may take before the subscriber counts as late.
    pub kill_ack_deadline: Duration,
    /// How long the receipt of a change may take before the subscriber counts as late.
    pub change_ack_deadline: Duration,
    /// How long a subscriber whose stream was lost counts as missing.
    pub lost_for: Duration,
    /// How long the receipts of a kill are collected before they are journaled.
    pub observe_for: Duration,
    /// False where no subscription is taken.
    pub enabled: bool,
    /// Subscriptions at once.
    pub max: usize,
    /// Subscriptions that are taken in a second.
    pub opens_per_second: u32,
    /// Full transfers at once.
    pub transfers: usize,
    /// How long a slow one keeps others waiting.
    pub transfer_hold: Duration,
    /// How long a client may take nothing.
    pub stall: Duration,
    /// About when SSE clients come back after a lost stream.
    pub retry: Duration,
    /// Threads that serve connections with subscriptions.
    pub threads: usize,
}

impl Values<'_> {
    pub(super) fn streams(&self) -> Result<Streams, SettingFault> {
        Ok(Streams {
            bookmark_interval: self.get("streams.bookmark_interval", value::duration)?,
            keepalive_interval: self.get("streams.keepalive_interval", value::duration)?,
            keepalive_timeout: self.get("streams.keepalive_timeout", value::duration)?,
            kill_ack_deadline: self.get("streams.kill_ack_deadline", value::duration)?,
            change_ack_deadline: self.get("streams.change_ack_deadline", value::duration)?,
            lost_for: self.get("streams.lost_for", value::duration)?,
            observe_for: self.get("streams.observe_for", value::duration)?,
            enabled: self.get("streams.enabled", value::switch)?,
            max: self.get("streams.max", value::count)?,
            opens_per_second: self.get("streams.opens_per_second", value::count)?,
            transfers: self.get("streams.transfers", value::count)?,
            transfer_hold: self.get("streams.transfer_hold", value::duration)?,
            stall: self.get("streams.stall", value::duration)?,
            retry: self.get("streams.retry", value::duration)?,
            threads: self.get("streams.threads", value::count)?,
        })
    }
}
