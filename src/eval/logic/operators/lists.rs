//! `var` with a computed path, `missing`, `missing_some`, `merge` and `in`.

use crate::eval::logic::machine::{Machine, Yield};
use crate::eval::logic::scope::Scope;
use crate::eval::logic::tree::Arguments;
use crate::eval::logic::value::{List, Text, Value};

use super::comparison::strictly_equal;

/// `[path, default]`.
pub(super) fn var<'v>(machine: &mut Machine<'_, 'v>, arguments: &'v Arguments, scope: Scope<'_, 'v>) -> Yield<'v> {
    let [path, default] = machine.first(arguments, scope)?;
    Ok(machine.look_up(&path, scope)?.unwrap_or(default))
}

/// Which of the paths lead nowhere, or to null. They may stand in a list of their own.
pub(super) fn missing<'v>(machine: &mut Machine<'_, 'v>, arguments: &'v Arguments, scope: Scope<'_, 'v>) -> Yield<'v> {
    let mut paths = Vec::new();
    machine.for_each(arguments, scope, |_, value| {
        paths.push(value);
        Ok(())
    })?;
    match paths.first() {
        Some(Value::List(list)) => absent(machine, &list.clone(), scope),
        _ => match Value::list(paths)? {
            Value::List(list) => absent(machine, &list, scope),
            other => Ok(other),
        },
    }
}

/// `[count, paths]`: nothing where at least so many of the paths lead somewhere, else those that do not.
pub(super) fn missing_some<'v>(
    machine: &mut Machine<'_, 'v>,
    arguments: &'v Arguments,
    scope: Scope<'_, 'v>,
) -> Yield<'v> {
    let [wanted, paths] = machine.first(arguments, scope)?;
    let Value::List(paths) = paths else { return Ok(NOTHING) };
    let Value::List(absent) = absent(machine, &paths, scope)? else { return Ok(NOTHING) };
    let found = paths.len() - absent.len();
    Ok(if found as f64 >= wanted.to_number() { NOTHING } else { Value::List(absent) })
}

const NOTHING: Value<'static> = Value::List(List::Borrowed(&[]));

fn absent<'v>(machine: &mut Machine<'_, 'v>, paths: &List<'v>, scope: Scope<'_, 'v>) -> Yield<'v> {
    let mut absent = Vec::new();
    for path in (0..paths.len()).filter_map(|index| paths.get(index)) {
        machine.budget.step()?;
        if machine.look_up(&path, scope)?.is_none() {
            absent.push(path);
        }
    }
    Value::list(absent)
}

/// One list of all arguments; lists among them are opened once.
pub(super) fn merge<'v>(machine: &mut Machine<'_, 'v>, arguments: &'v Arguments, scope: Scope<'_, 'v>) -> Yield<'v> {
    let mut merged = Vec::new();
    machine.for_each(arguments, scope, |budget, value| {
        match value {
            Value::List(list) => {
                budget.steps(list.len())?;
                merged.extend((0..list.len()).filter_map(|index| list.get(index)));
            }
            value => merged.push(value),
        }
        Ok(())
    })?;
    Value::list(merged)
}

/// `[part, whole]`: a text that has the part, or a list with an element of the same type and value.
pub(super) fn within<'v>(machine: &mut Machine<'_, 'v>, arguments: &'v Arguments, scope: Scope<'_, 'v>) -> Yield<'v> {
    let [part, whole] = machine.first(arguments, scope)?;
    let budget = &mut *machine.budget;
    Ok(Value::Bool(match whole {
        Value::Text(whole) => {
            budget.bytes(whole.len())?;
            // Here null is the word, or every text would have what is missing.
            let part = if matches!(part, Value::Null) { Text::Borrowed("null") } else { part.into_text(budget)? };
            whole.contains(&*part)
        }
        Value::List(list) => {
            // Most elements of a long list are told apart by their length alone.
            budget.steps(list.len() / ELEMENTS_OF_A_STEP)?;
            let mut found = false;
            for element in (0..list.len()).filter_map(|index| list.get(index)) {
                if strictly_equal(&part, &element, budget)? {
                    found = true;
                    break;
                }
            }
            found
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }))
}

const ELEMENTS_OF_A_STEP: usize = 16;
