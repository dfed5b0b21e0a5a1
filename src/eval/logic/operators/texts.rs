//! `cat` and `substr`. Positions count characters, as in flagd's daemon, not JavaScript's half characters.

use crate::eval::logic::machine::{Machine, Yield};
use crate::eval::logic::scope::Scope;
use crate::eval::logic::tree::Arguments;
use crate::eval::logic::value::{Text, Value};

pub(super) fn concatenate<'v>(
    machine: &mut Machine<'_, 'v>,
    arguments: &'v Arguments,
    scope: Scope<'_, 'v>,
) -> Yield<'v> {
    let mut text = String::new();
    machine.for_each(arguments, scope, |budget, value| value.write_text(&mut text, budget))?;
    // Copied once more to be shared.
    machine.budget.bytes(text.len())?;
    Ok(Value::text(text))
}

/// From a start, which counts from the end where it is negative, so many characters, or up to so many from the end where
/// that is negative.
pub(super) fn substring<'v>(
    machine: &mut Machine<'_, 'v>,
    arguments: &'v Arguments,
    scope: Scope<'_, 'v>,
) -> Yield<'v> {
    let [text, start, length] = machine.first(arguments, scope)?;
    let text = text.into_text(machine.budget)?;
    machine.budget.bytes(text.len())?;
    let count = text.chars().count();
    let from = position(&start, count);
    let to = match length {
        Value::Null => count,
        // A fraction is cut off and NaN is nothing.
        length => match length.to_number() as i64 {
            back @ ..0 => count.saturating_sub(clamped(back.unsigned_abs())),
            length => from.saturating_add(clamped(length.unsigned_abs())).min(count),
        },
    };
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    let range = byte(from)..byte(to.max(from));
    Ok(match text {
        Text::Borrowed(text) => Value::Text(Text::Borrowed(&text[range])),
        Text::Made(text) => Value::text(text[range].to_owned()),
    })
}

fn position(start: &Value<'_>, count: usize) -> usize {
    match start.to_number() as i64 {
        back @ ..0 => count.saturating_sub(clamped(back.unsigned_abs())),
        start => clamped(start.unsigned_abs()).min(count),
    }
}

fn clamped(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
