//! Settings from every source, good and bad.

use std::fs;

use super::*;

type Options = BTreeMap<&'static str, String>;

fn options(given: &[(&'static str, &str)]) -> Options {
    given.iter().map(|(name, text)| (*name, (*text).to_owned())).collect()
}

fn variables(given: &[(&str, &str)]) -> BTreeMap<String, String> {
    given.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn faults(options: &Options, environment: &BTreeMap<String, String>, file: Option<(&str, &str)>) -> Vec<String> {
    resolve(options, environment, file).expect_err("it is refused").iter().map(SettingFault::to_string).collect()
}

fn file_faults(text: &str) -> Vec<String> {
    faults(&Options::new(), &BTreeMap::new(), Some(("rampart.toml", text)))
}

/// A value of each kind that is not the default.
fn other_value(setting: &Setting) -> String {
    let text = match setting.kind {
        table::Kind::Path => "elsewhere",
        table::Kind::Address => "127.0.0.1:9999",
        table::Kind::Environment => "staging",
        table::Kind::Switch if setting.default == Some("true") => "false",
        table::Kind::Switch => "true",
        table::Kind::Choice(words) => words.iter().rev().find(|word| Some(**word) != setting.default).unwrap(),
        table::Kind::Duration(..) => "17s",
        table::Kind::Bytes(..) => "9KiB",
        table::Kind::Count(..) => "77",
        table::Kind::Filter => "warn",
        table::Kind::Secret => "hunter2",
        table::Kind::Token => {
            "rampart_0123456789abcdef_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
        }
        table::Kind::Pairs => r#"{"a":"b,c","d":"\"e\""}"#,
        table::Kind::Headers => "X-Region=region,X-Tier=tier",
        table::Kind::Origins => "https://shop.example",
        table::Kind::Url => "https://flags.example",
    };
    text.to_owned()
}

#[test]
fn without_anything_the_defaults_hold() {
    let resolved = resolve(&Options::new(), &BTreeMap::new(), None).unwrap();
    let settings = resolved.settings;
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8013");
    assert_eq!(settings.admin_listen.to_string(), "127.0.0.1:8014");
    assert_eq!(settings.data_dir, PathBuf::from("rampart-data"));
    assert_eq!((settings.journal, settings.data_plane_auth), (JournalKind::Sqlite, DataPlaneAuth::Optional));
    assert_eq!((settings.flags, settings.allow_deletes, settings.log_filter), (None, false, "info".to_owned()));
    assert_eq!(settings.limits.import_body_bytes, crate::flag::limits::FILE_BYTES_MAX);
    assert_eq!(settings.limits.evaluate_body_bytes, 64 * 1024);
    assert_eq!(settings.drain_deadline, Duration::from_secs(25));
    assert!(resolved.warnings.is_empty());
    assert!(resolved.effective.iter().all(|effective| effective.source == Source::Default));
}

#[test]
fn every_default_passes_its_own_check() {
    for setting in TABLE {
        if let Some(default) = setting.default {
            assert_eq!(setting.kind.check(default), Ok(()), "{}", setting.name);
        }
    }
}

#[test]
fn every_setting_of_the_table_reaches_the_settings_from_every_source() {
    let plain = format!("{:?}", resolve(&Options::new(), &BTreeMap::new(), None).unwrap().settings);
    for setting in TABLE {
        let text = other_value(setting);
        // Neither file of a certificate goes without the other.
        let partner = match setting.name {
            "tls_cert" => options(&[("tls_key", "key.pem")]),
            "tls_key" => options(&[("tls_cert", "cert.pem")]),
            _ => Options::new(),
        };
        let mut whole = partner.clone();
        whole.insert(setting.name, text.clone());
        let by_option = resolve(&whole, &BTreeMap::new(), None).unwrap();
        let by_variable = resolve(&partner, &variables(&[(&setting.variable(), &text)]), None).unwrap();
        let line = format!("{} = {text:?}\n", setting.name);
        let by_file = resolve(&partner, &BTreeMap::new(), Some(("f", &line))).unwrap();
        let seen = [&by_option, &by_variable, &by_file].map(|resolved| format!("{:?}", resolved.settings));
        assert_ne!(seen[0], plain, "{} changes nothing", setting.name);
        assert!(seen[1] == seen[0] && seen[2] == seen[0], "{} depends on its source", setting.name);
    }
}

#[test]
fn the_command_line_wins_over_variables_over_the_file() {
    let file = Some(("rampart.toml", "drain_window = \"1s\"\nlog_format = \"json\"\nlog_filter = \"warn\"\n"));
    let environment = variables(&[("RAMPART_DRAIN_WINDOW", "2s"), ("RAMPART_LOG_FORMAT", "text")]);
    let resolved = resolve(&options(&[("drain_window", "3s")]), &environment, file).unwrap();
    let settings = &resolved.settings;
    assert_eq!(settings.drain_window, Duration::from_secs(3));
    assert_eq!(settings.log_format, LogFormat::Text);
    assert_eq!(settings.log_filter, "warn");
    let source = |name: &str| {
        resolved.effective.iter().find(|effective| effective.setting.name == name).unwrap().source.to_string()
    };
    assert_eq!(source("drain_window"), "--drain-window");
    assert_eq!(source("log_format"), "RAMPART_LOG_FORMAT");
    assert_eq!(source("log_filter"), "rampart.toml:3");
    assert_eq!(source("listen"), "default");
}

#[test]
fn everything_wrong_is_reported_at_once_with_its_place() {
    let found = faults(
        &options(&[("listen", "8013"), ("nonsense", "1")]),
        &variables(&[("RAMPART_DRAIN_WINDOW", "10"), ("RAMPART_JOURNAL", "")]),
        Some(("rampart.toml", "# mine\nlog_format = \"xml\"\n[limits]\nbacklog = 0\nbaklog = 1\n")),
    );
    assert_eq!(found.len(), 7, "{found:#?}");
    let expected = [
        "`nonsense`: there is no setting `nonsense`",
        "--listen: \"8013\" is not an address to listen on; write an IP address and a port",
        "RAMPART_DRAIN_WINDOW: \"10\" is not a time; write a whole number and its unit",
        "RAMPART_JOURNAL: \"\" is not a choice here; write one of: sqlite, memory",
        "rampart.toml:2: `log_format` is \"xml\", which is not a choice here; write one of: text, json",
        "rampart.toml:4: `limits.backlog` is \"0\", which is out of range; write a value from 1 to 65535",
        "rampart.toml:5: there is no setting `limits.baklog`; did you mean `limits.backlog`?",
    ];
    for expected in expected {
        assert!(found.iter().any(|fault| fault.starts_with(expected)), "{expected}\nnot in {found:#?}");
    }
}

#[test]
fn a_bad_value_is_reported_even_where_a_stronger_source_covers_it() {
    let found = faults(&options(&[("journal", "memory")]), &variables(&[("RAMPART_JOURNAL", "disk")]), None);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("RAMPART_JOURNAL: \"disk\""), "{found:?}");
}

#[test]
fn values_out_of_range_name_the_range() {
    let found = file_faults("limits.backlog = 70000\nflags_poll = \"1ms\"\nlimits.import_body_bytes = \"17MiB\"\n");
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found.iter().any(|fault| fault.contains("from 1 to 65535")), "{found:#?}");
    assert!(found.iter().any(|fault| fault.contains("from 100ms to 1h")), "{found:#?}");
    assert!(found.iter().any(|fault| fault.contains("from 1KiB to 16MiB")), "{found:#?}");
}

#[test]
fn the_file_is_refused_where_its_shape_is_wrong() {
    for (text, expected) in [
        ("data-dir = \"x\"", "rampart.toml:1: there is no setting `data-dir`; did you mean `data_dir`?"),
        ("\n\nbacklog = 5", "rampart.toml:3: there is no setting `backlog`; did you mean `limits.backlog`?"),
        ("[limit]\nbacklog = 5", "rampart.toml:1: there is no setting `limit`; "),
        ("entirely_else = 5", "rampart.toml:1: there is no setting `entirely_else`; remove it"),
        ("limits = 5", "rampart.toml:1: `limits` is a table of settings; write [limits]"),
        ("[journal]\nkind = 1", "rampart.toml:1: `journal` cannot be a table; write `sqlite` or `memory`"),
        ("listen = [\"127.0.0.1:1\"]", "rampart.toml:1: `listen` cannot be a array; write address:port"),
        ("limits.backlog = 1.5", "rampart.toml:1: `limits.backlog` cannot be a float; write 1 to 65535"),
        ("\nlisten = 127.0.0.1:1", "rampart.toml:2: this is not TOML"),
        ("journal = \"memory\"\njournal = \"sqlite\"", "rampart.toml:2: this is not TOML (duplicate key"),
    ] {
        let found = file_faults(text);
        assert!(found[0].starts_with(expected), "{text:?} gave {found:#?}");
    }
}

#[test]
fn hostile_files_are_refused_and_do_not_panic() {
    let deep = format!("listen = {}", "[".repeat(100_000));
    for text in [deep.as_str(), "\0", "= = =", "\u{feff}\u{202e}", "a.b.c.d = 1", "limits.backlog.deep = 1"] {
        assert!(!file_faults(text).is_empty());
    }
    let number = "limits.backlog = 99999999999999999999999";
    assert!(!file_faults(number).is_empty());
}

#[test]
fn unknown_variables_are_warned_about_and_those_of_others_are_not() {
    let environment = variables(&[
        ("RAMPART_LISTN", "x"),
        ("RAMPART_QUITE_ELSE", "x"),
        ("RAMPART_TOKEN", "x"),
        ("RAMPART_SERVER", "x"),
        ("RAMPART_DATA_SERVER", "x"),
        ("RAMPART_CONFIG", "x"),
        ("RAMPART_SERVICE_HOST", "10.0.0.1"),
        ("RAMPART_PORT_8013_TCP_ADDR", "10.0.0.1"),
        ("HOME", "x"),
    ]);
    let warnings = resolve(&Options::new(), &environment, None).unwrap().warnings;
    assert_eq!(
        warnings,
        [
            "RAMPART_LISTN is not a variable of Rampart and has no effect; did you mean RAMPART_LISTEN?",
            "RAMPART_QUITE_ELSE is not a variable of Rampart and has no effect",
        ]
    );
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let found = faults(&options(&[("listen", "0.0.0.0:8014")]), &BTreeMap::new(), None);
    assert_eq!(found, ["--listen and admin_listen (its default): both want port 8014; give each a port of its own"]);
    let found = faults(&options(&[("drain_deadline", "1s")]), &BTreeMap::new(), None);
    assert!(found[0].starts_with("drain_window (its default) and --drain-deadline: "), "{found:?}");
    let both_free = options(&[("listen", "127.0.0.1:0"), ("admin_listen", "127.0.0.1:0")]);
    assert!(resolve(&both_free, &BTreeMap::new(), None).is_ok());
}

#[test]
fn what_is_printed_sets_the_same_again() {
    let given: Vec<(&str, String)> = TABLE.iter().map(|setting| (setting.name, other_value(setting))).collect();
    let mut given: Options = given.into_iter().collect();
    given.insert("admin_listen", "127.0.0.1:9998".to_owned());
    given.insert("data_dir", "it's \"quoted\" \\ #1".to_owned());
    given.insert("sync_listen", "127.0.0.1:9997".to_owned());
    given.insert("ofrep_listen", "127.0.0.1:9996".to_owned());
    given.remove("metrics_token");
    given.remove("admin_token");
    let first = resolve(&given, &BTreeMap::new(), None).unwrap();
    let printed = print::config(&first);
    let second = resolve(&Options::new(), &BTreeMap::new(), Some(("printed", &printed))).unwrap();
    assert_eq!(format!("{:?}", first.settings), format!("{:?}", second.settings), "{printed}");
    assert!(printed.contains("backlog = 77  # --limits-backlog\n"), "{printed}");
    assert!(printed.contains("\n[limits]\n") && printed.contains("\n[streams]\n"), "{printed}");
}

#[test]
fn secrets_are_shown_nowhere() {
    let secret = "hunter2-of-the-metrics";
    let environment = variables(&[("RAMPART_METRICS_TOKEN", secret)]);
    let resolved = resolve(&Options::new(), &environment, None).unwrap();
    assert_eq!(resolved.settings.metrics_token.as_ref().unwrap().expose(), secret);
    let printed = print::config(&resolved);
    assert!(printed.contains("# metrics_token = \"[redacted]\"  # RAMPART_METRICS_TOKEN"), "{printed}");
    let bad = format!("{secret} with spaces");
    let found = faults(&Options::new(), &variables(&[("RAMPART_METRICS_TOKEN", &bad)]), None);
    for shown in [format!("{resolved:?}"), printed, found.join("\n")] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn the_reference_names_every_setting_and_variable() {
    let reference = print::reference();
    for setting in TABLE {
        let row = format!("| `{}` | `{}` | ", setting.name, setting.variable());
        assert!(reference.contains(&row), "{row}");
    }
    assert!(reference.contains("| | `RAMPART_TOKEN` |"));
    assert!(reference.contains("| `limits.backlog` | `RAMPART_LIMITS_BACKLOG` | 1 to 65535 | `4096` |"), "{reference}");
}

#[test]
fn a_settings_file_is_read_and_a_missing_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rampart.toml");
    fs::write(&path, "journal = \"memory\"\n").unwrap();
    let resolved = load(&Options::new(), &BTreeMap::new(), Some(&path)).unwrap();
    assert_eq!(resolved.settings.journal, JournalKind::Memory);
    for bad in [folder.path().join("nowhere.toml"), folder.path().to_owned()] {
        let found = load(&Options::new(), &BTreeMap::new(), Some(&bad)).unwrap_err();
        assert!(found[0].problem.starts_with("the settings file cannot be read"), "{found:?}");
        assert_eq!(found[0].place, bad.display().to_string());
    }
    fs::write(&path, "#".repeat(SETTINGS_FILE_BYTES_MAX as usize + 1)).unwrap();
    let found = load(&Options::new(), &BTreeMap::new(), Some(&path)).unwrap_err();
    assert!(found[0].problem.contains("more than 1048576 bytes"), "{found:?}");
}
