//! Pure folders compute: no async, clock, IO, lock, log, randomness or thread. And some things have one home.

use super::source::{Fault, Mention, Source};
use super::table::{HOMES, Home, IMPURE, PURE, PURE_CRATES};

/// Pure folders name nothing impure; their tests may.
pub fn purity(source: &Source, dependencies: &[String]) -> Vec<Fault> {
    if !source.folder().is_some_and(|folder| PURE.contains(&folder)) || source.test_only {
        return Vec::new();
    }
    let keywords = source.keywords.iter().filter(|spot| !spot.test).map(|spot| {
        source.fault(
            spot.line,
            "purity",
            format!("`{}` in a pure folder: state machines here are functions", spot.text),
        )
    });
    let named = source.mentions.iter().filter(|mention| !mention.test).filter_map(|mention| {
        let what = impure(mention, dependencies)?;
        let message = format!("`{}` is {what}, and this folder is pure: take it as an argument", mention.text());
        Some(source.fault(mention.line, "purity", message))
    });
    keywords.chain(named).collect()
}

fn impure(mention: &Mention, dependencies: &[String]) -> Option<String> {
    if let Some((_, what)) = IMPURE.iter().find(|(pattern, _)| mention.is(pattern)) {
        return Some((*what).to_owned());
    }
    let own = mention.path.first()?;
    let foreign = mention.path.len() > 1 && dependencies.contains(own) && !PURE_CRATES.contains(&own.as_str());
    foreign.then(|| format!("of the crate `{own}`, which PURE_CRATES does not list"))
}

/// Each thing with one home is named there only.
pub fn homes(source: &Source) -> Vec<Fault> {
    let Some(below) = source.below_src() else { return Vec::new() };
    let mut faults = Vec::new();
    for Home { paths, homes, also_tests, reason } in HOMES {
        if homes.iter().any(|home| below.starts_with(home)) {
            continue;
        }
        let bound = |mention: &&Mention| *also_tests || !source.in_test(mention.test);
        let strays = source.mentions.iter().filter(bound).filter(|mention| paths.iter().any(|path| mention.is(path)));
        faults.extend(strays.map(|mention| {
            let place = if homes.is_empty() { "nowhere".to_owned() } else { format!("only in {}", homes.join(", ")) };
            source.fault(mention.line, "homes", format!("`{}` belongs {place}: {reason}", mention.text()))
        }));
    }
    faults
}

/// Tests wait for what they wait for; a sleep is a guess, either too short or too long.
pub fn sleeps(source: &Source) -> Vec<Fault> {
    if source.below_src().is_some() {
        return Vec::new();
    }
    let named = source.mentions.iter().filter(|mention| {
        mention.path.last().is_some_and(|last| matches!(last.as_str(), "sleep" | "sleep_until" | "sleep_ms"))
    });
    let lines = named.map(|mention| mention.line).chain(source.sleeps.iter().map(|spot| spot.line));
    let why = "a test does not sleep: wait for the event, or pause the clock and advance it";
    lines.map(|line| source.fault(line, "sleeps", why)).collect()
}

