//! The table of settings: every name, kind, default and sentence, once.
//!
//! A setting has one name; its TOML key, variable and option follow from it. The kinds say what a value looks like and
//! in which range it makes sense, so that a value that would hurt is refused at the start and not found at night.

use std::time::Duration;

use crate::flag::limits::FILE_BYTES_MAX;

use super::fault::SettingFault;

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The TOML key, with the table it stands in: `limits.backlog`.
    pub name: &'static str,
    /// What a value looks like.
    pub kind: Kind,
    /// The default as one would write it; none: not set.
    pub default: Option<&'static str>,
    /// What it does, in one sentence without a full stop.
    pub doc: &'static str,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A path of the file system.
    Path,
    /// An IP address and a port.
    Address,
    /// The name of an environment.
    Environment,
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A time, from least to most.
    Duration(Duration, Duration),
    /// A size, from least to most bytes.
    Bytes(u64, u64),
    /// A number, from least to most.
    Count(u64, u64),
    /// Directives of `tracing`.
    Filter,
    /// A text that is never shown.
    Secret,
    /// A token of Rampart, never shown.
    Token,
    /// Names and texts: `name=text,name=text`, or a JSON object of texts.
    Pairs,
    /// Header names and attribute names, written as [`Kind::Pairs`].
    Headers,
    /// Origins of web pages, or `*`.
    Origins,
    /// The address of a server, with or without a path.
    Url,
}

const KIB: u64 = 1024;
const IMPORT_BYTES: u64 = FILE_BYTES_MAX as u64;
const NOTHING: Duration = Duration::ZERO;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// Clients take a stream that was silent for 45 s for dead; two bookmarks must fit.
const BOOKMARK_MAX: Duration = Duration::from_secs(20);

const fn setting(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    Setting { name, kind, default: Some(default), doc }
}

const fn unset(name: &'static str, kind: Kind, doc: &'static str) -> Setting {
    Setting { name, kind, default: None, doc }
}

