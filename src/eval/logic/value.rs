//! What JSONLogic computes with: borrowed from the rule and the context, and made anew only where an operator has to.
//!
//! Numbers compare and compute as doubles, as in JavaScript; integers are kept apart because `fractional` encodes all of
//! their 64 bits. Copies are cheap: what an operator makes is shared. Values hold personal data, so `Debug` shows kinds
//! only.

use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use crate::eval::context::{Attribute, find};
use crate::eval::number::Number;
use crate::flag::limits::LOGIC_MADE_NESTING_MAX;

use super::budget::{Budget, Fault};
use super::scope::Root;
use super::text;

/// One value.
#[derive(Clone)]
pub enum Value<'v> {
    /// null, and what is not there.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number; arithmetic may have made it NaN or infinite.
    Number(Number),
    /// A text.
    Text(Text<'v>),
    /// A list.
    List(List<'v>),
    /// An object.
    Object(Object<'v>),
}

/// A text.
#[derive(Clone)]
pub enum Text<'v> {
    /// From the rule or the context.
    Borrowed(&'v str),
    /// Made by an operator.
    Made(Rc<str>),
}

/// A list.
#[derive(Clone)]
pub enum List<'v> {
    /// From the rule or the context.
    Borrowed(&'v [Attribute<'v>]),
    /// Made by an operator.
    Made(Rc<Made<'v>>),
}

/// A list that an operator made.
pub struct Made<'v> {
    elements: Vec<Value<'v>>,
    /// How many made values lie inside each other, itself included.
    depth: u32,
}

/// An object.
#[derive(Clone)]
pub enum Object<'v> {
    /// From the rule or the context.
    Borrowed(&'v [(std::borrow::Cow<'v, str>, Attribute<'v>)]),
    /// The whole context with `$flagd`.
    Root(Root<'v>),
    /// `$flagd` itself.
    Flagd(Root<'v>),
    /// What the rule of a `reduce` sees.
    Reduction(Rc<Reduction<'v>>),
}

/// What the rule of a `reduce` sees as a whole.
pub struct Reduction<'v> {
    accumulator: Value<'v>,
    current: Value<'v>,
    depth: u32,
}

impl<'v> Value<'v> {
    /// The value of an attribute, borrowed.
    #[inline]
    pub fn of(attribute: &'v Attribute<'v>) -> Self {
        match attribute {
            Attribute::Null => Self::Null,
            Attribute::Bool(value) => Self::Bool(*value),
            Attribute::Integer(value) => Self::Number(Number::Integer(i128::from(*value))),
            Attribute::Unsigned(value) => Self::Number(Number::Integer(i128::from(*value))),
            Attribute::Float(value) => Self::Number(Number::Float(*value)),
            Attribute::String(text) => Self::Text(Text::Borrowed(text)),
            Attribute::List(elements) => Self::List(List::Borrowed(elements)),
            Attribute::Object(entries) => Self::Object(Object::Borrowed(entries)),
        }
    }

    /// A number that was computed.
    pub fn number(value: f64) -> Self {
        Self::Number(Number::Float(value))
    }

    /// A text that was made.
    pub fn text(text: String) -> Self {
        Self::Text(Text::Made(text.into()))
    }

    /// A list that was made.
    ///
    /// # Errors
    /// Lists nest too deeply.
    pub fn list(elements: Vec<Self>) -> Result<Self, Fault> {
        let depth = 1 + elements.iter().map(Self::depth).max().unwrap_or(0);
        within(depth)?;
        Ok(Self::List(List::Made(Rc::new(Made { elements, depth }))))
    }

    /// What the rule of a `reduce` sees as a whole.
    ///
    /// # Errors
    /// Values nest too deeply.
    pub fn reduction(accumulator: Self, current: Self) -> Result<Self, Fault> {
        let depth = 1 + accumulator.depth().max(current.depth());
        within(depth)?;
        Ok(Self::Object(Object::Reduction(Rc::new(Reduction { accumulator, current, depth }))))
    }

    fn depth(&self) -> u32 {
        match self {
            Self::List(List::Made(made)) => made.depth,
            Self::Object(Object::Reduction(reduction)) => reduction.depth,
            _ => 0,
        }
    }

    /// Whether a condition holds that yields this. An empty list and an empty object are false, unlike in JavaScript.
    #[inline]
    pub fn is_true(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(value) => *value,
            Self::Number(number) => {
                let number = double(*number);
                number != 0.0 && !number.is_nan()
            }
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Object(object) => !object.is_empty(),
        }
    }

    /// The value as a number: null is 0, `true` is 1, a text is read, and lists and objects are none.
    #[inline]
    pub fn to_number(&self) -> f64 {
        match self {
            Self::Null => 0.0,
            Self::Bool(value) => f64::from(u8::from(*value)),
            Self::Number(number) => double(*number),
            Self::Text(text) => text::to_number(text),
            Self::List(_) | Self::Object(_) => f64::NAN,
        }
    }

    /// Adds the value's text: null adds nothing, a list its elements with commas between.
    ///
    /// # Errors
    /// The budget is spent.
    pub fn write_text(&self, into: &mut String, budget: &mut Budget) -> Result<(), Fault> {
        budget.step()?;
        match self {
            Self::Null => {}
            Self::Bool(value) => into.push_str(if *value { "true" } else { "false" }),
            Self::Number(number) => write_number(*number, into),
            Self::Text(text) => {
                budget.bytes(text.len())?;
                into.push_str(text);
            }
            Self::List(list) => {
                for index in 0..list.len() {
                    if index > 0 {
                        into.push(',');
                    }
                    list.get(index).unwrap_or(Self::Null).write_text(into, budget)?;
                }
            }
            Self::Object(_) => into.push_str("[object Object]"),
        }
        Ok(())
    }

    /// The value's text; a text is borrowed.
    ///
    /// # Errors
    /// The budget is spent.
    pub fn into_text(self, budget: &mut Budget) -> Result<Text<'v>, Fault> {
        if let Self::Text(text) = self {
            return Ok(text);
        }
        let mut written = String::new();
        self.write_text(&mut written, budget)?;
        Ok(Text::Made(written.into()))
    }

    /// What a path's next name leads to. A list has indexes and a `length`.
    pub fn child(&self, name: &str) -> Option<Self> {
        match self {
            Self::List(list) if name == LENGTH => Some(Self::Number(Number::Integer(list.len() as i128))),
            Self::List(list) => list.get(index(name)?),
            Self::Object(object) => object.get(name),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => None,
        }
    }
}

