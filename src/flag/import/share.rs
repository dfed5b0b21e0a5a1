//! Shares of users: weights of another system as exact percentages.

use std::collections::BTreeMap;

use super::ledger::Ledger;
use super::place::At;
use crate::flag::definition::{AttributePath, Serve};
use crate::flag::key::VariantName;
use crate::flag::percent::Percent;

/// What weights come to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shares {
    /// One variant has everything: exact.
    Whole(VariantName),
    /// A real split.
    Split(BTreeMap<VariantName, Percent>),
}

/// Weights in thousandths of a percent, which add up to 100 %. Those of one variant are added.
pub(super) fn shares(weights: impl IntoIterator<Item = (VariantName, u32)>) -> Option<Shares> {
    let mut sums: BTreeMap<VariantName, u32> = BTreeMap::new();
    for (name, weight) in weights {
        let sum = sums.entry(name).or_default();
        *sum = sum.checked_add(weight)?;
    }
    let total: u64 = sums.values().map(|weight| u64::from(*weight)).sum();
    if total != u64::from(Percent::ALL.thousandths()) {
        return None;
    }
    if let Some((name, _)) = sums.iter().find(|(_, weight)| **weight == Percent::ALL.thousandths()) {
        return Some(Shares::Whole(name.clone()));
    }
    sums.retain(|_, weight| *weight > 0);
    let split: Option<BTreeMap<_, _>> =
        sums.into_iter().map(|(name, weight)| Some((name, Percent::from_thousandths(weight)?))).collect();
    split.map(Shares::Split)
}

/// A split of the units that `by` names: with `--rebucket` it is kept and said, otherwise the flag is left out.
pub(super) fn split(
    ledger: &mut Ledger<'_>,
    at: &At<'_>,
    percentages: BTreeMap<VariantName, Percent>,
    by: Option<AttributePath>,
    more: &str,
) -> Option<Serve> {
    let list: Vec<String> = percentages.iter().map(|(name, percent)| format!("{name} {percent}")).collect();
    if !ledger.options.rebucket {
        let why = format!(
            "a percentage ({}): every system places users by a hash of its own, so other users would be inside",
            list.join(", ")
        );
        return ledger.refuse(at, why, "import with --rebucket to keep the shares and let users move");
    }
    let unit = by.as_ref().map_or_else(|| String::from("targetingKey"), AttributePath::dotted);
    ledger.rebucket(at, format!("{} by {unit}{more}", list.join(", ")));
    Some(Serve { by, ..Serve::percentages(percentages) })
}
