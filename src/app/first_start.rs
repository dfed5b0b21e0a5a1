//! The first start's admin token: made once, written to the data folder for its owner alone, never printed.
//!
//! The file is written before the token counts and gets its name after, so that a crash in between leaves either a
//! working token or none, never a server that nobody can enter.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

use crate::access::scope::{Scope, Scopes};
use crate::access::token::{Environments, IssuedToken, TOKEN_PREFIX, issue};
use crate::control::command::{Call, Command, NewToken};
use crate::control::{Control, Random, draw};
use crate::world::record::Actor;

/// The file in the data folder that holds the first admin token.
pub const ADMIN_TOKEN_FILE: &str = "admin.token";
const UNFINISHED: &str = "admin.token.new";

/// Makes the first admin token where there is none yet.
///
/// # Errors
/// The data folder or the journal cannot be written.
pub async fn admin_token(data_dir: &Path, control: &Control, random: Random, in_memory: bool) -> anyhow::Result<()> {
    let (unfinished, file) = (data_dir.join(UNFINISHED), data_dir.join(ADMIN_TOKEN_FILE));
    if !control.hub().tokens().is_empty() {
        return finish(&unfinished, &file, control);
    }
    if in_memory {
        std::fs::create_dir_all(data_dir).with_context(|| format!("cannot create {}", data_dir.display()))?;
    }
    let issued = issue(draw(random), draw(random));
    write_private(&unfinished, &issued).with_context(|| format!("cannot write {}", unfinished.display()))?;
    let token = NewToken {
        id: issued.id.to_string(),
        name: "first admin token".to_owned(),
        hash: issued.hash.0,
        scopes: Scopes::only(Scope::Admin),
        environments: Environments::All,
        expires: None,
    };
    let call = Call { actor: Actor::system("first-start"), reason: None, idempotency: None };
    control.submit(Command::IssueToken(token), call).await?;
    std::fs::rename(&unfinished, &file).with_context(|| format!("cannot write {}", file.display()))?;
    tracing::info!(file = %file.display(), "first start: the admin token is in this file; use it with `rampart … --data-dir DIR`, or RAMPART_TOKEN=$(cat FILE)");
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
