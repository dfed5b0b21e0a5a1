//! `rampart check --for flagd-sync`: what flagd's in-process clients cannot be told exactly.
//!
//! Such a flag is left out of what a server sends them, so people want to know before they deploy it. What stands in
//! the way is found in `eval::translate`; here each finding gets its file and line.

use std::collections::BTreeMap;

use crate::eval::compile::compile_all;
use crate::eval::set::CompiledSet;
use crate::eval::translate::{PAYLOAD_BYTES_MAX, payload, translate};
use crate::flag::diagnostic::{Diagnostic, join_pointer};
use crate::flag::key::EnvironmentName;
use crate::flag::parse::Parsed;

use super::eval::objects;

/// Everything in the way of an exact translation. Files of one environment are parts of one whole.
pub fn obstacles(documents: &[&Parsed]) -> Vec<Diagnostic> {
    let mut environments: BTreeMap<Option<&EnvironmentName>, Vec<&Parsed>> = BTreeMap::new();
    for parsed in documents {
        environments.entry(parsed.file.environment.as_ref()).or_default().push(parsed);
    }
    let found = environments.into_values().flat_map(|parts| {
        let (set, _) = compile_all(parts.iter().flat_map(|parsed| objects(parsed.file.clone())));
        in_environment(&set, &parts)
    });
    found.collect()
}

fn in_environment(set: &CompiledSet, parts: &[&Parsed]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut translated = Vec::new();
    for flag in set.iter() {
        match translate(set, flag) {
            Ok(value) => translated.push((flag.id().key.as_str(), value.to_string())),
            Err(obstacles) => {
                let prefix = join_pointer("/flags", flag.id().key.as_str());
                let home = parts.iter().find_map(|parsed| Some((parsed, parsed.pointers.get(flag.id())?)));
                found.extend(obstacles.into_iter().map(|obstacle| match home {
                    Some((parsed, pointer)) => {
                        let rest = obstacle.pointer.strip_prefix(&prefix).unwrap_or_default();
                        parsed.positions.locate(Diagnostic { pointer: format!("{pointer}{rest}"), ..obstacle })
                    }
                    None => obstacle,
                }));
            }
        }
    }
    let bytes = payload(translated.iter().map(|(key, text)| (*key, text.as_str()))).len();
    if bytes > PAYLOAD_BYTES_MAX {
        let message = format!("flagd clients would be sent {bytes} bytes at once, and most of them take 4 MB");
        let help = "split the flags into flag sets (`metadata.flagSetId`), and let clients select theirs";
        let fault = Diagnostic::error("payload-too-large", "/flags", message, help);
        found.push(parts.first().map_or(fault.clone(), |parsed| parsed.positions.locate(fault)));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::check::{CheckFor, CheckFormat, check};

    fn run(files: &[(&str, &str)]) -> (bool, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |(name, text): &(&str, &str)| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("a writable folder");
            path
        };
        let paths: Vec<PathBuf> = files.iter().map(write).collect();
        let mut out = Vec::new();
        let clean = check(&paths, CheckFormat::Text, false, Some(CheckFor::FlagdSync), &mut out);
        (clean.expect("a vector takes everything"), String::from_utf8(out).expect("text"))
    }

    const FLAG: &str = "    variants: {\"on\": true, \"off\": false}\n    defaultVariant: \"off\"\n";

    #[test]
    fn each_obstacle_has_its_line_and_a_way_out() {
        let text = format!(
            "flags:\n  f:\n{FLAG}    serve: {{\"on\": 5}}\n  g:\n{FLAG}    rules:\n      - when: {{a: {{matches: x}}}}\n        serve: \"on\"\n"
        );
        let (clean, text) = run(&[("flags.yaml", &text)]);
        assert!(!clean);
        assert!(text.contains("flags.yaml:5:12: error[own-hash] at /flags/f/serve"), "{text}");
        assert!(text.contains("`hash: murmur3`"), "{text}");
        assert!(text.contains("flags.yaml:10:15: error[no-counterpart] at /flags/g/rules/0/when/a/matches"), "{text}");
    }

    #[test]
    fn what_can_be_told_is_clean_also_over_several_files() {
        let segments = "segments:\n  staff: {email: {ends_with: \"@example.com\"}}\nflags: {}\n";
        let flags =
            format!("flags:\n  f:\n{FLAG}    rules:\n      - when: {{segment: staff}}\n        serve: \"on\"\n");
        let (clean, text) = run(&[("a.yaml", &flags), ("b.yaml", segments)]);
        assert!(clean, "{text}");
    }

    #[test]
    fn a_payload_that_clients_would_refuse_is_named() {
        let flag =
            |n: usize| format!("  flag-{n}:\n    state: ENABLED\n    variants: {{a: \"{}\"}}\n", "x".repeat(100_000));
        let text: String = std::iter::once("flags:\n".to_owned()).chain((0..40).map(flag)).collect();
        let (clean, text) = run(&[("flags.yaml", &text)]);
        assert!(!clean && text.contains("error[payload-too-large] at /flags: "), "{text}");
    }
}
