//! Files that fit in the head: sizes, opening words, tables of contents, names, and no file that nothing reaches.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Fault, Source};
use super::table::{EMPTY_ENDINGS, EMPTY_NAMES, FILE_LINES, FUNCTION_LINES};

/// Files and functions stay small; tests do not count.
pub fn sizes(source: &Source) -> Vec<Fault> {
    if source.below_src().is_none() || source.test_only {
        return Vec::new();
    }
    let file = (source.lines >= FILE_LINES).then(|| {
        let message =
            format!("{} lines outside tests, fewer than {FILE_LINES} fit in the head: split it", source.lines);
        source.fault(1, "sizes", message)
    });
    let long = source.functions.iter().filter(|function| !function.test && function.lines >= FUNCTION_LINES);
    let functions = long.map(|function| {
        let message =
            format!("`{}` has {} lines, fewer than {FUNCTION_LINES} fit on a page", function.name, function.lines);
        source.fault(function.line, "sizes", message)
    });
    file.into_iter().chain(functions).collect()
}

/// Every file says what it is, first.
pub fn opening(source: &Source) -> Vec<Fault> {
    let said = source.first_line.strip_prefix("//!").is_some_and(|rest| !rest.trim().is_empty());
    let why = "open with `//!`: what it is, why it is shaped so, what it is not";
    if said { Vec::new() } else { vec![source.fault(1, "opening", why)] }
}

/// `lib.rs` is a table of contents, and neither it nor a folder's `mod.rs` re-exports.
pub fn contents(source: &Source) -> Vec<Fault> {
    let Some(below) = source.below_src() else { return Vec::new() };
    let mut faults = Vec::new();
    if below == "lib.rs" {
        let why = "lib.rs holds documentation and `mod name;` lines only";
        faults.extend(source.items.iter().map(|item| source.fault(item.line, "contents", why)));
    }
    if below == "lib.rs" || below.ends_with("mod.rs") {
        let why = "a re-export hides where a thing lives, and with it who imports whom";
        let reexports = source.reexports.iter().filter(|spot| !spot.test);
        faults.extend(reexports.map(|spot| source.fault(spot.line, "contents", why)));
    }
    faults
}

/// No file, folder or type with a name that would fit anything.
pub fn names(source: &Source) -> Vec<Fault> {
    let Some(below) = source.below_src() else { return Vec::new() };
    let parts = below.trim_end_matches(".rs").split('/').filter(|part| EMPTY_NAMES.contains(part));
    let files =
        parts.map(|part| source.fault(1, "names", format!("`{part}` says nothing: name it after what it holds")));
    let empty = |name: &str| EMPTY_ENDINGS.iter().any(|ending| name.ends_with(ending));
    let types = source.types.iter().filter(|spot| !source.in_test(spot.test) && empty(&spot.text));
    let types =
        types.map(|spot| source.fault(spot.line, "names", format!("`{}`: name it after what it is", spot.text)));
    files.chain(types).collect()
}

/// What `lib.rs` and `main.rs` reach by `mod`; true for files that only tests reach.
pub fn reached(sources: &[Source]) -> BTreeMap<String, bool> {
    let by_path: BTreeMap<&str, &Source> = sources.iter().map(|source| (source.path.as_str(), source)).collect();
    let mut reached: BTreeMap<String, bool> = BTreeMap::new();
    let mut open: Vec<(String, bool)> = vec![("src/lib.rs".to_owned(), false), ("src/main.rs".to_owned(), false)];
    while let Some((path, test)) = open.pop() {
        let Some(source) = by_path.get(path.as_str()) else { continue };
        if reached.get(&path).is_some_and(|known| *known <= test) {
            continue;
        }
        reached.insert(path, test);
        for declaration in &source.declarations {
            let module = declaration.module.join("/");
            let test = test || declaration.test;
            open.push((format!("src/{module}.rs"), test));
            open.push((format!("src/{module}/mod.rs"), test));
        }
    }
    reached
}

