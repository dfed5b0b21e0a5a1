//! What a flag of Unleash answers: whether it is enabled, or the payload of a variant.
//!
//! One flag there answers both questions; here a flag has one type. Where there are variants, the caller must say which
//! of the two the application asks.

use crate::flag::parse::walk::shorten;
use std::collections::BTreeMap;

use serde_json::Value;

use super::super::VariantAnswer;
use super::super::ledger::Ledger;
use super::super::place::At;
use super::super::share::{Shares, shares, split};
use super::strategy::Cohort;
use super::{boolean, on_for};
use crate::flag::definition::{Definition, Serve, VariantType};
use crate::flag::key::VariantName;
use crate::flag::tree::number;

/// The answers of one flag.
#[derive(Debug)]
pub(super) enum Answers {
    /// Whether it is enabled.
    Enabled,
    /// The payload of a variant.
    Payload {
        /// Payloads by name, those of the flag and of its strategies.
        values: BTreeMap<VariantName, Value>,
        /// Weights of the flag's own variants.
        weights: Vec<(VariantName, u32)>,
        /// True where a strategy has variants of its own.
        differ: bool,
    },
}

const KEYS: &[&str] = &["name", "weight", "weightType", "stickiness", "payload", "overrides"];

impl Answers {
    /// What the flag answers; none where that cannot be said.
    pub(super) fn of(ledger: &mut Ledger<'_>, flag: &At<'_>, own: &[At<'_>], strategies: &[At<'_>]) -> Option<Self> {
        let of_strategies: Vec<At<'_>> = strategies.iter().flat_map(|strategy| strategy.list("variants")).collect();
        if own.is_empty() && of_strategies.is_empty() {
            return Some(Self::Enabled);
        }
        match ledger.options.variants {
            Some(VariantAnswer::Enabled) => return Some(Self::Enabled),
            Some(VariantAnswer::Payload) => {}
            None => {
                let why = "the flag has variants, and answers two questions: is it enabled, and which variant";
                let help = "say which one the application asks: --variants enabled or --variants payload";
                return ledger.refuse(flag, why, help);
            }
        }
        let mut values: BTreeMap<VariantName, Value> = BTreeMap::new();
        for at in own.iter().chain(&of_strategies) {
            let (name, value) = read(ledger, at)?;
            if values.insert(name, value.clone()).is_some_and(|before| before != value) {
                return ledger.refuse(at, "two variants of one name have different payloads", "rename one");
            }
        }
        let mut kinds = values.values().map(VariantType::of);
        let first = kinds.next().flatten();
        if kinds.any(|kind| kind != first) {
            return ledger.refuse(flag, "the payloads are of different types", "give all of them one type");
        }
        let chosen = |at: &&At<'_>| !matches!(at.word("stickiness"), None | Some("" | "default" | "userId"));
        if let Some(at) = own.iter().find(chosen).filter(|_| own.len() > 1) {
            let why = "variants of the flag that are placed by something else than the user";
            return ledger.refuse(at, why, "choose the stickiness userId, or give the variants to the strategies");
        }
        let weights = weights(ledger, own)?;
        Some(Self::Payload { values, weights, differ: !of_strategies.is_empty() })
    }

    /// True where the flag answers whether it is enabled.
    pub(super) fn is_boolean(&self) -> bool {
        matches!(self, Self::Enabled)
    }

    /// True where strategies serve different things, so that their order matters.
    pub(super) fn differ(&self) -> bool {
        matches!(self, Self::Payload { differ: true, .. })
    }

    /// A flag that is off.
    pub(super) fn definition(&self) -> Definition {
        match self {
            Self::Enabled => Definition {
                variants: boolean(),
                default_variant: VariantName::new("off").ok(),
                ..Definition::default()
            },
            // A flag that is off has no variant: the application takes its own default.
            Self::Payload { values, .. } => Definition { variants: values.clone(), ..Definition::default() },
        }
    }

