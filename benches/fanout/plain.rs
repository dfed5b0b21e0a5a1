//! Clients of the bare TCP writer: nothing but messages of one length that begin with their number.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::board::{Board, Mark};
use crate::converse::{Talk, pieces};

/// Bytes of every message of the bare servers, about what a kill costs with names of usual length.
pub const MESSAGE: usize = 200;

/// A reader.
#[derive(Debug)]
pub struct Plain {
    /// Where it reports.
    pub board: Arc<Board>,
    /// What it reported.
    pub mark: Mark,
    /// Half a message.
    pub rest: Vec<u8>,
}

/// The message of a number.
pub fn message(number: u64) -> [u8; MESSAGE] {
    let mut message = [0; MESSAGE];
    for (place, byte) in message.iter_mut().zip(number.to_be_bytes()) {
        *place = byte;
    }
    message
}

impl Talk for Plain {
    fn open(&mut self, _: &mut Vec<u8>) {}

    fn take(&mut self, bytes: &[u8], at: Instant, _: &mut Vec<u8>) -> Result<()> {
        let Self { board, mark, rest } = self;
        pieces(
            rest,
            bytes,
            |_| Some(MESSAGE),
            |message| {
                board.heard();
                let number = message.first_chunk().context("a message without a number")?;
                board.arrived(mark, u64::from_be_bytes(*number), at);
                board.synced(mark, at);
                Ok(())
            },
        )
    }
}
