//! Processes that die and power that goes: a writer in a process of its own, killed or frozen in the middle of its work.
//!
//! The writer is this same test binary, told by its environment to write records and to print every acknowledged
//! revision. The power cut is an ext4 image that is copied while the writer is frozen: what the copy holds is what a
//! disk would hold after the power went, whatever the page cache knew.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rampart::journal::Journal;
use rampart::journal::audit::verify_dir;
use rampart::journal::replay::replay;
use rampart::world::fold::World;

use crate::journal_sample::{following, open};

const FOLDER: &str = "RAMPART_TEST_WRITER_FOLDER";

#[test]
#[ignore = "the writer process of the other tests"]
fn writer_process() {
    let folder = std::env::var_os(FOLDER).expect("started by another test");
    let journal = open(Path::new(&folder)).unwrap();
    let mut world = replay(&journal).unwrap().world;
    loop {
        // Some appends wait together, so that batches of several are cut too.
        let records = following(*world.head(), 4);
        let waiting: Vec<_> = records.iter().map(|record| journal.append(vec![record.clone()])).collect();
        for appending in waiting {
            println!("acknowledged {}", appending.wait().unwrap().revision);
        }
        records.iter().for_each(|record| world.apply(&rampart::world::chain::open(record).unwrap()));
        if world.revision().0.is_multiple_of(64) {
            journal.put_checkpoint(&rampart::world::checkpoint::encode(&world)).unwrap();
        }
    }
}

/// A running writer and what it said.
struct Writer {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Writer {
    fn start(folder: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "power_cut::writer_process", "--ignored", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self { process, lines }
    }

    /// Reads until that many more revisions were acknowledged; the last of them.
    fn wait_for(&mut self, acknowledgements: usize) -> u64 {
        let mut last = 0;
        let mut seen = 0;
        let mut line = String::new();
        while seen < acknowledgements {
            line.clear();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "the writer ended by itself");
            if let Some(revision) = acknowledged(&line) {
                (last, seen) = (revision, seen + 1);
            }
        }
        last
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Kills it; the last revision that it acknowledged before it died.
    fn kill(mut self, last: u64) -> u64 {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        let whole_lines = rest.rsplit_once('\n').map_or("", |(lines, _)| lines);
        whole_lines.lines().filter_map(acknowledged).next_back().unwrap_or(last)
    }
}

fn acknowledged(line: &str) -> Option<u64> {
    line.split_once("acknowledged ")?.1.trim().parse().ok()
}

/// Everything acknowledged is there, verifies, and folds.
fn nothing_is_lost(folder: &Path, acknowledged: u64) -> World {
    let verified = verify_dir(folder).unwrap();
    assert!(verified.tally.head.revision.0 >= acknowledged, "{acknowledged} acknowledged, {verified:?}");
    let journal = open(folder).unwrap();
    assert_eq!(journal.head(), verified.tally.head);
    let world = replay(&journal).unwrap().world;
    assert_eq!(*world.head(), journal.head());
    world
}

#[test]
fn a_killed_writer_loses_nothing_that_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = 0;
    for round in 0..25 {
        let mut writer = Writer::start(folder.path());
        let last = writer.wait_for(1 + round * 7 % 40);
        let last = writer.kill(last);
        let world = nothing_is_lost(folder.path(), last);
        assert!(world.revision().0 > before);
        before = world.revision().0;
    }
}

/// A mounted file system that is unmounted when dropped.
struct Mounted<'p>(&'p Path);

impl<'p> Mounted<'p> {
    fn image(image: &Path, at: &'p Path) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
        run("mount", &["-o", "loop", &image.display().to_string(), &at.display().to_string()])?;
        Ok(Self(at))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        run("umount", &[&self.0.display().to_string()]).ok();
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let shared = Path::new("/dev/shm");
    let root = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() }.unwrap();
    for round in 0..3 {
        if let Err(reason) = power_cut(root.path(), 50 + round * 60) {
            eprintln!("SKIPPED: no ext4 image can be mounted here, the power cut is not tested: {reason}");
            return;
        }
    }
}

fn power_cut(root: &Path, acknowledgements: usize) -> Result<(), String> {
    let (image, copy) = (root.join("disk.img"), root.join("after.img"));
    std::fs::File::create(&image).and_then(|file| file.set_len(48 * 1024 * 1024)).map_err(|error| error.to_string())?;
    run("mkfs.ext4", &["-q", "-F", &image.display().to_string()])?;
    let (running, after) = (root.join("running"), root.join("after"));
    let last = {
        let mounted = Mounted::image(&image, &running)?;
        // What was written before the server started is on the disk.
        let folder = mounted.0.join("data");
        drop(open(&folder).unwrap());
        let mut writer = Writer::start(&folder);
        writer.wait_for(acknowledgements);
        writer.signal("-STOP");
        let copied = run("cp", &["--sparse=always", &image.display().to_string(), &copy.display().to_string()]);
        // Nothing is acknowledged between the copy and the death of a frozen process.
        let last = writer.kill(0);
        copied?;
        last
    };
    let mounted = Mounted::image(&copy, &after)?;
    nothing_is_lost(&mounted.0.join("data"), last);
    Ok(())
}
