//! Percentages as flagd's `fractional`.
//!
//! flagd has two hashes in the field: v2 over a string, which `hash: murmur3` is, and v3 over CBOR, which
//! `hash: murmur3_cbor` is. Rampart places users by the same formula, with the listed variants in the order of their
//! names and the remainder last, so the cohorts are the same and nested. A unit is a string that is not empty, which
//! the rule asks for first: flagd's clients differ about anything else.

use serde_json::{Value, json};

use crate::flag::definition::{Hash, Serve, ServeTo};
use crate::flag::diagnostic::join_pointer;
use crate::flag::key::VariantName;
use crate::flag::percent::Percent;

use super::{Subject, Translator, logic, obstacle, path};
use crate::eval::context::TARGETING_KEY;

impl Translator<'_> {
    /// What is served, by its name; `subject.default` where that is the default variant because nothing was said.
    pub(super) fn serve(&mut self, subject: &Subject<'_>, parent: &str, serve: &Serve) -> Value {
        match &serve.to {
            ServeTo::Variant(name) => name_of(Some(name)),
            ServeTo::Percentages(percentages) => {
                let listed = percentages.iter().map(|(name, percent)| (name, *percent)).collect();
                self.percentages(subject, parent, listed, Some(serve))
            }
        }
    }

    /// Percentages; `unit` says which unit, salt and hash they use.
    pub(super) fn percentages(
        &mut self,
        subject: &Subject<'_>,
        parent: &str,
        listed: Vec<(&VariantName, Percent)>,
        unit: Option<&Serve>,
    ) -> Value {
        let default = subject.flag.definition().default_variant.as_ref();
        let everything = Percent::ALL.thousandths();
        let own = listed.into_iter().filter(|(name, percent)| Some(*name) != default && *percent > Percent::ZERO);
        let mut shares: Vec<(Value, u32)> =
            own.map(|(name, percent)| (name_of(Some(name)), percent.thousandths())).collect();
        let left = everything.saturating_sub(shares.iter().map(|(_, weight)| weight).sum());
        if left > 0 {
            shares.push((name_of(default), left));
        }
        if shares.len() == 1 {
            return shares.swap_remove(0).0;
        }
        if !self.spend(shares.len()) {
            return Value::Null;
        }
        match unit.map(|serve| serve.hash).unwrap_or_default() {
            Hash::Xxh3 => self.obstacle(obstacle::own_hash(&join_pointer(parent, "serve"))),
            Hash::Murmur3 | Hash::Murmur3Cbor => self.fractional(subject, parent, shares, unit),
        }
    }

    fn fractional(
        &mut self,
        subject: &Subject<'_>,
        parent: &str,
        shares: Vec<(Value, u32)>,
        unit: Option<&Serve>,
    ) -> Value {
        let (by, salt, hash) =
            unit.map_or((None, None, Hash::default()), |serve| (serve.by.as_ref(), serve.salt.as_deref(), serve.hash));
        if *self.hash.get_or_insert(hash) != hash {
            return self.obstacle(obstacle::two_hashes(&join_pointer(parent, "hash")));
        }
        let key = subject.flag.id().key.as_str();
        let salt_text = salt.unwrap_or(key);
        if hash == Hash::Murmur3 && !salt_text.is_ascii() {
            return self.obstacle(obstacle::not_ascii(&join_pointer(parent, "salt")));
        }
        let name = match by {
            None => TARGETING_KEY.to_owned(),
            Some(by) => match self.path(&join_pointer(parent, "by"), by) {
                Some(name) => name,
                None => return Value::Null,
            },
        };
        let shorthand = by.is_none() && salt.is_none();
        if shorthand && !subject.is_root && hash == Hash::Murmur3Cbor {
            let why = "flagd's shorthand hashes the key of the flag that asks";
            let found = obstacle::prerequisite(&subject.pointer, key, why);
            return self.obstacle(found);
        }
        let unit = path::var(&name);
        let mut operands = Vec::with_capacity(shares.len() + 1);
        let named = !shorthand || !subject.is_root;
        if named {
            operands.push(logic::operator("cat", vec![json!(salt_text), unit.clone()]));
        }
        operands.extend(shares.into_iter().map(|(variant, weight)| json!([variant, weight])));
        let mut has_unit = vec![logic::is_string(&unit)];
        // The shorthand asks by itself whether there is something in the text.
        if named {
            has_unit.push(logic::operator("!==", vec![unit, json!("")]));
        }
        logic::either(logic::all(has_unit), logic::operator("fractional", operands), subject.default.clone())
    }
}

/// A variant's name as a rule yields it; null for the code default.
pub(super) fn name_of(variant: Option<&VariantName>) -> Value {
    variant.map_or(Value::Null, |name| Value::String(name.as_str().to_owned()))
}
