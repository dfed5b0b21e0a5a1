//! Conditions while they are put together: what always or never holds is folded away, so that no flag carries a rule
//! that cannot match.

use crate::flag::definition::{AttributePath, Condition, Definition, Operator, Rule, Serve, ServeTo, Test};
use crate::flag::limits::TEXT_BYTES_MAX;

/// A condition, or what it came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Truth {
    /// It holds for everybody.
    Always,
    /// It holds for nobody.
    Never,
    /// It depends.
    When(Condition),
}

impl Truth {
    /// One question about one attribute.
    pub(super) fn test(attribute: &AttributePath, operator: Operator) -> Self {
        Self::When(Condition::Test(Test { attribute: attribute.clone(), operator }))
    }

    /// Every one holds.
    pub(super) fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut conditions = Vec::new();
        for part in parts {
            match part {
                Self::Always => {}
                Self::Never => return Self::Never,
                Self::When(Condition::All(inner)) => conditions.extend(inner),
                Self::When(condition) => conditions.push(condition),
            }
        }
        match conditions.len() {
            0 => Self::Always,
            1 => Self::When(conditions.swap_remove(0)),
            _ => Self::When(Condition::All(conditions)),
        }
    }

    /// At least one holds.
    pub(super) fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut conditions = Vec::new();
        for part in parts {
            match part {
                Self::Never => {}
                Self::Always => return Self::Always,
                Self::When(Condition::Any(inner)) => conditions.extend(inner),
                Self::When(condition) => conditions.push(condition),
            }
        }
        match conditions.len() {
            0 => Self::Never,
            1 => Self::When(conditions.swap_remove(0)),
            _ => Self::When(Condition::Any(conditions)),
        }
    }

    /// It does not hold.
    pub(super) fn not(self) -> Self {
        match self {
            Self::Always => Self::Never,
            Self::Never => Self::Always,
            Self::When(Condition::Not(inner)) => Self::When(*inner),
            Self::When(condition) => Self::When(Condition::Not(Box::new(condition))),
        }
    }
}

/// Adds what is served where a condition holds and nothing before did. After something that always holds, nothing
/// follows; true as long as something may.
pub(super) fn add_rule(flag: &mut Definition, name: Option<&str>, when: Truth, serve: Serve) -> bool {
    match when {
        Truth::Never => true,
        Truth::When(when) => {
            let name = name.filter(|name| !name.is_empty() && name.len() <= TEXT_BYTES_MAX).map(str::to_owned);
            flag.rules.push(Rule { name, when, serve });
            true
        }
        Truth::Always => {
            // The default variant is served anyway.
            let default = matches!(&serve.to, ServeTo::Variant(name) if Some(name) == flag.default_variant.as_ref());
            flag.serve = (!default).then_some(serve);
            false
        }
    }
}
