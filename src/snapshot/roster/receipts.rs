//! The honest answer to "who has it?": six numbers that add up, and the names of those who have not.

use super::Client;
use crate::flag::time::Timestamp;
use crate::sync::message::Lane;

/// What became of one client and one publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It was there, applied it, and its set hash is the server's.
    Confirmed,
    /// It came later, and has it.
    LateJoined,
    /// Connected, and not yet.
    Pending,
    /// Applied, with objects that it cannot use.
    Rejected,
    /// Connected, and does not acknowledge, or without a set hash.
    Unconfirmable,
    /// Lost lately without a word, and not yet.
    Disconnected,
}

impl Fate {
    /// True where the client is known to have what was published, all of it.
    pub fn has_it(self) -> bool {
        matches!(self, Self::Confirmed | Self::LateJoined)
    }

    /// The word for people and machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::LateJoined => "lateJoined",
            Self::Pending => "pending",
            Self::Rejected => "rejected",
            Self::Unconfirmable => "unconfirmable",
            Self::Disconnected => "disconnected",
        }
    }
}

/// How many must have it for somebody to stop waiting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Word {
    /// Nobody: answer at once.
    Now,
    /// This share of all clients, above 0 and below 1.
    Share(f64),
    /// Everybody.
    All,
}

impl Word {
    /// Reads `all`, a share (`0.999`) or a percentage (`99.9%`).
    pub fn parse(text: &str) -> Option<Self> {
        if text == "all" {
            return Some(Self::All);
        }
        let share: f64 = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
            None => text.parse().ok()?,
        };
        match share {
            _ if !(0.0..=1.0).contains(&share) => None,
            _ if share <= 0.0 => Some(Self::Now),
            _ if share >= 1.0 => Some(Self::All),
            _ => Some(Self::Share(share)),
        }
    }
}

/// A position that this node does not serve yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} {position} is not served yet; the newest is {served}", name(*lane))]
pub struct NotPublished {
    /// On which lane.
    pub lane: Lane,
    /// What was asked for.
    pub position: u64,
    /// The newest there is.
    pub served: u64,
}

/// What a position of a lane is called.
pub fn name(lane: Lane) -> &'static str {
    match lane {
        Lane::Kills => "generation",
        Lane::Objects => "revision",
    }
}

/// Who has a generation or a revision. Everybody has only where all counts but `confirmed` and `late_joined` are 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipts {
    /// Which lane.
    pub lane: Lane,
    /// The generation or the revision.
    pub position: u64,
    /// When it was published; none where that is too long ago.
    pub published_at: Option<Timestamp>,
    /// Clients that are counted: the sum of the six below.
    pub subscribers: usize,
    /// As [`Fate::Confirmed`].
    pub confirmed: usize,
    /// As [`Fate::LateJoined`].
    pub late_joined: usize,
    /// As [`Fate::Pending`].
    pub pending: usize,
    /// As [`Fate::Rejected`].
    pub rejected: usize,
    /// As [`Fate::Unconfirmable`].
    pub unconfirmable: usize,
    /// As [`Fate::Disconnected`].
    pub disconnected: usize,
    /// From publish to the first receipt, in microseconds; 0 for none, as below.
    pub first_us: u64,
    /// To the median receipt.
    pub p50_us: u64,
    /// To the 99th percentile of receipts.
    pub p99_us: u64,
    /// To the last receipt so far.
    pub max_us: u64,
    /// Some of those that do not have it.
    pub missing: Vec<(Fate, Client)>,
}

impl Receipts {
    /// Nobody counted.
    pub fn none(lane: Lane, position: u64) -> Self {
        Self {
            lane,
            position,
            published_at: None,
            subscribers: 0,
            confirmed: 0,
            late_joined: 0,
            pending: 0,
            rejected: 0,
            unconfirmable: 0,
            disconnected: 0,
            first_us: 0,
            p50_us: 0,
            p99_us: 0,
            max_us: 0,
            missing: Vec::new(),
        }
    }

    /// Counts one client.
    pub fn note(&mut self, fate: Fate) {
        self.subscribers += 1;
        *match fate {
            Fate::Confirmed => &mut self.confirmed,
            Fate::LateJoined => &mut self.late_joined,
            Fate::Pending => &mut self.pending,
            Fate::Rejected => &mut self.rejected,
            Fate::Unconfirmable => &mut self.unconfirmable,
            Fate::Disconnected => &mut self.disconnected,
        } += 1;
    }

    /// How many have it.
    pub fn having(&self) -> usize {
        self.confirmed + self.late_joined
    }

    /// Whether as many have it as the word asks for. Where there is nobody, everybody has.
    pub fn has_reached(&self, word: Word) -> bool {
        match word {
            Word::Now => true,
            Word::All => self.having() == self.subscribers,
            Word::Share(share) => self.having() as f64 >= share * self.subscribers as f64,
        }
    }
}
