//! Who imports whom: the table of `table.rs`, held against every path that a file names.

use super::source::{Fault, Source};
use super::table::{may_import, rank};

/// Every path into this crate leads to the own folder or to one that the table allows. Tests may also use whatever
/// stands above their folder in the table: a test of `world` may evaluate a flag, a test of `eval` may not open a journal.
pub fn imports(source: &Source) -> Vec<Fault> {
    let Some(folder) = source.folder() else { return Vec::new() };
    let Some(allowed) = may_import(folder) else {
        let message = format!("`{folder}` has no row in the import table (tests/tidy/table.rs): give it one");
        return vec![source.fault(1, "imports", message)];
    };
    let mut faults: Vec<Fault> = Vec::new();
    for mention in &source.mentions {
        let [root, target, ..] = mention.path.as_slice() else { continue };
        if root != "crate" {
            continue;
        }
        let above = || rank(target).is_some_and(|target| Some(target) < rank(folder));
        let message = if target == "*" {
            "a glob of the whole crate hides what is imported".to_owned()
        } else if mention.climbs {
            format!("`super` climbs out of `{folder}` to `{target}`: write `crate::{target}`")
        } else if target == folder || allowed.contains(&target.as_str()) || source.in_test(mention.test) && above() {
            continue;
        } else if rank(target).is_none() {
            format!("`{}` names no folder of the import table", mention.text())
        } else {
            format!("`{folder}` may not import `{target}` (`{}`): it may import {allowed:?}", mention.text())
        };
        // The import is reported once, not at each use of what it brought in.
        let told = |fault: &Fault| fault.message == message || fault.message.contains(&format!("import `{target}`"));
        if !faults.iter().any(told) {
            faults.push(source.fault(mention.line, "imports", message));
        }
    }
    faults
}

/// Nothing that would hide an import from these rules.
pub fn hiding(source: &Source) -> Vec<Fault> {
    let included = source.mentions.iter().filter(|mention| mention.path == ["include!"]);
    let included = included.map(|mention| (mention.line, "include!"));
    let hidden = source.hidden.iter().map(|spot| (spot.line, spot.text.as_str()));
    included
        .chain(hidden)
        .map(|(line, what)| {
            source.fault(line, "hiding", format!("{what} hides what is imported from the import table"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::planted;
    use super::*;

    #[test]
    fn an_upward_import_is_found_however_it_is_written() {
        for text in [
            "use crate::control::clock::Clock;",
            "use crate::{flag::key::FlagKey, control};",
            "use crate::{flag::key::FlagKey, control::{self, clock as watch}};",
            "use crate as root; fn f() { root::control::start() }",
            "use crate::{self as root}; type T = root::control::T;",
            "use super::super::control::clock;",
            "use super::super as up; fn f() { up::control::start() }",
            "fn f() { crate::control::start() }",
            "fn f(clock: &dyn crate::control::clock::Clock) {}",
            "struct S<T: crate::control::T>(Vec<Option<T>>);",
            "struct S { a: Vec<Option<crate::control::T>> }",
            "impl crate::control::T for S {}",
            "fn f() { vec![1, crate::control::LIMIT] }",
            "fn f() { deep!({ a: [ (crate::control::LIMIT) ] }) }",
            "macro_rules! m { () => { $crate::control::start() } }",
            "macro_rules! m { () => { use $crate::{flag::key, control::clock}; } }",
            "macro_rules! m { () => { use $crate as root; root::control::start() } }",
            "#[serde(with = \"crate::control::wire\")] struct S;",
            "#[derive(crate::control::Derive)] struct S;",
            "mod inner { use super::super::super::control; }",
            "fn f() { <crate::control::T>::start() }",
            "fn f() { if let crate::control::T::A = x {} }",
            "use crate::*;",
            "use super::super::*;",
            "use crate::nowhere::Thing;",
        ] {
            assert!(!planted(imports, "src/eval/compile.rs", text).is_empty(), "not found: {text}");
        }
    }

    #[test]
    fn what_the_table_allows_is_not_reported() {
        for text in [
            "use crate::flag::key::FlagKey;",
            "use super::bucket::bucket;",
            "use crate::eval::bucket;",
            "pub(crate) fn f() {} pub(super) fn g() {} pub(in crate::eval) fn h() {}",
            "/// See `crate::control`.\nfn f() { let text = \"crate::control::x\"; } // crate::control",
            "fn f(&self) { self.control::<u8>(); assert!(self.control.is_some()) }",
            "#[cfg(test)] mod tests { use super::*; use crate::flag::key::FlagKey; }",
        ] {
            assert_eq!(planted(imports, "src/eval/compile.rs", text), Vec::<String>::new(), "{text}");
        }
        assert!(planted(imports, "src/main.rs", "use rampart::cli;").is_empty());
        assert!(planted(imports, "src/lib.rs", "pub mod flag;").is_empty());
    }

    #[test]
    fn tests_may_use_what_stands_above_them_and_nothing_else() {
        let text = |folder: &str| format!("#[cfg(test)] mod tests {{ use crate::{folder}::x::Y; }}");
        assert!(planted(imports, "src/world/apply.rs", &text("eval")).is_empty());
        assert!(!planted(imports, "src/world/apply.rs", "use crate::eval::x::Y;").is_empty());
        assert!(!planted(imports, "src/world/apply.rs", &text("journal")).is_empty());
    }

    #[test]
    fn main_opens_the_door_of_cli_only() {
        assert!(!planted(imports, "src/main.rs", "fn main() { rampart::journal::open() }").is_empty());
    }

    #[test]
    fn a_folder_without_a_row_is_reported() {
        assert_eq!(planted(imports, "src/novel/mod.rs", "").len(), 1);
    }

    #[test]
    fn a_fault_names_the_file_and_the_line() {
        let found = planted(imports, "src/eval/compile.rs", "\n\nuse crate::control::X;\nfn f(x: X) {}\n");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("src/eval/compile.rs:3: [imports] `eval` may not import `control`"), "{found:?}");
    }

    #[test]
    fn hiding_places_are_reported() {
        for text in [
            "#[path = \"../control/clock.rs\"] mod clock;",
            "#[cfg_attr(all(), path = \"../control/clock.rs\")] mod clock;",
            "include!(\"../control/clock.rs\");",
            "extern crate self as other;",
            "macro_rules! m { ($name:ident) => { crate::$name::start() } }",
            "#[macro_export] macro_rules! m { () => {} }",
        ] {
            assert_eq!(planted(hiding, "src/eval/compile.rs", text).len(), 1, "{text}");
        }
        let clean = "macro_rules! m { ($name:ident) => { $name::start() } } const T: &str = include_str!(\"t.txt\");";
        assert!(planted(hiding, "src/eval/compile.rs", clean).is_empty());
    }
}
