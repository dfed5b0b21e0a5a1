//! What `var` looks into: the context with `$flagd`, the element of a list, or the two names of a `reduce`.
//!
//! Each scope hides the one around it, as in the reference: inside of `map` and its kin there is no context.

use std::fmt;

use crate::eval::context::Context;
use crate::eval::number::Number;

use super::Facts;
use super::budget::Fault;
use super::value::{ACCUMULATOR, CURRENT, Object, Text, Value};

/// The name under which flagd says what it knows; a caller's own attribute of this name does not count.
pub const FLAGD: &str = "$flagd";

const FLAG_KEY: &str = "flagKey";
const TIMESTAMP: &str = "timestamp";

/// The scope of a whole rule.
#[derive(Clone, Copy)]
pub struct Root<'v> {
    /// Who is asking.
    pub context: &'v Context<'v>,
    /// `$flagd`.
    pub facts: Facts<'v>,
}

/// What `var` looks into.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'s, 'v> {
    /// The context with `$flagd`.
    Root(Root<'v>),
    /// An element.
    Element(&'s Value<'v>),
    /// What a `reduce` has so far, and the element it is at.
    Reduction(&'s Value<'v>, &'s Value<'v>),
}

impl<'v> Scope<'_, 'v> {
    /// Everything that `var` looks into.
    ///
    /// # Errors
    /// It nests too deeply.
    pub fn whole(self) -> Result<Value<'v>, Fault> {
        match self {
            Self::Root(root) => Ok(Value::Object(Object::Root(root))),
            Self::Element(element) => Ok(element.clone()),
            Self::Reduction(accumulator, current) => Value::reduction(accumulator.clone(), current.clone()),
        }
    }

    /// What stands at the end of a path that has at least one name; none where it is missing or null.
    #[inline]
    pub fn at<'n>(self, mut path: impl Iterator<Item = &'n str>) -> Option<Value<'v>> {
        let mut value = self.child(path.next()?)?;
        for name in path {
            value = value.child(name)?;
        }
        if matches!(value, Value::Null) { None } else { Some(value) }
    }

    #[inline]
    fn child(self, name: &str) -> Option<Value<'v>> {
        match self {
            Self::Root(root) => root.get(name),
            Self::Element(element) => element.child(name),
            Self::Reduction(accumulator, current) => match name {
                ACCUMULATOR => Some(accumulator.clone()),
                CURRENT => Some(current.clone()),
                _ => None,
            },
        }
    }
}

impl<'v> Root<'v> {
    #[inline]
    pub(super) fn get(self, name: &str) -> Option<Value<'v>> {
        if name == FLAGD {
            return Some(Value::Object(Object::Flagd(self)));
        }
        self.context.get(name).map(Value::of)
    }

    pub(super) fn flagd(self, name: &str) -> Option<Value<'v>> {
        match name {
            FLAG_KEY => Some(Value::Text(Text::Borrowed(self.facts.flag_key))),
            TIMESTAMP => Some(Value::Number(Number::Integer(i128::from(self.facts.now.seconds())))),
            _ => None,
        }
    }

    pub(super) fn flagd_entries<'n>(self) -> Vec<(&'n str, Value<'v>)> {
        [FLAG_KEY, TIMESTAMP].into_iter().filter_map(|name| Some((name, self.flagd(name)?))).collect()
    }

    pub(super) fn entries<'n>(self) -> Vec<(&'n str, Value<'v>)>
    where
        'v: 'n,
    {
        let own = self.context.iter().filter(|(name, _)| *name != FLAGD);
        let own = own.map(|(name, attribute)| (name, Value::of(attribute)));
        own.chain([(FLAGD, Value::Object(Object::Flagd(self)))]).collect()
    }
}

impl fmt::Debug for Root<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Root")
    }
}
