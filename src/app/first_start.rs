//! The first start's admin token: made once, written to the data folder for its owner alone, never printed.
//!
//! The file is written before the token counts and gets its name after, so that a crash in between leaves either a
//! working token or none, never a server that nobody can enter.
//!
//! A server that keeps its changes in memory has a folder of its own inside the data folder, locked while it runs. So it
//! never overwrites the token of a server whose journal is there: a journal holds only hashes, so that token could not be
//! had again.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::access::scope::{Scope, Scopes};
use crate::access::token::{Environments, IssuedToken, TOKEN_PREFIX, issue, known};
use crate::control::command::{Call, Command, NewToken};
use crate::control::{Control, Random, draw};
use crate::journal::error::JournalError;
use crate::journal::folder::Folder;
use crate::world::record::Actor;

use super::settings::{JournalKind, Settings};

/// The file in the data folder that holds the first admin token.
pub const ADMIN_TOKEN_FILE: &str = "admin.token";
const UNFINISHED: &str = "admin.token.new";

/// How many servers that keep nothing may share a data folder.
const MEMORY_FOLDERS: u32 = 256;

/// The file that holds the admin token that a server made.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    /// The folder of a server that keeps its changes in memory; the token ends with it.
    own: Option<Folder>,
}

impl TokenFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TokenFile {
    /// Removes a token that counts no more. The folder stays, for the next such server to lock.
    fn drop(&mut self) {
        if self.own.is_some() {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// Makes the first admin token where there is none yet, or registers the one of the settings. Returns the file that
/// holds the one it made, now or at an earlier start.
///
/// # Errors
/// The data folder or the journal cannot be written.
pub async fn admin_token(settings: &Settings, control: &Control, random: Random) -> anyhow::Result<Option<TokenFile>> {
    if let Some(secret) = &settings.admin_token {
        register(&known(secret.expose())?, "admin token of the settings", control).await?;
        return Ok(None);
    }
    let issued = issue(draw(random), draw(random));
    let file = match settings.journal {
        JournalKind::Sqlite => first_token(&settings.data_dir, &issued, control).await?,
        JournalKind::Memory => token_in_memory(&settings.data_dir, &issued, control).await?,
    };
    Ok(file)
}

async fn first_token(dir: &Path, issued: &IssuedToken, control: &Control) -> anyhow::Result<Option<TokenFile>> {
    let (unfinished, file) = (dir.join(UNFINISHED), dir.join(ADMIN_TOKEN_FILE));
    if !control.hub().tokens().is_empty() {
        finish(&unfinished, &file, control)?;
        return Ok(Some(TokenFile { path: file, own: None }));
    }
    write_private(&unfinished, issued).with_context(|| format!("cannot write {}", unfinished.display()))?;
    register(issued, "first admin token", control).await?;
    std::fs::rename(&unfinished, &file).with_context(|| format!("cannot write {}", file.display()))?;
    announce(&file);
    Ok(Some(TokenFile { path: file, own: None }))
}

async fn token_in_memory(dir: &Path, issued: &IssuedToken, control: &Control) -> anyhow::Result<Option<TokenFile>> {
    let written = own_folder(dir).map_err(anyhow::Error::from).and_then(|own| {
        let path = own.path().join(ADMIN_TOKEN_FILE);
        // What an earlier server left after a crash may be there.
        write_private(&path, issued)?;
        Ok(TokenFile { path, own: Some(own) })
    });
    match written {
        Ok(file) => {
            register(issued, "first admin token", control).await?;
            announce(file.path());
            Ok(Some(file))
        }
        Err(error) => {
            // Nothing is kept anyway, so a read-only disk is no reason not to serve.
            tracing::warn!(folder = %dir.display(), error = format!("{error:#}"),
                "no admin token could be written, so nobody can kill a flag here; set RAMPART_ADMIN_TOKEN or RAMPART_DATA_DIR");
            Ok(None)
        }
    }
}

/// The first folder `memory-N` that no running server has.
fn own_folder(dir: &Path) -> Result<Folder, JournalError> {
    let mut number = 1;
    loop {
        match Folder::take(&dir.join(format!("memory-{number}"))) {
            Err(JournalError::Locked { .. }) if number < MEMORY_FOLDERS => number += 1,
            taken => return taken,
        }
    }
}

fn announce(file: &Path) {
    tracing::info!(file = %file.display(), "the admin token is in this file; use it with `rampart … --data-dir DIR`, DIR being its folder, or RAMPART_TOKEN=$(cat FILE)");
}

async fn register(token: &IssuedToken, name: &str, control: &Control) -> anyhow::Result<()> {
    if let Some(held) = control.hub().tokens().get(token.id) {
        if held.revoked || held.hash != token.hash {
            tracing::warn!(id = %token.id, "the admin token of the settings was revoked, or its id belongs to another one; it does not count");
        }
        return Ok(());
    }
    let token = NewToken {
        id: token.id.to_string(),
        name: name.to_owned(),
        hash: token.hash.0,
        scopes: Scopes::only(Scope::Admin),
        environments: Environments::All,
        expires: None,
    };
    let call = Call { actor: Actor::system("first-start"), reason: None, idempotency: None };
    control.submit(Command::IssueToken(token), call).await?;
    Ok(())
}

/// Names the file of a token that a crashed first start recorded; removes one that it did not.
fn finish(unfinished: &Path, file: &Path, control: &Control) -> anyhow::Result<()> {
    let Ok(text) = std::fs::read_to_string(unfinished) else { return Ok(()) };
    let now = control.clock().now();
    let counts = text.trim().starts_with(TOKEN_PREFIX) && control.hub().tokens().authenticate(text.trim(), now).is_ok();
    let done = if counts { std::fs::rename(unfinished, file) } else { std::fs::remove_file(unfinished) };
    done.with_context(|| format!("cannot put {} in order", unfinished.display()))
}

fn write_private(path: &Path, token: &IssuedToken) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{}", token.text)?;
    file.sync_all()
}
