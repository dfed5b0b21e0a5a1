//! What comes of flagd's words: precedence, every option, every refusal.

use std::time::Duration;

use super::*;
use crate::app::settings::{JournalKind, LogFormat, Settings};

/// What is said where, for one composition.
#[derive(Default)]
struct Case {
    options: BTreeMap<&'static str, Vec<String>>,
    own: BTreeMap<&'static str, String>,
    environment: BTreeMap<String, String>,
    config: Option<(String, String)>,
    settings: Option<String>,
}

impl Case {
    /// With one source, so that nothing else is missing.
    fn new() -> Self {
        Self::default().option("uri", "file:flags.json")
    }

    fn option(mut self, long: &'static str, text: &str) -> Self {
        self.options.entry(long).or_default().push(text.to_owned());
        self
    }

    fn variable(mut self, name: &str, text: &str) -> Self {
        self.environment.insert(name.to_owned(), text.to_owned());
        self
    }

    fn config(mut self, name: &str, text: &str) -> Self {
        self.config = Some((name.to_owned(), text.to_owned()));
        self
    }

    fn compose(&self) -> Result<Composed, Vec<SettingFault>> {
        compose(Words {
            options: &self.options,
            own: &self.own,
            environment: &self.environment,
            config: self.config.as_ref().map(|(name, text)| (name.as_str(), text.as_str())),
            settings: self.settings.as_ref().map(|text| ("rampart.toml", text.as_str())),
        })
    }

    fn settings(&self) -> Settings {
        self.compose().unwrap_or_else(|faults| panic!("{faults:#?}")).resolved.settings
    }

    fn faults(&self) -> Vec<String> {
        self.compose().expect_err("it is refused").iter().map(ToString::to_string).collect()
    }

    fn sources(&self) -> Vec<String> {
        self.compose().unwrap().sources.into_iter().map(|file| file.name).collect()
    }
}

#[test]
fn without_more_than_a_source_it_is_as_flagd() {
    let settings = Case::new().settings();
    let ports = [settings.listen, settings.admin_listen, settings.sync_listen.unwrap(), settings.ofrep_listen.unwrap()];
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["0.0.0.0:8013", "0.0.0.0:8014", "0.0.0.0:8015", "0.0.0.0:8016"]);
    assert_eq!(settings.journal, JournalKind::Memory);
    assert_eq!((settings.tls_cert, settings.listen_socket, settings.sync_socket), (None, None, None));
    assert_eq!(settings.limits.evaluate_body_bytes, 1_000_000);
    assert!(settings.flags_poll < Duration::from_secs(1));
}

#[test]
fn the_command_line_wins_over_variables_over_the_file_over_the_defaults() {
    let case = Case::new().config("flagd.yaml", "port: 1\nmanagement-port: 2\nsync-port: 3\n");
    let case = case.variable("FLAGD_PORT", "11").variable("FLAGD_MANAGEMENT_PORT", "12").option("port", "21");
    let settings = case.settings();
    let ports = [settings.listen, settings.admin_listen, settings.sync_listen.unwrap(), settings.ofrep_listen.unwrap()];
    assert_eq!(ports.map(|address| address.port()), [21, 12, 3, 8016]);
    let resolved = case.compose().unwrap().resolved;
    let source = |name: &str| {
        resolved.effective.iter().find(|effective| effective.setting.name == name).unwrap().source.to_string()
    };
    assert_eq!(
        ["listen", "admin_listen", "sync_listen", "ofrep_listen"].map(source),
        ["--port", "FLAGD_MANAGEMENT_PORT", "flagd.yaml:3", "default",]
    );
}

#[test]
fn rampart_s_own_settings_stand_under_flagd_s_and_over_its_defaults() {
    let case = Case::new().variable("RAMPART_LISTEN", "127.0.0.1:7").variable("RAMPART_ADMIN_LISTEN", "127.0.0.1:8");
    let case = case.option("port", "9").variable("RAMPART_LIMITS_BACKLOG", "77");
    let settings = case.settings();
    assert_eq!(
        (settings.listen.to_string(), settings.admin_listen.to_string()),
        ("0.0.0.0:9".into(), "127.0.0.1:8".into())
    );
    assert_eq!(settings.limits.backlog, 77);
}

