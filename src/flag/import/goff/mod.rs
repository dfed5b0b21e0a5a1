//! GO Feature Flag's configuration files (the format since 1.0), in JSON or YAML.
//!
//! Order there: disabled (the code default) → rules in order, of which the first one that matches decides, also when it
//! is a percentage → the default rule. What changes with time (progressive and scheduled rollouts, experimentations)
//! has no counterpart in a definition. A context without targeting key is an error there for some versions; here it
//! is taken that it has one. With `bucketingKey`, every context without that attribute gets the code default.

use crate::flag::parse::walk::shorten;
use std::collections::BTreeMap;

use serde_json::Value;

use super::ledger::Ledger;
use super::place::At;
use super::share::{Shares, shares, split};
use super::truth::{Truth, add_rule};
use super::{Draft, flag_key, metadata, variant_value};
use crate::flag::definition::{AttributePath, Definition, Operator, Scalar, Serve, State};
use crate::flag::diagnostic::Diagnostic;
use crate::flag::key::VariantName;
use crate::flag::percent::Percent;

mod meaning;
mod query;
mod tokens;

/// Translates a file: a map of flags.
///
/// # Errors
/// It is no such map.
pub(super) fn translate(top: &At<'_>, ledger: &mut Ledger<'_>) -> Result<Draft, Box<Diagnostic>> {
    if !top.is_map() {
        let help = "GO Feature Flag's files are maps of flags by key, in YAML or JSON (convert TOML first)";
        return Err(Box::new(top.fault("shape", "the document is no map of flags", help)));
    }
    let mut draft = Draft::default();
    for (key, flag) in top.entries() {
        draft.find(key, &flag);
        ledger.flag(key);
        let name = flag_key(ledger, &flag, key);
        let definition = Reader { ledger }.flag(&flag);
        if let (Some(name), Some(definition), false) = (name, definition, ledger.is_refused()) {
            draft.flags.insert(name, definition);
        }
    }
    Ok(draft)
}

const KEYS: &[&str] = &[
    "trackEvents",
    "disable",
    "version",
    "converter",
    "variations",
    "targeting",
    "bucketingKey",
    "defaultRule",
    "scheduledRollout",
    "experimentation",
    "metadata",
];
const RULE_KEYS: &[&str] = &["name", "query", "variation", "percentage", "progressiveRollout", "disable"];

struct Reader<'l, 'o> {
    ledger: &'l mut Ledger<'o>,
}

impl Reader<'_, '_> {
    fn flag(&mut self, flag: &At<'_>) -> Option<Definition> {
        if !flag.is_map() || flag.get("variations").is_none() {
            let why = "it has no `variations`; only the format since version 1.0 is read";
            return self.ledger.refuse(flag, why, "convert the file with GO Feature Flag's own tools first");
        }
        self.ledger.only(flag, KEYS, "the flag");
        let mut definition = Definition { variants: self.variants(flag)?, ..Definition::default() };
        if let Some(at) = flag.get("metadata") {
            definition.metadata = metadata(self.ledger, &at);
        }
        for key in ["trackEvents", "version"] {
            if let Some(at) = flag.get(key) {
                self.ledger.note(&at, format!("`{key}` is not kept: it changes no answer"));
            }
        }
        self.over_time(flag);
        if flag.says("disable") {
            definition.state = State::Disabled;
            return Some(definition);
        }
        let guard = self.guard(flag)?;
        for rule in flag.list("targeting") {
            self.ledger.only(&rule, RULE_KEYS, "the rule");
            if rule.says("disable") {
                continue;
            }
            let when = self.query(&rule);
            let serve = self.serve(&rule, &definition, flag);
            if let (Some(when), Some(serve)) = (when, serve)
                && !add_rule(&mut definition, rule.word("name"), Truth::all([guard.clone(), when]), serve)
            {
                return Some(definition);
            }
        }
        let Some(rule) = flag.get("defaultRule") else {
            return self.ledger.refuse(flag, "it has no `defaultRule`", "add one; without it the flag is an error");
        };
        self.ledger.only(&rule, RULE_KEYS, "the default rule");
        let serve = self.serve(&rule, &definition, flag)?;
        if guard == Truth::Always
            && let crate::flag::definition::ServeTo::Variant(name) = &serve.to
        {
            definition.default_variant = Some(name.clone());
            return Some(definition);
        }
        add_rule(&mut definition, Some("default rule"), guard, serve);
        Some(definition)
    }

    fn variants(&mut self, flag: &At<'_>) -> Option<BTreeMap<VariantName, Value>> {
        let mut variants = BTreeMap::new();
        for (name, value) in flag.get("variations")?.entries() {
            let json = variant_value(self.ledger, &value, value.node);
            match (VariantName::new(name), json) {
                (Ok(name), Some(json)) => {
                    variants.insert(name, json);
                }
                (Err(fault), _) => {
                    self.ledger.refuse::<()>(
                        &value,
                        format!("names of variants are stricter here: {fault}"),
                        "rename it",
                    );
                }
                (Ok(_), None) => {}
            }
        }
        (!self.ledger.is_refused()).then_some(variants)
    }

