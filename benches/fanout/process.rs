//! The processes under measurement: Rampart with a temporary data folder, the bare writers, the makers of load. Each is
//! killed when it is dropped.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::arguments::Bare;
use crate::machine::Machine;
use crate::{clock, converse};

/// How long a process may take to say where it listens, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that ends with its owner.
#[derive(Debug)]
pub struct Running {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// Starts a command.
    pub fn start(command: &mut Command) -> Result<Self> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().context("a pipe")?);
        Ok(Self { process, input, output })
    }

    /// Its number: `taskset` becomes what it starts, so this is the program itself.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line).context("its output")? == 0 {
            bail!("the process ended before it said anything");
        }
        Ok(line)
    }

    /// Closes its input, which tells it to finish, and gives what it printed.
    pub fn finish(mut self) -> Result<String> {
        drop(self.input.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text).context("its output")?;
        Ok(text)
    }

    /// Kills it at once.
    pub fn kill_9(&mut self) -> Result<()> {
        self.process.kill().context("it cannot be killed")?;
        self.process.wait().context("it does not end")?;
        Ok(())
    }

    /// Asks it to stop.
    pub fn terminate(&self) -> Result<()> {
        let id = self.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().context("kill does not run")?;
        if !sent.success() {
            bail!("SIGTERM was not delivered");
        }
        Ok(())
    }

    /// Waits for its end.
    pub async fn ended(&mut self, limit: Duration) -> Result<std::process::ExitStatus> {
        let began = clock::now();
        while began.elapsed() < limit {
            if let Some(status) = self.process.try_wait().context("its status")? {
                return Ok(status);
            }
            clock::pause(Duration::from_millis(20)).await;
        }
        bail!("it did not end within {} s", limit.as_secs())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A running Rampart.
#[derive(Debug)]
pub struct Rampart {
    /// Its process.
    pub running: Running,
    /// The data plane.
    pub data: SocketAddr,
    /// The control plane.
    pub admin: SocketAddr,
    folder: TempDir,
}

impl Rampart {
    /// Starts one on a new folder.
    pub fn start(machine: &Machine) -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the journal")?;
        let (running, data, admin) = run(machine, folder.path(), ["127.0.0.1:0"; 2])?;
        Ok(Self { running, data, admin, folder })
    }

    /// Starts it again after its end, where it was and with what it had.
    pub fn again(&mut self, machine: &Machine) -> Result<()> {
        let [data, admin] = [self.data.to_string(), self.admin.to_string()];
        let (running, ..) = run(machine, self.folder.path(), [&data, &admin])?;
        self.running = running;
        Ok(())
    }

    /// The file with the first admin token.
    pub fn token_file(&self) -> PathBuf {
        self.folder.path().join("admin.token")
    }

    /// The first admin token.
    pub fn token(&self) -> Result<String> {
        read_token(&self.token_file())
    }
}

/// A token from its file.
pub fn read_token(file: &Path) -> Result<String> {
    Ok(std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?.trim().to_owned())
}

fn run(machine: &Machine, folder: &Path, [data, admin]: [&str; 2]) -> Result<(Running, SocketAddr, SocketAddr)> {
    let mut command = machine.on_server_core(&machine.rampart);
    // Nothing of the caller's environment may change what is measured.
    command.args(["serve", "--listen", data, "--admin-listen", admin, "--log-filter", "error", "--data-dir"]);
    command.arg(folder).env_clear();
    if let Some(path) = option_env!("PATH") {
        command.env("PATH", path);
    }
    let mut running = Running::start(&mut command)?;
    let line = running.line()?;
    let address = |plane: &str| -> Result<SocketAddr> {
        let rest = line.split_once(&format!("{plane} http://")).map(|(_, rest)| rest);
        let word =
            rest.and_then(|rest| rest.split_whitespace().next()).with_context(|| format!("no {plane}: {line}"))?;
        word.parse().with_context(|| format!("not an address: {word}"))
    };
    Ok((running, address("data")?, address("admin")?))
}

/// A running bare writer.
#[derive(Debug)]
pub struct BareServer {
    /// Its process.
    pub running: Running,
    /// Where its clients connect.
    pub clients: SocketAddr,
    control: TcpStream,
    kind: Bare,
}

impl BareServer {
    /// Starts one.
    pub async fn start(machine: &Machine, kind: Bare) -> Result<Self> {
        let word = format!("{kind:?}").to_lowercase();
        let mut running = Running::start(machine.on_server_core(&own_program()?).args(["bare", &word]))?;
        let line = running.line()?;
        let (clients, control) = line.trim().split_once(' ').with_context(|| format!("not two addresses: {line}"))?;
        let control = converse::connect(control.parse()?).await.context("the control connection")?;
        Ok(Self { running, clients: clients.parse()?, control, kind })
    }

    /// Makes it send the next message; where it counts receipts, waits for the last one.
    pub async fn fire(&mut self) -> Result<()> {
        self.control.write_all(b"!").await?;
        if self.kind == Bare::Receipts {
            let answered = tokio::time::timeout(PATIENCE, self.control.read_u8()).await;
            answered.context("the receipts never were complete")??;
        }
        Ok(())
    }
}

/// This program.
pub fn own_program() -> Result<PathBuf> {
    std::env::current_exe().context("the program's own path")
}
