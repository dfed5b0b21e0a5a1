//! A watched flag file: read it, tell the one writer, again whenever its text changes.
//!
//! The file is polled by content, since editors, configuration management and container mounts replace files in ways
//! that notifications miss. A new text must stand still for one poll before it is taken, so that a file cut in the
//! middle of a save is not. Whatever is wrong with it, the last good state serves on and the log says why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::control::Control;
use crate::control::command::{Call, Command, Outcome, TakeFile, TextDigest, digest};
use crate::control::refusal::Refusal;
use crate::flag::diagnostic::{Diagnostic, Places, Subject, join_pointer};
use crate::flag::key::EnvironmentName;
use crate::flag::limits::FILE_BYTES_MAX;
use crate::flag::parse::{Format, Parsed, parse_document};

/// A file to watch.
#[derive(Debug, Clone)]
pub struct FileSource {
    /// Where it is.
    pub path: PathBuf,
    /// Where its flags belong unless it names an environment itself.
    pub environment: EnvironmentName,
    /// Whether it may delete more than a fifth of the flags that came from it.
    pub allow_deletes: bool,
    /// How long between two looks.
    pub every: Duration,
}

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SourceFault {
    /// It cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is larger than the limit.
    #[error(
        "{path} has {bytes} bytes, at most {FILE_BYTES_MAX} are allowed; split it or use the import endpoint in parts"
    )]
    TooLarge {
        /// The file.
        path: String,
        /// How many bytes it has.
        bytes: u64,
    },
    /// The document itself cannot be read, or none of it.
    #[error("{} cannot be used; the last good state serves on: {}", .path, .diagnostics.first().map(ToString::to_string).unwrap_or_default())]
    Document {
        /// The file.
        path: String,
        /// What is wrong.
        diagnostics: Vec<Diagnostic>,
    },
    /// The writer refused it.
    #[error("{path} was refused; the last good state serves on: {refusal}")]
    Refused {
        /// The file.
        path: String,
        /// Why.
        refusal: Refusal,
    },
}

impl FileSource {
    /// Reads the file, has it taken in once and says in the log what came of it. Returns the digest of the text that was
    /// read, none where none was.
    pub async fn import(&self, control: &Control) -> Option<TextDigest> {
        let (digest, result) = match read(&self.path).await {
            Ok(text) => (Some(digest(&text)), self.take(control, &text).await),
            Err(fault) => (None, Err(fault)),
        };
        self.report(result);
        digest
    }

    /// Watches the file until told to stop. `taken` is the digest of the text that [`Self::import`] read: whatever the
    /// file says since is taken.
    pub async fn watch(self, taken: Option<TextDigest>, control: Control, stop: CancellationToken) {
        let mut taken = taken;
        let mut seen = taken;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.every) => {}
            }
            let text = match read(&self.path).await {
                Ok(text) => text,
                Err(fault) => {
                    // A file that is away for a moment is being replaced; say it once.
                    if seen.take().is_some() {
                        tracing::warn!(%fault, "the flag file cannot be read; the last good state serves on");
                    }
                    continue;
                }
            };
            let found = Some(digest(&text));
            let settled = found == seen;
            seen = found;
            if settled && found != taken {
                taken = found;
                self.report(self.take(&control, &text).await);
            }
        }
    }

    /// Says in the log what came of taking the file.
    fn report(&self, result: Result<Outcome, SourceFault>) {
        let file = self.path.display();
        match result {
            Ok(outcome) => {
                let changed = outcome.objects.len();
                tracing::info!(%file, changed, revision = outcome.revision.map(|r| r.0), "flag file taken");
                for note in &outcome.notes {
                    tracing::warn!(%file, "{note}");
                }
            }
            Err(fault) => {
                if let SourceFault::Document { diagnostics, .. }
                | SourceFault::Refused { refusal: Refusal::Invalid(diagnostics), .. } = &fault
                {
                    for diagnostic in diagnostics {
                        tracing::warn!(%file, "{diagnostic}");
                    }
                }
                tracing::error!(%fault, "flag file not taken");
            }
        }
    }

    async fn take(&self, control: &Control, text: &[u8]) -> Result<Outcome, SourceFault> {
        let name = self.path.display().to_string();
        let parsed = parse(text, &self.path, &name);
        if parsed.unreadable {
            return Err(SourceFault::Document { path: name, diagnostics: parsed.diagnostics });
        }
        let take = TakeFile {
            environment: self.environment.clone(),
            source: identity(&self.path),
            digest: digest(text),
            unread: BTreeMap::new(),
            places: places([&parsed]),
            file: parsed.file,
            bad: parsed.bad_flags,
            bad_keys: parsed.bad_keys,
            bad_segments: parsed.bad_segments,
            allow_deletes: self.allow_deletes,
        };
        let call = Call::of_file(&name);
        let refused = |refusal| SourceFault::Refused { path: name, refusal };
        let mut outcome = control.submit(Command::TakeFile(take), call).await.map_err(refused)?;
        outcome.notes.extend(parsed.diagnostics.iter().map(ToString::to_string));
        Ok(outcome)
    }
}

/// What the journal remembers a file by: its name without the folder it happens to stand in, so that a checkout in
/// another place is the same file.
fn identity(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Reads a whole file.
///
/// # Errors
/// It cannot be read, is no regular file, or is too large.
pub(super) async fn read(path: &Path) -> Result<Vec<u8>, SourceFault> {
    let name = || path.display().to_string();
    let unreadable = |error| SourceFault::Unreadable { path: name(), error };
    let about = tokio::fs::metadata(path).await.map_err(unreadable)?;
    if !about.is_file() {
        let error = std::io::Error::other("it is not a regular file");
        return Err(SourceFault::Unreadable { path: name(), error });
    }
    if about.len() > FILE_BYTES_MAX as u64 {
        return Err(SourceFault::TooLarge { path: name(), bytes: about.len() });
    }
    tokio::fs::read(path).await.map_err(unreadable)
}

/// Reads a document in the format that the file's name or, without one, its text has.
pub(super) fn parse(text: &[u8], path: &Path, name: &str) -> Parsed {
    parse_document(text, Format::of_path(path).unwrap_or_else(|| Format::of_text(text)), Some(name))
}

/// Where the flags and segments of documents stand; of those that stand in several, the last place.
pub(super) fn places<'d>(documents: impl IntoIterator<Item = &'d Parsed>) -> Places {
    let mut places = Places::default();
    for parsed in documents {
        let positions = Arc::new(parsed.positions.clone());
        for (id, pointer) in &parsed.pointers {
            places.insert(Subject::Flag(id.clone()), pointer.clone(), &positions);
        }
        for name in parsed.file.segments.keys() {
            let pointer = join_pointer("/segments", name.as_str());
            places.insert(Subject::Segment(name.clone()), pointer, &positions);
        }
    }
    places
}
