//! The server's settings, composed once: command line over `RAMPART_*` over the TOML file over the defaults.
//!
//! One table (`table`) names every setting; what is read, refused, printed and documented follows from it. Composing
//! is a pure function that reports everything that is wrong at once, each with the place to mend. What a setting
//! means to a listener or a journal is not known here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;

use crate::access::policy::DataPlaneAuth;
use crate::eval::fractional::FractionalHash;
use crate::flag::key::EnvironmentName;

use fault::{SettingFault, Source};
use streams::Streams;
use table::{Setting, TABLE};
use value::{Secret, Wrong};

pub mod environment;
pub mod fault;
mod file;
pub mod print;
pub mod streams;
pub mod table;
pub mod value;

/// Bytes of a settings file that are read: all settings with comments take a few KiB, a device file never ends.
pub const SETTINGS_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Where the journal is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalKind {
    /// A SQLite database in the data folder.
    Sqlite,
    /// Nowhere: what was recorded ends with the process.
    Memory,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Whose pages may read answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Everybody's.
    Any,
    /// Those of exactly these origins.
    Only(Vec<String>),
}

/// Everything that can be set about a server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of the journal, the pending kills and the first token.
    pub data_dir: PathBuf,
    /// Where the journal is kept.
    pub journal: JournalKind,
    /// The flag file to import and watch.
    pub flags: Option<PathBuf>,
    /// How often the flag file is looked at.
    pub flags_poll: Duration,
    /// True where a flag file may delete more than a fifth of its flags at once.
    pub allow_deletes: bool,
    /// The address of the data plane.
    pub listen: SocketAddr,
    /// A Unix socket for the data plane instead of that address.
    pub listen_socket: Option<PathBuf>,
    /// A second address of the data plane, where flagd's clients look for its sync.
    pub sync_listen: Option<SocketAddr>,
    /// A Unix socket for the data plane instead of that address.
    pub sync_socket: Option<PathBuf>,
    /// A third address of the data plane, where flagd's clients look for OFREP.
    pub ofrep_listen: Option<SocketAddr>,
    /// The certificate of the data plane.
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key.
    pub tls_key: Option<PathBuf>,
    /// The address of the control plane.
    pub admin_listen: SocketAddr,
    /// The environment of callers whose token names none.
    pub default_environment: EnvironmentName,
    /// What a new environment asks of its callers.
    pub data_plane_auth: DataPlaneAuth,
    /// Attributes that every evaluation context gets.
    pub context_values: Vec<(String, String)>,
    /// Headers and the attributes that they become.
    pub context_from_headers: Vec<(HeaderName, String)>,
    /// An admin token made elsewhere.
    pub admin_token: Option<Secret>,
    /// The web pages that may read the data plane's answers; none: those of no other origin.
    pub cors_origins: Option<Origins>,
    /// True where OFREP's clients are told of changes by a stream.
    pub ofrep_sse: bool,
    /// Where clients open that stream; none: at the origin they send evaluations to.
    pub sse_public_url: Option<String>,
    /// How long a page may be in the background before its client closes the stream.
    pub sse_inactivity_delay: Duration,
    /// Between two signs of life on a quiet stream.
    pub sse_keepalive: Duration,
    /// The generation of flagd's `fractional` for flags whose metadata names none.
    pub fractional_hash: FractionalHash,
    /// The token that `/metrics` asks for; none: it is open.
    pub metrics_token: Option<Secret>,
    /// How long a kill waits for the journal before it is answered `202`.
    pub kill_journal_wait: Duration,
    /// Over how long streams are told to leave when the server stops.
    pub drain_window: Duration,
    /// When the server stops for good.
    pub drain_deadline: Duration,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged, in the directives of `tracing`.
    pub log_filter: String,
    /// What one caller may take.
    pub limits: Limits,
    /// How subscriptions are kept alive.
    pub streams: Streams,
    /// How flagd's protocols are served.
    pub flagd: Flagd,
}

