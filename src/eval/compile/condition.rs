//! A condition from its definition: operands parsed, lists sorted, patterns built, every fault named by its pointer.

use regex::RegexBuilder;

use crate::flag::definition::{Condition as Source, Operator, Scalar, SemverTest};
use crate::flag::diagnostic::{Diagnostic, join_pointer};
use crate::flag::key::SegmentName;
use crate::flag::limits::{
    CONDITIONS_MAX, LIST_VALUES_MAX, NESTING_MAX, REGEX_BYTES_MAX, REGEX_CACHE_BYTES_MAX, REGEX_COMPILED_BYTES_MAX,
};
use crate::flag::time::Timestamp;

use crate::eval::compiled::Uses;
use crate::eval::condition::{Check, Condition, Scalars};
use crate::eval::number::Number;
use crate::eval::semver::Version;
use crate::eval::table::Reference;

/// What is gathered while the conditions of one object are compiled.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// What is wrong.
    pub(super) diagnostics: Vec<Diagnostic>,
    /// What the object needs from others.
    pub(super) uses: Uses,
}

/// How a condition stands in the document.
#[derive(Debug, Clone, Copy)]
pub(in crate::eval) enum Place {
    /// As a whole object of entries, all of which must hold.
    Map,
    /// As one entry of such an object.
    Entry,
}

impl Gathered {
    /// Notes an error.
    pub(super) fn error(
        &mut self,
        code: &'static str,
        pointer: impl Into<String>,
        message: impl Into<String>,
        help: &str,
    ) {
        self.diagnostics.push(Diagnostic::error(code, pointer, message, help));
    }

    /// Notes something that does not keep the object from being used.
    pub(super) fn warning(
        &mut self,
        code: &'static str,
        pointer: impl Into<String>,
        message: impl Into<String>,
        help: &str,
    ) {
        self.diagnostics.push(Diagnostic::warning(code, pointer, message, help));
    }

    /// The diagnostics, as an error where one of them refuses the object.
    pub(super) fn verdict(&mut self) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        let diagnostics = std::mem::take(&mut self.diagnostics);
        if diagnostics.iter().any(Diagnostic::is_error) { Err(diagnostics) } else { Ok(diagnostics) }
    }

    /// Compiles the condition that stands at `pointer`, the value of a `when` or a segment.
    pub(super) fn condition(&mut self, pointer: &str, source: &Source) -> Condition {
        let condition = self.place(pointer, Place::Map, source, 1);
        if self.uses.conditions > CONDITIONS_MAX as u64 {
            let message = format!("more than {CONDITIONS_MAX} conditions in one object");
            self.error("too-many-conditions", pointer, message, "use `in` with a list, or split it into segments");
            self.uses.conditions = 0;
        }
        condition
    }

    fn place(&mut self, pointer: &str, place: Place, source: &Source, depth: usize) -> Condition {
        self.uses.conditions += 1;
        if depth > NESTING_MAX {
            let message = format!("conditions nest more than {NESTING_MAX} levels deep");
            self.error("too-deep", pointer, message, "move the inner conditions into a segment");
            return Condition::Any(Box::default());
        }
        match source {
            Source::Segment(name) => {
                *self.uses.segments.entry(name.clone()).or_default() += 1;
                Condition::Segment(Reference::to(name.clone()))
            }
            Source::Test(test) => {
                let pointer = join_pointer(pointer, &test.attribute.dotted());
                let pointer = join_pointer(&pointer, test.operator.word());
                Condition::Test(test.attribute.clone(), self.check(&pointer, &test.operator))
            }
            Source::Not(inner) => {
                Condition::Not(Box::new(self.place(&join_pointer(pointer, "not"), Place::Map, inner, depth + 1)))
            }
            Source::All(_) | Source::Any(_) => {
                let compiled = children(pointer, place, source).into_iter();
                let compiled = compiled.map(|(pointer, place, inner)| self.place(&pointer, place, inner, depth + 1));
                let compiled = compiled.collect();
                if matches!(source, Source::All(_)) { Condition::All(compiled) } else { Condition::Any(compiled) }
            }
        }
    }

    fn check(&mut self, pointer: &str, operator: &Operator) -> Check {
        match operator {
            Operator::Equals(scalar) => Check::Equals(scalars(std::slice::from_ref(scalar))),
            Operator::In(list) => Check::OneOf(self.list(pointer, list, scalars)),
            Operator::NotIn(list) => Check::NoneOf(self.list(pointer, list, scalars)),
            Operator::StartsWith(parts) => Check::StartsWith(self.list(pointer, parts, boxed)),
            Operator::EndsWith(parts) => Check::EndsWith(self.list(pointer, parts, boxed)),
            Operator::Contains(scalar) => {
                let part = if let Scalar::String(text) = scalar { Some(text.as_str().into()) } else { None };
                Check::Contains(part, scalars(std::slice::from_ref(scalar)))
            }
            Operator::Matches(pattern) => self.pattern(pointer, pattern),
            Operator::Compare(comparison, operand) => Check::Compare(*comparison, Number::of_json(operand)),
            Operator::Semver(test, operand) => self.version(pointer, *test, operand),
            Operator::Before(moment) => Check::Before(self.moment(pointer, moment)),
            Operator::After(moment) => Check::After(self.moment(pointer, moment)),
            Operator::Exists(wanted) => Check::Exists(*wanted),
        }
    }

    fn list<S, T: Default>(&mut self, pointer: &str, list: &[S], compile: impl Fn(&[S]) -> T) -> T {
        if list.len() > LIST_VALUES_MAX {
            let message = format!("the list has {} values, at most {LIST_VALUES_MAX} are allowed", list.len());
            self.error("too-many-values", pointer, message, "give those users a common attribute and test that");
            return T::default();
        }
        compile(list)
    }

    fn pattern(&mut self, pointer: &str, pattern: &str) -> Check {
        if pattern.len() > REGEX_BYTES_MAX {
            let message = format!("the pattern has {} bytes, at most {REGEX_BYTES_MAX} are allowed", pattern.len());
            self.error("bad-pattern", pointer, message, "use `in`, `starts_with` or `ends_with` with a list");
            return Check::Exists(false);
        }
        let mut builder = RegexBuilder::new(pattern);
        match builder.size_limit(REGEX_COMPILED_BYTES_MAX).dfa_size_limit(REGEX_CACHE_BYTES_MAX).build() {
            Ok(pattern) => Check::Matches(pattern),
            Err(regex::Error::CompiledTooBig(max)) => {
                let message = format!("the pattern needs more than {max} bytes when compiled");
                let help =
                    "repeat less, and write [0-9A-Za-z_] for \\w and [0-9] for \\d, which stand for all of Unicode";
                self.error("bad-pattern", pointer, message, help);
                Check::Exists(false)
            }
            Err(error) => {
                // The crate draws the pattern with a marker over several lines; the last one says what is wrong.
                let error = error.to_string();
                let cause = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
                let help = "linear-time syntax of the Rust crate `regex`: no back-references, no look-around";
                self.error("bad-pattern", pointer, format!("not a regular expression: {cause}"), help);
                Check::Exists(false)
            }
        }
    }

    fn version(&mut self, pointer: &str, test: SemverTest, operand: &str) -> Check {
        match Version::parse(operand) {
            Some(version) => Check::Semver(test, version.to_owned()),
            None => {
                let message = format!("{operand:?} is not a semantic version");
                self.error("bad-semver", pointer, message, "write three numbers, such as 2.4.0 or 2.4.0-rc.1");
                Check::Exists(false)
            }
        }
    }

    fn moment(&mut self, pointer: &str, operand: &str) -> Timestamp {
        Timestamp::parse(operand).unwrap_or_else(|cause| {
            let help = "write date, time and offset, such as 2025-10-16T08:00:00Z";
            self.error("bad-time", pointer, format!("{operand:?} is {cause}"), help);
            Timestamp::default()
        })
    }
}

