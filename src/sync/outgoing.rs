//! What a server is about to send, as references to what its subscribers share: so that a driver may look up the bytes
//! that it made for another one. It encodes nothing.

use std::sync::Arc;

use super::kills::KillList;
use super::message::{Epoch, ServerBody, ServerMessage};
use super::transfer::{Part, Plan};

/// Something to send, as references to what subscribers share; [`Outgoing::message`] spells it out.
#[derive(Debug, Clone)]
pub enum Outgoing {
    /// A part of a kill set.
    Kills {
        /// Names the set on this stream.
        nonce: u64,
        /// The store's epoch.
        epoch: Epoch,
        /// The set.
        list: Arc<KillList>,
        /// Which part of it, from 0.
        part: usize,
    },
    /// A part of a transfer.
    Transfer {
        /// Names the transfer on this stream.
        nonce: u64,
        /// The transfer.
        plan: Arc<Plan>,
        /// Which part of it.
        part: Part,
    },
    /// An answer to a ping.
    Pong(u64),
}

impl Outgoing {
    /// The whole message; none for a part that is not there, which no session gives out.
    pub fn message(&self, environment: &Arc<str>) -> Option<ServerMessage> {
        Some(match self {
            Self::Kills { nonce, epoch, list, part } => {
                ServerMessage { nonce: *nonce, body: ServerBody::Kills(list.part(*part, *epoch, environment)?) }
            }
            Self::Transfer { nonce, plan, part } => ServerMessage { nonce: *nonce, body: plan.body(*part) },
            Self::Pong(token) => ServerMessage::plain(ServerBody::Pong(*token)),
        })
    }
}
