//! `rampart check FILE…` and `rampart schema`: what is wrong with flag files, before anybody serves them.
//!
//! All files are read as parts of one environment. Plain functions that write to a given writer; arguments and exit
//! codes are the command line's matter.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::eval::compile::compile_all;
use crate::flag::diagnostic::{Diagnostic, Position, Subject, inside_object};
use crate::flag::key::{EnvironmentName, is_invisible};
use crate::flag::limits::FILE_BYTES_MAX;
use crate::flag::parse::{Format, Parsed, parse_document};
use crate::flag::schema;

use super::check_sync;
use super::eval::objects;

/// How diagnostics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckFormat {
    /// One line for each, with the line of the file it is about, and a summary.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// A kind of client that has to understand the flags too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckFor {
    /// flagd clients that evaluate by themselves.
    FlagdSync,
}

/// Checks files (`-` is standard input) and writes what is wrong with them. Returns true where nothing refuses them;
/// with `strict`, warnings refuse, too, and for a `client` whatever it could not be told exactly.
///
/// # Errors
/// Only those of `out`: a file that cannot be read is a diagnostic.
pub fn check(
    files: &[PathBuf],
    format: CheckFormat,
    strict: bool,
    client: Option<CheckFor>,
    out: &mut dyn Write,
) -> io::Result<bool> {
    let mut documents: Vec<Document> = files.iter().map(|path| Document::read(path)).collect();
    let twins = twins(&documents);
    for (document, twins) in documents.iter_mut().zip(twins) {
        document.parsed.diagnostics.extend(twins);
    }
    let parsed: Vec<&Parsed> = documents.iter().map(|document| &document.parsed).collect();
    let mut late = compile_diagnostics(&parsed);
    match client {
        Some(CheckFor::FlagdSync) => late.extend(check_sync::obstacles(&parsed)),
        None => {}
    }
    let diagnostics: Vec<(&Diagnostic, &str)> = documents
        .iter()
        .flat_map(|document| document.parsed.diagnostics.iter().map(|found| (found, document.text.as_str())))
        .chain(late.iter().map(|found| (found, text_of(&documents, found))))
        .collect();
    let summary = Summary::of(&documents, &diagnostics, strict);
    match format {
        CheckFormat::Text => {
            for (diagnostic, text) in &diagnostics {
                writeln!(out, "{}", visible(&diagnostic.to_string()))?;
                snippet(diagnostic, text, out)?;
            }
            writeln!(out, "{summary}")?;
        }
        CheckFormat::Json => {
            let diagnostics = diagnostics.iter().map(|(diagnostic, _)| *diagnostic).collect();
            serde_json::to_writer_pretty(&mut *out, &Report { summary: &summary, diagnostics })?;
            writeln!(out)?;
        }
    }
    Ok(summary.clean)
}

/// Writes the JSON Schema of flag files.
///
/// # Errors
/// Those of `out`.
pub fn print_schema(out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &schema::schema())?;
    writeln!(out)
}

/// What only compiling finds: unknown flags and segments, cycles. Files of one environment are parts of one whole.
pub fn compile_diagnostics(documents: &[&Parsed]) -> Vec<Diagnostic> {
    let mut environments: BTreeMap<Option<&EnvironmentName>, Vec<&Parsed>> = BTreeMap::new();
    for parsed in documents {
        environments.entry(parsed.file.environment.as_ref()).or_default().push(parsed);
    }
    let compiled = environments.into_values().flat_map(|parts| {
        let (_, faults) = compile_all(parts.iter().flat_map(|parsed| objects(parsed.file.clone())));
        faults.into_iter().map(|fault| place(fault, &parts)).collect::<Vec<_>>()
    });
    compiled.collect()
}

/// Gives a diagnostic of the compiler the file and the place of the object that it is about.
fn place(mut fault: Diagnostic, parts: &[&Parsed]) -> Diagnostic {
    for parsed in parts {
        match &fault.subject {
            Some(Subject::Flag(id)) => {
                let Some(pointer) = parsed.pointers.get(id) else { continue };
                fault.pointer = format!("{pointer}{}", inside_object(&fault.pointer));
                return parsed.positions.locate(fault);
            }
            Some(Subject::Segment(name)) if parsed.file.segments.contains_key(name) => {
                return parsed.positions.locate(fault);
            }
            _ => {}
        }
    }
    fault
}

