//! Operators and their operands: the right type, patterns that compile, versions and times that read.

use regex::RegexBuilder;
use serde_json::Number;

use super::flag::number_fits;
use super::walk::{Path, Walk, shorten};
use crate::flag::definition::{Comparison, Operator, Scalar, SemverTest};
use crate::flag::limits::{LIST_VALUES_MAX, REGEX_BYTES_MAX, REGEX_COMPILED_BYTES_MAX};
use crate::flag::time::Timestamp;
use crate::flag::tree::{Entry, Node, NodeValue, number};
use crate::flag::words::{OPERATORS, Operand, nearest, operand_words};

/// Words that other tools use, and ours for them.
const SYNONYMS: [(&str, &str); 16] = [
    ("==", "eq"),
    ("=", "eq"),
    ("equals", "eq"),
    ("is", "eq"),
    ("!=", "not_in"),
    ("ne", "not_in"),
    ("neq", "not_in"),
    ("nin", "not_in"),
    ("regex", "matches"),
    ("match", "matches"),
    ("<", "lt"),
    ("<=", "lte"),
    (">", "gt"),
    (">=", "gte"),
    ("present", "exists"),
    ("sem_ver", "semver_eq"),
];

/// Reads one operator with its operand.
pub(super) fn read(walk: &mut Walk, path: &Path<'_>, entry: &Entry) -> Option<Operator> {
    let word = entry.key.as_str();
    let Some((_, operand, _)) = OPERATORS.iter().find(|(known, _, _)| *known == word) else {
        let synonym = SYNONYMS.iter().find(|(theirs, _)| *theirs == word).map(|(_, ours)| *ours);
        let help = match synonym.or_else(|| nearest(word, Operator::WORDS)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", Operator::WORDS.join(", ")),
        };
        let message = format!("the operator `{}` is unknown", shorten(word));
        walk.error((path, entry.position), "unknown-operator", message, help);
        return None;
    };
    let node = &entry.value;
    let mut operand = Asked { walk, path, word, operand: *operand };
    match word {
        "eq" => operand.scalar(node).map(Operator::Equals),
        "in" => operand.scalars(node).map(Operator::In),
        "not_in" => operand.scalars(node).map(Operator::NotIn),
        "starts_with" => operand.strings(node).map(Operator::StartsWith),
        "ends_with" => operand.strings(node).map(Operator::EndsWith),
        "contains" => operand.scalar(node).map(Operator::Contains),
        "matches" => operand.pattern(node).map(Operator::Matches),
        "before" => operand.time(node).map(Operator::Before),
        "after" => operand.time(node).map(Operator::After),
        "exists" => operand.bool(node).map(Operator::Exists),
        _ => match (comparison(word), semver_test(word)) {
            (Some(comparison), _) => operand.number(node).map(|number| Operator::Compare(comparison, number)),
            (None, Some(test)) => operand.version(node).map(|version| Operator::Semver(test, version)),
            (None, None) => None,
        },
    }
}

/// Reads a string, number or boolean.
pub(super) fn scalar(walk: &mut Walk, path: &Path<'_>, node: &Node) -> Option<Scalar> {
    Asked { walk, path, word: "eq", operand: Operand::Scalar }.scalar(node)
}

