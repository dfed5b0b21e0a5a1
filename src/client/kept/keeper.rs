//! When the copy is kept: at once after a kill, and otherwise when nothing was kept for a while, so that a busy hour
//! does not become a busy disk.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::file::Files;
use crate::flag::time::Generation;
use crate::sync::replica::Kept;

/// Keeps the newest copy that it is given, and the last one when told to stop.
pub async fn run(
    mut files: Files,
    mut copies: watch::Receiver<Option<Kept>>,
    pause: Duration,
    stop: CancellationToken,
) {
    let mut kept_generation = copies.borrow().as_ref().map(|kept| kept.kills.generation());
    loop {
        tokio::select! {
            changed = copies.changed() => if changed.is_err() { return },
            () = stop.cancelled() => if !copies.has_changed().unwrap_or(false) { return },
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.cancelled() => {}
            _ = copies.wait_for(|kept| generation(kept.as_ref()) != kept_generation) => {}
        }
        let Some(kept) = copies.borrow_and_update().clone() else { continue };
        kept_generation = generation(Some(&kept));
        let mut writer = files.clone();
        let stored = tokio::task::spawn_blocking(move || writer.store(&kept).map(|()| writer)).await;
        match stored {
            Ok(Ok(written)) => files = written,
            Ok(Err(error)) => tracing::warn!(%error, "the flags could not be kept in the last-known-good file"),
            Err(error) => tracing::warn!(%error, "keeping the flags failed"),
        }
    }
}

fn generation(kept: Option<&Kept>) -> Option<Generation> {
    kept.map(|kept| kept.kills.generation())
}
