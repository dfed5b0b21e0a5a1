//! One parsed file, reduced to the facts that the rules ask about.
//!
//! The syntax tree of `syn` cannot leave the thread that made it, and a rule should not have to walk it. So a file is
//! read once into plain data: every path that it names (aliases resolved), its functions, modules and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::visit;

/// A broken rule: where and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file, from the root of the repository.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// The rule's name.
    pub rule: &'static str,
    /// What is wrong and why that is a rule.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: [{}] {}", self.path, self.line, self.rule, self.message)
    }
}

/// Something that a file names: an import, a path in code, or a path among a macro's tokens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mention {
    /// The segments. Inside this crate the first is `crate`, also where the file wrote `super`, `self` or an alias;
    /// a glob ends in `*`, a macro call in `!`.
    pub path: Vec<String>,
    /// The line, from 1.
    pub line: usize,
    /// True inside test code.
    pub test: bool,
    /// True where `super` climbed to the root of the crate.
    pub climbs: bool,
}

impl Mention {
    /// The path as Rust writes it.
    pub fn text(&self) -> String {
        self.path.join("::")
    }

    /// True where the path is, or lies inside, what `pattern` names; `print!` matches any path to that macro.
    pub fn is(&self, pattern: &str) -> bool {
        if pattern.ends_with('!') {
            return self.path.last().is_some_and(|last| last == pattern);
        }
        let mut wanted = pattern.split("::");
        let same = self.path.iter().zip(wanted.by_ref()).all(|(own, wanted)| own.trim_end_matches('!') == wanted);
        same && self.path.len() >= pattern.split("::").count()
    }
}

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of `fn`.
    pub line: usize,
    /// Lines from `fn` to the closing brace.
    pub lines: usize,
    /// True for a test's.
    pub test: bool,
}

/// A `mod name;`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// The module's path from the root of the crate.
    pub module: Vec<String>,
    /// The line.
    pub line: usize,
    /// True for a module of tests.
    pub test: bool,
}

/// A thing worth a line number: a keyword, a name, an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// What stands there.
    pub text: String,
    /// The line.
    pub line: usize,
    /// True inside test code.
    pub test: bool,
}

/// One file.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// From the root of the repository, with `/`.
    pub path: String,
    /// The module path of the file; empty for `lib.rs` and `main.rs`.
    pub module: Vec<String>,
    /// True for files that only tests can reach.
    pub test_only: bool,
    /// The first line.
    pub first_line: String,
    /// Lines outside tests.
    pub lines: usize,
    /// What it names.
    pub mentions: Vec<Mention>,
    /// Its functions, nested ones too.
    pub functions: Vec<Function>,
    /// Its `mod name;` lines.
    pub declarations: Vec<Declaration>,
    /// `async` and `await`.
    pub keywords: Vec<Spot>,
    /// Items at the top that are not `mod name;`.
    pub items: Vec<Spot>,
    /// `pub use` at the top.
    pub reexports: Vec<Spot>,
    /// Names of types and traits.
    pub types: Vec<Spot>,
    /// What would hide imports from these rules: `#[path]`, `include!`, `extern crate`, `$crate::$name`.
    pub hidden: Vec<Spot>,
    /// Calls of a method `.sleep(…)`.
    pub sleeps: Vec<Spot>,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// That it is not Rust.
    pub fn parse(path: &str, text: &str) -> Result<Self, Fault> {
        let file = syn::parse_file(text).map_err(|error| Fault {
            path: path.to_owned(),
            line: error.span().start().line,
            rule: "parse",
            message: error.to_string(),
        })?;
        let mut source = Self {
            path: path.to_owned(),
            module: module_of(path),
            first_line: text.lines().next().unwrap_or_default().to_owned(),
            ..Self::default()
        };
        let raw = visit::collect(&file, &mut source);
        source.lines = text.lines().count().saturating_sub(raw.test_lines.len());
        source.mentions = raw.resolve(path == "src/main.rs");
        Ok(source)
    }

    /// The folder of `src/` that the file belongs to; `main` for `main.rs`, none for `lib.rs` and files elsewhere.
    pub fn folder(&self) -> Option<&str> {
        match self.below_src()? {
            "lib.rs" => None,
            "main.rs" => Some("main"),
            _ => self.module.first().map(String::as_str),
        }
    }

    /// The path below `src/`.
    pub fn below_src(&self) -> Option<&str> {
        self.path.strip_prefix("src/")
    }

    /// A fault in this file.
    pub fn fault(&self, line: usize, rule: &'static str, message: impl Into<String>) -> Fault {
        Fault { path: self.path.clone(), line, rule, message: message.into() }
    }

    /// True for a mention that belongs to test code.
    pub fn in_test(&self, test: bool) -> bool {
        test || self.test_only
    }
}