#[test]
fn a_data_folder_makes_it_keep_what_changes() {
    let folder = |case: Case| {
        let settings = case.settings();
        (settings.journal, settings.data_dir.display().to_string())
    };
    assert_eq!(folder(Case::new().variable("RAMPART_DATA_DIR", "/data")), (JournalKind::Sqlite, "/data".to_owned()));
    let mut case = Case::new().variable("RAMPART_DATA_DIR", "/data");
    case.own.insert("data_dir", "/mine".to_owned());
    assert_eq!(folder(case), (JournalKind::Sqlite, "/mine".to_owned()));
    let mut case = Case::new();
    case.settings = Some("data_dir = \"/toml\"\n".to_owned());
    assert_eq!(folder(case), (JournalKind::Sqlite, "/toml".to_owned()));
    let case = Case::new().variable("RAMPART_DATA_DIR", "/data").variable("RAMPART_JOURNAL", "memory");
    assert_eq!(folder(case), (JournalKind::Memory, "/data".to_owned()));
}

#[test]
fn every_option_that_is_supported_becomes_its_setting() {
    let case = Case::new()
        .option("socket-path", "/tmp/e.sock")
        .option("sync-socket-path", "/tmp/s.sock")
        .option("server-cert-path", "c.pem")
        .option("server-key-path", "k.pem")
        .option("context-value", "region=eu,tier=gold")
        .option("context-value", "note=a,b")
        .option("context-from-header", "X-User=user")
        .option("log-format", "json")
        .option("debug", "true")
        .option("max-request-body", "2000000")
        .option("max-request-header", "100000");
    let settings = case.settings();
    let path = |path: Option<std::path::PathBuf>| path.unwrap().display().to_string();
    assert_eq!(path(settings.listen_socket), "/tmp/e.sock");
    assert_eq!(path(settings.sync_socket), "/tmp/s.sock");
    assert_eq!((path(settings.tls_cert), path(settings.tls_key)), ("c.pem".to_owned(), "k.pem".to_owned()));
    let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    assert_eq!(settings.context_values, [pair("note", "a,b"), pair("region", "eu"), pair("tier", "gold")]);
    assert_eq!(settings.context_from_headers, [(http::HeaderName::from_static("x-user"), "user".to_owned())]);
    assert_eq!((settings.log_format, settings.log_filter.as_str()), (LogFormat::Json, "info,rampart=debug"));
    assert_eq!((settings.limits.evaluate_body_bytes, settings.limits.header_bytes), (2_000_000, 100_000));
    assert_eq!(Case::new().option("log-format", "console").settings().log_format, LogFormat::Text);
}

#[test]
fn every_option_that_is_supported_names_a_setting() {
    let settings = OPTIONS.iter().filter_map(|option| match option.support {
        Support::Setting(name) => Some(name),
        Support::Sources | Support::NoEffect(_) | Support::Instead(_) => None,
    });
    // Those of flagd's own protocols are there where the protocols are.
    let unknown: Vec<&str> = settings.filter(|name| Setting::named(name).is_none()).collect();
    assert_eq!(unknown, Vec::<&str>::new());
}

#[test]
fn what_ofrep_s_clients_see_of_it_is_set_too() {
    use crate::app::settings::Origins;
    let settings = Case::new().settings();
    assert_eq!((settings.cors_origins, settings.ofrep_sse), (None, true), "as flagd");
    let case = Case::new()
        .option("cors-origin", "https://a.example,https://b.example")
        .option("cors-origin", "http://localhost:3000")
        .option("ofrep-sse-enabled", "false")
        .option("ofrep-sse-inactivity-delay", "30")
        .option("ofrep-sse-public-url", "https://flags.example");
    let settings = case.settings();
    let origins = ["https://a.example", "https://b.example", "http://localhost:3000"].map(str::to_owned);
    assert_eq!(settings.cors_origins, Some(Origins::Only(origins.to_vec())));
    assert_eq!((settings.ofrep_sse, settings.sse_inactivity_delay), (false, Duration::from_secs(30)));
    assert_eq!(settings.sse_public_url.as_deref(), Some("https://flags.example"));
    assert_eq!(Case::new().option("cors-origin", "*").settings().cors_origins, Some(Origins::Any));
    let faults = Case::new().option("cors-origin", "https://*.example").faults();
    assert!(faults[0].starts_with("--cors-origin: ") && faults[0].contains("not an origin"), "{faults:?}");
}

