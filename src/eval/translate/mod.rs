//! A flag as flagd's in-process clients take it: variants, a default and one JSONLogic rule, or why that cannot be.
//!
//! Clients that evaluate by themselves hear of nothing but this, so a kill, a rollout's step and a changed segment
//! must all be in it. The translation is exact: for every context, flagd's evaluators (JavaScript's with the `fractional`
//! hash v2, Python's with v3) give the variant that [`super::evaluate::evaluate`] gives. Where that cannot be had, the
//! flag has no translation, and each obstacle is named; nothing is approximated. Contexts are JSON. What the
//! translation cannot help, since it is in the clients of JavaScript: with `murmur3`, units beyond ASCII, which they
//! hash otherwise than the rest of flagd does; objects with a `toString` or `valueOf` of their own where an operator
//! asks for their type; and, where code generation is switched off, paths that lead through `""`, 0 or `false`.
//!
//! - Native rules become one `if`; what a native test would not convert is guarded (`logic`); segments and
//!   prerequisites are written out, and so is the kill of a prerequisite.
//! - A rule yields the variant's name. Null, flagd's "nothing matched", gives the default variant with the reason
//!   `DEFAULT`, so it stands for what Rampart answers with that reason.
//! - A killed flag is enabled, has its safe variant for a default, and a rule that yields nothing: its reason is
//!   `DEFAULT`, never `STATIC`, which some clients keep for a minute. So is a flag that a rollout owns.
//! - No key is written that a published client refuses: one such key makes it drop the whole payload.

mod condition;
mod logic;
mod obstacle;
mod path;
mod serve;

use serde_json::{Map, Value, json};

use crate::flag::definition::{Definition, Hash, ServeTo};
use crate::flag::diagnostic::{Diagnostic, join_pointer};
use crate::flag::key::VariantName;
use crate::flag::limits::NESTING_MAX;

use self::serve::name_of;
use super::compiled::Compiled;
use super::fractional::FractionalHash;
use super::set::CompiledSet;

/// Conditions, list values and shares in one translated flag, with all that is written out: about a megabyte.
const VALUES_MAX: usize = 20_000;
/// Levels of lists and objects in a rule; Python's evaluator takes two calls for each.
const DEPTH_MAX: usize = 100;

/// Bytes of a payload above which clients are about to refuse it: most take messages of 4 MB.
pub const PAYLOAD_BYTES_MAX: usize = 3_500_000;

/// flagd's payload: translated flags as JSON text, by key.
pub fn payload<'f>(flags: impl IntoIterator<Item = (&'f str, &'f str)>) -> String {
    let mut text = String::from(r#"{"flags":{"#);
    for (at, (key, flag)) in flags.into_iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&Value::from(key).to_string());
        text.push(':');
        text.push_str(flag);
    }
    text.push_str("}}");
    text
}

/// Walks one flag and everything that it refers to.
#[derive(Debug)]
struct Translator<'s> {
    set: &'s CompiledSet,
    /// The pointer of the flag that is translated.
    pointer: String,
    found: Vec<Diagnostic>,
    /// The hash of the percentages so far.
    hash: Option<Hash>,
    spent: usize,
}

/// The flag whose answer is being written.
#[derive(Debug)]
struct Subject<'s> {
    flag: &'s Compiled,
    pointer: String,
    /// False for a prerequisite.
    is_root: bool,
    /// What stands for its default variant: null at the root, the name inside.
    default: Value,
}

/// True where the translation of a flag depends on other objects than the flag and its own kill.
pub fn depends_on_others(flag: &Compiled) -> bool {
    !flag.requires().is_empty() || !flag.uses.segments.is_empty()
}

