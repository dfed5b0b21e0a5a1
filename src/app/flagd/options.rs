//! Every option of flagd's `start`: its names, what its values look like, and what Rampart does about it.
//!
//! One table, as for Rampart's own settings: the command line, the variables and the configuration file of flagd follow
//! from it. What the values mean is in `mod.rs`.

/// What flagd's variables begin with.
pub const PREFIX: &str = "FLAGD_";

/// One option of flagd.
#[derive(Debug, Clone, Copy)]
pub struct FlagdOption {
    /// The long name, which is also the key of the configuration file.
    pub long: &'static str,
    /// The short name, if it has one.
    pub short: Option<char>,
    /// What its values look like.
    pub kind: Kind,
    /// What Rampart does about it.
    pub support: Support,
    /// What it does, in one sentence without a full stop.
    pub doc: &'static str,
}

/// What the values of an option look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One text.
    Text,
    /// Several texts: the option again, or commas.
    Texts,
    /// Names and texts: the option again, or commas.
    Pairs,
    /// A boolean, as Go reads it.
    Switch,
    /// A whole number.
    Number,
    /// A port.
    Port,
    /// A time, as Go reads it.
    Duration,
}

/// What Rampart does about an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// What flagd does: it becomes this setting.
    Setting(&'static str),
    /// What flagd does; it names sources of flags.
    Sources,
    /// It is accepted and changes nothing, for this reason.
    NoEffect(&'static str),
    /// It is refused; this is what to do instead.
    Instead(&'static str),
}

const METRICS: &str = "leave it out: metrics are at /metrics of the management port in the Prometheus format, which an \
                       OpenTelemetry collector scrapes with its prometheus receiver";
const PINGS: &str = "clients may ping as often as they like; nobody is disconnected for it";

const fn option(
    long: &'static str,
    short: Option<char>,
    kind: Kind,
    support: Support,
    doc: &'static str,
) -> FlagdOption {
    FlagdOption { long, short, kind, support, doc }
}

/// Every option, in the order in which help shows them.
pub const OPTIONS: &[FlagdOption] = &[
    option(
        "uri",
        Some('f'),
        Kind::Texts,
        Support::Sources,
        "a flag file as file:PATH; again for several, the later wins",
    ),
    option(
        "sources",
        Some('s'),
        Kind::Text,
        Support::Sources,
        "flag files as a JSON array: [{\"uri\":\"flags.json\",\"provider\":\"file\"}]; they win over --uri",
    ),
    option("port", Some('p'), Kind::Port, Support::Setting("listen"), "the evaluation port"),
    option(
        "management-port",
        Some('m'),
        Kind::Port,
        Support::Setting("admin_listen"),
        "the port of probes, metrics and the admin API",
    ),
    option("sync-port", Some('g'), Kind::Port, Support::Setting("sync_listen"), "the sync port"),
    option("ofrep-port", Some('r'), Kind::Port, Support::Setting("ofrep_listen"), "the OFREP port"),
    option(
        "socket-path",
        Some('d'),
        Kind::Text,
        Support::Setting("listen_socket"),
        "a Unix socket instead of the evaluation port",
    ),
    option(
        "sync-socket-path",
        Some('e'),
        Kind::Text,
        Support::Setting("sync_socket"),
        "a Unix socket instead of the sync port",
    ),
    option("server-cert-path", Some('c'), Kind::Text, Support::Setting("tls_cert"), "the server's certificate as PEM"),
    option("server-key-path", Some('k'), Kind::Text, Support::Setting("tls_key"), "the certificate's key as PEM"),
    option(
        "context-value",
        Some('X'),
        Kind::Pairs,
        Support::Setting("context_values"),
        "an attribute of every context as name=text",
    ),
    option(
        "context-from-header",
        Some('H'),
        Kind::Pairs,
        Support::Setting("context_from_headers"),
        "a header that becomes an attribute as Header=name",
    ),
    option(
        "cors-origin",
        Some('C'),
        Kind::Texts,
        Support::Setting("cors_origins"),
        "an origin whose pages may ask; again for several",
    ),
    option("log-format", Some('z'), Kind::Text, Support::Setting("log_format"), "console or json"),
    option("debug", Some('x'), Kind::Switch, Support::Setting("log_filter"), "log more"),
    option(
        "stream-deadline",
        None,
        Kind::Duration,
        Support::Setting("flagd.stream_deadline"),
        "when the server ends a stream; 0s: never",
    ),
    option(
        "disable-sync-metadata",
        None,
        Kind::Switch,
        Support::Setting("flagd.disable_sync_metadata"),
        "do not answer GetMetadata of the sync service",
    ),
    option(
        "max-request-body",
        Some('B'),
        Kind::Number,
        Support::Setting("limits.evaluate_body_bytes"),
        "bytes of a request's body",
    ),
    option(
        "max-request-header",
        Some('R'),
        Kind::Number,
        Support::Setting("limits.header_bytes"),
        "bytes of a request's header fields",
    ),
    option(
        "ofrep-sse-enabled",
        None,
        Kind::Switch,
        Support::Setting("ofrep_sse"),
        "tell OFREP clients of changes by server-sent events",
    ),
    option(
        "ofrep-sse-inactivity-delay",
        None,
        Kind::Number,
        Support::Setting("sse_inactivity_delay"),
        "seconds after which a hidden client may close its event stream",
    ),
    option(
        "ofrep-sse-public-url",
        None,
        Kind::Text,
        Support::Setting("sse_public_url"),
        "the origin by which browsers reach the event stream",
    ),
    option("keep-alive-min-time", None, Kind::Duration, Support::NoEffect(PINGS), "the least time between two pings"),
    option(
        "keep-alive-permit-without-stream",
        None,
        Kind::Switch,
        Support::NoEffect(PINGS),
        "whether clients may ping without a stream",
    ),
    option("metrics-exporter", Some('t'), Kind::Text, Support::Instead(METRICS), "where flagd sends its metrics"),
    option("otel-collector-uri", Some('o'), Kind::Text, Support::Instead(METRICS), "flagd's OpenTelemetry collector"),
    option("otel-ca-path", Some('A'), Kind::Text, Support::Instead(METRICS), "the collector's certificate authority"),
    option("otel-cert-path", Some('D'), Kind::Text, Support::Instead(METRICS), "the certificate for the collector"),
    option("otel-key-path", Some('K'), Kind::Text, Support::Instead(METRICS), "its key"),
    option("otel-reload-interval", Some('I'), Kind::Text, Support::Instead(METRICS), "how often they are read again"),
];

impl FlagdOption {
    /// The option of that long name; flagd does not mind upper and lower case in its configuration file.
    pub fn named(long: &str) -> Option<&'static Self> {
        OPTIONS.iter().find(|option| option.long.eq_ignore_ascii_case(long))
    }

    /// Its environment variable: `FLAGD_SYNC_PORT`.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.long.replace('-', "_").to_ascii_uppercase())
    }
}

/// Variables of flagd's clients, which stand beside the server's in many deployments.
pub const CLIENT_VARIABLES: [&str; 18] = [
    "FLAGD_HOST",
    "FLAGD_TLS",
    "FLAGD_TARGET_URI",
    "FLAGD_DEADLINE_MS",
    "FLAGD_STREAM_DEADLINE_MS",
    "FLAGD_RETRY_BACKOFF_MS",
    "FLAGD_RETRY_BACKOFF_MAX_MS",
    "FLAGD_RETRY_GRACE_PERIOD",
    "FLAGD_KEEP_ALIVE_TIME_MS",
    "FLAGD_SOURCE_SELECTOR",
    "FLAGD_CACHE",
    "FLAGD_MAX_CACHE_SIZE",
    "FLAGD_PROVIDER_ID",
    "FLAGD_RESOLVER",
    "FLAGD_OFFLINE_FLAG_SOURCE_PATH",
    "FLAGD_OFFLINE_POLL_MS",
    "FLAGD_FATAL_STATUS_CODES",
    "FLAGD_CONFIG",
];
