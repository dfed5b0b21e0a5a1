//! LaunchDarkly: the SDKs' data (file data source, the `-data.json` of a relay's offline archive) and the answers of the
//! REST API.
//!
//! Order there: off → the off variation (none: the code default); a prerequisite that does not hold, or is off → the
//! off variation; individual targets; rules; fallthrough. So the off variation is the default variant here, and the
//! fallthrough is what `serve` says. A context without key is an error there; here it is taken that it has one.

use crate::flag::parse::walk::shorten;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use self::segment::Segments;
use super::ledger::Ledger;
use super::place::At;
use super::share::{Shares, shares, split};
use super::truth::{Truth, add_rule};
use super::{Draft, choose_environment, flag_key, variant_value};
use crate::flag::definition::{AttributePath, Definition, Operator, Requirement, Serve, ServeTo};
use crate::flag::diagnostic::Diagnostic;
use crate::flag::key::{FlagKey, VariantName};
use crate::flag::limits::{TAGS_MAX, TEXT_BYTES_MAX};

mod clause;
mod segment;

const DATA_KEYS: &[&str] = &[
    "key",
    "version",
    "on",
    "archived",
    "deleted",
    "prerequisites",
    "targets",
    "contextTargets",
    "rules",
    "fallthrough",
    "offVariation",
    "variations",
    "salt",
    "sel",
    "lastModified",
    "clientSide",
    "clientSideAvailability",
    "trackEvents",
    "trackEventsFallthrough",
    "debugEventsUntilDate",
    "samplingRatio",
    "excludeFromSummaries",
    "migration",
    "evaluation",
    "access",
    "environmentName",
];
const REST_KEYS: &[&str] = &[
    "key",
    "name",
    "kind",
    "description",
    "creationDate",
    "includeInSnippet",
    "clientSideAvailability",
    "variations",
    "variationJsonSchema",
    "temporary",
    "tags",
    "maintainerId",
    "maintainerTeamKey",
    "goalIds",
    "experiments",
    "customProperties",
    "archived",
    "archivedDate",
    "defaults",
    "environments",
    "deprecated",
    "deprecatedDate",
    "migrationSettings",
    "purpose",
    "isFlagOn",
];
const RULE_KEYS: &[&str] = &["id", "ref", "clauses", "variation", "rollout", "trackEvents", "description", "disabled"];

/// One flag, in either form.
struct Source<'n> {
    key: &'n str,
    /// What holds everywhere: variations, tags.
    flag: At<'n>,
    /// What holds in the chosen environment.
    here: At<'n>,
    rest: bool,
    /// The variants by index; empty where they have no counterpart.
    names: Vec<VariantName>,
}

impl Source<'_> {
    fn is_gone(&self) -> bool {
        self.flag.says("archived") || self.here.says("archived") || self.flag.says("deleted")
    }
}

/// Translates an export.
///
/// # Errors
/// It is none, or an environment must be chosen.
pub(super) fn translate(top: &At<'_>, ledger: &mut Ledger<'_>) -> Result<Draft, Box<Diagnostic>> {
    let data = top.get("data").filter(At::is_map).unwrap_or_else(|| top.clone());
    let mut sources = sources(&data, ledger.options.environment.as_deref())?;
    let mut draft = Draft::default();
    let mut segments = Segments::of(ledger, &data);
    for source in &mut sources {
        source.names = names(source);
    }
    let mut twins = BTreeSet::new();
    for source in &sources {
        ledger.flag(source.key);
        if source.is_gone() {
            ledger.note(&source.flag, "archived and deleted flags are not served, and are skipped");
            continue;
        }
        draft.find(source.key, &source.flag);
        if !twins.insert(source.key) {
            ledger.refuse::<()>(&source.flag, "another flag has the same key", "keep one of the two");
        }
        let key = flag_key(ledger, &source.flag, source.key);
        let definition = Reader { ledger, segments: &mut segments, sources: &sources, source }.flag();
        match (key, definition) {
            (Some(key), Some(definition)) if !ledger.is_refused() => draft.flags.insert(key, definition),
            (Some(key), _) => draft.flags.remove(&key),
            _ => None,
        };
    }
    values(&data, ledger, &mut draft);
    draft.segments = segments.kept;
    Ok(draft)
}

