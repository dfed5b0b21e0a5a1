//! Whom to follow, and how patiently. Everything that can be wrong with it is found here, before anything is tried.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use tonic::metadata::AsciiMetadataValue;

use crate::flag::key::EnvironmentName;
use crate::sync::limits::{LABELS_MAX, NAME_BYTES_MAX, WORD_BYTES_MAX};

/// The port of `http://` where a URL names none.
const HTTP_PORT: u16 = 80;
/// The longest time that makes sense: moments are counted on, and must not overflow.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The options of a subscription.
#[derive(Clone)]
pub struct Options {
    /// The data plane, such as `http://127.0.0.1:8013`.
    pub server: String,
    /// The token, where one is needed.
    pub token: Option<String>,
    /// The environment; empty for the one that the token decides.
    pub environment: String,
    /// A name for people, at most 256 bytes.
    pub name: String,
    /// At most eight words about this client, such as its region; keys and values of at most 64 bytes.
    pub labels: BTreeMap<String, String>,
    /// Random per process: 1 to 64 visible ASCII characters.
    pub instance_id: String,
    /// How long a connection, or a whole poll of the kill set, may take.
    pub connect: Duration,
    /// The longest first wait before connecting again; doubles with every failure.
    pub backoff_base: Duration,
    /// The longest wait, unless the server asks for more.
    pub backoff_cap: Duration,
    /// A stream that was healthy for this long ends the doubling.
    pub steady: Duration,
    /// After this long without a message the stream counts as dead, and the copy as stale.
    pub silence: Duration,
    /// How long to wait after the server said that this client may not follow; none: give up.
    pub denied: Option<Duration>,
    /// How often to ask for the kill set while no stream is healthy; zero: never.
    pub kills_unhealthy: Duration,
    /// How often to ask for the kill set while the stream is healthy; zero: never.
    pub kills_healthy: Duration,
}

/// Says nothing of the token.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("server", &self.server)
            .field("environment", &self.environment)
            .field("name", &self.name)
            .field("instance_id", &self.instance_id)
            .finish_non_exhaustive()
    }
}

/// An option that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {what}")]
pub struct OptionsFault {
    /// Which option.
    pub option: &'static str,
    /// What is wrong with it, in words for people.
    pub what: String,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Host and port as they stand in the URL.
    pub authority: String,
    /// The host; an IPv6 address without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Options {
    /// The defaults for a server.
    pub fn new(server: &str, instance_id: String) -> Self {
        Self {
            server: server.to_owned(),
            token: None,
            environment: String::new(),
            name: String::new(),
            labels: BTreeMap::new(),
            instance_id,
            connect: Duration::from_secs(5),
            backoff_base: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(10),
            steady: Duration::from_secs(60),
            silence: Duration::from_secs(45),
            denied: None,
            kills_unhealthy: Duration::from_secs(10),
            kills_healthy: Duration::from_secs(60),
        }
    }

