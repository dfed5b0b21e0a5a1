//! Unleash: the answer of `/api/client/features`, the export of the admin interface (`features-batch/export`) and the
//! older state export.
//!
//! A flag is on where it is enabled, its parents are as demanded, and one of its strategies is on; a flag without
//! strategies is on. It answers `false` otherwise, not the code default. Strategies are joined by OR, so where all of
//! them serve the same, whole ones come first here: a rule that matches ends the evaluation, also when it is a
//! percentage. Several percentages are kept only where they share one cohort, the largest first.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use self::constraint::Segments;
use self::strategy::{Strategy, strategies};
use self::variants::Answers;
use super::ledger::Ledger;
use super::place::At;
use super::share::split;
use super::truth::{Truth, add_rule};
use super::{Draft, choose_environment, flag_key};
use crate::flag::definition::{Definition, Requirement, Serve};
use crate::flag::diagnostic::Diagnostic;
use crate::flag::key::{FlagKey, VariantName};
use crate::flag::limits::TEXT_BYTES_MAX;
use crate::flag::percent::Percent;

mod constraint;
mod strategy;
mod variants;

const KEYS: &[&str] = &[
    "name",
    "type",
    "description",
    "enabled",
    "project",
    "stale",
    "staleAt",
    "impressionData",
    "strategies",
    "variants",
    "dependencies",
    "archived",
    "archivedAt",
    "createdAt",
    "createdBy",
    "createdByUserId",
    "lastSeenAt",
    "lastSeenAtEnv",
    "environments",
    "tags",
    "favorite",
    "children",
    "collaborators",
    "links",
    "lifecycle",
    "potentiallyStale",
];

/// One flag and what the chosen environment says about it.
struct Feature<'n> {
    at: At<'n>,
    name: &'n str,
    enabled: Option<bool>,
    strategies: Vec<At<'n>>,
    variants: Vec<At<'n>>,
    dependencies: Vec<At<'n>>,
    /// What else the export says about it, apart from the flag.
    apart: Option<At<'n>>,
}

/// Translates an export.
///
/// # Errors
/// It is none, or an environment must be chosen.
pub(super) fn translate(top: &At<'_>, ledger: &mut Ledger<'_>) -> Result<Draft, Box<Diagnostic>> {
    let Some(list) = top.get("features").filter(At::is_list) else {
        let help = "export from the project's page, or save the answer of /api/client/features";
        return Err(Box::new(top.fault("shape", "the document has no list `features`", help)));
    };
    let features = features(top, &list, ledger.options.environment.as_deref())?;
    let mut draft = Draft::default();
    let segments = constraint::segments(ledger, top, &mut draft.segments);
    let mut twins = BTreeSet::new();
    for feature in &features {
        ledger.flag(feature.name);
        if feature.at.says("archived") {
            ledger.note(&feature.at, "archived flags are not served, and are skipped");
            continue;
        }
        draft.find(feature.name, &feature.at);
        if !twins.insert(feature.name) {
            ledger.refuse::<()>(&feature.at, "another flag has the same name", "keep one of the two");
        }
        let key = flag_key(ledger, &feature.at, feature.name);
        let definition = flag(ledger, feature, &features, &segments);
        match (key, definition) {
            (Some(key), Some(definition)) if !ledger.is_refused() => draft.flags.insert(key, definition),
            (Some(key), _) => draft.flags.remove(&key),
            _ => None,
        };
    }
    Ok(draft)
}

