//! One client, the server's session for it, and the network between them; with what the history says of both.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use super::model::{FlagNumber, Held, Known, State};
use super::network::Link;
use crate::sync::message::{ClientMessage, Digest, Mode, Resume, ServerMessage};
use crate::sync::replica::Replica;
use crate::sync::server::ServerSession;

/// A transfer as it was begun.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) state: Rc<State>,
    pub(super) mode: Mode,
}

/// The history of one stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) greeted: bool,
    pub(super) resume: Option<Resume>,
    /// The client asked for everything, or was found to hold something else.
    pub(super) resynced: bool,
    /// Transfers and kill sets by nonce.
    pub(super) sent: BTreeMap<u64, Sent>,
    pub(super) kills: BTreeMap<u64, Rc<Known>>,
    /// The newest transfer's nonce and where it leads to.
    pub(super) newest: Option<(u64, u64)>,
    /// The nonce of the transfer that was applied last.
    pub(super) applied: u64,
    /// Every state and kill set that the client held since the stream began.
    pub(super) states: Vec<Digest>,
    pub(super) kill_states: Vec<BTreeMap<FlagNumber, u64>>,
    /// Revision and generation of the last bookmark sent.
    pub(super) bookmark: (u64, u64),
    /// A sign of life waits for room.
    pub(super) bookmark_due: bool,
    /// What the server counts as confirmed.
    pub(super) confirmed: Option<Digest>,
    /// Bookmarks in a row that the client was behind of.
    pub(super) behind: u32,
    /// The last transfers as they were sent: a network may repeat a whole one.
    pub(super) bursts: VecDeque<Vec<ServerMessage>>,
    /// Messages of the stream's first full transfer, for the bug that plays it again.
    pub(super) tape: Vec<ServerMessage>,
}

/// A client and its server's session.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) store: usize,
    pub(super) node: usize,
    pub(super) acks: bool,
    pub(super) slow: bool,
    pub(super) replica: Replica,
    pub(super) held: Held,
    /// An older state of its own.
    pub(super) saved: Option<(Replica, Held)>,
    pub(super) session: Option<ServerSession>,
    pub(super) stream: Stream,
    pub(super) down: Link<ServerMessage>,
    pub(super) up: Link<ClientMessage>,
    pub(super) storm_until: u64,
    /// The last step at which something befell it that is not its own doing.
    pub(super) disturbed: u64,
    /// It connects again then.
    pub(super) back_at: u64,
    pub(super) heard_at: u64,
    /// Something changed since the last check.
    pub(super) dirty: bool,
}

impl Client {
    pub(super) fn new(store: usize, acks: bool, slow: bool) -> Self {
        Self {
            store,
            node: 0,
            acks,
            slow,
            replica: Replica::default(),
            held: Held::default(),
            saved: None,
            session: None,
            stream: Stream::default(),
            down: Link::default(),
            up: Link::default(),
            storm_until: 0,
            disturbed: 0,
            back_at: 0,
            heard_at: 0,
            dirty: true,
        }
    }

    /// The stream is gone, with everything on its way.
    pub(super) fn cut(&mut self, back_at: u64) {
        self.replica.disconnected();
        self.session = None;
        self.stream = Stream::default();
        (self.down, self.up) = (Link::default(), Link::default());
        self.back_at = back_at;
    }

    pub(super) fn begin_stream(&mut self, environment: &Arc<str>, now: u64) {
        self.session = Some(ServerSession::new(Arc::clone(environment)));
        self.stream.states.extend(self.held.state.as_ref().map(|state| state.digest));
        self.stream.kill_states.push(self.held.known.killed());
        self.heard_at = now;
    }

    pub(super) fn in_storm(&self, now: u64) -> bool {
        now < self.storm_until
    }
}
