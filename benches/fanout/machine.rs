//! What the kernel says: which cores, how much processor time and memory a process took, and whether programs can be
//! kept on cores of their own. Reads `/proc`; measures nothing itself.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::clock;

/// The server of this repository, built by the same cargo.
const RAMPART: &str = env!("CARGO_BIN_EXE_rampart");
/// A tick of `/proc/PID/stat`: 100 a second on every Linux that is in use.
const TICK: Duration = Duration::from_millis(10);

/// The machine and how the program uses it.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// What the processor calls itself.
    pub processor: String,
    /// The kernel's version.
    pub kernel: String,
    /// True where servers have core 0 and everything else core 1.
    pub pinned: bool,
    /// True where the kernel kills what this program started when it dies itself.
    #[serde(skip)]
    leashed: bool,
    /// The commit that is measured, if git knows it.
    pub commit: Option<String>,
    /// The server that is measured.
    pub rampart: PathBuf,
    /// Files that a process may hold open.
    pub files: u64,
}

impl Machine {
    /// Looks around, and takes core 1 for this process where there are two and `taskset`.
    pub fn settle(pin: bool, rampart: Option<&Path>) -> Result<Self> {
        let cores = std::thread::available_parallelism().context("the number of cores")?.get();
        let pinned = pin && cores > 1 && said("taskset", &["--version"]).is_some() && pin_self();
        let rampart = rampart.unwrap_or(Path::new(RAMPART)).to_owned();
        let leashed = said("setpriv", &["--pdeathsig", "KILL", "true"]).is_some();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let processor = processor.map_or_else(|| "?".to_owned(), |(_, name)| name.trim().to_owned());
        Ok(Self { cores, processor, kernel, pinned, leashed, rampart, commit: commit(), files: raise_files()? })
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let pinned = match self.pinned {
            true => "servers on core 0, generators on core 1",
            false => "NOT pinned (one core, no taskset, or --no-pin)",
        };
        let commit = self.commit.as_deref().unwrap_or("no commit");
        format!("{} cores, {}, Linux {}, {pinned}, {commit}", self.cores, self.processor, self.kernel)
    }

    /// A command that runs where servers run.
    pub fn on_server_core(&self, program: &Path) -> Command {
        self.on_core("0", program)
    }

    /// A command that runs where everything else runs.
    pub fn on_generator_core(&self, program: &Path) -> Command {
        self.on_core("1", program)
    }

    fn on_core(&self, core: &str, program: &Path) -> Command {
        // Each word is a program that becomes the next one; the first lets no process outlive this one.
        let mut words: Vec<&OsStr> = Vec::new();
        if self.leashed {
            words.extend(["setpriv", "--pdeathsig", "KILL"].map(OsStr::new));
        }
        if self.pinned {
            words.extend(["taskset", "-c", core].map(OsStr::new));
        }
        words.push(program.as_os_str());
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }
}

/// What a program prints, where it is there and content.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn pin_self() -> bool {
    said("taskset", &["-a", "-c", "-p", "1", &std::process::id().to_string()]).is_some()
}

fn commit() -> Option<String> {
    let folder = env!("CARGO_MANIFEST_DIR");
    let hash = said("git", &["-C", folder, "rev-parse", "--short", "HEAD"])?;
    let dirty = said("git", &["-C", folder, "status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    Some(if dirty { format!("commit {hash} with changes") } else { format!("commit {hash}") })
}

/// Raises the number of files this process and its children may hold to what is permitted, and says what it is now.
fn raise_files() -> Result<u64> {
    let (soft, hard) = files()?;
    if soft < hard {
        let process = std::process::id().to_string();
        let limit = format!("--nofile={hard}:{hard}");
        // Where that fails the old limit is in force, and is what is reported.
        drop(said("prlimit", &["--pid", &process, &limit]));
    }
    Ok(files()?.0)
}

fn files() -> Result<(u64, u64)> {
    let limits = fs::read_to_string("/proc/self/limits").context("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("no limit of open files")?;
    let mut words = line.split_whitespace().map(|word| word.parse().unwrap_or(u64::MAX));
    Ok((words.next().context("no soft limit")?, words.next().context("no hard limit")?))
}

/// Processor time that a process took so far: in nanoseconds by its threads' `schedstat`, else in ticks of 10 ms.
pub fn processor_time(process: u32) -> Result<Duration> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).context("the process is gone")?;
    let spent = |thread: fs::DirEntry| -> Option<u64> {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    let nanoseconds: u64 = threads.filter_map(Result::ok).filter_map(spent).sum();
    if nanoseconds > 0 {
        return Ok(Duration::from_nanos(nanoseconds));
    }
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("the process is gone")?;
    // The name in parentheses may hold spaces; utime and stime are fields 14 and 15, so 11 and 12 behind it.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u32 = rest.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u32>().ok()).sum();
    Ok(TICK * ticks)
}

/// A line of `/proc/PID/status` in KiB: `VmRSS` or `VmHWM`, the peak.
pub fn memory_kib(process: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()).with_context(|| format!("no {name}"))?;
    number.parse().with_context(|| format!("{name} is no number"))
}

/// Waits until a process does next to nothing, at most five seconds.
pub async fn until_quiet(process: u32) -> Result<()> {
    let step = Duration::from_millis(100);
    let mut before = processor_time(process)?;
    for _ in 0..50 {
        clock::pause(step).await;
        let after = processor_time(process)?;
        if after.saturating_sub(before) < step / 25 {
            return Ok(());
        }
        before = after;
    }
    Ok(())
}