/// The flags of the chosen environment.
fn features<'n>(top: &At<'n>, list: &At<'n>, wanted: Option<&str>) -> Result<Vec<Feature<'n>>, Box<Diagnostic>> {
    let rows = [top.list("featureEnvironments"), top.list("featureStrategies")];
    let names: BTreeSet<&str> = rows.iter().flatten().filter_map(|row| row.word("environment")).collect();
    let environment = choose_environment(top, &names, wanted)?;
    let here = |row: &At<'n>| row.word("environment").is_none_or(|there| Some(there) == environment);
    let [environments, strategies] = rows.map(|rows| by(rows.into_iter().filter(here), "featureName"));
    let is_export = top.get("featureStrategies").is_some() || top.get("featureEnvironments").is_some();
    let depends = by(top.list("dependencies").into_iter(), "feature");
    // The older state export links segments by the strategy's id; newer ones hold release plans.
    let links = by(top.list("featureStrategySegments").into_iter(), "featureStrategyId");
    let plans = by(top.list("releasePlans").into_iter(), "featureName");
    let mut features = Vec::new();
    for at in list.items() {
        let Some(name) = at.word("name") else {
            return Err(Box::new(at.fault("shape", "a flag has no `name`", "export again")));
        };
        let row = environments.get(name).and_then(|rows| rows.first());
        let variants = row.map(|row| row.list("variants")).filter(|list| !list.is_empty());
        let strategies =
            if is_export { strategies.get(name).cloned().unwrap_or_default() } else { at.list("strategies") };
        let linked = strategies.iter().find_map(|strategy| links.get(strategy.word("id")?)?.first());
        let depends = depends.get(name).map(|rows| rows.iter().flat_map(|row| row.list("dependencies")).collect());
        features.push(Feature {
            name,
            apart: linked.or_else(|| plans.get(name)?.first()).cloned(),
            enabled: match row {
                Some(row) => Some(row.says("enabled")),
                None if is_export => None,
                None => at.get("enabled").and_then(|enabled| enabled.bool()),
            },
            strategies,
            variants: variants.unwrap_or_else(|| at.list("variants")),
            dependencies: depends.unwrap_or_else(|| at.list("dependencies")),
            at,
        });
    }
    Ok(features)
}

/// Rows by the text under one of their keys, in their order.
fn by<'n>(rows: impl Iterator<Item = At<'n>>, key: &str) -> BTreeMap<&'n str, Vec<At<'n>>> {
    let mut found: BTreeMap<&str, Vec<At<'n>>> = BTreeMap::new();
    for row in rows {
        if let Some(name) = row.word(key) {
            found.entry(name).or_default().push(row);
        }
    }
    found
}