#[test]
fn the_same_can_be_said_in_json_in_yaml_and_in_variables() {
    let json = r#"{"uri":["file:a.json","file:b,c.json"],"context-value":{"region":"eu","n":7},"debug":true,
        "context-from-header":{"X-User":"user"},"sources":[{"uri":"d.json","provider":"file"}],"Port":9}"#;
    let yaml = "uri:\n- file:a.json\n- 'file:b,c.json'\ncontext-value:\n  region: eu\n  n: 7\ndebug: true\n\
        context-from-header:\n  X-User: user\nsources:\n- uri: d.json\n  provider: file\nport: 9\n";
    for (name, text) in [("flagd.json", json), ("flagd.yml", yaml), ("flagd", json)] {
        let case = Case::default().config(name, text);
        assert_eq!(case.sources(), ["a.json", "b,c.json", "d.json"], "{name}");
        let settings = case.settings();
        assert_eq!(settings.listen.port(), 9);
        assert_eq!(settings.context_values.len(), 2);
        assert_eq!((settings.context_from_headers.len(), settings.log_filter.as_str()), (1, "info,rampart=debug"));
    }
    let case = Case::default()
        .variable("FLAGD_URI", "file:a.json file:b.json")
        .variable("FLAGD_SOURCES", r#"[{"uri":"d.json","provider":"fileinfo"}]"#)
        .variable("FLAGD_CONTEXT_VALUE", r#"{"region":"eu"}"#)
        .variable("FLAGD_CONTEXT_FROM_HEADER", "X-User=user")
        .variable("FLAGD_DEBUG", "");
    assert_eq!(case.sources(), ["a.json", "b.json", "d.json"]);
    assert_eq!(case.settings().context_values, [("region".to_owned(), "eu".to_owned())]);
    assert_eq!(case.settings().log_filter, "info", "an empty variable is none");
}

#[test]
fn sources_win_over_uris_and_a_stronger_source_replaces_the_whole_list() {
    let case = Case::default().option("sources", r#"[{"uri":"s.json","provider":"file"}]"#);
    let case = case.option("uri", "file:a.json,file:b.json").option("uri", "file:c.json");
    let case = case.variable("FLAGD_URI", "file:hidden.json");
    assert_eq!(case.sources(), ["a.json", "b.json", "c.json", "s.json"]);
}

#[test]
fn what_is_not_supported_is_refused_with_what_to_use_instead_all_at_once() {
    let case = Case::default()
        .option("uri", "http://host/flags.json")
        .option("metrics-exporter", "otel")
        .variable("FLAGD_OTEL_COLLECTOR_URI", "host:4317")
        .config(
            "flagd.yaml",
            "prot: 8013\nport: many\nstream-deadline: 5\nsources:\n- {uri: x, provider: kubernetes}\n",
        );
    let faults = case.faults();
    for expected in [
        "--uri: \"http://host/flags.json\" is a source of the kind `http`, which Rampart does not have; have a job",
        "--metrics-exporter: `metrics-exporter` is an option of flagd that Rampart does not have; leave it out: metrics",
        "FLAGD_OTEL_COLLECTOR_URI: `otel-collector-uri` is an option",
        "flagd.yaml:1: flagd has no option `prot`; did you mean `port`?",
        "flagd.yaml:2: \"many\" is not a port",
        "flagd.yaml:3: \"5\" is not a time; write numbers with units",
        "flagd.yaml:4: ",
        "mount the flags as a ConfigMap volume",
    ] {
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected}: {faults:#?}");
    }
    assert_eq!(faults.len(), 7, "{faults:#?}");
}

#[test]
fn every_option_that_has_no_counterpart_says_so() {
    for option in OPTIONS {
        if let Support::Instead(instead) = option.support {
            let faults = Case::new().option(option.long, "x").faults();
            assert!(faults[0].contains(instead) && faults[0].starts_with(&format!("--{}", option.long)), "{faults:?}");
        }
    }
}

#[test]
fn what_has_no_effect_is_accepted_checked_and_said() {
    let case = Case::new().option("keep-alive-min-time", "30s").option("keep-alive-permit-without-stream", "false");
    let warnings = case.compose().unwrap().resolved.warnings;
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].starts_with("--keep-alive-min-time: `keep-alive-min-time` has no effect: clients may ping"));
    assert!(Case::new().option("keep-alive-min-time", "soon").faults()[0].contains("\"soon\" is not a time"));
}