struct Document {
    /// The text, for snippets; empty where it is not UTF-8.
    text: String,
    parsed: Parsed,
}

impl Document {
    fn read(path: &Path) -> Self {
        let stdin = path.as_os_str() == "-";
        let name = if stdin { "<stdin>".to_owned() } else { path.display().to_string() };
        match read(path) {
            Ok(text) => {
                let format = Format::of_path(path).unwrap_or_else(|| Format::of_text(&text));
                let parsed = parse_document(&text, format, Some(&name));
                let text = String::from_utf8(text).unwrap_or_default();
                Self { text: text.trim_start_matches('\u{feff}').to_owned(), parsed }
            }
            Err(unreadable) => {
                let diagnostic = Diagnostic { file: Some(name), ..*unreadable };
                let parsed = Parsed { diagnostics: vec![diagnostic], unreadable: true, ..Parsed::default() };
                Self { text: String::new(), parsed }
            }
        }
    }
}

/// Reads a file, or standard input for `-`, up to the size that a flag file may have.
///
/// # Errors
/// Why there is nothing to read.
pub fn read(path: &Path) -> Result<Vec<u8>, Box<Diagnostic>> {
    if path.as_os_str() == "-" { read_all(io::stdin().lock()) } else { read_file(path) }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Box<Diagnostic>> {
    let unreadable = |error: io::Error| {
        let help = "check the path and who may read the file";
        Box::new(Diagnostic::error("unreadable", "", format!("the file cannot be read: {error}"), help))
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "a folder" } else { "no regular file" };
        let help = "name a .yaml or .json file, or `-` for standard input";
        return Err(Box::new(Diagnostic::error("not-a-file", "", format!("this is {what}"), help)));
    }
    if metadata.len() > FILE_BYTES_MAX as u64 {
        return Err(too_large());
    }
    read_all(File::open(path).map_err(unreadable)?)
}

fn read_all(source: impl Read) -> Result<Vec<u8>, Box<Diagnostic>> {
    let mut text = Vec::new();
    let read = source.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut text);
    match read {
        Ok(_) if text.len() > FILE_BYTES_MAX => Err(too_large()),
        Ok(_) => Ok(text),
        Err(error) => {
            let message = format!("the file cannot be read: {error}");
            Err(Box::new(Diagnostic::error("unreadable", "", message, "check who may read the file")))
        }
    }
}

fn too_large() -> Box<Diagnostic> {
    let message = format!("the file is larger than {FILE_BYTES_MAX} bytes");
    Box::new(Diagnostic::error("too-large", "", message, "split it into several files"))
}

/// For each document, the flags and segments that an earlier one of the same environment has, too.
fn twins(documents: &[Document]) -> Vec<Vec<Diagnostic>> {
    let mut flags = BTreeMap::new();
    let mut segments = BTreeMap::new();
    let mut found = Vec::new();
    for (index, Document { parsed, .. }) in documents.iter().enumerate() {
        let mut here = Vec::new();
        let mut twin = |first: usize, what: String, pointer: &str| {
            let file = documents[first].parsed.positions.file.as_deref().unwrap_or_default();
            let diagnostic = Diagnostic::error(
                "duplicate-key",
                pointer,
                format!("{what} stands in {file}, too"),
                "keep one of the two",
            );
            here.push(parsed.positions.locate(diagnostic));
        };
        for (id, pointer) in &parsed.pointers {
            let first = *flags.entry((&parsed.file.environment, id)).or_insert(index);
            if first != index {
                twin(first, format!("the flag {id}"), pointer);
            }
        }
        for name in parsed.file.segments.keys() {
            let first = *segments.entry((&parsed.file.environment, name)).or_insert(index);
            if first != index {
                twin(first, format!("the segment {name}"), &format!("/segments/{name}"));
            }
        }
        found.push(here);
    }
    found
}