/// What one caller may take of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an evaluation's body.
    pub evaluate_body_bytes: usize,
    /// Bytes of an admin request's body.
    pub admin_body_bytes: usize,
    /// Bytes of an import.
    pub import_body_bytes: usize,
    /// OFREP requests that one caller may make in a second.
    pub evaluations_per_second: Option<u32>,
    /// How long a request's head may take.
    pub header_read_timeout: Duration,
    /// How long a request's body may take.
    pub body_read_timeout: Duration,
    /// How long a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// Bytes of a request's header fields.
    pub header_bytes: usize,
    /// Connections of the data plane.
    pub max_connections_data: usize,
    /// Connections of the control plane.
    pub max_connections_admin: usize,
    /// Streams on one HTTP/2 connection.
    pub http2_max_concurrent_streams: u32,
    /// Connections of the data plane that are accepted in a second.
    pub accepts_per_second: u32,
    /// TLS handshakes at once.
    pub handshakes: usize,
    /// Bytes of memory beyond which no subscription is taken; none: by the cgroup's limit.
    pub memory: Option<usize>,
    /// Connections that wait in the kernel to be accepted.
    pub backlog: u32,
}

/// How flagd's protocols are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flagd {
    /// True where general errors are UNKNOWN, as flagd has it.
    pub strict_status: bool,
    /// How long an event stream may be silent.
    pub keep_alive: Duration,
    /// How long a stream may last; zero: for ever.
    pub stream_deadline: Duration,
    /// True where `GetMetadata` of the sync protocol is refused.
    pub disable_sync_metadata: bool,
}

/// Settings and where they came from.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The settings.
    pub settings: Settings,
    /// Each setting of the table as text, with its source; secrets included, so print it with `print::config`.
    pub effective: Vec<Effective>,
    /// What is odd but no reason to stop: unknown `RAMPART_*` variables.
    pub warnings: Vec<String>,
}

/// One setting in force.
#[derive(Clone)]
pub struct Effective {
    /// Which.
    pub setting: &'static Setting,
    /// Its value as written; none where it is not set and has no default.
    pub text: Option<String>,
    /// Who set it.
    pub source: Source,
}

impl std::fmt::Debug for Effective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} = {:?} ({})", self.setting.name, self.shown(), self.source)
    }
}

impl Effective {
    /// The value as it may be shown.
    pub fn shown(&self) -> Option<&str> {
        if self.setting.is_secret() { self.text.as_ref().map(|_| value::REDACTED) } else { self.text.as_deref() }
    }
}

/// A value that somebody gave.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) source: Source,
}

/// Values by setting name, of one source.
pub(super) type Layer = BTreeMap<&'static str, Given>;

/// Reads the file, if there is one, and composes the settings.
///
/// # Errors
/// Everything that is wrong.
pub fn load(
    options: &BTreeMap<&'static str, String>,
    environment: &BTreeMap<String, String>,
    config: Option<&Path>,
) -> Result<Resolved, Vec<SettingFault>> {
    let fix = "name a readable TOML file with --config or RAMPART_CONFIG, or leave both out";
    let file = config.map(|path| read_file(path, fix)).transpose()?;
    resolve(options, environment, file.as_ref().map(|(name, text)| (name.as_str(), text.as_str())))
}

/// The name and the text of a settings file.
///
/// # Errors
/// It cannot be read, or is too large to be one.
pub(super) fn read_file(path: &Path, fix: &str) -> Result<(String, String), Vec<SettingFault>> {
    let name = path.display().to_string();
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(SETTINGS_FILE_BYTES_MAX + 1).read_to_string(&mut text));
    if let Err(error) = read {
        let problem = format!("the settings file cannot be read ({error})");
        return Err(vec![SettingFault::new(name, problem, fix.to_owned())]);
    }
    if text.len() as u64 > SETTINGS_FILE_BYTES_MAX {
        let problem = format!("the settings file has more than {SETTINGS_FILE_BYTES_MAX} bytes");
        return Err(vec![SettingFault::new(name, problem, "is this the right file?".to_owned())]);
    }
    Ok((name, text))
}

/// Composes the settings of what was given: `options` by setting name, `environment` by variable, `file` as name and
/// text. A value that a stronger source covers is checked all the same: it would come to light when that source goes.
///
/// # Errors
/// Everything that is wrong.
pub fn resolve(
    options: &BTreeMap<&'static str, String>,
    environment: &BTreeMap<String, String>,
    file: Option<(&str, &str)>,
) -> Result<Resolved, Vec<SettingFault>> {
    resolve_over(Layer::new(), options, environment, file, Layer::new())
}

