//! One direction of one client's network: messages that wait, and the faults that befall them. A calm network keeps
//! order, as TCP does; a stormy one drops, repeats, delays and reorders, as no TCP does, since the machines must be
//! safe all the same. It does not know what it carries.

use super::dice::Dice;

/// Steps that a message may be late in a storm.
const DELAY_MAX: u64 = 8;

/// What befell a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Sent,
    Lost,
    Repeated,
    Late,
    /// It may overtake others.
    Loose,
}

impl Fate {
    pub(super) const fn word(self) -> Option<&'static str> {
        match self {
            Self::Sent => None,
            Self::Lost => Some("lost"),
            Self::Repeated => Some("repeated"),
            Self::Late => Some("late"),
            Self::Loose => Some("reordered"),
        }
    }
}

/// A message on its way.
#[derive(Debug, Clone)]
struct Waiting<M> {
    due: u64,
    /// The order of sending, which decides among messages due at once.
    order: u64,
    message: M,
}

/// One direction.
#[derive(Debug, Clone)]
pub(super) struct Link<M> {
    waiting: Vec<Waiting<M>>,
    sent: u64,
    /// When the last message in order is due.
    last_due: u64,
    /// Nothing passes before this step.
    pub(super) dead_until: u64,
}

impl<M> Default for Link<M> {
    fn default() -> Self {
        Self { waiting: Vec::new(), sent: 0, last_due: 0, dead_until: 0 }
    }
}

impl<M: Clone> Link<M> {
    /// Sends a message through a network that is calm or not.
    pub(super) fn send(&mut self, message: M, now: u64, storm: bool, dice: &mut Dice) -> Fate {
        if now < self.dead_until {
            return Fate::Lost;
        }
        let fate = match storm.then(|| dice.roll(60)) {
            Some(0..2) => Fate::Lost,
            Some(2..5) => Fate::Repeated,
            Some(5..15) => Fate::Late,
            Some(15..20) => Fate::Loose,
            _ => Fate::Sent,
        };
        let late = if fate == Fate::Sent { 0 } else { dice.roll(DELAY_MAX) };
        match fate {
            Fate::Lost => {}
            Fate::Sent | Fate::Late => {
                self.last_due = self.last_due.max(now + late);
                self.push(message, self.last_due);
            }
            Fate::Loose => self.push(message, now + late),
            Fate::Repeated => {
                self.last_due = self.last_due.max(now);
                self.push(message.clone(), self.last_due);
                self.push(message, now + late);
            }
        }
        fate
    }

    /// Sends messages once more, in order, after everything that waits.
    pub(super) fn repeat(&mut self, messages: Vec<M>, now: u64) {
        self.last_due = self.last_due.max(now);
        for message in messages {
            self.push(message, self.last_due);
        }
    }

    fn push(&mut self, message: M, due: u64) {
        self.sent += 1;
        self.waiting.push(Waiting { due, order: self.sent, message });
    }

    /// The next message that has arrived.
    pub(super) fn receive(&mut self, now: u64) -> Option<M> {
        if now < self.dead_until {
            return None;
        }
        let due = self.waiting.iter().enumerate().filter(|(_, waiting)| waiting.due <= now);
        let (at, _) = due.min_by_key(|(_, waiting)| (waiting.due, waiting.order))?;
        Some(self.waiting.remove(at).message)
    }

    /// How many messages wait: a writer that waits for room asks.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