    /// What depends on the time.
    fn over_time(&mut self, flag: &At<'_>) {
        let steps = flag.get("scheduledRollout").filter(|steps| !steps.items().is_empty());
        if let Some(at) = steps {
            let help = "translate the step that is in force by hand, and change the flag at its dates";
            self.ledger.refuse::<()>(&at, "`scheduledRollout`: definitions do not change with time", help);
        }
        if let Some(at) = flag.get("experimentation") {
            let help = "remove it from the export, and disable the flag when the experiment ends";
            self.ledger.refuse::<()>(&at, "`experimentation`: definitions do not change with time", help);
        }
    }

    /// What must hold for any variation to be served: always, or that the bucketing key is there.
    fn guard(&mut self, flag: &At<'_>) -> Option<Truth> {
        let Some(at) = flag.get("bucketingKey") else { return Some(Truth::Always) };
        let path = match at.text() {
            Some("") => return Some(Truth::Always),
            Some(text) if !text.contains('.') => AttributePath::parse(text),
            _ => None,
        };
        let Some(path) = path else {
            let help = "let the application send the attribute at the top of the context";
            return self.ledger.refuse(&at, "`bucketingKey` is not the plain name of one attribute", help);
        };
        let text = Truth::test(&path, Operator::StartsWith(vec![String::new()]));
        let rules = flag.list("targeting").into_iter().chain(flag.get("defaultRule"));
        let buckets =
            rules.into_iter().any(|rule| rule.get("percentage").is_some_and(|list| !list.entries().is_empty()));
        let empty = Truth::test(&path, Operator::Equals(Scalar::String(String::new())));
        Some(if buckets { Truth::all([text, empty.not()]) } else { text })
    }

    fn query(&mut self, rule: &At<'_>) -> Option<Truth> {
        let Some(at) = rule.get("query") else {
            return self.ledger.refuse(rule, "the rule has no `query`, which is not valid", "add one");
        };
        let text = at.text().unwrap_or_default();
        if text.trim_start().starts_with('{') {
            let why = "a JSONLogic query: that library's operators are not flagd's";
            return self.ledger.refuse(&at, why, "write it in the query language, or as `targeting` by hand");
        }
        match query::read(text) {
            Ok(query) => meaning::meaning(self.ledger, &at, &query),
            Err(why) => {
                let help = "one space between words, `and`/`or` in small letters, texts in double quotes";
                self.ledger.refuse(&at, format!("the query is not in the language: {why}"), help)
            }
        }
    }

    fn serve(&mut self, rule: &At<'_>, definition: &Definition, flag: &At<'_>) -> Option<Serve> {
        if let Some(at) = rule.get("progressiveRollout") {
            let help = "serve the percentage of today, and ramp the flag with a rollout";
            return self.ledger.refuse(&at, "`progressiveRollout`: definitions do not change with time", help);
        }
        if let Some(at) = rule.get("percentage").filter(|at| !at.entries().is_empty()) {
            return self.percentage(&at, definition, flag);
        }
        let Some(at) = rule.get("variation") else {
            return self.ledger.refuse(rule, "the rule serves nothing, which is an error there", "add `variation`");
        };
        self.variant(&at, at.text().unwrap_or_default(), definition).map(Serve::variant)
    }

    fn percentage(&mut self, at: &At<'_>, definition: &Definition, flag: &At<'_>) -> Option<Serve> {
        let mut weights = Vec::new();
        for (name, value) in at.entries() {
            let name = self.variant(&value, name, definition);
            let percent = match &value.node.value {
                crate::flag::tree::NodeValue::Number(text) => Percent::parse(text).ok(),
                _ => None,
            };
            let (Some(name), Some(percent)) = (name, percent) else {
                return self.ledger.refuse(&value, "no percentage of at most three decimals", "write it with fewer");
            };
            weights.push((name, percent.thousandths()));
        }
        match shares(weights) {
            Some(Shares::Whole(name)) => Some(Serve::variant(name)),
            Some(Shares::Split(percentages)) => {
                let by = flag.word("bucketingKey").filter(|key| !key.is_empty() && *key != "targetingKey");
                split(self.ledger, at, percentages, by.and_then(AttributePath::parse), "")
            }
            None => self.ledger.refuse(at, "the percentages do not add up to 100", "correct them"),
        }
    }

    fn variant(&mut self, at: &At<'_>, name: &str, definition: &Definition) -> Option<VariantName> {
        match definition.variants.get_key_value(name) {
            Some((name, _)) => Some(name.clone()),
            None => {
                self.ledger.refuse(at, format!("there is no variation `{}`", shorten(name)), "name one that exists")
            }
        }
    }
}