/// As [`resolve`], with a layer over everything but the options, and other defaults under everything.
pub(super) fn resolve_over(
    over: Layer,
    options: &BTreeMap<&'static str, String>,
    environment: &BTreeMap<String, String>,
    file: Option<(&str, &str)>,
    defaults: Layer,
) -> Result<Resolved, Vec<SettingFault>> {
    let (from_file, mut faults) = file.map(|(name, text)| file::read(name, text)).unwrap_or_default();
    let from_options = option_layer(options, &mut faults);
    let layers = [from_options, over, environment::layer(environment), from_file, defaults];
    for layer in &layers {
        faults.extend(layer.iter().filter_map(|(name, given)| check(name, given)));
    }
    let effective: Vec<Effective> = TABLE
        .iter()
        .map(|setting| match layers.iter().find_map(|layer| layer.get(setting.name)) {
            Some(Given { text, source }) => Effective { setting, text: Some(text.clone()), source: source.clone() },
            None => Effective { setting, text: setting.default.map(str::to_owned), source: Source::Default },
        })
        .collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let values = Values(&effective);
    let settings = values.settings().map_err(|fault| vec![fault])?;
    let faults = values.contradictions(&settings);
    if !faults.is_empty() {
        return Err(faults);
    }
    let warnings = environment::unknown(environment);
    Ok(Resolved { settings, effective, warnings })
}

fn option_layer(options: &BTreeMap<&'static str, String>, faults: &mut Vec<SettingFault>) -> Layer {
    let mut layer = Layer::new();
    for (name, text) in options {
        match Setting::named(name) {
            Some(setting) => {
                let source = Source::Option(setting.option());
                layer.insert(setting.name, Given { text: text.clone(), source });
            }
            None => faults.push(table::unknown(format!("`{name}`"), name)),
        }
    }
    layer
}

fn check(name: &str, given: &Given) -> Option<SettingFault> {
    let setting = Setting::named(name)?;
    let wrong = setting.kind.check(&given.text).err()?;
    Some(fault_of(setting, &given.text, &given.source, wrong))
}

fn fault_of(setting: &Setting, text: &str, source: &Source, wrong: Wrong) -> SettingFault {
    let shown = if setting.is_secret() { value::REDACTED.to_owned() } else { format!("{text:?}") };
    let problem = match source {
        Source::File { .. } => format!("`{}` is {shown}, which {}", setting.name, wrong.problem),
        Source::Default | Source::Variable(_) | Source::Option(_) => format!("{shown} {}", wrong.problem),
    };
    SettingFault::new(source.to_string(), problem, wrong.fix)
}

/// The effective texts, read by name.
struct Values<'v>(&'v [Effective]);