fn flag(
    ledger: &mut Ledger<'_>,
    feature: &Feature<'_>,
    all: &[Feature<'_>],
    segments: &Segments,
) -> Option<Definition> {
    ledger.only(&feature.at, KEYS, "the flag");
    for key in ["impressionData", "stale"] {
        if feature.at.says(key) {
            ledger.note(&feature.at, format!("`{key}` is not kept: it changes no answer"));
        }
    }
    let answers = Answers::of(ledger, &feature.at, &feature.variants, &feature.strategies)?;
    let mut definition = answers.definition();
    let description = feature.at.word("description").filter(|text| text.len() <= TEXT_BYTES_MAX);
    definition.description = description.filter(|text| !text.is_empty()).map(str::to_owned);
    match feature.enabled {
        Some(true) => {}
        Some(false) => {
            if !feature.strategies.is_empty() {
                ledger.note(&feature.at, "the flag is off: its strategies are not in the output, so keep the export");
            }
            return Some(definition);
        }
        None => {
            let why = "the export does not say whether the flag is enabled in this environment";
            return ledger.refuse(&feature.at, why, "export it again with that environment");
        }
    }
    if let Some(at) = &feature.apart {
        let why = "segments or a release plan stand apart from the strategies, which is not read";
        return ledger.refuse(at, why, "import the answer of /api/client/features instead");
    }
    for at in &feature.dependencies {
        definition.requires.extend(requirement(ledger, at, all));
    }
    let strategies = strategies(ledger, &feature.strategies, segments, feature.name)?;
    if strategies.is_empty() {
        let serve = answers.serve(ledger, &feature.at, None, 100, None)?;
        add_rule(&mut definition, None, Truth::Always, serve);
        return Some(definition);
    }
    rules(ledger, feature, &answers, strategies, &mut definition)?;
    Some(definition)
}

fn rules(
    ledger: &mut Ledger<'_>,
    feature: &Feature<'_>,
    answers: &Answers,
    mut strategies: Vec<Strategy<'_>>,
    definition: &mut Definition,
) -> Option<()> {
    strategies.retain(|strategy| strategy.when != Truth::Never);
    let partial: Vec<usize> =
        strategies.iter().enumerate().filter(|(_, it)| it.percent < 100).map(|(index, _)| index).collect();
    let one_cohort = partial.windows(2).all(|pair| strategies[pair[0]].cohort == strategies[pair[1]].cohort);
    if partial.len() > 1 && !(one_cohort && answers.is_boolean()) {
        let why = "several strategies with percentages: users outside of one may be inside another, and a rule here \
                   ends the evaluation";
        return ledger.refuse(&feature.at, why, "give them one groupId and stickiness, or write the rules by hand");
    }
    if answers.differ() {
        if partial.iter().any(|index| index + 1 < strategies.len()) {
            let why = "a strategy with a percentage stands before others, and strategies have variants of their own";
            return ledger.refuse(&feature.at, why, "move it to the end, or write the rules by hand");
        }
    } else {
        strategies.sort_by_key(|strategy| std::cmp::Reverse(strategy.percent));
    }
    for strategy in strategies {
        let own = strategy.at.list("variants");
        let serve = answers.serve(
            ledger,
            &strategy.at,
            (!own.is_empty()).then_some(own.as_slice()),
            strategy.percent,
            Some((&strategy.cohort, feature.name)),
        )?;
        let title = strategy.at.word("title").or_else(|| strategy.at.word("name"));
        if !add_rule(definition, title, strategy.when, serve) {
            break;
        }
    }
    Some(())
}

/// A parent flag that must be on, or off.
fn requirement(ledger: &mut Ledger<'_>, at: &At<'_>, all: &[Feature<'_>]) -> Option<Requirement> {
    ledger.only(at, &["feature", "enabled", "variants"], "the dependency");
    let name = at.word("feature").unwrap_or_default();
    let Some(parent) = all.iter().find(|feature| feature.name == name && !feature.at.says("archived")) else {
        return ledger.refuse(at, "the parent flag is not in the export", "export it, too");
    };
    let with_variants = !at.list("variants").is_empty()
        || !parent.variants.is_empty()
        || parent.strategies.iter().any(|strategy| !strategy.list("variants").is_empty());
    if with_variants || !parent.dependencies.is_empty() {
        let why = "the parent flag has variants or a parent of its own";
        return ledger.refuse(at, why, "write `requires` by hand");
    }
    let on = at.get("enabled").and_then(|enabled| enabled.bool()).unwrap_or(true);
    let variant = VariantName::new(if on { "on" } else { "off" }).ok()?;
    Some(Requirement { flag: FlagKey::new(name).ok()?, variant })
}

/// The variants of a flag that answers whether it is enabled.
fn boolean() -> BTreeMap<VariantName, Value> {
    let named = |(name, value)| Some((VariantName::new(name).ok()?, json!(value)));
    [("on", true), ("off", false)].into_iter().filter_map(named).collect()
}

/// A share of a boolean flag.
fn on_for(
    ledger: &mut Ledger<'_>,
    at: &At<'_>,
    percent: u32,
    cohort: Option<(&strategy::Cohort, &str)>,
) -> Option<Serve> {
    let on = VariantName::new("on").ok()?;
    if percent == 100 {
        return Some(Serve::variant(on));
    }
    let (cohort, flag) = cohort?;
    let shares = BTreeMap::from([(on, Percent::from_thousandths(percent * 1_000)?)]);
    let serve = split(ledger, at, shares, cohort.by.clone(), cohort.without)?;
    Some(Serve { salt: (cohort.group != flag).then(|| cohort.group.clone()), ..serve })
}
