//! The command line: what scripts rely on, exit codes first.

use serde_json::Value;

use crate::harness::{Server, cli, repository, stderr, stdout};

fn example() -> String {
    repository("examples/phase-9.flags.yaml").to_str().expect("UTF-8").to_owned()
}

fn code(output: &std::process::Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn check_eval_and_schema_need_no_server() {
    let dir = tempfile::tempdir().expect("a folder");
    let bad = dir.path().join("bad.yaml");
    std::fs::write(
        &bad,
        "flags:\n  a:\n    variants: {x: 1}\n    serve: {y: 5}\n    requires: [{flag: b, variant: x}]\n",
    )
    .expect("a file");
    let bad = bad.to_str().expect("UTF-8");
    let good = cli(&[], &["check", &example()]);
    assert_eq!(code(&good), Some(0), "{}", stdout(&good));
    let found = cli(&[], &["check", bad, "--format", "json"]);
    assert_eq!(code(&found), Some(1));
    let report: Value = serde_json::from_slice(&found.stdout).expect("JSON");
    let first = &report["diagnostics"][0];
    assert_eq!(
        (&first["code"], &first["line"], &first["pointer"]),
        (&"unknown-variant".into(), &4.into(), &"/flags/a/serve/y".into())
    );
    assert_eq!(code(&cli(&[], &["check", "/nowhere.yaml"])), Some(1));
    let warned = dir.path().join("warned.yaml");
    std::fs::write(
        &warned,
        "flags:\n  a b:\n    state: ENABLED\n    variants: {\"x\": 1}\n    defaultVariant: \"x\"\n",
    )
    .expect("a file");
    let warned = warned.to_str().expect("UTF-8");
    assert_eq!(code(&cli(&[], &["check", warned])), Some(0));
    assert_eq!(code(&cli(&[], &["check", warned, "--strict"])), Some(1), "strict takes warnings for errors");
    let schema: Value = serde_json::from_slice(&cli(&[], &["schema"]).stdout).expect("JSON");
    assert!(schema["$schema"].is_string());
    let context = r#"{"targetingKey": "u", "email": "q@example.com"}"#;
    let answer =
        cli(&[], &["eval", &example(), "--flag", "sliceB_documents", "--context", context, "--output", "json"]);
    let answer: Value = serde_json::from_slice(&answer.stdout).expect("JSON");
    assert_eq!(answer["reason"], "SPLIT");
    let explained =
        cli(&[], &["eval", &example(), "--flag", "document_bulk_upload", "--context", context, "--explain"]);
    assert!(stdout(&explained).contains("\"steps\""), "{}", stdout(&explained));
    assert_eq!(code(&cli(&[], &["eval", &example(), "--flag", "nope"])), Some(1));
    assert_eq!(code(&cli(&[], &["eval", &example(), "--flag", "sliceB_documents", "--context", "["])), Some(2));
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&cli(&[], &["completions", shell])).contains("rampart"), "{shell}");
    }
}

#[test]
fn settings_come_from_options_variables_and_a_file_and_secrets_stay_secret() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("rampart.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:7001\"\nadmin_listen = \"127.0.0.1:7002\"\nmetrics_token = \"hush\"\n")
        .expect("a file");
    let file = file.to_str().expect("UTF-8");
    let printed = cli(
        &[("RAMPART_LISTEN", "127.0.0.1:7003")],
        &["serve", "--config", file, "--flags-poll", "3s", "--print-config"],
    );
    let text = stdout(&printed);
    assert_eq!(code(&printed), Some(0), "{}", stderr(&printed));
    assert!(text.contains("127.0.0.1:7003") && text.contains("127.0.0.1:7002") && text.contains("3s"), "{text}");
    assert!(!text.contains("hush") && text.contains("redacted"), "{text}");
    std::fs::write(file, "lissten = \"127.0.0.1:7001\"\nlisten = \"nonsense\"\n").expect("a file");
    let refused = cli(&[("RAMPART_FLAGS_POLL", "soon")], &["serve", "--config", file, "--print-config"]);
    let words = stderr(&refused);
    assert_eq!(code(&refused), Some(2));
    assert!(
        words.contains("lissten")
            && words.contains("listen")
            && words.contains("nonsense")
            && words.contains("RAMPART_FLAGS_POLL"),
        "{words}"
    );
}