    /// Where the server is, if all options can be used.
    ///
    /// # Errors
    /// The first option that cannot.
    pub fn check(&self) -> Result<Target, OptionsFault> {
        let target = target(&self.server)?;
        self.bearer()?;
        if !self.environment.is_empty() {
            EnvironmentName::new(&self.environment).map_err(|fault| wrong("environment", fault.to_string()))?;
        }
        let id = &self.instance_id;
        if id.is_empty() || id.len() > WORD_BYTES_MAX || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("instance_id", format!("1 to {WORD_BYTES_MAX} visible ASCII characters are allowed")));
        }
        if self.name.len() > NAME_BYTES_MAX {
            return Err(wrong("name", format!("at most {NAME_BYTES_MAX} bytes are allowed")));
        }
        let fits = |text: &String| text.len() <= WORD_BYTES_MAX;
        if self.labels.len() > LABELS_MAX || !self.labels.iter().all(|(name, value)| fits(name) && fits(value)) {
            let limits = format!("at most {LABELS_MAX} labels of at most {WORD_BYTES_MAX} bytes are allowed");
            return Err(wrong("labels", limits));
        }
        let durations = [
            ("connect", self.connect),
            ("backoff_base", self.backoff_base),
            ("backoff_cap", self.backoff_cap),
            ("silence", self.silence),
            ("denied", self.denied.unwrap_or(LONGEST)),
        ];
        match durations.iter().find(|(_, duration)| duration.is_zero() || *duration > LONGEST) {
            Some((option, _)) => Err(wrong(option, "it must be longer than zero and at most 30 days".to_owned())),
            None => Ok(target),
        }
    }

    /// The value of the `authorization` header, where there is a token.
    ///
    /// # Errors
    /// The token holds what no header can.
    pub fn bearer(&self) -> Result<Option<AsciiMetadataValue>, OptionsFault> {
        let Some(token) = &self.token else { return Ok(None) };
        let mut value: AsciiMetadataValue = format!("Bearer {token}")
            .parse()
            .map_err(|_| wrong("token", "it holds a character that no header can carry".to_owned()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn target(server: &str) -> Result<Target, OptionsFault> {
    let fault = |what: &str| wrong("url", format!("{server:?} {what}"));
    let uri: Uri = server.parse().map_err(|_| fault("is not a URL such as http://127.0.0.1:8013"))?;
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => {}
        Some(scheme) if *scheme == Scheme::HTTPS => {
            return Err(fault(
                "asks for TLS, which this client does not speak: end TLS in a sidecar or a proxy on this \
                              machine, and name its http:// address",
            ));
        }
        _ => return Err(fault("does not begin with http://")),
    }
    let authority = uri.authority().ok_or_else(|| fault("names no host"))?;
    if authority.as_str().contains('@') {
        return Err(wrong("url", "it holds a user name; give the token by `token`".to_owned()));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(fault("has a path, and gRPC takes none: name scheme, host and port only"));
    }
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() {
        return Err(fault("names no host"));
    }
    Ok(Target { authority: authority.as_str().to_owned(), host, port: uri.port_u16().unwrap_or(HTTP_PORT) })
}

fn wrong(option: &'static str, what: String) -> OptionsFault {
    OptionsFault { option, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(change: impl FnOnce(&mut Options)) -> String {
        let mut options = Options::new("http://127.0.0.1:8013", "id".to_owned());
        change(&mut options);
        options.check().map_or_else(|fault| fault.to_string(), |_| "none".to_owned())
    }

    #[test]
    fn a_url_is_scheme_host_and_port() {
        let target = |url: &str| target(url).unwrap();
        assert_eq!((target("http://[::1]:8013").host, target("http://[::1]:8013").port), ("::1".to_owned(), 8013));
        assert_eq!(
            (target("http://flags.example/").host, target("http://flags.example").port),
            ("flags.example".to_owned(), 80)
        );
        for (url, says) in [
            ("", "not a URL"),
            ("127.0.0.1:8013", "http://"),
            ("ftp://host", "http://"),
            ("https://host", "sidecar"),
            ("http://host/prefix", "a path"),
            ("http://user:secret@host", "user name"),
        ] {
            let said = fault(|options| options.server = url.to_owned());
            assert!(said.starts_with("url: ") && said.contains(says), "{url}: {said}");
            assert!(!said.contains("secret"));
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        assert_eq!(fault(|_| {}), "none");
        assert!(fault(|options| options.environment = "Prod!".to_owned()).starts_with("environment: "));
        assert!(fault(|options| options.instance_id = "with space".to_owned()).starts_with("instance_id: "));
        assert!(fault(|options| options.name = "x".repeat(257)).starts_with("name: "));
        assert!(fault(|options| options.labels = [("k".to_owned(), "v".repeat(65))].into()).starts_with("labels: "));
        assert!(fault(|options| options.silence = Duration::ZERO).starts_with("silence: "));
        let said = fault(|options| options.token = Some("se\ncret".to_owned()));
        assert!(said.starts_with("token: ") && !said.contains("cret"), "{said}");
        let options = Options { token: Some("secret".to_owned()), ..Options::new("http://h", "id".to_owned()) };
        assert!(!format!("{options:?}").contains("secret"));
    }
}