/// Every setting, in the order in which they are printed; tables of the TOML file stand together at the end.
pub const TABLE: &[Setting] = &[
    setting("data_dir", Kind::Path, "rampart-data", "the folder of the journal, the pending kills and the first token"),
    setting(
        "journal",
        Kind::Choice(&["sqlite", "memory"]),
        "sqlite",
        "where changes are kept; `memory` forgets them when the process ends",
    ),
    unset("flags", Kind::Path, "the flag file to import and watch"),
    setting(
        "flags_poll",
        Kind::Duration(Duration::from_millis(100), HOUR),
        "1s",
        "how often the flag file is looked at",
    ),
    setting(
        "allow_deletes",
        Kind::Switch,
        "false",
        "whether a flag file may delete more than a fifth of its flags at once",
    ),
    setting("listen", Kind::Address, "127.0.0.1:8013", "the address of the data plane: evaluations and subscriptions"),
    unset("listen_socket", Kind::Path, "a Unix socket to serve the data plane on instead of the address `listen`"),
    unset("sync_listen", Kind::Address, "a second address of the data plane, where clients of flagd look for its sync"),
    unset("sync_socket", Kind::Path, "a Unix socket to serve the data plane on instead of the address `sync_listen`"),
    unset(
        "ofrep_listen",
        Kind::Address,
        "a third address of the data plane, where clients of flagd look for OFREP; without TLS",
    ),
    unset("tls_cert", Kind::Path, "the certificate of the data plane as PEM, with the chain above it; needs `tls_key`"),
    unset("tls_key", Kind::Path, "the certificate's private key as PEM"),
    setting("admin_listen", Kind::Address, "127.0.0.1:8014", "the address of the control plane: admin API and metrics"),
    setting(
        "default_environment",
        Kind::Environment,
        "production",
        "the environment of callers whose token names none",
    ),
    setting(
        "data_plane_auth",
        Kind::Choice(&["optional", "required"]),
        "optional",
        "whether new environments answer callers without a token",
    ),
    unset("context_values", Kind::Pairs, "attributes that every evaluation context gets, over its own"),
    unset(
        "context_from_headers",
        Kind::Headers,
        "request headers and the attributes that they become, over the context's own: `X-Region=region`",
    ),
    unset(
        "admin_token",
        Kind::Token,
        "an admin token made elsewhere (`rampart_`, 16 hex digits, `_`, 64 hex digits), to be registered at the start",
    ),
    unset("cors_origins", Kind::Origins, "the web pages that may read the data plane's answers, by their origins"),
    setting("ofrep_sse", Kind::Switch, "true", "whether OFREP's clients are told of changes by a stream"),
    unset(
        "sse_public_url",
        Kind::Url,
        "where clients open that stream, as far as it is not the origin they send evaluations to",
    ),
    setting(
        "sse_inactivity_delay",
        Kind::Duration(SECOND, HOUR),
        "120s",
        "how long a page may be in the background before its client closes the stream",
    ),
    setting("sse_keepalive", Kind::Duration(SECOND, HOUR), "30s", "between two signs of life on a quiet stream"),
    setting(
        "fractional_hash",
        Kind::Choice(&["v2", "v3"]),
        "v2",
        "which generation of flagd's `fractional` places users where a flag's metadata (`fractionalHash`) names none",
    ),
    unset("metrics_token", Kind::Secret, "the token that `/metrics` asks for; it is open where this is not set"),
    setting(
        "kill_journal_wait",
        Kind::Duration(NOTHING, Duration::from_secs(25)),
        "2s",
        "how long a kill waits for the journal before it is answered `202`; it is in force at once either way",
    ),
    setting(
        "drain_window",
        Kind::Duration(NOTHING, HOUR),
        "10s",
        "over how long streams are told to leave when the server stops",
    ),
    setting("drain_deadline", Kind::Duration(NOTHING, HOUR), "25s", "when a stopping server ends what is still open"),
    setting("log_format", Kind::Choice(&["text", "json"]), "text", "how log lines look"),
    setting("log_filter", Kind::Filter, "info", "what is logged: levels, or directives such as `info,rampart=debug`"),
    setting("limits.evaluate_body_bytes", Kind::Bytes(KIB, IMPORT_BYTES), "64KiB", "the body of an evaluation"),
    setting("limits.admin_body_bytes", Kind::Bytes(KIB, IMPORT_BYTES), "1MiB", "the body of an admin request"),
    setting("limits.import_body_bytes", Kind::Bytes(KIB, IMPORT_BYTES), "16MiB", "the body of an import"),
    unset(
        "limits.evaluations_per_second",
        Kind::Count(1, 1_000_000),
        "requests for evaluations and flags that one token, or one address without a token, may make in a second; beyond that 429",
    ),
    setting("limits.header_read_timeout", Kind::Duration(SECOND, MINUTE), "5s", "how long a request's head may take"),
    setting("limits.body_read_timeout", Kind::Duration(SECOND, HOUR), "10s", "how long a request's body may take"),
    setting(
        "limits.idle_timeout",
        Kind::Duration(SECOND, HOUR),
        "60s",
        "how long a connection may stay open without a request",
    ),
    setting("limits.header_bytes", Kind::Bytes(8 * KIB, 1024 * KIB), "16KiB", "the header fields of a request"),
    setting("limits.max_connections_data", Kind::Count(1, 1_000_000), "20000", "connections of the data plane"),
    setting("limits.max_connections_admin", Kind::Count(1, 1_000_000), "512", "connections of the control plane"),
    setting("limits.http2_max_concurrent_streams", Kind::Count(1, 65_536), "128", "streams on one HTTP/2 connection"),
    setting(
        "limits.accepts_per_second",
        Kind::Count(1, 1_000_000),
        "5000",
        "connections of the data plane that are accepted in a second; others wait in the kernel",
    ),
    setting("limits.handshakes", Kind::Count(1, 65_536), "8", "TLS handshakes at once; others wait"),
    unset(
        "limits.memory",
        Kind::Bytes(KIB, 1 << 50),
        "memory of the process beyond which no subscription is taken; 85 % of its cgroup's limit where not set",
    ),
    setting("limits.backlog", Kind::Count(1, 65_535), "4096", "connections that wait in the kernel to be accepted"),
    setting(
        "streams.bookmark_interval",
        Kind::Duration(SECOND, BOOKMARK_MAX),
        "15s",
        "between two bookmarks on a quiet stream",
    ),
    setting("streams.keepalive_interval", Kind::Duration(SECOND, HOUR), "20s", "between two HTTP/2 pings"),
    setting("streams.keepalive_timeout", Kind::Duration(SECOND, MINUTE), "10s", "how long a ping may stay unanswered"),
    setting(
        "streams.kill_ack_deadline",
        Kind::Duration(SECOND, HOUR),
        "30s",
        "how long the receipt of a kill may take before the subscriber counts as late",
    ),
    setting(
        "streams.change_ack_deadline",
        Kind::Duration(SECOND, HOUR),
        "60s",
        "how long the receipt of any other change may take before the subscriber counts as late",
    ),
    setting(
        "streams.lost_for",
        Kind::Duration(NOTHING, DAY),
        "5m",
        "how long a subscriber whose stream was lost without a word counts as missing",
    ),
    setting(
        "streams.observe_for",
        Kind::Duration(SECOND, HOUR),
        "30s",
        "how long the receipts of a kill are collected before the journal notes who had confirmed",
    ),
    setting(
        "streams.enabled",
        Kind::Switch,
        "true",
        "whether subscriptions are taken; without, clients poll for kills",
    ),
    setting("streams.max", Kind::Count(1, 10_000_000), "60000", "subscriptions at once"),
    setting("streams.opens_per_second", Kind::Count(1, 1_000_000), "5000", "subscriptions that are taken in a second"),
    setting("streams.transfers", Kind::Count(1, 65_536), "32", "full transfers at once; others wait, kills do not"),
    setting(
        "streams.transfer_hold",
        Kind::Duration(SECOND, HOUR),
        "5s",
        "how long a slow full transfer keeps others waiting",
    ),
    setting("streams.stall", Kind::Duration(SECOND, HOUR), "30s", "how long a client may take nothing"),
    setting(
        "streams.retry",
        Kind::Duration(SECOND, HOUR),
        "3s",
        "about when SSE clients come back after a lost stream",
    ),
    setting(
        "streams.threads",
        Kind::Count(1, 1_024),
        "1",
        "threads that serve connections with subscriptions, apart from those that evaluate",
    ),
    setting(
        "flagd.strict_status",
        Kind::Switch,
        "false",
        "whether flagd's protocols call general errors UNKNOWN as flagd does, which its clients try again for seconds",
    ),
    setting(
        "flagd.keep_alive",
        Kind::Duration(SECOND, HOUR),
        "20s",
        "how long an event stream of flagd's protocols may be silent",
    ),
    setting(
        "flagd.stream_deadline",
        Kind::Duration(NOTHING, DAY),
        "0s",
        "how long a stream of flagd's protocols may last; `0s`: for ever",
    ),
    setting(
        "flagd.disable_sync_metadata",
        Kind::Switch,
        "false",
        "whether flagd's old GetMetadata call is refused; sync streams carry the same in every message",
    ),
];

