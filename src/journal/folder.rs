//! The data folder: one process per folder, files that only their owner reads, and writes that survive a power cut.
//!
//! | file | what |
//! |---|---|
//! | `rampart.lock` | locked while a server runs; holds its process id |
//! | `journal.db`, `-wal`, `-shm` | the records (SQLite) |
//! | `head` | the last acknowledged head, see `head_file` |
//! | `kills.pending` | kills that wait for the journal, see `pending` |
//! | `checkpoint` | the folded world, a cache |

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use tracing::warn;

use super::error::JournalError;

const LOCK: &str = "rampart.lock";

/// The database's name inside the folder.
pub(super) const DATABASE: &str = "journal.db";
/// The checkpoint's name inside the folder.
pub(super) const CHECKPOINT: &str = "checkpoint";

/// A data folder that this process, and this value in it, has for itself.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    lock: File,
}

impl Folder {
    /// Takes the folder, creating it where it is missing.
    ///
    /// # Errors
    /// [`JournalError::Locked`] where somebody has it, [`JournalError::Unavailable`] where it cannot be used.
    pub fn take(path: &Path) -> Result<Self, JournalError> {
        let cannot = |what: &str| format!("{what} the data folder {}", path.display());
        create_folder(path).map_err(|error| JournalError::unavailable(cannot("cannot create"), error))?;
        let mut lock = open_private(&path.join(LOCK))
            .map_err(|error| JournalError::unavailable(cannot("cannot write to"), error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = lock.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(JournalError::Locked { path: path.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(JournalError::unavailable(cannot("cannot lock"), error)),
        }
        // Only for people and for the message above: a full disk must not keep a server from starting.
        if let Err(error) = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())) {
            warn!(%error, "process id not written to the lock file");
        }
        Ok(Self { path: path.to_owned(), lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    /// Gives the lock back by name: closing would leave it with a process that was being started at this moment and
    /// has not let go of what it inherited yet.
    fn drop(&mut self) {
        if let Err(error) = self.lock.unlock() {
            warn!(%error, "data folder not unlocked");
        }
    }
}

/// True where a server keeps, or kept, its journal in the folder.
pub fn is_taken_up(path: &Path) -> bool {
    path.join(DATABASE).exists()
}

/// Opens a file for reading and writing that nobody else may read, creating it where it is missing.
///
/// # Errors
/// What the system says.
pub fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Puts a private file in place whole or not at all, also across a power cut.
///
/// # Errors
/// What the system says; the old file, if there was one, then stands.
pub fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_added_extension("new");
    let written = open_private(&beside).and_then(|mut file| {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written {
        // The half-written file would only take the space that is missing.
        std::fs::remove_file(&beside).ok();
        return Err(error);
    }
    std::fs::rename(&beside, path)?;
    sync_folder_of(path)
}

/// Makes a file's name durable.
///
/// # Errors
/// What the system says.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    sync_folder_of(path)
}
