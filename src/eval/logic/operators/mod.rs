//! The operators whose arguments are evaluated first, by what they work on.

mod arithmetic;
mod comparison;
mod flagd;
mod fractional;
mod lists;
mod texts;

use super::machine::{Machine, Yield};
use super::scope::Scope;
use super::tree::{Arguments, Operator};

/// What an operator yields for its arguments.
pub(super) fn apply<'v>(
    machine: &mut Machine<'_, 'v>,
    operator: Operator,
    arguments: &'v Arguments,
    scope: Scope<'_, 'v>,
) -> Yield<'v> {
    match operator {
        Operator::Var => lists::var(machine, arguments, scope),
        Operator::Missing => lists::missing(machine, arguments, scope),
        Operator::MissingSome => lists::missing_some(machine, arguments, scope),
        Operator::Merge => lists::merge(machine, arguments, scope),
        Operator::In => lists::within(machine, arguments, scope),
        Operator::Equal
        | Operator::NotEqual
        | Operator::StrictlyEqual
        | Operator::NotStrictlyEqual
        | Operator::Less
        | Operator::LessOrEqual
        | Operator::Greater
        | Operator::GreaterOrEqual => comparison::compare(machine, operator, arguments, scope),
        Operator::Add
        | Operator::Subtract
        | Operator::Multiply
        | Operator::Divide
        | Operator::Remainder
        | Operator::Least
        | Operator::Greatest => arithmetic::compute(machine, operator, arguments, scope),
        Operator::Concatenate => texts::concatenate(machine, arguments, scope),
        Operator::Substring => texts::substring(machine, arguments, scope),
        Operator::Fractional => fractional::choose(machine, arguments, scope),
        Operator::Semver => flagd::semver(machine, arguments, scope),
        Operator::StartsWith => flagd::edge(machine, arguments, scope, |text, part| text.starts_with(part)),
        Operator::EndsWith => flagd::edge(machine, arguments, scope, |text, part| text.ends_with(part)),
    }
}