fn sources<'n>(data: &At<'n>, wanted: Option<&str>) -> Result<Vec<Source<'n>>, Box<Diagnostic>> {
    if data.get("flags").is_some() || data.get("flagValues").is_some() {
        choose_environment(data, &BTreeSet::new(), wanted)?;
        let flags = data.get("flags").map(|flags| flags.entries()).unwrap_or_default();
        let source =
            |(key, flag): (&'n str, At<'n>)| Source { key, here: flag.clone(), flag, rest: false, names: Vec::new() };
        return Ok(flags.into_iter().map(source).collect());
    }
    let flags = match data.get("items").filter(At::is_list) {
        Some(items) => items.items(),
        None if data.get("variations").is_some() && data.get("environments").is_some() => vec![data.clone()],
        None => {
            let help = "import the SDK's data (`flags`, `segments`), or the answer of /api/v2/flags/PROJECT?summary=0";
            return Err(Box::new(data.fault("shape", "the document has neither `flags` nor `items`", help)));
        }
    };
    let environments = |flag: &At<'n>| flag.get("environments").map(|it| it.entries()).unwrap_or_default();
    let names: BTreeSet<&str> = flags.iter().flat_map(environments).map(|(name, _)| name).collect();
    let chosen = choose_environment(data, &names, wanted)?;
    let mut sources = Vec::new();
    for flag in flags {
        let here = environments(&flag).into_iter().find(|(name, _)| Some(*name) == chosen).map(|(_, at)| at);
        match (flag.word("key"), here) {
            (Some(key), Some(here)) => sources.push(Source { key, flag, here, rest: true, names: Vec::new() }),
            (Some(_), None) => {
                let help = "ask the API for the environment, with `env=` and `summary=0`";
                return Err(Box::new(flag.fault("shape", "a flag says nothing of that environment", help)));
            }
            (None, _) => return Err(Box::new(flag.fault("shape", "a flag has no `key`", "export again"))),
        }
    }
    Ok(sources)
}

/// The value of a variation, in either form.
fn value_of<'n>(source: &Source<'n>, variation: &At<'n>) -> Option<At<'n>> {
    if source.rest { variation.get("value") } else { Some(variation.clone()) }
}

/// Names of the variants: those that people gave, else what the values say, else numbers.
fn names(source: &Source<'_>) -> Vec<VariantName> {
    let variations = source.flag.list("variations");
    let unique = |names: Vec<Option<VariantName>>| {
        let names: Option<Vec<VariantName>> = names.into_iter().collect();
        names.filter(|names| names.iter().collect::<BTreeSet<_>>().len() == names.len())
    };
    let given = variations.iter().map(|at| VariantName::new(at.word("name").filter(|_| source.rest)?).ok()).collect();
    let said = variations.iter().map(|at| {
        let text = match value_of(source, at)?.node.to_json() {
            Value::String(text) if text.len() <= 64 => text,
            scalar @ (Value::Bool(_) | Value::Number(_)) => scalar.to_string(),
            _ => return None,
        };
        VariantName::new(&text).ok()
    });
    let counted = (0..variations.len()).map(|index| VariantName::new(&format!("variation-{index}")).ok()).collect();
    unique(given).or_else(|| unique(said.collect())).or_else(|| unique(counted)).unwrap_or_default()
}

/// `flagValues`: flags that are nothing but a value.
fn values(data: &At<'_>, ledger: &mut Ledger<'_>, draft: &mut Draft) {
    for (key, at) in data.get("flagValues").map(|values| values.entries()).unwrap_or_default() {
        ledger.flag(key);
        if draft.found.contains_key(key) {
            ledger.refuse::<()>(&at, "the flag stands in `flags`, too", "keep one of the two");
            draft.flags.remove(key);
            continue;
        }
        draft.find(key, &at);
        let name = flag_key(ledger, &at, key);
        let (Some(value), Ok(variant)) = (variant_value(ledger, &at, at.node), VariantName::new("value")) else {
            continue;
        };
        let variants = BTreeMap::from([(variant.clone(), value)]);
        let definition = Definition { variants, default_variant: Some(variant), ..Definition::default() };
        draft.flags.extend(name.map(|name| (name, definition)));
    }
}

struct Reader<'r, 'o, 'n> {
    ledger: &'r mut Ledger<'o>,
    segments: &'r mut Segments<'n>,
    sources: &'r [Source<'n>],
    source: &'r Source<'n>,
}

