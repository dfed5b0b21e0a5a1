//! What is served, from its definition: names resolved, percentages turned into a threshold or weights.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::flag::definition::{Hash, Serve, ServeTo};
use crate::flag::diagnostic::join_pointer;
use crate::flag::key::VariantName;
use crate::flag::percent::Percent;

use crate::eval::bucket::prefix;
use crate::eval::fractional::FractionalHash;
use crate::eval::ranges::{Hashing, Range, Ranges};
use crate::eval::serving::{By, Serving, Share, Threshold, VariantIndex, Weighted};

use super::condition::Gathered;

/// How many variants a help text lists.
const LISTED_MAX: usize = 8;

/// What names and percentages are resolved against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'d> {
    /// The flag's variants.
    pub(super) variants: &'d BTreeMap<VariantName, Value>,
    /// Its default variant.
    pub(super) default: Option<&'d VariantName>,
    /// Its key, the salt where none is named.
    pub(super) key: &'d str,
}

impl Names<'_> {
    /// The index of a variant, or an error at `pointer`.
    pub(super) fn index(&self, gathered: &mut Gathered, pointer: &str, name: &VariantName) -> Option<VariantIndex> {
        let index = self.variants.keys().position(|variant| variant == name).and_then(|at| at.try_into().ok());
        if index.is_none() {
            let message = format!("the flag has no variant `{name}`");
            gathered.error("unknown-variant", pointer, message, &self.listed());
        }
        index
    }

    /// Compiles a `serve` that stands at `parent/serve`, with `by`, `salt` and `hash` beside it.
    pub(super) fn serving(&self, gathered: &mut Gathered, parent: &str, serve: &Serve) -> Serving {
        let pointer = join_pointer(parent, "serve");
        match &serve.to {
            ServeTo::Variant(name) => self.index(gathered, &pointer, name).map_or(Serving::Nothing, Serving::Variant),
            ServeTo::Percentages(percentages) => self.percentages(gathered, &pointer, percentages, Some(serve)),
        }
    }

    /// Compiles percentages that stand at `pointer`; `unit` says which unit, salt and hash they use.
    pub(super) fn percentages(
        &self,
        gathered: &mut Gathered,
        pointer: &str,
        percentages: &BTreeMap<VariantName, Percent>,
        unit: Option<&Serve>,
    ) -> Serving {
        let by = unit.and_then(|serve| serve.by.clone()).map_or(By::TargetingKey, By::Attribute);
        let own_salt = unit.and_then(|serve| serve.salt.as_deref());
        let salt = own_salt.unwrap_or(self.key);
        let sum: u64 = percentages.values().map(|percent| u64::from(percent.thousandths())).sum();
        let everything = Percent::ALL.thousandths();
        if sum > u64::from(everything) {
            #[allow(clippy::cast_precision_loss, reason = "256 variants of 100,000 thousandths are far below 2^53")]
            let message = format!("the percentages add up to {}", sum as f64 / 1000.0);
            let help = "lower them to at most 100; what is left to 100 gets the default variant";
            gathered.error("percentages-over-100", pointer, message, help);
            return Serving::Nothing;
        }
        // The default variant's own share folds into the remainder.
        let mut shares = Vec::new();
        for (name, percent) in percentages {
            let index = self.index(gathered, &join_pointer(pointer, name.as_str()), name);
            if Some(name) != self.default {
                shares.push(share(salt, name.as_str(), index, percent.thousandths()));
            }
        }
        if let Some(generation) = unit.and_then(|serve| generation(serve.hash)) {
            let joined = own_salt.is_some() || by != By::TargetingKey;
            let hashing = Hashing { generation, salt: salt.into(), joined };
            let ranges = shares.into_iter().map(|Share { variant, name, weight, .. }| Range { variant, name, weight });
            return Serving::Ranges(Ranges { ranges: ranges.collect(), by, hashing });
        }
        if shares.len() < 2 {
            let only = shares.pop();
            let (variant, below) = only.map_or((None, 0), |share| (share.variant, share.weight));
            return Serving::Threshold(Threshold { variant, below, by, prefix: prefix(&[salt]) });
        }
        let left = everything - shares.iter().map(|share| share.weight).sum::<u32>();
        let default = self.default.and_then(|name| self.variants.keys().position(|variant| variant == name));
        let default = default.and_then(|at| at.try_into().ok());
        shares.push(share(salt, self.default.map_or("", VariantName::as_str), default, left));
        Serving::Weighted(Weighted { shares: shares.into(), by })
    }

    fn listed(&self) -> String {
        let mut names: Vec<&str> = self.variants.keys().map(VariantName::as_str).take(LISTED_MAX).collect();
        if self.variants.len() > LISTED_MAX {
            names.push("…");
        }
        format!("it has: {}", names.join(", "))
    }
}

/// The generation of flagd's hash; none for Rampart's own.
fn generation(hash: Hash) -> Option<FractionalHash> {
    match hash {
        Hash::Xxh3 => None,
        Hash::Murmur3 => Some(FractionalHash::V2),
        Hash::Murmur3Cbor => Some(FractionalHash::V3),
    }
}

fn share(salt: &str, name: &str, variant: Option<VariantIndex>, weight: u32) -> Share {
    Share { variant, name: name.into(), weight, prefix: prefix(&[salt, name]) }
}