#[test]
fn bad_values_are_named_with_their_place() {
    for (long, text, expected) in [
        ("port", "65536", "--port: \"65536\" is not a port; write a number from 0 to 65535"),
        ("port", "-1", "--port: \"-1\" is not a port"),
        ("debug", "yes", "--debug: \"yes\" is not a boolean; write true or false"),
        ("log-format", "text", "--log-format: \"text\" is not a log format; write console or json"),
        ("context-value", "region", "--context-value: \"region\" is no name=text"),
        ("context-from-header", "X User=u", "--context-from-header: "),
        ("max-request-body", "1e6", "--max-request-body: \"1e6\" is not a whole number"),
        ("max-request-body", "99999999999", "--max-request-body: \"99999999999\" is out of range"),
        ("max-request-header", "1", "--max-request-header: \"1\" is out of range; write a value from 8KiB to 1MiB"),
        ("server-key-path", "k.pem", "a certificate without its key, or a key without its certificate"),
        ("port", "8014", "both want port 8014"),
        ("port", "8016", "both want port 8016"),
        ("sources", "[", "--sources: \"the list of sources\" is not JSON"),
    ] {
        let faults = Case::new().option(long, text).faults();
        assert!(faults.len() == 1 && faults[0].contains(expected), "{long} {text}: {faults:?}");
    }
    assert!(Case::default().faults()[0].contains("there is no source of flags; name a flag file with --uri file:PATH"));
    assert!(Case::default().option("uri", "").faults()[0].contains("there is no source of flags"));
}

#[test]
fn a_configuration_that_cannot_be_read_is_named_with_its_line() {
    for (name, text, expected) in [
        ("flagd.json", "{\n  \"port\": }", "flagd.json:2: "),
        ("flagd.yaml", "port: 1\nport: 2\n", "flagd.yaml:2: `port` stands twice"),
        ("flagd.yaml", "- port\n", "the configuration is a list, not a map"),
        ("flagd.toml", "port = 1\n", "the configuration file of flagd is JSON or YAML; name it x.json or x.yaml"),
        ("flagd.json", r#"{"port": [1]}"#, "flagd.json:1: `port` cannot be a list; write a port"),
        ("flagd.json", r#"{"context-value": {"a": [1]}}"#, "`context-value` cannot be a map; write a map of names"),
    ] {
        let faults = Case::new().config(name, text).faults();
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{text}: {faults:?}");
    }
    assert_eq!(Case::new().config("flagd.json", r#"{"port": null}"#).settings().listen.port(), 8013);
}

#[test]
fn variables_of_others_do_no_harm() {
    let case = Case::new()
        .variable("FLAGD_PORT", "tcp://10.0.0.1:8013")
        .variable("FLAGD_HOST", "flagd")
        .variable("FLAGD_PORT_8013_TCP_ADDR", "10.0.0.1")
        .variable("FLAGD_SYNC_PROT", "1");
    let Composed { resolved, .. } = case.compose().unwrap();
    assert_eq!(resolved.settings.listen.port(), 8013);
    let warnings = resolved.warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("is the address of a Kubernetes service"), "{warnings:?}");
    assert!(warnings[1].contains("did you mean FLAGD_SYNC_PORT?"), "{warnings:?}");
}