impl Values<'_> {
    fn settings(&self) -> Result<Settings, SettingFault> {
        Ok(Settings {
            data_dir: self.get("data_dir", value::path)?,
            journal: self.get("journal", value::journal)?,
            flags: self.find("flags", value::path)?,
            flags_poll: self.get("flags_poll", value::duration)?,
            allow_deletes: self.get("allow_deletes", value::switch)?,
            listen: self.get("listen", value::address)?,
            listen_socket: self.find("listen_socket", value::path)?,
            sync_listen: self.find("sync_listen", value::address)?,
            sync_socket: self.find("sync_socket", value::path)?,
            ofrep_listen: self.find("ofrep_listen", value::address)?,
            tls_cert: self.find("tls_cert", value::path)?,
            tls_key: self.find("tls_key", value::path)?,
            admin_listen: self.get("admin_listen", value::address)?,
            default_environment: self.get("default_environment", value::environment)?,
            data_plane_auth: self.get("data_plane_auth", value::auth)?,
            context_values: self.find("context_values", value::pairs)?.unwrap_or_default(),
            context_from_headers: self.find("context_from_headers", value::headers)?.unwrap_or_default(),
            admin_token: self.find("admin_token", value::token)?,
            cors_origins: self.find("cors_origins", value::origins)?,
            ofrep_sse: self.get("ofrep_sse", value::switch)?,
            sse_public_url: self.find("sse_public_url", value::url)?,
            sse_inactivity_delay: self.get("sse_inactivity_delay", value::duration)?,
            sse_keepalive: self.get("sse_keepalive", value::duration)?,
            fractional_hash: self.get("fractional_hash", value::fractional_hash)?,
            metrics_token: self.find("metrics_token", value::secret)?,
            kill_journal_wait: self.get("kill_journal_wait", value::duration)?,
            drain_window: self.get("drain_window", value::duration)?,
            drain_deadline: self.get("drain_deadline", value::duration)?,
            log_format: self.get("log_format", value::log_format)?,
            log_filter: self.get("log_filter", value::filter)?,
            limits: self.limits()?,
            streams: self.streams()?,
            flagd: Flagd {
                strict_status: self.get("flagd.strict_status", value::switch)?,
                keep_alive: self.get("flagd.keep_alive", value::duration)?,
                stream_deadline: self.get("flagd.stream_deadline", value::duration)?,
                disable_sync_metadata: self.get("flagd.disable_sync_metadata", value::switch)?,
            },
        })
    }

    fn limits(&self) -> Result<Limits, SettingFault> {
        Ok(Limits {
            evaluate_body_bytes: self.get("limits.evaluate_body_bytes", value::bytes)?,
            admin_body_bytes: self.get("limits.admin_body_bytes", value::bytes)?,
            import_body_bytes: self.get("limits.import_body_bytes", value::bytes)?,
            evaluations_per_second: self.find("limits.evaluations_per_second", value::count)?,
            header_read_timeout: self.get("limits.header_read_timeout", value::duration)?,
            body_read_timeout: self.get("limits.body_read_timeout", value::duration)?,
            idle_timeout: self.get("limits.idle_timeout", value::duration)?,
            header_bytes: self.get("limits.header_bytes", value::bytes)?,
            max_connections_data: self.get("limits.max_connections_data", value::count)?,
            max_connections_admin: self.get("limits.max_connections_admin", value::count)?,
            http2_max_concurrent_streams: self.get("limits.http2_max_concurrent_streams", value::count)?,
            accepts_per_second: self.get("limits.accepts_per_second", value::count)?,
            handshakes: self.get("limits.handshakes", value::count)?,
            memory: self.find("limits.memory", value::bytes)?,
            backlog: self.get("limits.backlog", value::count)?,
        })
    }

    /// What no single value shows.
    fn contradictions(&self, settings: &Settings) -> Vec<SettingFault> {
        let mut faults = self.twin_ports(settings);
        if settings.tls_cert.is_some() != settings.tls_key.is_some() {
            let problem = "a certificate without its key, or a key without its certificate".to_owned();
            faults.push(self.between("tls_cert", "tls_key", problem, "name both files or none"));
        }
        if settings.drain_deadline < settings.drain_window {
            let problem = "the server would stop for good before its streams were all told to leave".to_owned();
            let fix = "make drain_deadline longer than drain_window";
            faults.push(self.between("drain_window", "drain_deadline", problem, fix));
        }
        faults
    }

    /// Every two listeners that want the same port.
    fn twin_ports(&self, settings: &Settings) -> Vec<SettingFault> {
        let listeners = [
            ("listen", settings.listen_socket.is_none().then_some(settings.listen)),
            ("admin_listen", Some(settings.admin_listen)),
            ("sync_listen", settings.sync_listen.filter(|_| settings.sync_socket.is_none())),
            ("ofrep_listen", settings.ofrep_listen),
        ];
        let listeners = listeners.into_iter().filter_map(|(name, address)| Some((name, address?)));
        let listeners: Vec<(&str, SocketAddr)> = listeners.collect();
        let mut faults = Vec::new();
        for (index, (one, here)) in listeners.iter().enumerate() {
            for (other, there) in &listeners[index + 1..] {
                let same_ip = here.ip() == there.ip() || here.ip().is_unspecified() || there.ip().is_unspecified();
                if here.port() == there.port() && here.port() != 0 && same_ip {
                    let problem = format!("both want port {}", here.port());
                    faults.push(self.between(one, other, problem, "give each a port of its own"));
                }
            }
        }
        faults
    }

    fn between(&self, one: &str, other: &str, problem: String, fix: &str) -> SettingFault {
        let place = |name: &str| match self.effective(name) {
            Some(Effective { source: Source::Default, .. }) | None => format!("{name} (its default)"),
            Some(Effective { source, .. }) => source.to_string(),
        };
        SettingFault::new(format!("{} and {}", place(one), place(other)), problem, fix.to_owned())
    }

    fn effective(&self, name: &str) -> Option<&Effective> {
        self.0.iter().find(|effective| effective.setting.name == name)
    }

    fn find<T>(&self, name: &str, parse: fn(&str) -> Result<T, Wrong>) -> Result<Option<T>, SettingFault> {
        let Some(Effective { setting, text: Some(text), source }) = self.effective(name) else { return Ok(None) };
        parse(text).map(Some).map_err(|wrong| fault_of(setting, text, source, wrong))
    }

    fn get<T>(&self, name: &str, parse: fn(&str) -> Result<T, Wrong>) -> Result<T, SettingFault> {
        let missing = || SettingFault::new(name.to_owned(), "is not set".to_owned(), "set it".to_owned());
        self.find(name, parse)?.ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests;