    /// What is served to a share of users: the strategy's own variants, or the flag's.
    pub(super) fn serve(
        &self,
        ledger: &mut Ledger<'_>,
        at: &At<'_>,
        own: Option<&[At<'_>]>,
        percent: u32,
        cohort: Option<(&Cohort, &str)>,
    ) -> Option<Serve> {
        let Self::Payload { weights: of_flag, .. } = self else { return on_for(ledger, at, percent, cohort) };
        let weights = match own {
            Some(own) => weights(ledger, own)?,
            None => of_flag.clone(),
        };
        if weights.is_empty() {
            let why = "for whom this strategy is on, there is no variant";
            return ledger.refuse(at, why, "give the flag variants, or import with --variants enabled");
        }
        // The flag's own variants are placed by the user, whatever the strategy is placed by.
        let by = cohort.filter(|_| own.is_some() || percent < 100).and_then(|(cohort, _)| cohort.by.clone());
        let without = cohort.map_or("", |(cohort, _)| cohort.without);
        if percent == 100 {
            return match shares(weights.into_iter().map(|(name, weight)| (name, weight * 100))) {
                Some(Shares::Whole(name)) => Some(Serve::variant(name)),
                Some(Shares::Split(_)) if own.is_some() && cohort.is_some_and(|(cohort, _)| cohort.chance) => {
                    let why = "variants drawn anew at each evaluation: users here stay where they are";
                    ledger.refuse(at, why, "choose another stickiness")
                }
                Some(Shares::Split(percentages)) => split(ledger, at, percentages, by, without),
                None => ledger.refuse(at, "the weights do not add up to 1000", "correct them"),
            };
        }
        // Percent of a share of a thousand: thousandths of a percent, exactly.
        let parts = weights
            .into_iter()
            .map(|(name, weight)| Some((name, crate::flag::percent::Percent::from_thousandths(percent * weight)?)));
        let percentages: Option<BTreeMap<_, _>> = parts.collect();
        split(ledger, at, percentages?, by, without)
    }
}

fn read(ledger: &mut Ledger<'_>, at: &At<'_>) -> Option<(VariantName, Value)> {
    ledger.only(at, KEYS, "the variant");
    if !at.list("overrides").is_empty() {
        return ledger.refuse(at, "a variant has `overrides`", "write them as constraints of a strategy");
    }
    let name = match VariantName::new(at.word("name").unwrap_or_default()) {
        Ok(name) => name,
        Err(fault) => {
            return ledger.refuse(at, format!("names of variants are stricter here: {fault}"), "rename it");
        }
    };
    let payload = at.get("payload");
    let text = payload.as_ref().and_then(|payload| payload.word("value"));
    let kind = payload.as_ref().and_then(|payload| payload.word("type")).unwrap_or_default();
    let value = match (kind, text) {
        ("string" | "csv", Some(text)) => Some(Value::from(text)),
        ("number", Some(text)) => number(text).ok().map(Value::Number),
        ("json", Some(text)) => serde_json::from_str::<Value>(text).ok().filter(Value::is_object),
        _ => None,
    };
    let Some(value) = value else {
        let why = format!(
            "the variant `{}` has no payload that is a text, a number or a JSON object",
            shorten(name.as_str())
        );
        return ledger.refuse(at, why, "give it one, or import with --variants enabled");
    };
    Some((name, value))
}

/// Weights in thousandths; they must be whole, and none where there are no variants.
fn weights(ledger: &mut Ledger<'_>, variants: &[At<'_>]) -> Option<Vec<(VariantName, u32)>> {
    let mut weights = Vec::new();
    for at in variants {
        let weight = at.get("weight").and_then(|weight| weight.integer()).and_then(|weight| u32::try_from(weight).ok());
        let name = VariantName::new(at.word("name").unwrap_or_default()).ok();
        match (name, weight.filter(|weight| *weight <= 1_000)) {
            (Some(name), Some(weight)) => weights.push((name, weight)),
            _ => return ledger.refuse(at, "the weight is no whole number from 0 to 1000", "correct it"),
        }
    }
    let sum: u32 = weights.iter().map(|(_, weight)| weight).sum();
    if !weights.is_empty() && sum != 1_000 {
        return ledger.refuse(&variants[0], "the weights do not add up to 1000", "correct them");
    }
    Some(weights)
}
