//! `rampart import`: exports of four systems, what comes out of them, what is said of the rest, and what the output
//! answers. The exports stand in `tests/vectors/import`: beside each `NAME`, `NAME.expected.yaml` is the flag file,
//! `NAME.report` the report, and `NAME.cases.json` the options, the exit code and a table of answers as the other
//! system gives them (null: the code default), written by hand.

use std::path::PathBuf;

use rampart::eval::compile::compile_all;
use rampart::eval::context::Context;
use rampart::eval::evaluate::evaluate;
use rampart::flag::parse::{Format, parse_document};
use rampart::flag::time::Timestamp;
use serde_json::Value;

use crate::harness::{cli, repository, stderr, stdout};

fn vector(name: &str) -> PathBuf {
    repository("tests/vectors/import").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(vector(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Imports one vector and holds everything against what stands beside it.
fn check(system: &str, file: &str) {
    let name = file.rsplit_once('.').expect("a file with an ending").0;
    let cases: Value = serde_json::from_str(&read(&format!("{name}.cases.json"))).expect("JSON");
    let options = cases["arguments"].as_array().expect("a list").iter().filter_map(Value::as_str);
    let path = vector(file);
    let path = path.to_str().expect("UTF-8");
    let arguments: Vec<&str> = ["import", system, path].into_iter().chain(options).collect();
    let imported = cli(&[], &arguments);
    assert_eq!(stderr(&imported).replace(path, file), read(&format!("{name}.report")), "{file}");
    assert_eq!(stdout(&imported), read(&format!("{name}.expected.yaml")), "{file}");
    assert_eq!(imported.status.code().map(Value::from), Some(cases["code"].clone()), "{file}");

    let parsed = parse_document(&imported.stdout, Format::Yaml, None);
    let errors: Vec<_> = parsed.diagnostics.iter().filter(|found| found.is_error()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let flags = parsed.file.flags.len();
    let (set, faults) = compile_all(rampart::cli::eval::objects(parsed.file));
    if system != "flagd" {
        assert_eq!((set.len(), faults), (flags, vec![]), "{file}: everything in the output compiles");
    }
    // JSON is the same document.
    let json = cli(&[], &[arguments.as_slice(), &["--format", "json"]].concat());
    let (yaml, json) =
        (parse_document(&imported.stdout, Format::Yaml, None), parse_document(&json.stdout, Format::Json, None));
    assert_eq!(yaml.file, json.file);

    for case in cases["answers"].as_array().expect("a list") {
        let [flag, context, wanted] = case.as_array().expect("three things").as_slice() else { panic!("{case}") };
        let set_name = (system == "flagd").then_some("shop");
        let flag = set.flag(set_name, flag.as_str().expect("a key")).unwrap_or_else(|| panic!("{flag} is not there"));
        let context = context.to_string();
        let context = Context::from_json(context.as_bytes()).expect("a context");
        let answer = evaluate(&set, flag, &context, Timestamp::default());
        assert_eq!(answer.value.unwrap_or(&Value::Null), wanted, "{file}: {case}");
    }
}

#[test]
fn flagd_files_are_kept_as_they_are() {
    check("flagd", "flagd.json");
}

#[test]
fn go_feature_flag_is_translated_exactly_or_left_out() {
    check("goff", "goff.yaml");
}

#[test]
fn unleash_is_translated_exactly_or_left_out() {
    check("unleash", "unleash.json");
    check("unleash", "unleash-export.json");
}

#[test]
fn launchdarkly_is_translated_exactly_or_left_out() {
    check("launchdarkly", "launchdarkly.json");
    check("launchdarkly", "launchdarkly-rest.json");
}

#[test]
fn scripts_can_rely_on_streams_and_exit_codes() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (export, output) = (file("flags.json"), file("out.json"));
    std::fs::write(&export, r#"{"a": {"variations": {"x": 1}, "defaultRule": {"variation": "x"}}}"#).expect("a file");
    let arguments = ["import", "goff", &export, "--output", &output, "--format", "json", "--report", "json"];
    let imported = cli(&[], &arguments);
    assert_eq!((imported.status.code(), stdout(&imported)), (Some(0), String::new()), "all of it was translated");
    let report: Value = serde_json::from_str(&stderr(&imported)).expect("JSON");
    assert_eq!(
        (&report["flags"], &report["translated"], &report["remarks"]),
        (&1.into(), &1.into(), &Value::Array(vec![]))
    );
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&output).expect("the output")).expect("JSON");
    assert_eq!(written["flags"]["a"]["defaultVariant"], "x");
    assert_eq!(cli(&[], &["check", "--strict", &output]).status.code(), Some(0), "the output is clean");

    let several = vector("launchdarkly-rest.json");
    for (arguments, words) in [
        (["launchdarkly", several.to_str().expect("UTF-8")], "--environment: production, test"),
        (["unleash", &export], "`features`"),
        (["goff", "/nowhere.yaml"], "/nowhere.yaml"),
        (["flagd", "-"], "<stdin>"),
        (["togglz", &export], "possible values"),
    ] {
        let refused = cli(&[], &[&["import"], arguments.as_slice()].concat());
        assert_eq!((refused.status.code(), stdout(&refused)), (Some(2), String::new()), "{words}");
        assert!(stderr(&refused).contains(words), "{}", stderr(&refused));
    }
}

#[test]
fn nothing_in_an_export_steers_the_terminal() {
    let dir = tempfile::tempdir().expect("a folder");
    let export = dir.path().join("flags.json");
    std::fs::write(&export, "{\"a\\u001b[2J\": {\"rule\\u202e\": 1, \"variations\": {\"\\u001b\": [1]}}}")
        .expect("a file");
    let imported = cli(&[], &["import", "goff", export.to_str().expect("UTF-8")]);
    let words = stderr(&imported);
    assert!(words.contains("left out") && !words.contains(['\u{1b}', '\u{202e}']), "{words:?}");
}