fn text_of<'d>(documents: &'d [Document], diagnostic: &Diagnostic) -> &'d str {
    let same = |document: &&Document| document.parsed.positions.file == diagnostic.file;
    documents.iter().find(same).map(|document| document.text.as_str()).unwrap_or_default()
}

#[derive(Serialize)]
struct Report<'d> {
    #[serde(flatten)]
    summary: &'d Summary,
    diagnostics: Vec<&'d Diagnostic>,
}

/// The counts at the end.
#[derive(Serialize)]
struct Summary {
    clean: bool,
    files: usize,
    flags: usize,
    segments: usize,
    errors: usize,
    warnings: usize,
}

impl Summary {
    fn of(documents: &[Document], diagnostics: &[(&Diagnostic, &str)], strict: bool) -> Self {
        let errors = diagnostics.iter().filter(|(diagnostic, _)| diagnostic.is_error()).count();
        let warnings = diagnostics.len() - errors;
        let files = || documents.iter().map(|document| &document.parsed);
        Self {
            clean: errors == 0 && !(strict && warnings > 0),
            files: documents.len(),
            flags: files().map(|parsed| parsed.file.flags.len()).sum(),
            segments: files().map(|parsed| parsed.file.segments.len()).sum(),
            errors,
            warnings,
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let (files, flags, segments) =
            (count(self.files, "file"), count(self.flags, "good flag"), count(self.segments, "good segment"));
        write!(f, "{files}, {flags}, {segments}: ")?;
        match (self.errors, self.warnings) {
            (0, 0) => f.write_str("clean"),
            (errors, warnings) => write!(f, "{}, {}", count(errors, "error"), count(warnings, "warning")),
        }
    }
}

/// Characters of a line that a snippet shows, half of them before the place.
const SNIPPET_CHARACTERS: usize = 100;

/// Draws the line that a diagnostic is about, with a caret under its place.
fn snippet(diagnostic: &Diagnostic, text: &str, out: &mut dyn Write) -> io::Result<()> {
    let Some(Position { line, column }) = diagnostic.position else { return Ok(()) };
    let source = text.lines().nth(line.saturating_sub(1) as usize).unwrap_or_default();
    if source.trim().is_empty() {
        return Ok(());
    }
    let at = (column.saturating_sub(1) as usize).min(source.chars().count());
    let from = at.saturating_sub(SNIPPET_CHARACTERS / 2);
    // One character for one, so that the caret stays below its place.
    let shown = source.chars().skip(from).take(SNIPPET_CHARACTERS);
    let shown: String = shown.map(|c| if is_invisible(c) { if c == '\t' { ' ' } else { '�' } } else { c }).collect();
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    writeln!(out, "  {number} | {}", shown.trim_end())?;
    writeln!(out, "  {margin} | {}^", " ".repeat(at - from))
}

/// The text with what cannot be seen, or what steers a terminal, made visible.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_invisible(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn run(files: &[PathBuf], format: CheckFormat, strict: bool) -> (bool, String) {
        let mut out = Vec::new();
        let clean = check(files, format, strict, None, &mut out).expect("a vector takes everything");
        (clean, String::from_utf8(out).expect("text"))
    }

    fn vectors() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/bad-definitions")
    }

    fn found(path: &Path) -> String {
        let mut text = String::new();
        for found in Document::read(path).parsed.diagnostics {
            let severity = if found.is_error() { "error" } else { "warning" };
            let place = found.position.map_or("-".to_owned(), |place| format!("{}:{}", place.line, place.column));
            writeln!(text, "{severity} {} {place} {}", found.code, found.pointer.escape_debug()).expect("a string");
        }
        text
    }

    /// Each planted mistake has its code, place and pointer beside it, in a file that ends with `.expected`.
    #[test]
    fn every_planted_mistake_is_found_where_it_stands() {
        let mut count = 0;
        let mut wrong = String::new();
        for entry in fs::read_dir(vectors()).expect("the folder of vectors") {
            let path = entry.expect("an entry").path();
            if Format::of_path(&path).is_none() {
                continue;
            }
            count += 1;
            let expected = fs::read_to_string(path.with_extension("expected")).unwrap_or_default();
            let found = found(&path);
            if found != expected || found.is_empty() {
                write!(wrong, "\n{}\nexpected:\n{expected}found:\n{found}", path.display()).expect("a string");
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
        assert!(count >= 40, "only {count} vectors");
    }

    const FLAG: &str = "  a:\n    state: ENABLED\n    variants: {\"on\": true}\n";

    fn write(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a writable folder");
        path
    }

    #[test]
    fn text_shows_the_line_and_a_caret_and_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = write(&folder, "flags.yaml", &format!("flags:\n{FLAG}    defaultVariant: \"of\"\n"));
        let (clean, text) = run(std::slice::from_ref(&path), CheckFormat::Text, false);
        let name = path.display();
        let wanted = format!(
            "{name}:5:21: error[unknown-variant] at /flags/a/defaultVariant: `of` is not a variant of the flag; \
             help: the variants are: on\n  5 |     defaultVariant: \"of\"\n    |                     ^\n\
             1 file, 0 good flags, 0 good segments: 1 error, 0 warnings\n"
        );
        assert!(!clean);
        assert_eq!(text, wanted);
    }

    #[test]
    fn json_is_for_machines_and_strict_refuses_warnings() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = write(&folder, "flags.yaml", &format!("flags:\n{FLAG}    colour: red\n"));
        for strict in [false, true] {
            let (clean, text) = run(std::slice::from_ref(&path), CheckFormat::Json, strict);
            let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(clean, !strict);
            assert_eq!(report["clean"], !strict);
            assert_eq!((&report["flags"], &report["warnings"]), (&1.into(), &1.into()));
            assert_eq!(report["diagnostics"][0]["severity"], "warning");
            assert_eq!(report["diagnostics"][0]["line"], 5);
        }
    }

    #[test]
    fn several_files_are_one_environment() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = write(&folder, "one.yaml", &format!("flags:\n{FLAG}"));
        let two = write(&folder, "two.yaml", &format!("segments: {{s: {{a: 1}}}}\nflags:\n{FLAG}"));
        let other = write(&folder, "other.yaml", &format!("environment: staging\nflags:\n{FLAG}"));
        assert!(run(&[one.clone(), other], CheckFormat::Text, true).0);
        let (clean, text) = run(&[one, two], CheckFormat::Text, false);
        assert!(!clean && text.contains("duplicate-key") && text.contains("one.yaml, too"), "{text}");
        assert!(text.contains("two.yaml:3:3: "), "{text}");
    }

    #[test]
    fn what_is_no_file_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let large = folder.path().join("large.json");
        let file = File::create(&large).expect("a writable folder");
        file.set_len(FILE_BYTES_MAX as u64 + 1).expect("a sparse file");
        for (path, code) in [
            (folder.path().to_owned(), "not-a-file"),
            (PathBuf::from("/dev/null"), "not-a-file"),
            (folder.path().join("missing.yaml"), "unreadable"),
            (large, "too-large"),
        ] {
            let (clean, text) = run(std::slice::from_ref(&path), CheckFormat::Text, false);
            assert!(!clean && text.contains(code) && text.contains(&path.display().to_string()), "{text}");
        }
    }

    #[test]
    fn nothing_in_a_file_steers_the_terminal() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = write(&folder, "flags.json", "{\"flags\": {\"a\\u001b[2Jb\": {\"variants\":\t{\"\u{202e}\": 1}}}}");
        let (_, text) = run(&[path], CheckFormat::Text, false);
        assert!(text.contains("bad-name") && !text.contains(['\u{1b}', '\u{202e}', '\t']), "{text:?}");
    }

    #[test]
    fn the_example_is_clean() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/phase-9.flags.yaml");
        let (clean, text) = run(&[path], CheckFormat::Text, true);
        assert!(clean, "{text}");
    }
}