const LENGTH: &str = "length";

/// The index that a name writes; `01` and `+1` are names.
fn index(name: &str) -> Option<usize> {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    if digits { name.parse().ok() } else { None }
}

/// The nearest double.
#[inline]
pub fn double(number: Number) -> f64 {
    match number {
        Number::Integer(value) => value as f64,
        Number::Float(value) => value,
    }
}

fn write_number(number: Number, into: &mut String) {
    // Integers beyond 2⁵³ are doubles for JavaScript and for flagd's daemon.
    const EXACT_MAX: u128 = 1 << 53;
    match number {
        Number::Integer(value) if value.unsigned_abs() <= EXACT_MAX => into.push_str(&value.to_string()),
        number => into.push_str(&text::of_number(double(number))),
    }
}

fn within(depth: u32) -> Result<(), Fault> {
    if depth > LOGIC_MADE_NESTING_MAX { Err(Fault::TooDeep) } else { Ok(()) }
}

impl Deref for Text<'_> {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Made(text) => text,
        }
    }
}

impl<'v> List<'v> {
    /// How many elements there are.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Borrowed(elements) => elements.len(),
            Self::Made(made) => made.elements.len(),
        }
    }

    /// True without any element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at an index.
    #[inline]
    pub fn get(&self, index: usize) -> Option<Value<'v>> {
        match self {
            Self::Borrowed(elements) => elements.get(index).map(Value::of),
            Self::Made(made) => made.elements.get(index).cloned(),
        }
    }
}

impl<'v> Object<'v> {
    /// True without any entry.
    fn is_empty(&self) -> bool {
        matches!(self, Self::Borrowed(entries) if entries.is_empty())
    }

    /// The entry of that name.
    pub fn get(&self, name: &str) -> Option<Value<'v>> {
        match self {
            Self::Borrowed(entries) => find(entries, name).map(Value::of),
            Self::Root(root) => root.get(name),
            Self::Flagd(root) => root.flagd(name),
            Self::Reduction(reduction) => match name {
                ACCUMULATOR => Some(reduction.accumulator.clone()),
                CURRENT => Some(reduction.current.clone()),
                _ => None,
            },
        }
    }

    /// Every entry, in no particular order.
    pub fn entries(&self) -> Vec<(&str, Value<'v>)> {
        match self {
            Self::Borrowed(entries) => entries.iter().map(|(name, value)| (name.as_ref(), Value::of(value))).collect(),
            Self::Root(root) => root.entries(),
            Self::Flagd(root) => root.flagd_entries(),
            Self::Reduction(reduction) => {
                vec![(ACCUMULATOR, reduction.accumulator.clone()), (CURRENT, reduction.current.clone())]
            }
        }
    }
}

/// What a `reduce` has so far.
pub const ACCUMULATOR: &str = "accumulator";

/// The element that a `reduce` is at.
pub const CURRENT: &str = "current";

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "Null",
            Self::Bool(_) => "Bool",
            Self::Number(_) => "Number",
            Self::Text(_) => "Text",
            Self::List(_) => "List",
            Self::Object(_) => "Object",
        })
    }
}

/// `Debug` without any content.
macro_rules! opaque {
    ($($type:ident),*) => {
        $(impl fmt::Debug for $type<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($type))
            }
        })*
    };
}

opaque!(Text, List, Made, Object, Reduction);