impl<'n> Reader<'_, '_, 'n> {
    fn flag(&mut self) -> Option<Definition> {
        let here = &self.source.here;
        self.ledger.only(here, DATA_KEYS, "the flag");
        if self.source.rest {
            self.ledger.only(&self.source.flag, REST_KEYS, "the flag");
        }
        let mut definition = self.definition()?;
        for key in ["trackEvents", "trackEventsFallthrough", "migration", "samplingRatio"] {
            if let Some(at) = here.get(key).filter(|at| at.bool() != Some(false)) {
                self.ledger.note(&at, format!("`{key}` is not kept: it changes no answer"));
            }
        }
        if !here.says("on") {
            if here.list("rules").len() + here.list("targets").len() > 0 {
                self.ledger
                    .note(here, "the flag is off: its targets and rules are not in the output, so keep the export");
            }
            return Some(definition);
        }
        for at in here.list("prerequisites") {
            match self.prerequisite(&at)? {
                Some(requirement) => definition.requires.push(requirement),
                None => return Some(definition),
            }
        }
        for (at, variation) in self.targets()? {
            let name = self.variation(&variation)?;
            let users = segment::listed(self.ledger, &at.list("values"))?;
            add_rule(&mut definition, Some("individual targets"), users, Serve::variant(name));
        }
        for rule in here.list("rules") {
            self.ledger.only(&rule, RULE_KEYS, "the rule");
            if rule.says("disabled") {
                let why = "the rule is disabled, which not every SDK knows";
                self.ledger.refuse::<()>(&rule, why, "delete it");
            }
            let when = clause::all(self.ledger, &rule.list("clauses"), self.segments);
            if !self.serve(&mut definition, rule.word("description"), when, &rule) {
                return Some(definition);
            }
        }
        match here.get("fallthrough") {
            Some(at) => self.serve(&mut definition, None, Some(Truth::Always), &at),
            None => return self.ledger.refuse(here, "there is no `fallthrough`, which is an error there", "add one"),
        };
        Some(definition)
    }

    fn definition(&mut self) -> Option<Definition> {
        let (flag, source) = (&self.source.flag, self.source);
        let mut definition = Definition::default();
        for (name, at) in source.names.iter().zip(flag.list("variations")) {
            let Some(value) = value_of(source, &at) else {
                return self.ledger.refuse(&at, "the variation has no value", "give it one that is not null");
            };
            definition
                .variants
                .extend(variant_value(self.ledger, &value, value.node).map(|value| (name.clone(), value)));
        }
        if definition.variants.is_empty() {
            return self.ledger.refuse(flag, "the flag has no variations", "give it one");
        }
        if let Some(at) = source.here.get("offVariation") {
            definition.default_variant = Some(self.variation(&at)?);
        }
        if source.rest {
            let description = flag.word("description").filter(|text| !text.is_empty() && text.len() <= TEXT_BYTES_MAX);
            definition.description = description.map(str::to_owned);
            let tags = flag.list("tags");
            let tags = tags.iter().filter_map(At::text).filter(|tag| !tag.is_empty() && tag.len() <= TEXT_BYTES_MAX);
            definition.tags = tags.take(TAGS_MAX).map(str::to_owned).collect();
        }
        Some(definition)
    }

    fn variation(&mut self, at: &At<'_>) -> Option<VariantName> {
        let index = at.integer().and_then(|index| usize::try_from(index).ok());
        match index.and_then(|index| self.source.names.get(index)) {
            Some(name) => Some(name.clone()),
            None => {
                self.ledger.refuse(at, "there is no variation of that number, which is an error there", "correct it")
            }
        }
    }

    /// What must hold first; none where it never does, so that only the off variation is served.
    fn prerequisite(&mut self, at: &At<'_>) -> Option<Option<Requirement>> {
        let key = at.word("key").unwrap_or_default();
        let index = at.get("variation").and_then(|index| index.integer()).and_then(|index| usize::try_from(index).ok());
        let other = self.sources.iter().find(|source| source.key == key && !source.is_gone());
        let Some(other) = other else {
            let why = format!("the prerequisite `{}` is not in the export", shorten(key));
            return self.ledger.refuse(at, why, "export it, too");
        };
        let Some(variant) = index.and_then(|index| other.names.get(index)) else {
            return self.ledger.refuse(at, "the prerequisite has no variation of that number", "correct it");
        };
        let off = other.here.get("offVariation").and_then(|off| off.integer());
        if !other.here.says("on") && off == index.and_then(|index| i64::try_from(index).ok()) {
            // A flag that is off never fulfils a prerequisite there, also where it serves what is demanded.
            self.ledger.note(at, "a prerequisite is off, so only the off variation is in the output; keep the export");
            return Some(None);
        }
        let Ok(flag) = FlagKey::new(key) else {
            return self.ledger.refuse(at, "its key is not allowed here", "rename it");
        };
        Some(Some(Requirement { flag, variant: variant.clone() }))
    }

