//! The command line, of the program and of the processes that it starts of itself.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

/// Kill to N subscribers until the last receipt, beside bare writers in the same run.
#[derive(Debug, Parser)]
#[command(name = "fanout")]
pub struct Arguments {
    /// How many subscribers. 50000 and more share connections, 100 each; fewer have one each.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,50000")]
    pub subscribers: Vec<usize>,
    /// Which ways of subscribing.
    #[arg(long, value_delimiter = ',', default_value = "grpc,sse")]
    pub transport: Vec<Transport>,
    /// With nothing else to do, or under 100 changes a second and a flood of evaluations.
    #[arg(long, value_delimiter = ',', default_value = "idle,busy")]
    pub load: Vec<Load>,
    /// Kills per case; medians and the worst are reported.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Flags of the environment, all of which every subscriber gets first.
    #[arg(long, default_value_t = 100)]
    pub flags: usize,
    /// Where the figures go.
    #[arg(long, default_value = "target/bench/fanout.json")]
    pub json: PathBuf,
    /// A look only: 1,000 subscribers, idle, three rounds.
    #[arg(long)]
    pub quick: bool,
    /// Also: SIGKILL the server and see when everybody is back in sync.
    #[arg(long)]
    pub storm: bool,
    /// Also: stop the server with everybody connected.
    #[arg(long)]
    pub drain: bool,
    /// Leave out the kills: for --storm and --drain alone.
    #[arg(long)]
    pub no_kills: bool,
    /// Leave out the bare writers: for a profile of the server alone.
    #[arg(long)]
    pub no_bare: bool,
    /// Subscribers of --storm and --drain.
    #[arg(long, default_value_t = 10_000)]
    pub storm_subscribers: usize,
    /// Another build of the server, to compare.
    #[arg(long)]
    pub rampart: Option<PathBuf>,
    /// Leave the choice of cores to the kernel.
    #[arg(long)]
    pub no_pin: bool,
    /// Said by cargo.
    #[arg(long, hide = true)]
    pub bench: bool,
    /// What a process that the program started of itself does.
    #[command(subcommand)]
    pub role: Option<Role>,
}

/// A way of subscribing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// `rampart.v1.Subscription`.
    Grpc,
    /// `/v1/stream`.
    Sse,
}

/// What else the server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Load {
    /// Nothing.
    Idle,
    /// Changes and evaluations.
    Busy,
}

/// A bare writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bare {
    /// Writes to sockets.
    Tcp,
    /// A server stream of tonic.
    Tonic,
    /// The same with an answer from every client.
    Receipts,
    /// Server-sent events of axum.
    Sse,
}

/// What a process does that the program started of itself.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Be a bare writer.
    #[command(hide = true)]
    Bare {
        /// Which.
        kind: Bare,
    },
    /// Change flags.
    #[command(hide = true)]
    Churn {
        /// The control plane.
        admin: std::net::SocketAddr,
        /// The file with the token.
        token: PathBuf,
        /// Changes a second.
        rate: u32,
        /// Flags that are changed in turn.
        flags: usize,
    },
    /// Ask for evaluations.
    #[command(hide = true)]
    Flood {
        /// The data plane.
        data: std::net::SocketAddr,
        /// Connections.
        connections: usize,
    },
}

impl Arguments {
    /// What `--quick` means.
    pub fn settled(mut self) -> Self {
        if self.quick {
            self.subscribers = vec![1_000];
            self.load = vec![Load::Idle];
            self.rounds = 3;
        }
        self.rounds = self.rounds.max(1);
        self.flags = self.flags.max(1);
        self
    }
}
