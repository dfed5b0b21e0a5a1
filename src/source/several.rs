//! Several watched flag files that together are one source of flags, as flagd's `--uri` and `--sources` are.
//!
//! Each is polled by content, since editors, configuration management and container mounts replace files in ways that
//! notifications miss. A file that is away or cannot be read keeps what it said last, and what the journal holds of it;
//! the log says so once. What wins over what is decided in `merge`.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::control::Control;
use crate::control::command::{Call, Command, TakeFile, TextDigest, digest};
use crate::control::refusal::Refusal;
use crate::flag::key::EnvironmentName;
use crate::flag::parse::Parsed;

use super::file::{parse, read};
use super::merge::{Document, merge};

/// One file of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// What its flags carry as their source, and what selectors name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// Files to watch.
#[derive(Debug)]
pub struct SeveralFiles {
    files: Vec<Watched>,
    environment: EnvironmentName,
    every: Duration,
    told: BTreeSet<EnvironmentName>,
    /// Why what was read was not taken.
    untaken: Vec<Untaken>,
    /// How many more looks to wait before it is tried again.
    pause: u128,
}

/// Why what the files say of an environment was not taken, by what can help.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Untaken {
    /// The environment has to be made.
    NoEnvironment(EnvironmentName),
    /// Other texts, and nothing else.
    Refused(String),
    /// Time.
    Passing(String),
}

impl fmt::Display for Untaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEnvironment(name) => write!(
                f,
                "there is no environment {name}; create it with PUT /v1/environments/{name}, or correct `environment` in \
                 the files that name it"
            ),
            Self::Refused(fault) | Self::Passing(fault) => f.write_str(fault),
        }
    }
}

/// How long between two tries to have the same texts taken.
const RETRY: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Watched {
    file: NamedFile,
    /// The text that was read last.
    seen: Option<TextDigest>,
    /// The text that was looked into last.
    parsed: Option<TextDigest>,
    /// What the last readable text says.
    good: Option<(Parsed, TextDigest)>,
    /// Whether the log says already that it is away.
    away: bool,
}

impl SeveralFiles {
    /// Files in rising order of precedence. `environment` is that of files that name none.
    pub fn new(files: Vec<NamedFile>, environment: EnvironmentName, every: Duration) -> Self {
        let watched = |file| Watched { file, seen: None, parsed: None, good: None, away: false };
        let files = files.into_iter().map(watched).collect();
        Self { files, environment, every, told: BTreeSet::new(), untaken: Vec::new(), pause: 0 }
    }

    /// Reads every file and has what they say taken in.
    pub async fn first(&mut self, control: &Control) {
        self.look(true).await;
        // Also where none could be read: what the journal holds is compared with that.
        self.take(control).await;
    }