/// Every file below `src/` is reached: rustc says nothing about a file that no `mod` names.
pub fn orphans(sources: &[Source]) -> Vec<Fault> {
    let reached: BTreeSet<String> = reached(sources).into_keys().collect();
    let below = sources.iter().filter(|source| source.below_src().is_some());
    below
        .filter(|source| !reached.contains(&source.path))
        .map(|source| source.fault(1, "orphans", "no `mod` leads here: the compiler never sees this file"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::planted;
    use super::*;

    fn long_function(attribute: &str, lines: usize) -> String {
        format!("//! x\n{attribute}\nfn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2))
    }

    #[test]
    fn long_functions_are_found_and_tests_are_not_counted() {
        assert_eq!(planted(sizes, "src/eval/a.rs", &long_function("", 70)).len(), 1);
        assert!(planted(sizes, "src/eval/a.rs", &long_function("", 69)).is_empty());
        assert!(planted(sizes, "src/eval/a.rs", &long_function("#[test]", 70)).is_empty());
        let method = format!("impl S {{ fn f() {{\n{}}} }}", "g();\n".repeat(80));
        assert_eq!(planted(sizes, "src/eval/a.rs", &method).len(), 1);
        let in_macro = format!("make! {{ fn f() -> X {{\n{}}} }}", "g();\n".repeat(80));
        assert_eq!(planted(sizes, "src/eval/a.rs", &in_macro).len(), 1);
    }

    #[test]
    fn long_files_are_found_and_tests_are_not_counted() {
        let line = "const X: u8 = 1;\n";
        assert_eq!(planted(sizes, "src/eval/a.rs", &line.repeat(500)).len(), 1);
        assert!(planted(sizes, "src/eval/a.rs", &line.repeat(499)).is_empty());
        let tested = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", line.repeat(400), line.repeat(400));
        assert!(planted(sizes, "src/eval/a.rs", &tested).is_empty());
    }

    #[test]
    fn a_file_that_says_nothing_is_found() {
        assert_eq!(planted(opening, "src/eval/a.rs", "use x;\n// //! late").len(), 1);
        assert_eq!(planted(opening, "src/eval/a.rs", "//!\nuse x;").len(), 1);
        assert_eq!(planted(opening, "tests/it/a.rs", "// Not a module doc.\n").len(), 1);
        assert!(planted(opening, "src/eval/a.rs", "//! What it is.\nuse x;").is_empty());
    }

    #[test]
    fn a_table_of_contents_holds_nothing_else() {
        for text in ["use x;", "fn f() {}", "pub use crate::eval::x;", "mod a { fn f() {} }", "m!();"] {
            assert!(!planted(contents, "src/lib.rs", text).is_empty(), "not found: {text}");
        }
        for text in ["pub use a::X;", "pub(crate) use a::X;", "pub use a::*;", "pub use {a::X, b::Y as Z};"] {
            assert_eq!(planted(contents, "src/eval/mod.rs", text).len(), 1, "{text}");
        }
        assert!(planted(contents, "src/lib.rs", "//! x\n#![doc = \"x\"]\n#[cfg(a)]\npub mod flag;").is_empty());
        assert!(planted(contents, "src/eval/mod.rs", "use a::X; pub mod a; fn f() {}").is_empty());
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        assert_eq!(planted(names, "src/eval/utils.rs", "").len(), 1);
        assert_eq!(planted(names, "src/common/a.rs", "").len(), 1);
        assert_eq!(planted(names, "src/eval/a.rs", "struct FlagManager; trait JournalImpl {} struct Impl;").len(), 3);
        assert!(planted(names, "src/eval/a.rs", "struct Flag; enum Implied {} #[cfg(test)] struct XImpl;").is_empty());
    }

    #[test]
    fn a_file_that_nothing_reaches_is_found() {
        let parse = |(path, text): (&str, &str)| Source::parse(path, text).expect("it is Rust");
        let sources: Vec<Source> = [
            ("src/lib.rs", "pub mod flag; mod inline { mod deep; }"),
            ("src/flag/mod.rs", "pub mod key; #[cfg(test)] mod tests;"),
            ("src/flag/key.rs", ""),
            ("src/flag/tests.rs", "mod more;"),
            ("src/flag/tests/more.rs", ""),
            ("src/inline/deep.rs", ""),
            ("src/flag/forgotten.rs", ""),
            ("tests/it/main.rs", ""),
        ]
        .map(parse)
        .into();
        let found: Vec<String> = orphans(&sources).into_iter().map(|fault| fault.path).collect();
        assert_eq!(found, ["src/flag/forgotten.rs"]);
        let reached = reached(&sources);
        assert_eq!(reached.get("src/flag/tests/more.rs"), Some(&true), "only tests reach it");
        assert_eq!(reached.get("src/flag/key.rs"), Some(&false));
    }
}
