//! flagd's `fractional`: `[by, [variant, weight], …]`, where `by` may be left out.
//!
//! Anything that does not have this form yields null, and so does a unit that is missing: the default variant is served
//! then. Without `by` the unit is the targeting key, mixed with the flag's key. Negative weights, which computed ones come
//! to, count as 0.

use crate::eval::cbor;
use crate::eval::context::TARGETING_KEY;
use crate::eval::fractional::{FractionalHash, WEIGHTS_MAX, bucket, place};
use crate::eval::logic::budget::{Budget, Fault};
use crate::eval::logic::machine::{Machine, Yield};
use crate::eval::logic::scope::{FLAGD, Scope};
use crate::eval::logic::tree::Arguments;
use crate::eval::logic::value::{List, Value, double};
use crate::eval::murmur3::Murmur3;

/// So many shares need no memory of their own.
const FEW: usize = 8;

/// A variant and its weight.
type Share<'v> = (Value<'v>, u64);

/// The shares, once all are known to be well formed.
struct Shares<'v> {
    few: [Share<'v>; FEW],
    more: Vec<Share<'v>>,
    count: usize,
    sum: u64,
}

/// What is hashed.
enum By<'v> {
    /// The flag's key and the targeting key.
    Key,
    /// A value.
    Value(Value<'v>),
}

pub(super) fn choose<'v>(machine: &mut Machine<'_, 'v>, arguments: &'v Arguments, scope: Scope<'_, 'v>) -> Yield<'v> {
    let generation = machine.facts.hash;
    let mut by = None;
    let mut shares = Some(Shares::new());
    machine.for_each(arguments, scope, |_, value| {
        if by.is_none() {
            let (first, rest) = split(generation, value);
            by = Some(first);
            rest.iter().for_each(|value| push(&mut shares, value));
        } else {
            push(&mut shares, &value);
        }
        Ok(())
    })?;
    let (Some(by), Some(shares)) = (by, shares) else { return Ok(Value::Null) };
    let Some(hash) = hash(generation, by, scope, machine.budget)? else { return Ok(Value::Null) };
    let bucket = bucket(hash, shares.sum);
    let chosen = place(bucket, shares.iter().map(|(_, weight)| *weight));
    Ok(chosen.and_then(|index| shares.iter().nth(index)).map_or(Value::Null, |(variant, _)| variant.clone()))
}

/// What the first argument is: what to hash by, or the first share.
fn split(generation: FractionalHash, first: Value<'_>) -> (By<'_>, Option<Value<'_>>) {
    match (generation, first) {
        (FractionalHash::V2, Value::Text(text)) => (By::Value(Value::Text(text)), None),
        (FractionalHash::V2, Value::Null) => (By::Key, None),
        (FractionalHash::V2, other) | (FractionalHash::V3, other @ Value::List(_)) => (By::Key, Some(other)),
        (FractionalHash::V3, other) => (By::Value(other), None),
    }
}

fn hash(
    generation: FractionalHash,
    by: By<'_>,
    scope: Scope<'_, '_>,
    budget: &mut Budget,
) -> Result<Option<u32>, Fault> {
    match (generation, by) {
        (_, By::Key) => {
            let Some(Value::Text(unit)) = scope.at([TARGETING_KEY].into_iter()) else { return Ok(None) };
            if unit.is_empty() {
                return Ok(None);
            }
            budget.bytes(unit.len())?;
            // Inside of `map` and its kin there is no `$flagd`.
            match scope.at([FLAGD, "flagKey"].into_iter()) {
                Some(Value::Text(key)) => Ok(Some(generation.of_key(&key, &unit))),
                _ => Ok(Some(generation.of_key("", &unit))),
            }
        }
        (FractionalHash::V2, By::Value(Value::Text(text))) => {
            budget.bytes(text.len())?;
            Ok(Some(generation.of_joined("", &text)))
        }
        (FractionalHash::V2, By::Value(_)) | (FractionalHash::V3, By::Value(Value::Null)) => Ok(None),
        (FractionalHash::V3, By::Value(value)) => {
            let mut hasher = Murmur3::default();
            cbor::encode(&value, budget, &mut |bytes| hasher.update(bytes))?;
            Ok(Some(hasher.finish()))
        }
    }
}

/// Adds a share; one that is malformed spoils all.
fn push<'v>(shares: &mut Option<Shares<'v>>, value: &Value<'v>) {
    let whole = shares.take();
    *shares = whole.zip(share(value)).and_then(|(mut whole, share)| {
        whole.sum += share.1;
        let place = whole.few.get_mut(whole.count);
        whole.count += 1;
        match place {
            Some(place) => *place = share,
            None => whole.more.push(share),
        }
        (whole.sum <= WEIGHTS_MAX).then_some(whole)
    });
}

/// `[variant]` or `[variant, weight]`.
fn share<'v>(value: &Value<'v>) -> Option<Share<'v>> {
    let Value::List(list) = value else { return None };
    let variant = list.get(0).filter(|variant| !matches!(variant, Value::List(_) | Value::Object(_)))?;
    match list.len() {
        1 => Some((variant, 1)),
        2 => Some((variant, weight(list)?)),
        _ => None,
    }
}

fn weight(share: &List<'_>) -> Option<u64> {
    let Some(Value::Number(number)) = share.get(1) else { return None };
    let weight = double(number);
    // NaN and the infinities have no fraction that is 0.
    (weight.fract() == 0.0 && weight <= WEIGHTS_MAX as f64).then_some(weight.max(0.0) as u64)
}

impl<'v> Shares<'v> {
    fn new() -> Self {
        Self { few: [const { (Value::Null, 0) }; FEW], more: Vec::new(), count: 0, sum: 0 }
    }

    fn iter(&self) -> impl Iterator<Item = &Share<'v>> {
        self.few.iter().take(self.count).chain(&self.more)
    }
}
