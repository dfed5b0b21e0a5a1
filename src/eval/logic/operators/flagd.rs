//! flagd's own `sem_ver`, `starts_with` and `ends_with`. Arguments that do not fit yield null, not false.

use crate::eval::logic::budget::Fault;
use crate::eval::logic::machine::{Machine, Yield};
use crate::eval::logic::scope::Scope;
use crate::eval::logic::tree::Arguments;
use crate::eval::logic::value::Value;
use crate::eval::semver::Version;

/// `[version, operator, version]`.
pub(super) fn semver<'v>(machine: &mut Machine<'_, 'v>, arguments: &'v Arguments, scope: Scope<'_, 'v>) -> Yield<'v> {
    let Some([left, operator, right]) = exactly(machine, arguments, scope)? else { return Ok(Value::Null) };
    let Value::Text(operator) = operator else { return Ok(Value::Null) };
    let left = left.into_text(machine.budget)?;
    let right = right.into_text(machine.budget)?;
    machine.budget.bytes(left.len() + right.len())?;
    let (Some(left), Some(right)) = (version(&left), version(&right)) else { return Ok(Value::Null) };
    let order = left.precedence(&right);
    Ok(Value::Bool(match &*operator {
        "=" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        ">=" => order.is_ge(),
        "^" => left.numbers()[..1] == right.numbers()[..1],
        "~" => left.numbers()[..2] == right.numbers()[..2],
        _ => return Ok(Value::Null),
    }))
}

/// A version with an optional `v` before it; one or two numbers alone stand for the first version that begins so.
fn version(text: &str) -> Option<Version<'_>> {
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    Version::parse(text).or_else(|| Version::parse_partial(text))
}

/// `[text, part]`, where `has` says whether the text has it at the right end.
pub(super) fn edge<'v>(
    machine: &mut Machine<'_, 'v>,
    arguments: &'v Arguments,
    scope: Scope<'_, 'v>,
    has: impl Fn(&str, &str) -> bool,
) -> Yield<'v> {
    let Some([Value::Text(text), Value::Text(part)]) = exactly(machine, arguments, scope)? else {
        return Ok(Value::Null);
    };
    machine.budget.bytes(part.len().min(text.len()))?;
    Ok(Value::Bool(has(&text, &part)))
}

/// The arguments, where there are exactly `N`.
fn exactly<'v, const N: usize>(
    machine: &mut Machine<'_, 'v>,
    arguments: &'v Arguments,
    scope: Scope<'_, 'v>,
) -> Result<Option<[Value<'v>; N]>, Fault> {
    let mut found = [const { Value::Null }; N];
    let mut count = 0;
    machine.for_each(arguments, scope, |_, value| {
        if let Some(place) = found.get_mut(count) {
            *place = value;
        }
        count += 1;
        Ok(())
    })?;
    Ok((count == N).then_some(found))
}