fn comparison(word: &str) -> Option<Comparison> {
    Some(match word {
        "lt" => Comparison::Less,
        "lte" => Comparison::LessOrEqual,
        "gt" => Comparison::Greater,
        "gte" => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn semver_test(word: &str) -> Option<SemverTest> {
    Some(match word {
        "semver_eq" => SemverTest::Equal,
        "semver_lt" => SemverTest::Less,
        "semver_lte" => SemverTest::LessOrEqual,
        "semver_gt" => SemverTest::Greater,
        "semver_gte" => SemverTest::GreaterOrEqual,
        "semver_caret" => SemverTest::Caret,
        "semver_tilde" => SemverTest::Tilde,
        _ => return None,
    })
}

/// An operator that asks for its operand.
struct Asked<'w, 'p> {
    walk: &'w mut Walk,
    path: &'p Path<'p>,
    word: &'p str,
    operand: Operand,
}

impl Asked<'_, '_> {
    fn scalar(&mut self, node: &Node) -> Option<Scalar> {
        let path = *self.path;
        self.scalar_at(&path, node)
    }

    fn scalar_at(&mut self, path: &Path<'_>, node: &Node) -> Option<Scalar> {
        match &node.value {
            NodeValue::Bool(bool) => Some(Scalar::Bool(*bool)),
            NodeValue::Text { text, .. } => Some(Scalar::String(text.as_ref().to_owned())),
            NodeValue::Number(text) => {
                number_fits(self.walk, path, node, text).then(|| number(text).ok().map(Scalar::Number))?
            }
            NodeValue::List(_) if self.operand == Operand::Scalar => self.wrong(path, node, "for a list, use `in`"),
            NodeValue::Null => self.wrong(path, node, "to ask whether it is missing, write {exists: false}"),
            _ => self.wrong(path, node, ""),
        }
    }

    fn scalars(&mut self, node: &Node) -> Option<Vec<Scalar>> {
        let items = self.items(node)?;
        let path = *self.path;
        let mut scalars = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            scalars.push(self.scalar_at(&path.index(index), item));
        }
        scalars.into_iter().collect()
    }

    fn strings(&mut self, node: &Node) -> Option<Vec<String>> {
        if let NodeValue::Text { text, .. } = &node.value {
            return Some(vec![text.as_ref().to_owned()]);
        }
        let items = self.items(node)?;
        let path = *self.path;
        let mut strings = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            strings.push(self.walk.string(&path.index(index), item, "an element").map(str::to_owned));
        }
        strings.into_iter().collect()
    }

    fn items<'n>(&mut self, node: &'n Node) -> Option<&'n [Node]> {
        let path = *self.path;
        let NodeValue::List(items) = &node.value else {
            return self.wrong(&path, node, "put the values in brackets");
        };
        if items.len() > LIST_VALUES_MAX {
            let message = format!("{} values, at most {LIST_VALUES_MAX} are allowed", items.len());
            let help = "let the application send one attribute that says it";
            self.walk.error((&path, node.position), "too-many", message, help);
            return None;
        }
        Some(items)
    }

    fn number(&mut self, node: &Node) -> Option<Number> {
        let path = *self.path;
        match &node.value {
            NodeValue::Number(text) if number_fits(self.walk, &path, node, text) => number(text).ok(),
            NodeValue::Number(_) => None,
            _ => self.wrong(&path, node, ""),
        }
    }

    fn bool(&mut self, node: &Node) -> Option<bool> {
        let path = *self.path;
        match node.value {
            NodeValue::Bool(bool) => Some(bool),
            _ => self.wrong(&path, node, ""),
        }
    }

    fn text<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        let path = *self.path;
        match &node.value {
            NodeValue::Text { text, .. } => Some(text),
            NodeValue::Number(_) => self.wrong(&path, node, "put it in quotes"),
            _ => self.wrong(&path, node, ""),
        }
    }

    fn pattern(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node)?;
        let (message, help) = if text.len() > REGEX_BYTES_MAX {
            let message = format!("the pattern has {} bytes, at most {REGEX_BYTES_MAX} are allowed", text.len());
            (message, "shorten it, or use `in`, `starts_with` or `ends_with`")
        } else {
            match RegexBuilder::new(text).size_limit(REGEX_COMPILED_BYTES_MAX).build() {
                Ok(_) => return Some(text.to_owned()),
                Err(regex::Error::CompiledTooBig(_)) => {
                    let message = format!("the compiled pattern is over {REGEX_COMPILED_BYTES_MAX} bytes");
                    (message, "use fewer repetitions, or (?-u) for ASCII classes")
                }
                Err(error) => (format!("the pattern does not compile: {}", reason(&error)), REGEX_HELP),
            }
        };
        self.walk.error((self.path, node.position), "bad-pattern", message, help);
        None
    }

    fn version(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node)?;
        if is_semver(text) {
            return Some(text.to_owned());
        }
        let message = format!("`{}` is not a semantic version", shorten(text));
        let help = "write major.minor.patch, such as 2.4.0 or 2.4.0-rc.1, without a leading v";
        self.walk.error((self.path, node.position), "bad-version", message, help);
        None
    }

    fn time(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node)?;
        if Timestamp::parse(text).is_ok() {
            return Some(text.to_owned());
        }
        let message = format!("`{}` is not an RFC 3339 time", shorten(text));
        let help = "write it with an offset, such as 2025-10-16T08:00:00Z";
        self.walk.error((self.path, node.position), "bad-time", message, help);
        None
    }

    fn wrong<T>(&mut self, path: &Path<'_>, node: &Node, help: &str) -> Option<T> {
        let wanted = operand_words(self.operand);
        let message = format!("`{}` takes {wanted}, this is {}", self.word, node.kind());
        let help = if help.is_empty() { format!("write {wanted}") } else { help.to_owned() };
        self.walk.error((path, node.position), "wrong-type", message, help);
        None
    }
}

const REGEX_HELP: &str = "the syntax is that of Rust's regex crate: no look-around and no back-references";

/// The last line of a regex error says what is wrong; those above draw the pattern.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    shorten(last.trim().trim_start_matches("error: "))
}

/// The shape of SemVer 2.0.0 (section "Is there a suggested regular expression"): three numbers without leading
/// zeros, then `-` pre-release identifiers, then `+` build identifiers.
fn is_semver(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let number = |part: &str| part.parse::<u64>().is_ok_and(|value| value.to_string() == part);
    let identifier =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let no_leading_zero =
        |part: &str| part.len() == 1 || !part.starts_with('0') || !part.bytes().all(|b| b.is_ascii_digit());
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.split('.').all(|part| identifier(part) && no_leading_zero(part)))
        && build.is_none_or(|build| build.split('.').all(identifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_keep_to_semver_2() {
        for good in ["0.0.0", "2.4.0", "1.0.0-rc.1", "1.0.0-x-y.0a+001.b-c", "1.0.0+0"] {
            assert!(is_semver(good), "{good}");
        }
        for bad in ["", "2", "2.4", "v2.4.0", "2.4.0.1", "02.4.0", "2.4.0-", "2.4.0-01", "2.4.0+", "2.4.x", "2.4.0-é"]
        {
            assert!(!is_semver(bad), "{bad}");
        }
    }

    #[test]
    fn every_operator_of_the_table_is_read() {
        for (word, operand, _) in OPERATORS {
            let value = match operand {
                Operand::Scalars => serde_json::json!(["a"]),
                Operand::Number => serde_json::json!(1),
                Operand::Version => serde_json::json!("1.0.0"),
                Operand::Time => serde_json::json!("2025-10-16T08:00:00Z"),
                Operand::Bool => serde_json::json!(true),
                Operand::Scalar | Operand::Strings | Operand::Pattern => serde_json::json!("a"),
            };
            let segment = super::super::segment_from_json(&serde_json::json!({"x": {word: value}}));
            let segment = segment.expect("a valid condition");
            let crate::flag::definition::Condition::Test(test) = segment.when else { unreachable!("one test") };
            assert_eq!(test.operator.word(), word);
        }
    }
}