    /// Watches until told to stop. `synced` is cancelled once every file was read or what it said before is served.
    pub async fn watch(mut self, control: Control, synced: CancellationToken, stop: CancellationToken) {
        loop {
            if !synced.is_cancelled() && self.is_synced(&control) {
                synced.cancel();
                tracing::info!("every flag source was read");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.every) => {}
            }
            if self.look(false).await || self.is_due(&control) {
                self.take(&control).await;
            }
        }
    }

    /// True where nothing is missing that there should be. What was refused for good is as good as unread.
    pub fn is_synced(&self, control: &Control) -> bool {
        let served = |name: &str| {
            let snapshots = control.hub().snapshots();
            snapshots
                .iter()
                .any(|snapshot| snapshot.set.iter().any(|flag| flag.definition().source.as_deref() == Some(name)))
        };
        let refused = |untaken: &Untaken| matches!(untaken, Untaken::Refused(_));
        let taken = self.untaken.is_empty();
        self.untaken.iter().all(refused)
            && self.files.iter().all(|file| (taken && file.good.is_some()) || served(&file.file.name))
    }

    /// True where the same texts may be taken now: every few seconds, or when what was missing is there.
    fn is_due(&mut self, control: &Control) -> bool {
        let passing = self.untaken.iter().any(|untaken| matches!(untaken, Untaken::Passing(_)));
        self.pause = self.pause.saturating_sub(1);
        passing && self.pause == 0
            || self.untaken.iter().any(|untaken| match untaken {
                Untaken::NoEnvironment(name) => control.hub().current(name).is_some(),
                Untaken::Refused(_) | Untaken::Passing(_) => false,
            })
    }

    /// Reads every file; true where one of them says something new.
    async fn look(&mut self, first: bool) -> bool {
        let mut news = false;
        for watched in &mut self.files {
            news |= watched.look(first).await;
        }
        news
    }

    async fn take(&mut self, control: &Control) {
        let documents: Vec<Document<'_>> = self
            .files
            .iter()
            .map(|watched| Document {
                name: &watched.file.name,
                said: watched.good.as_ref().map(|(parsed, digest)| (parsed, *digest)),
            })
            .collect();
        let mut untaken = Vec::new();
        for take in merge(&documents, &self.environment, &self.told) {
            let environment = take.environment.clone();
            let fault = submit(control, take).await.err();
            // One that is not there holds nothing that would have to be told to go.
            if !matches!(fault, Some(Untaken::NoEnvironment(_))) {
                self.told.insert(environment);
            }
            untaken.extend(fault);
        }
        for fault in untaken.iter().filter(|fault| !self.untaken.contains(fault)) {
            tracing::error!(%fault, "flag sources not taken; the last good state serves on");
        }
        self.untaken = untaken;
        self.pause = RETRY.as_millis() / self.every.as_millis().max(1);
    }
}

async fn submit(control: &Control, take: TakeFile) -> Result<(), Untaken> {
    let environment = take.environment.clone();
    let outcome = control.submit(Command::TakeFile(take), Call::of_file("flag sources")).await;
    let fault = |refusal: Refusal| format!("{environment}: {refusal}");
    match outcome {
        Ok(outcome) => {
            let changed = outcome.objects.len();
            if changed > 0 {
                tracing::info!(%environment, changed, revision = outcome.revision.map(|r| r.0), "flag sources taken");
            }
            outcome.notes.iter().for_each(|note| tracing::warn!(%environment, "{note}"));
            Ok(())
        }
        Err(Refusal::UnknownEnvironment(name)) => Err(Untaken::NoEnvironment(name)),
        Err(refusal @ (Refusal::Invalid(_) | Refusal::Limit { .. })) => {
            if let Refusal::Invalid(diagnostics) = &refusal {
                diagnostics.iter().for_each(|diagnostic| tracing::warn!(%environment, "{diagnostic}"));
            }
            Err(Untaken::Refused(fault(refusal)))
        }
        Err(refusal) => Err(Untaken::Passing(fault(refusal))),
    }
}

impl Watched {
    /// Reads the file; true where it says something new. A new text must stand still for one look before it counts, so
    /// that a file cut in the middle of a save does not; the first look at a start is not made to wait.
    async fn look(&mut self, first: bool) -> bool {
        let source = &self.file.name;
        let text = match read(&self.file.path).await {
            Ok(text) => text,
            Err(fault) => {
                if !self.away {
                    tracing::warn!(%fault, source, "a flag source cannot be read; what it said last serves on");
                }
                (self.away, self.seen) = (true, None);
                return false;
            }
        };
        self.away = false;
        let found = digest(&text);
        let settled = first || self.seen == Some(found);
        self.seen = Some(found);
        if !settled || self.parsed == Some(found) {
            return false;
        }
        self.parsed = Some(found);
        let parsed = parse(&text, &self.file.path, source);
        parsed.diagnostics.iter().for_each(|diagnostic| tracing::warn!("{diagnostic}"));
        if parsed.unreadable {
            tracing::error!(source, "flag source not taken; what it said last serves on");
            return false;
        }
        tracing::info!(source, flags = parsed.file.flags.len(), "flag source read");
        self.good = Some((parsed, found));
        true
    }
}
