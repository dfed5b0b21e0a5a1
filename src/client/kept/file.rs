//! The two generations on disk: written beside, synced, and moved into place.
//!
//! A crash at any point leaves at least one whole generation. Blocking; whoever calls it is on a thread for that.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::format;
use crate::sync::replica::Kept;

/// Bytes of a file that is read: more is nothing that this client wrote.
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// The files of one client.
#[derive(Debug, Clone)]
pub struct Files {
    newest: PathBuf,
    /// The newest is known to be whole, so it may take the place of the one before.
    whole: bool,
}

impl Files {
    /// The files under a path: that is the newest; the one before has `.previous` at its end.
    pub fn at(path: &Path) -> Self {
        Self { newest: path.to_owned(), whole: false }
    }

    /// The newest generation that can be used and is of the environment, where one is asked for. What cannot be used
    /// is warned about and left where it is.
    pub fn load(&mut self, environment: &str) -> Option<Kept> {
        for (path, is_newest) in [(self.newest.clone(), true), (self.beside("previous"), false)] {
            let kept = match read(&path) {
                Ok(file) => format::read(&file).map_err(|fault| fault.to_string()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => Err(error.to_string()),
            };
            let why = match kept {
                Ok(kept) if environment.is_empty() || *kept.environment == *environment => {
                    self.whole = is_newest;
                    return Some(kept);
                }
                Ok(kept) => format!("it is of the environment {}", kept.environment),
                Err(why) => why,
            };
            tracing::warn!(path = %path.display(), why, "a file of kept flags is not used");
        }
        None
    }

    /// Keeps a copy; the newest generation becomes the one before.
    ///
    /// # Errors
    /// What the disk says. What was there stays.
    pub fn store(&mut self, kept: &Kept) -> io::Result<()> {
        let fresh = self.beside("new");
        let mut file = create(&fresh)?;
        file.write_all(&format::write(kept))?;
        file.sync_all()?;
        drop(file);
        if self.whole {
            fs::rename(&self.newest, self.beside("previous"))?;
        }
        fs::rename(&fresh, &self.newest)?;
        self.whole = true;
        // Only with its folder is a name on the disk.
        let folder = self.newest.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.newest.clone().into_os_string();
        name.push(".");
        name.push(ending);
        PathBuf::from(name)
    }
}

/// Rules may name people: nobody but the owner reads them.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if read as u64 > FILE_BYTES_MAX { Err(io::Error::other("it is too large")) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::kept;
    use super::*;
    use crate::flag::time::Revision;

    fn loaded(path: &Path) -> Option<Revision> {
        Files::at(path).load("production").map(|kept| kept.place.revision)
    }

    #[test]
    fn the_newest_whole_generation_is_used_and_two_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flags.kept");
        assert_eq!(loaded(&path), None);
        let mut files = Files::at(&path);
        for revision in 1..=3 {
            files.store(&kept(revision)).unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert_eq!(loaded(&path), Some(Revision(3)));
        let file = fs::read(&path).unwrap();
        fs::write(&path, &file[..file.len() - 1]).unwrap();
        assert_eq!(loaded(&path), Some(Revision(2)), "the newest is cut off");
        let mut files = Files::at(&path);
        files.load("").unwrap();
        files.store(&kept(4)).unwrap();
        fs::write(&path, "something else").unwrap();
        assert_eq!(loaded(&path), Some(Revision(2)), "a damaged file never takes the place of a whole one");
        fs::remove_file(&path).unwrap();
        assert_eq!(loaded(&path), Some(Revision(2)), "a crash between the two moves");
    }

    #[test]
    fn another_environments_file_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flags.kept");
        Files::at(&path).store(&kept(1)).unwrap();
        assert!(Files::at(&path).load("staging").is_none());
        assert!(Files::at(&path).load("").is_some());
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_and_no_more() {
        assert!(Files::at(Path::new("/nonexistent/flags.kept")).store(&kept(1)).is_err());
        assert!(Files::at(Path::new("/nonexistent/flags.kept")).load("").is_none());
    }
}