/// The module path that a file below `src/` has.
fn module_of(path: &str) -> Vec<String> {
    let inner = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let inner = inner.strip_suffix("/mod").unwrap_or(inner);
    if matches!(inner, "lib" | "main") { Vec::new() } else { inner.split('/').map(str::to_owned).collect() }
}

/// A name that stands for a path in this file.
#[derive(Debug, Clone)]
pub struct Alias {
    /// The path behind it, as written.
    pub target: Vec<String>,
    /// The module in which it was written.
    pub module: Vec<String>,
    /// True where only test code sees it.
    pub test: bool,
}

/// A path as written.
#[derive(Debug, Clone)]
pub struct RawMention {
    /// The segments.
    pub path: Vec<String>,
    /// The module in which it stands.
    pub module: Vec<String>,
    /// The line.
    pub line: usize,
    /// True inside test code.
    pub test: bool,
}

/// What a walk over the syntax tree found, before names are resolved.
#[derive(Debug, Default)]
pub struct Raw {
    /// Paths as written.
    pub mentions: Vec<RawMention>,
    /// Name → what `use … as name`, `use …::name` and `type name = …` made of it.
    pub aliases: BTreeMap<String, Vec<Alias>>,
    /// What `use …::*` brought in.
    pub globs: Vec<Alias>,
    /// Lines that belong to tests.
    pub test_lines: BTreeSet<usize>,
}

/// How often an alias may stand for another: real code does it once.
const ALIAS_DEPTH: usize = 4;

impl Raw {
    /// Every path with its aliases followed. One written path may give several, since an alias counts in the whole
    /// file: to name too much is the safe side here.
    fn resolve(&self, in_main: bool) -> Vec<Mention> {
        let mut mentions = BTreeSet::new();
        let bare = |raw: &&RawMention| !matches!(raw.path.as_slice(), [only] if is_keyword(only));
        for raw in self.mentions.iter().filter(bare) {
            for (path, module) in self.expand(&raw.path, &raw.module, raw.test, ALIAS_DEPTH) {
                let (path, climbs) = absolute(&path, &module, in_main);
                if path.len() > 1 || path.first().is_some_and(|only| only.ends_with('!')) {
                    mentions.insert(Mention { path, line: raw.line, test: raw.test, climbs });
                }
            }
        }
        mentions.into_iter().collect()
    }

    fn expand(&self, path: &[String], module: &[String], test: bool, depth: usize) -> Vec<(Vec<String>, Vec<String>)> {
        let written = (path.to_vec(), module.to_vec());
        let Some((first, rest)) = path.split_first() else { return Vec::new() };
        if depth == 0 || is_keyword(first) {
            return vec![written];
        }
        let seen = |alias: &&Alias| (test || !alias.test) && alias.target.first() != Some(first);
        let aliases: Vec<&Alias> = self.aliases.get(first).into_iter().flatten().filter(seen).collect();
        // A name without an alias may have come through a glob; the path as written stays possible.
        let through_globs = aliases.is_empty().then_some(&self.globs).into_iter().flatten().filter(seen);
        let mut paths: Vec<_> =
            through_globs.map(|glob| ([glob.target.as_slice(), path].concat(), glob.module.clone())).collect();
        for alias in aliases {
            let target = [alias.target.as_slice(), rest].concat();
            paths.extend(self.expand(&target, &alias.module, test, depth - 1));
        }
        paths.push(written);
        paths
    }
}

fn is_keyword(segment: &str) -> bool {
    matches!(segment, "crate" | "self" | "super" | "Self")
}

/// The path from the root of the crate, and whether `super` climbed there.
fn absolute(path: &[String], module: &[String], in_main: bool) -> (Vec<String>, bool) {
    let inside = |module: &[String], rest: &[String]| [&["crate".to_owned()], module, rest].concat();
    let Some((first, rest)) = path.split_first() else { return (Vec::new(), false) };
    match first.as_str() {
        "rampart" if in_main => (inside(&[], rest), false),
        "crate" => (inside(&[], rest), false),
        "self" | "super" => {
            let ups = path.iter().skip(usize::from(first == "self")).take_while(|part| *part == "super").count();
            let rest = path.get(ups + usize::from(first == "self")..).unwrap_or_default();
            let kept = module.get(..module.len().saturating_sub(ups)).unwrap_or_default();
            (inside(kept, rest), ups > 0 && kept.is_empty())
        }
        _ => (path.to_vec(), false),
    }
}
