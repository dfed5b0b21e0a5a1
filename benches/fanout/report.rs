//! What is printed and written: one line for each case with its ratios, the figures of the issue with PASS or MISS, and
//! everything by name as JSON. A figure that is missed is news, not a failure.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::arguments::Load;
use crate::cases::{Case, median};
use crate::machine::Machine;
use crate::storm::{Drain, Storm};

/// Everything of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where it ran.
    pub machine: Machine,
    /// What was measured.
    pub cases: Vec<Case>,
    /// A restart, if there was one.
    pub storm: Option<Storm>,
    /// A stop, if there was one.
    pub drain: Option<Drain>,
    /// The figures of the issue that this run can judge.
    pub figures: Vec<Figure>,
}

/// A figure to beat.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// What.
    pub name: String,
    /// In this run.
    pub value: f64,
    /// At most.
    pub limit: f64,
    /// Whether it is kept.
    pub pass: bool,
}

impl Figure {
    fn at_most(name: String, value: f64, limit: f64) -> Self {
        Self { name, value, limit, pass: value <= limit }
    }
}

impl Case {
    fn middle(&self, figure: impl Fn(&crate::cases::Round) -> Option<f64>) -> Option<f64> {
        median(self.rounds.iter().filter_map(figure).collect())
    }

    fn last_client_ms(&self) -> f64 {
        self.middle(|round| Some(f64::from(round.times.max_us) / 1e3)).unwrap_or_default()
    }

    fn worst_ms(&self) -> f64 {
        self.rounds.iter().map(|round| f64::from(round.times.max_us) / 1e3).fold(0.0, f64::max)
    }

    fn p50_ms(&self) -> f64 {
        self.middle(|round| Some(f64::from(round.times.p50_us) / 1e3)).unwrap_or_default()
    }

    fn p99_ms(&self) -> f64 {
        self.middle(|round| Some(f64::from(round.times.p99_us) / 1e3)).unwrap_or_default()
    }

    fn cpu_us(&self) -> Option<f64> {
        self.middle(|round| round.cpu_us)
    }

    fn last_receipt_ms(&self) -> Option<f64> {
        self.middle(|round| round.last_receipt_us.map(|time| time as f64 / 1e3))
    }

    /// The last receipt; the last client where the server does not say.
    fn end_ms(&self) -> f64 {
        self.last_receipt_ms().unwrap_or_else(|| self.last_client_ms())
    }

    /// How much longer this took than another: receipts beside receipts where both have them, and a server without any
    /// by its last client.
    fn ratio(&self, other: &Self) -> f64 {
        let theirs = if self.last_receipt_ms().is_some() { other.end_ms() } else { other.last_client_ms() };
        self.end_ms() / theirs
    }

    fn is_rampart(&self) -> bool {
        self.server == "rampart"
    }

    fn line(&self, others: &[Self]) -> String {
        let beside = |server: &str| {
            let same = |other: &&Self| other.server == server && other.subscribers == self.subscribers;
            let other = others.iter().find(same).filter(|_| self.is_rampart());
            other.map_or_else(|| "-".to_owned(), |other| format!("{:.2}", self.ratio(other)))
        };
        let maybe = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.1}"));
        let load = if self.load == Load::Busy { "busy" } else { "idle" };
        format!(
            "{:<22} {:<4} {load:<4} {:>6} {:>6} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>8} {:>7} {:>6} {:>7.1} {:>6} {:>6} {:>6} {:>6}",
            self.server,
            self.transport,
            self.subscribers,
            self.connections,
            self.p50_ms(),
            self.p99_ms(),
            self.last_client_ms(),
            self.worst_ms(),
            maybe(self.last_receipt_ms()),
            maybe(self.cpu_us()),
            maybe(self.middle(|round| round.messages)),
            self.memory_kib,
            beside("bare tcp"),
            beside("bare tonic"),
            beside("bare tonic + receipts"),
            beside("bare axum sse"),
        )
    }

    fn loads(&self) -> Option<String> {
        let (churn, flood) = (self.churn.as_ref()?, self.flood.as_ref()?);
        Some(format!(
            "  with {} {} subscribers: {:.0} changes/s (p50 {} ms, p99 {} ms), {:.0} evaluations/s (p50 {} ms, p99 {} ms, max {} ms)",
            self.subscribers,
            self.transport,
            churn.rate,
            churn.p50_us / 1000,
            churn.p99_us / 1000,
            flood.rate,
            flood.p50_us as f64 / 1e3,
            flood.p99_us as f64 / 1e3,
            flood.max_us as f64 / 1e3
        ))
    }
}