/// The names of the dependencies in `Cargo.toml`, as Rust spells them.
pub fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            inside = section.trim_end().trim_end_matches(']') == "dependencies";
        } else if inside && let Some((name, _)) = line.split_once('=') {
            names.push(name.trim().replace('-', "_"));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::planted;
    use super::*;

    fn pure(source: &Source) -> Vec<Fault> {
        purity(source, &["tokio", "tracing", "dashmap", "serde", "getrandom"].map(str::to_owned))
    }

    #[test]
    fn impure_code_in_a_pure_folder_is_found_however_it_is_written() {
        for text in [
            "async fn f() {}",
            "fn f() { async { 1 }; }",
            "fn f() { async || 1; }",
            "fn f() { m!(later.await) }",
            "use std::time::SystemTime;",
            "use std::time::{Duration, Instant};",
            "use std::time as t; fn f() { t::Instant::now(); }",
            "use std::time::*; fn f(start: Instant) {}",
            "fn f() { <std::time::Instant>::now(); }",
            "fn f() { std::fs::read(\"x\"); }",
            "use std::{fs as files};",
            "fn f() { println!(\"{}\", 1); }",
            "fn f() { std::println!(); }",
            "fn f() { if true { m!(eprintln!(\"x\")) } }",
            "use std::sync::{Arc, Mutex};",
            "use std::sync::OnceLock as Cell;",
            "static COUNT: std::sync::atomic::AtomicU64 = x;",
            "fn f() { tracing::info!(\"x\"); }",
            "#[tracing::instrument] fn f() {}",
            "use dashmap::DashMap;",
            "fn f() { getrandom::fill(&mut bytes); }",
            "use std::hash::RandomState;",
            "fn f() { std::thread::yield_now(); }",
            "thread_local! { static X: u8 = 1; }",
            "impl std::future::Future for X {}",
        ] {
            assert!(!planted(pure, "src/eval/compile.rs", text).is_empty(), "not found: {text}");
            assert!(planted(pure, "src/serve/http.rs", text).is_empty(), "serve is not pure: {text}");
        }
    }

    #[test]
    fn pure_code_and_tests_in_pure_folders_are_clean() {
        for text in [
            "use std::collections::HashMap; use std::sync::Arc; use std::time::Duration; use serde::Serialize;",
            "/// Not `std::fs`.\nfn f() { let text = \"std::fs::read println!\"; } // Mutex",
            "struct Instant; fn f(now: Instant) {}",
            "#[cfg(test)] mod tests { use std::sync::Mutex; async fn f() {} fn g() { println!() } }",
            "#[cfg(all(test, unix))] fn f() { std::fs::read(\"x\"); }",
            "#[test] fn f() { std::fs::read(\"x\"); }",
        ] {
            assert_eq!(planted(pure, "src/eval/compile.rs", text), Vec::<String>::new(), "{text}");
        }
        let also_built = "#[cfg(any(test, feature = \"x\"))] fn f() { std::fs::read(\"x\"); }";
        assert_eq!(planted(pure, "src/eval/compile.rs", also_built).len(), 1);
    }

    #[test]
    fn a_thing_outside_its_home_is_found() {
        for (path, text) in [
            ("src/serve/http.rs", "use arc_swap::ArcSwap;"),
            ("src/serve/http.rs", "fn f() { std::time::Instant::now(); }"),
            ("src/serve/http.rs", "use std::time::Instant as Watch; fn f() { Watch::now(); }"),
            ("src/serve/http.rs", "type Watch = std::time::Instant; fn f() { Watch::now(); }"),
            ("src/serve/http.rs", "use std::time::*; fn f() { vec![SystemTime::now()]; }"),
            ("src/serve/http.rs", "fn f() { x.unwrap_or_else(jiff::Timestamp::now) }"),
            ("src/serve/http.rs", "fn f() { std::env::var(\"RAMPART_X\"); }"),
            ("src/cli/mod.rs", "use std::env; fn f() { env::var_os(\"RAMPART_X\"); }"),
            ("src/serve/http.rs", "fn f() { tokio::spawn(later); }"),
            ("src/serve/http.rs", "use tokio::task; fn f() { task::spawn(later); }"),
            ("src/control/mod.rs", "fn f() { std::thread::Builder::new(); }"),
            ("src/control/mod.rs", "fn f() -> anyhow::Result<()> {}"),
            ("src/serve/http.rs", "use tonic::Status;"),
            ("src/app/mod.rs", "use axum::Router;"),
            ("src/world/mod.rs", "#[derive(utoipa::ToSchema)] struct S;"),
            ("src/journal/memory.rs", "use rusqlite::Connection;"),
            ("src/app/mod.rs", "use clap::Parser;"),
            ("src/app/tasks.rs", "use tokio::sync::mpsc; fn f() { mpsc::unbounded_channel(); }"),
            ("src/app/tasks.rs", "fn f() { std::sync::mpsc::channel::<u8>(); }"),
            ("src/app/tasks.rs", "#[cfg(test)] mod tests { fn f() { std::thread::sleep(long); } }"),
        ] {
            assert!(!planted(homes, path, text).is_empty(), "not found in {path}: {text}");
        }
    }

    #[test]
    fn a_thing_at_home_and_its_namesakes_are_clean() {
        for (path, text) in [
            ("src/snapshot/hub.rs", "use arc_swap::ArcSwap;"),
            ("src/control/clock.rs", "fn f() { std::time::Instant::now(); }"),
            ("src/serve/http.rs", "use tokio::time::Instant; fn f() { Instant::now(); }"),
            ("src/app/settings/environment.rs", "fn f() { std::env::vars_os(); }"),
            ("src/app/tasks.rs", "fn f() { tokio::spawn(later); std::thread::Builder::new(); }"),
            ("src/journal/sqlite/writer.rs", "fn f() { std::thread::Builder::new(); }"),
            ("src/serve/http.rs", "fn f(tracker: &TaskTracker) { tracker.spawn(later); }"),
            ("src/serve/grpc/status.rs", "use tonic::Status;"),
            ("src/serve/grpc.rs", "use tonic::Status;"),
            ("src/main.rs", "fn main() -> anyhow::Result<()> {}"),
            ("src/app/tasks.rs", "use tokio::sync::mpsc; fn f() { mpsc::channel(8); }"),
            ("src/serve/http.rs", "#[cfg(test)] mod tests { fn f() { tokio::spawn(later); } }"),
        ] {
            assert_eq!(planted(homes, path, text), Vec::<String>::new(), "{path}: {text}");
        }
    }

    #[test]
    fn a_sleeping_test_is_found() {
        for text in [
            "fn f() { std::thread::sleep(long); }",
            "async fn f() { tokio::time::sleep(long).await; }",
            "use std::thread::sleep as rest;",
            "use tokio::time; async fn f() { time::sleep_until(then).await; }",
            "fn f() { tokio::select! { _ = tokio::time::sleep(long) => {} } }",
            "fn f() { clock.sleep(long); }",
        ] {
            assert!(!planted(sleeps, "tests/it/kill.rs", text).is_empty(), "not found: {text}");
        }
        let clean = "async fn f() { tokio::time::advance(long).await; let sleep = \"thread::sleep\"; }";
        assert!(planted(sleeps, "tests/it/kill.rs", clean).is_empty());
    }

    #[test]
    fn dependencies_are_read_from_the_manifest() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\n# why\narc-swap = \"1\"\nserde = {}\n[dev-dependencies]\nsyn = \"3\"\n";
        assert_eq!(dependencies(manifest), ["arc_swap", "serde"]);
    }
}