/// Where in the document, below `pointer`, a condition names a segment first.
pub(super) fn find_segment(pointer: &str, source: &Source, name: &SegmentName) -> Option<String> {
    let mut open = vec![(pointer.to_owned(), Place::Map, source)];
    while let Some((pointer, place, source)) = open.pop() {
        if matches!(source, Source::Segment(named) if named == name) {
            return Some(join_pointer(&pointer, "segment"));
        }
        open.extend(children(&pointer, place, source).into_iter().rev());
    }
    None
}

/// The inner conditions with their pointers.
pub(in crate::eval) fn children<'s>(
    pointer: &str,
    place: Place,
    source: &'s Source,
) -> Vec<(String, Place, &'s Source)> {
    let listed = |word: &str, inner: &'s [Source]| {
        let pointer = join_pointer(pointer, word);
        inner.iter().enumerate().map(|(at, inner)| (format!("{pointer}/{at}"), Place::Map, inner)).collect()
    };
    match (source, place) {
        (Source::All(inner), Place::Map) => {
            inner.iter().map(|inner| (pointer.to_owned(), Place::Entry, inner)).collect()
        }
        (Source::All(inner), Place::Entry) => listed("all", inner),
        (Source::Any(inner), _) => listed("any", inner),
        (Source::Not(inner), _) => vec![(join_pointer(pointer, "not"), Place::Map, inner)],
        (Source::Segment(_) | Source::Test(_), _) => Vec::new(),
    }
}

fn boxed(texts: &[String]) -> Box<[Box<str>]> {
    texts.iter().map(|text| text.as_str().into()).collect()
}

fn scalars(list: &[Scalar]) -> Scalars {
    let mut texts: Vec<Box<str>> = Vec::new();
    let mut numbers: Vec<Number> = Vec::new();
    let mut bools = [false; 2];
    for scalar in list {
        match scalar {
            Scalar::Bool(value) => bools[usize::from(*value)] = true,
            Scalar::Number(number) => numbers.push(Number::of_json(number)),
            Scalar::String(text) => texts.push(text.as_str().into()),
        }
    }
    texts.sort_unstable();
    numbers.sort_by(|left, right| left.compare(*right));
    Scalars { texts: texts.into(), numbers: numbers.into(), bools }
}