impl Report {
    /// Judges what was measured.
    pub fn of(machine: Machine, cases: Vec<Case>, storm: Option<Storm>, drain: Option<Drain>) -> Self {
        let mut figures = Vec::new();
        for case in cases.iter().filter(|case| case.is_rampart()) {
            let name = format!("{} {}", case.subscribers, case.transport);
            let memory = format!("{name}: KiB per idle subscriber");
            // Both loads have the same subscribers.
            if figures.iter().all(|figure: &Figure| figure.name != memory) {
                figures.push(Figure::at_most(memory, case.memory_kib, 32.0));
            }
            if case.load == Load::Busy {
                figures.push(Figure::at_most(format!("{name}: p99 under churn and load, ms"), case.p99_ms(), 1_000.0));
                continue;
            }
            let bare = if case.transport == "sse" { "bare axum sse" } else { "bare tonic" };
            let same = |other: &&Case| other.server == bare && other.subscribers == case.subscribers;
            if let Some(other) = cases.iter().find(same) {
                let end = if case.last_receipt_ms().is_some() { "last receipt" } else { "last client" };
                let name = format!("{name}: kill to the {end}, as a multiple of {bare}");
                figures.push(Figure::at_most(name, case.ratio(other), 2.0));
            }
        }
        if let Some(storm) = &storm {
            let name = format!("{} gRPC clients back in sync after a restart, s since SIGKILL", storm.subscribers);
            figures.push(Figure::at_most(name, storm.since_kill_ms / 1e3, 15.0));
        }
        if let Some(drain) = &drain {
            let name = format!("drain of {} streams, s", drain.subscribers);
            let took = if drain.exit_code == Some(0) { drain.took_ms / 1e3 } else { f64::INFINITY };
            figures.push(Figure::at_most(name, took, 25.0));
        }
        Self { machine, cases, storm, drain, figures }
    }

    /// For people.
    pub fn print(&self) {
        println!("\n{}", self.machine.line());
        if !self.cases.is_empty() {
            heading();
        }
        for case in &self.cases {
            println!("{}", case.line(&self.cases));
        }
        for line in self.cases.iter().filter_map(Case::loads) {
            println!("{line}");
        }
        if let Some(storm) = &self.storm {
            println!(
                "\nstorm: {} subscribers, down {:.0} ms, all in sync {:.0} ms after SIGKILL and {:.0} ms after the server was back, peak {} MiB",
                storm.subscribers,
                storm.down_ms,
                storm.since_kill_ms,
                storm.since_restart_ms,
                storm.peak_kib / 1024
            );
        }
        if let Some(drain) = &self.drain {
            println!(
                "\ndrain: {} subscribers, {:.0} ms, exit code {:?}, {} goodbyes, back after {} to {} ms (half {} ms), fullest tenth {:.2} of the mean",
                drain.subscribers,
                drain.took_ms,
                drain.exit_code,
                drain.goodbyes,
                drain.after_min_ms,
                drain.after_max_ms,
                drain.after_p50_ms,
                drain.after_peak_of_mean
            );
        }
        println!();
        for Figure { name, value, limit, pass } in &self.figures {
            println!("{} {name}: {value:.2} (at most {limit})", if *pass { "PASS" } else { "MISS" });
        }
    }

    /// For programs.
    pub fn write(&self, file: &Path) -> Result<()> {
        // Cargo starts benches in the package's folder, so a relative path is below it.
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
        }
        std::fs::write(file, serde_json::to_vec_pretty(self)?).with_context(|| format!("{}", file.display()))?;
        println!("\nwritten: {}", file.display());
        Ok(())
    }
}

fn heading() {
    println!(
        "\n{:<22} {:<4} {:<4} {:>6} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>6} {:>7} {:>27}",
        "", "", "", "", "", "p50", "p99", "last", "worst", "last", "CPU", "msgs", "KiB", "ratio of the end to bare"
    );
    println!(
        "{:<22} {:<4} {:<4} {:>6} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>6} {:>7} {:>6} {:>6} {:>6} {:>6}",
        "server",
        "by",
        "load",
        "subs",
        "conns",
        "ms",
        "ms",
        "client",
        "client",
        "receipt",
        "µs/sub",
        "/sub",
        "/sub",
        "tcp",
        "tonic",
        "+acks",
        "sse"
    );
}