#[test]
fn commands_talk_to_a_server_and_say_how_it_went() {
    let dir = tempfile::tempdir().expect("a folder");
    let flags = example();
    let server = Server::start(dir.path(), &["--flags", &flags]);
    let url = format!("http://{}", server.admin);
    assert_eq!(code(&cli(&[("RAMPART_SERVER", &url)], &["health"])), Some(0));
    assert_eq!(code(&cli(&[], &["health", "--server", "http://127.0.0.1:1"])), Some(3));
    assert_eq!(code(&cli(&[("RAMPART_SERVER", &url)], &["flag", "list"])), Some(4), "no token");
    let folder = dir.path().to_str().expect("UTF-8");
    let listed = cli(&[("RAMPART_SERVER", &url)], &["flag", "list", "--data-dir", folder]);
    assert!(stdout(&listed).contains("sliceB_documents"), "{}", stderr(&listed));
    assert_eq!(code(&server.cli(&["flag", "show", "nope"])), Some(1));
    assert_eq!(code(&server.cli(&["flag", "set", "sliceB_documents", "--serve", "on=200"])), Some(2));
    assert_eq!(code(&server.cli(&["flag", "set", "sliceB_documents", "--serve", "purple"])), Some(1));
    assert_eq!(code(&server.cli(&["flag", "put", "--file", &flags, "--dry-run"])), Some(0));
    let created =
        server.cli(&["token", "create", "--scope", "kill", "--environment", "production", "--output", "json"]);
    let created: Value = serde_json::from_slice(&created.stdout).expect("JSON");
    let kill_only = [("RAMPART_SERVER", url.as_str()), ("RAMPART_TOKEN", created["token"].as_str().expect("a token"))];
    assert_eq!(
        code(&cli(&kill_only, &["flag", "set", "sliceB_documents", "--serve", "on=1"])),
        Some(4),
        "a kill token cannot write"
    );
    let killed = cli(&kill_only, &["flag", "kill", "sliceB_documents", "--reason", "automatic"]);
    assert_eq!(code(&killed), Some(0), "{}", stderr(&killed));
    assert!(stdout(&server.cli(&["flag", "show", "sliceB_documents"])).contains("KILLED"));
    assert_eq!(code(&cli(&kill_only, &["flag", "restore", "sliceB_documents"])), Some(0));
    let id = created["id"].as_str().expect("an id");
    assert!(stdout(&server.cli(&["token", "list"])).contains(id));
    assert_eq!(code(&server.cli(&["token", "revoke", id])), Some(0));
    assert_eq!(code(&cli(&kill_only, &["flag", "kill", "sliceB_documents"])), Some(4));
    let trail = stdout(&server.cli(&["audit", "tail", "--flag", "sliceB_documents"]));
    assert!(trail.contains("flag_killed") && trail.contains("automatic"), "{trail}");
    let verified = cli(&[], &["audit", "verify", "--data-dir", folder, "--output", "json"]);
    let verified: Value = serde_json::from_slice(&verified.stdout).expect("JSON");
    assert_eq!(verified["ok"], true, "beside a running server");
    let second = cli(&[], &["serve", "--data-dir", folder, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    assert!(code(&second) == Some(1) && stderr(&second).contains("in use by process"), "{}", stderr(&second));
    let taken = cli(&[], &["serve", "--data-dir", folder, "--listen", &server.data, "--admin-listen", "127.0.0.1:0"]);
    assert!(code(&taken) == Some(1) && stderr(&taken).contains("--listen"), "{}", stderr(&taken));
}