impl Setting {
    /// The setting of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TABLE.iter().find(|setting| setting.name == name)
    }

    /// Its environment variable: `RAMPART_LIMITS_BACKLOG`.
    pub fn variable(&self) -> String {
        format!("{}{}", super::environment::PREFIX, self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// Its option on the command line: `--limits-backlog`.
    pub fn option(&self) -> String {
        format!("--{}", self.name.replace(['.', '_'], "-"))
    }

    /// True where the value is never shown.
    pub fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret | Kind::Token)
    }
}

/// A fault for a name that no setting has.
pub(super) fn unknown(place: String, name: &str) -> SettingFault {
    // `backlog` outside its table is nearest to `limits.backlog`.
    let misplaced = || TABLE.iter().map(|setting| setting.name).find(|known| known.ends_with(&format!(".{name}")));
    let near = nearest(name, TABLE.iter().map(|setting| setting.name)).or_else(misplaced);
    let fix = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "remove it; `rampart serve --print-config` shows every setting".to_owned(),
    };
    SettingFault::new(place, format!("there is no setting `{name}`"), fix)
}

/// The known name that `name` is probably meant to be.
pub(in crate::app) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let name = name.to_ascii_lowercase();
    let close = (name.len() / 4).clamp(1, 4);
    known
        .map(|known| (strsim::damerau_levenshtein(&name, &known.to_ascii_lowercase()), known))
        .filter(|(distance, _)| *distance <= close)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}
