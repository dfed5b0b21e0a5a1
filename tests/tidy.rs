//! The tree itself under test: who imports whom, what is pure, what has one home, what fits in the head.
//!
//! Rust refuses cycles between crates and permits them between modules; this is what keeps one crate in the shape that
//! the design drew. The rules are data in `tidy/table.rs`. Each rule is a function over one parsed file and keeps
//! planted violations as its own unit tests, so that it cannot go blind unseen. It reads source text only: what a
//! macro or a type makes of it later is the compiler's business.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/purity.rs"]
mod purity;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/table.rs"]
mod table;
#[path = "tidy/tokens.rs"]
mod tokens;
#[path = "tidy/visit.rs"]
mod visit;

use source::{Fault, Source};

/// Every Rust file below `src/`, `tests/` and `benches/`, read once.
fn tree() -> &'static [Source] {
    static TREE: OnceLock<Vec<Source>> = OnceLock::new();
    TREE.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        for folder in ["src", "tests", "benches"] {
            rust_files(&root.join(folder), &mut files);
        }
        files.sort();
        let mut sources: Vec<Source> = files.iter().map(|file| read(root, file)).collect();
        let reached = shape::reached(&sources);
        for source in &mut sources {
            source.test_only = reached.get(&source.path).copied().unwrap_or(false);
        }
        sources
    })
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(root: &Path, file: &Path) -> Source {
    let text = fs::read_to_string(file).expect("source files are readable UTF-8");
    let path = file.strip_prefix(root).expect("it was found below the root").to_string_lossy().replace('\\', "/");
    Source::parse(&path, &text).unwrap_or_else(|fault| panic_with(&[fault]))
}

#[expect(clippy::panic, reason = "this is how a test fails with a list")]
fn panic_with(faults: &[Fault]) -> ! {
    let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
    panic!("{} untidy:\n{}\n", faults.len(), lines.join("\n"))
}

fn hold(rule: impl Fn(&Source) -> Vec<Fault>) {
    let faults: Vec<Fault> = tree().iter().flat_map(rule).collect();
    if !faults.is_empty() {
        panic_with(&faults);
    }
}

/// What `rule` says about a planted file.
#[cfg(test)]
fn planted(rule: impl Fn(&Source) -> Vec<Fault>, path: &str, text: &str) -> Vec<String> {
    let source = Source::parse(path, text).expect("planted text is Rust");
    rule(&source).iter().map(Fault::to_string).collect()
}

#[test]
fn the_tree_is_read() {
    assert!(tree().iter().any(|source| source.path == "src/lib.rs"));
    assert!(tree().iter().any(|source| source.path == "tests/tidy.rs"));
    assert!(tree().iter().map(|source| source.mentions.len()).sum::<usize>() > 100, "the walk has gone blind");
}

#[test]
fn folders_import_what_the_table_allows() {
    hold(imports::imports);
}

#[test]
fn no_import_hides_from_the_table() {
    hold(|source| if source.below_src().is_some() { imports::hiding(source) } else { Vec::new() });
}

#[test]
fn pure_folders_only_compute() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("a manifest");
    let dependencies = purity::dependencies(&manifest);
    assert!(dependencies.iter().any(|name| name == "tokio"), "the manifest was understood");
    hold(|source| purity::purity(source, &dependencies));
}

#[test]
fn things_with_one_home_stay_there() {
    hold(purity::homes);
}

#[test]
fn tests_do_not_sleep() {
    hold(purity::sleeps);
}

#[test]
fn files_and_functions_fit_in_the_head() {
    hold(shape::sizes);
}

#[test]
fn every_file_says_what_it_is() {
    hold(shape::opening);
}

#[test]
fn tables_of_contents_hold_nothing_else() {
    hold(shape::contents);
}

#[test]
fn names_say_something() {
    hold(shape::names);
}

#[test]
fn every_file_is_reached() {
    let faults = shape::orphans(tree());
    if !faults.is_empty() {
        panic_with(&faults);
    }
}