    /// Lists of users with the number of their variation.
    fn targets(&mut self) -> Option<Vec<(At<'n>, At<'n>)>> {
        let here = &self.source.here;
        let (targets, contexts) = (here.list("targets"), here.list("contextTargets"));
        let foreign = |at: &&At<'n>| !clause::is_user(at) && !at.list("values").is_empty();
        if let Some(at) = targets.iter().chain(&contexts).find(foreign) {
            return self.ledger.refuse(
                at,
                "individual targets that are no users",
                "write a rule for an attribute of users",
            );
        }
        // The SDKs' data gives the order in `contextTargets`, where an empty list of users stands for one of `targets`.
        let users: Vec<At<'n>> = if contexts.is_empty() || self.source.rest {
            targets
        } else {
            let named = |at: &At<'n>| at.get("variation").and_then(|variation| variation.integer());
            let place = |at: &At<'n>| match at.list("values").is_empty() {
                true => targets.iter().find(|target| named(target) == named(at)).cloned(),
                false => Some(at.clone()),
            };
            contexts.iter().filter(|at| clause::is_user(at)).filter_map(place).collect()
        };
        let mut lists = Vec::new();
        for at in users {
            match at.get("variation") {
                Some(variation) => lists.push((at, variation)),
                None => return self.ledger.refuse(&at, "the target has no variation", "correct it"),
            }
        }
        Some(lists)
    }

    /// Adds what a rule or the fallthrough serves; true as long as something may follow.
    fn serve(&mut self, definition: &mut Definition, name: Option<&str>, when: Option<Truth>, at: &At<'_>) -> bool {
        let plan = self.plan(at);
        let (Some(when), Some((serve, first))) = (when, plan) else { return true };
        // Without the attribute that places them, users get the first variation of a rollout.
        if let (Some(by), Some(first)) = (serve.by.clone(), first) {
            let missing = Truth::all([when.clone(), Truth::test(&by, Operator::Exists(false))]);
            add_rule(definition, name, missing, Serve::variant(first));
        }
        add_rule(definition, name, when, serve)
    }

    /// What is served, and the first variation of a rollout.
    fn plan(&mut self, at: &At<'_>) -> Option<(Serve, Option<VariantName>)> {
        if let Some(variation) = at.get("variation") {
            return Some((Serve::variant(self.variation(&variation)?), None));
        }
        let Some(rollout) = at.get("rollout") else {
            return self.ledger.refuse(at, "neither a variation nor a rollout, which is an error there", "add one");
        };
        let known = ["variations", "bucketBy", "kind", "seed", "contextKind", "experimentAllocation"];
        self.ledger.only(&rollout, &known, "the rollout");
        let mut weights = Vec::new();
        for part in rollout.list("variations") {
            let weight = part.get("weight").and_then(|weight| weight.integer()).and_then(|it| u32::try_from(it).ok());
            let variation = part.get("variation").unwrap_or_else(|| part.clone());
            let name = self.variation(&variation)?;
            let Some(weight) = weight else {
                return self.ledger.refuse(&part, "the weight is no whole number from 0", "correct it");
            };
            weights.push((name, weight));
        }
        let first = weights.iter().find(|(_, weight)| *weight > 0).map(|(name, _)| name.clone());
        match shares(weights) {
            None => self.ledger.refuse(&rollout, "the weights do not add up to 100000", "correct them"),
            Some(Shares::Whole(name)) => Some((Serve::variant(name), None)),
            Some(Shares::Split(percentages)) => {
                if !clause::is_user(&rollout) {
                    return self.ledger.refuse(
                        &rollout,
                        "a rollout over contexts that are no users",
                        "use an attribute",
                    );
                }
                let by = match rollout.word("bucketBy").filter(|_| rollout.word("kind") != Some("experiment")) {
                    None | Some("" | "key" | "/key") => None,
                    // Units are written as dotted paths.
                    Some(name) => match clause::path(name, rollout.get("contextKind").is_some()) {
                        Some(path) if AttributePath::parse(&path.dotted()).as_ref() == Some(&path) => Some(path),
                        _ => {
                            return self.ledger.refuse(
                                &rollout,
                                "`bucketBy` cannot be written here",
                                "use a plain name",
                            );
                        }
                    },
                };
                let serve = split(self.ledger, &rollout, percentages, by, "")?;
                debug_assert!(matches!(serve.to, ServeTo::Percentages(_)), "a split has percentages");
                Some((serve, first))
            }
        }
    }
}