/// The flag as it stands in flagd's payload, or everything that keeps it from being there.
///
/// # Errors
/// The obstacles, with pointers into the document that holds the flag.
pub fn translate(set: &CompiledSet, flag: &Compiled) -> Result<Value, Vec<Diagnostic>> {
    let definition = flag.definition();
    let killed = set.kills().killed(flag.id()).is_some();
    let mut translator = Translator {
        set,
        pointer: join_pointer("/flags", flag.id().key.as_str()),
        found: Vec::new(),
        hash: None,
        spent: 0,
    };
    let mut default = if killed { definition.safe() } else { definition.default_variant.as_ref() };
    let targeting = if killed {
        Some(nothing(definition.variants.keys().next()))
    } else if let Some(everybody) = always(flag) {
        default = Some(everybody);
        None
    } else {
        translator.targeting(flag)
    };
    if !translator.found.is_empty() {
        return Err(translator.found);
    }
    let mut object = Map::new();
    let state = if killed || flag.is_enabled() { "ENABLED" } else { "DISABLED" };
    object.insert("state".to_owned(), json!(state));
    object.insert("variants".to_owned(), json!(definition.variants));
    object.insert("defaultVariant".to_owned(), json!(default.map_or("", VariantName::as_str)));
    object.extend(targeting.map(|rule| ("targeting".to_owned(), rule)));
    object.extend(definition.source.as_ref().map(|source| ("source".to_owned(), json!(source))));
    let metadata = metadata(flag, killed, translator.hash);
    if !metadata.is_empty() {
        object.insert("metadata".to_owned(), Value::Object(metadata));
    }
    Ok(Value::Object(object))
}

/// The variant that a flag serves to everybody because nothing else is said; such a flag needs no rule.
fn always(flag: &Compiled) -> Option<&VariantName> {
    let definition = flag.definition();
    let plain = flag.is_enabled()
        && flag.allocation().is_none()
        && own_rule(definition).is_none()
        && definition.requires.is_empty()
        && definition.rules.is_empty();
    match definition.serve.as_ref().map(|serve| &serve.to) {
        Some(ServeTo::Variant(name)) if plain => Some(name),
        _ => None,
    }
}

/// flagd's own rule; an empty one counts as none, as flagd has it.
fn own_rule(definition: &Definition) -> Option<&Value> {
    definition.targeting.as_ref().filter(|rule| !rule.as_object().is_some_and(Map::is_empty))
}

/// A rule that yields nothing, whatever the context. `variant` is only named.
fn nothing(variant: Option<&VariantName>) -> Value {
    logic::operator("if", vec![Value::Bool(false), name_of(variant), Value::Null])
}

fn metadata(flag: &Compiled, killed: bool, hash: Option<Hash>) -> Map<String, Value> {
    let definition = flag.definition();
    // One client refuses everything for a value that is no scalar, or for a name that is empty.
    let plain = |(name, value): &(&String, &Value)| {
        !name.is_empty() && matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_))
    };
    let mut metadata: Map<String, Value> =
        definition.metadata.iter().filter(plain).map(|(name, value)| (name.clone(), value.clone())).collect();
    if let Some(set) = &flag.id().flag_set {
        metadata.insert("flagSetId".to_owned(), json!(set.as_str()));
    }
    if killed {
        metadata.insert("killed".to_owned(), Value::Bool(true));
    }
    if let Some(hash) = hash.and_then(generation) {
        let named = FractionalHash::ALL.iter().filter(|(_, known)| *known == hash);
        metadata.extend(named.map(|(word, _)| ("fractionalHash".to_owned(), json!(word))));
    }
    metadata
}

impl Translator<'_> {
    /// The rule of a flag that is not killed; none where it needs none.
    fn targeting(&mut self, flag: &Compiled) -> Option<Value> {
        let definition = flag.definition();
        if !flag.is_enabled() {
            // Never evaluated; flagd's own goes out as it is all the same.
            return own_rule(definition).cloned().filter(Value::is_object);
        }
        let pointer = self.pointer.clone();
        let subject = Subject { flag, pointer, is_root: true, default: Value::Null };
        let answer = self.answer(&subject, NESTING_MAX);
        let answer = match answer {
            Value::Object(_) => answer,
            name @ Value::String(_) => logic::operator("if", vec![Value::Bool(true), name, Value::Null]),
            _ if self.found.is_empty() && !asks_something(flag) => return None,
            _ => nothing(definition.variants.keys().next()),
        };
        if self.found.is_empty() && depth(&answer) > DEPTH_MAX {
            self.obstacle(obstacle::too_large(&subject.pointer));
        }
        Some(answer)
    }

    /// What a flag answers, as a name or a rule that yields one. `requires` is how many more prerequisites may be
    /// followed; `compile` refuses longer chains.
    fn answer(&mut self, subject: &Subject<'_>, requires: usize) -> Value {
        let definition = subject.flag.definition();
        let mut held = Vec::new();
        for (at, required) in definition.requires.iter().enumerate() {
            let pointer =
                if subject.is_root { format!("{}/requires/{at}", subject.pointer) } else { subject.pointer.clone() };
            let served = match self.set.required(subject.flag, &required.flag).zip(requires.checked_sub(1)) {
                Some((other, left)) => self.served(other, &pointer, left),
                None => Value::Null,
            };
            let wanted = name_of(Some(&required.variant));
            held.push(match served {
                Value::Object(_) => logic::same(served, wanted),
                known => Value::Bool(known == wanted),
            });
        }
        let answer = match own_rule(definition) {
            Some(rule) if subject.is_root => self.own_rule(subject, rule),
            Some(_) => {
                let why = "its `targeting` may depend on the flag that asks";
                let found = obstacle::prerequisite(&subject.pointer, subject.flag.id().key.as_str(), why);
                self.obstacle(found)
            }
            None => self.native(subject),
        };
        logic::either(logic::all(held), answer, subject.default.clone())
    }

    /// What a prerequisite serves, by name, with its default variant written out.
    fn served(&mut self, flag: &Compiled, pointer: &str, requires: usize) -> Value {
        let definition = flag.definition();
        if self.set.kills().killed(flag.id()).is_some() {
            return name_of(definition.safe());
        }
        if !flag.is_enabled() || !self.spend(1) {
            return Value::Null;
        }
        let default = name_of(definition.default_variant.as_ref());
        let subject = Subject { flag, pointer: pointer.to_owned(), is_root: false, default };
        let before = self.found.len();
        let answer = self.answer(&subject, requires);
        for found in &mut self.found[before..] {
            let prefix = format!("in the prerequisite `{}`: ", flag.id().key);
            let message = format!("{prefix}{}", found.message);
            *found = Diagnostic { pointer: pointer.to_owned(), message, ..found.clone() };
        }
        answer
    }

    /// flagd's own rule goes out as it is. What it places users by must be what the prerequisites are placed by, since a
    /// client computes one generation only.
    fn own_rule(&mut self, subject: &Subject<'_>, rule: &Value) -> Value {
        let pointer = join_pointer(&subject.pointer, "targeting");
        if subject.flag.allocation().is_some() {
            return self.obstacle(obstacle::rollout_over_targeting(&pointer));
        }
        if !rule.is_object() {
            return self.obstacle(obstacle::odd_targeting(&pointer));
        }
        let flag = subject.flag;
        let own = flag.fractional_hash().or_else(|| has_fractional(rule).then(|| self.set.fractional_hash()));
        let others = self.hash.and_then(generation);
        if own.zip(others).is_some_and(|(own, others)| own != others) {
            return self.obstacle(obstacle::two_hashes(&pointer));
        }
        rule.clone()
    }

    fn native(&mut self, subject: &Subject<'_>) -> Value {
        let definition = subject.flag.definition();
        let mut choices = Vec::with_capacity(definition.rules.len());
        for (at, rule) in definition.rules.iter().enumerate() {
            let pointer = format!("{}/rules/{at}", subject.pointer);
            let when = self.condition(&join_pointer(&pointer, "when"), &rule.when);
            let served = self.serve(subject, &pointer, &rule.serve);
            choices.push((when, served));
        }
        let otherwise = match (subject.flag.allocation(), &definition.serve) {
            (Some(allocation), serve) => {
                let listed = allocation.percentages.iter().map(|(name, percent)| (name, *percent)).collect();
                self.percentages(subject, &subject.pointer, listed, serve.as_ref())
            }
            (None, Some(serve)) => self.serve(subject, &subject.pointer, serve),
            (None, None) => subject.default.clone(),
        };
        logic::first_of(choices, otherwise)
    }
}

/// True for a flag whose answer must not look as if it never changed.
fn asks_something(flag: &Compiled) -> bool {
    let definition = flag.definition();
    flag.allocation().is_some()
        || definition.serve.is_some()
        || !definition.rules.is_empty()
        || !definition.requires.is_empty()
}

/// The generation of flagd's `fractional` that a hash of percentages is.
fn generation(hash: Hash) -> Option<FractionalHash> {
    match hash {
        Hash::Murmur3 => Some(FractionalHash::V2),
        Hash::Murmur3Cbor => Some(FractionalHash::V3),
        Hash::Xxh3 => None,
    }
}

/// True where a rule may place users; what only looks like the operator counts.
fn has_fractional(rule: &Value) -> bool {
    match rule {
        Value::Array(items) => items.iter().any(has_fractional),
        Value::Object(entries) => entries.iter().any(|(word, value)| word == "fractional" || has_fractional(value)),
        _ => false,
    }
}

/// How many lists and objects lie inside each other.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(entries) => 1 + entries.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
