//! Who is asking: the attributes of one request, borrowed from its bytes.
//!
//! Attributes are kept sorted by name, so that a lookup allocates nothing, duplicates show, and the digest does not
//! depend on the order in which a client wrote them. `targetingKey` is an attribute like any other. Contexts hold
//! personal data: neither `Debug` nor a fault ever shows a name or a value. Reading JSON is in `decode`.

use std::borrow::Cow;
use std::fmt;

use xxhash_rust::xxh3::Xxh3;

use crate::flag::limits::{CONTEXT_ATTRIBUTES_MAX, CONTEXT_NESTING_MAX};

/// The attribute that names the user where a definition does not say `by`; OpenFeature's word.
pub const TARGETING_KEY: &str = "targetingKey";

/// Up to this many attributes a scan is faster than a binary search.
const SCAN_MAX: usize = 16;

/// The attributes of one request.
#[derive(Clone, PartialEq, Default)]
pub struct Context<'a> {
    attributes: Vec<(Cow<'a, str>, Attribute<'a>)>,
}

/// The value of one attribute.
#[derive(Clone, PartialEq)]
pub enum Attribute<'a> {
    /// JSON null, and numbers that are not finite; counts as missing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A whole number above `i64::MAX`.
    Unsigned(u64),
    /// A number written with a fraction or an exponent; finite inside a [`Context`].
    Float(f64),
    /// A text.
    String(Cow<'a, str>),
    /// A list.
    List(Vec<Self>),
    /// An object; sorted by name inside a [`Context`].
    Object(Vec<(Cow<'a, str>, Self)>),
}

/// Why something is not a context. Says nothing about the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContextFault {
    /// Not JSON, or cut off.
    #[error("the context is not valid JSON (line {line}, column {column})")]
    NotJson {
        /// The line, from 1.
        line: usize,
        /// The column in bytes, from 1.
        column: usize,
    },
    /// JSON, but not an object.
    #[error("the context must be an object of attributes")]
    NotAnObject,
    /// More attributes than one evaluation may carry.
    #[error(
        "the context has more than {CONTEXT_ATTRIBUTES_MAX} attributes and elements; send only those that rules ask for"
    )]
    TooManyAttributes,
    /// Objects and lists inside each other too deeply.
    #[error("the context nests more than {CONTEXT_NESTING_MAX} levels deep; send it flatter")]
    TooDeep,
    /// One object has the same name twice, and nobody could say which one counts.
    #[error("the context names an attribute twice in one object; send it once")]
    DuplicateAttribute,
}

impl Attribute<'_> {
    /// A number that arrived as a double, as protobuf's `Struct` sends all of them: whole ones become integers, so
    /// that user 42 is the same user on every surface; NaN and the infinities become null.
    pub fn from_double(number: f64) -> Self {
        // Beyond 2^53 neighbouring integers share a double, so such a one names no integer.
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        if !number.is_finite() {
            Self::Null
        } else if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
            Self::Integer(number as i64)
        } else {
            Self::Float(number)
        }
    }
}

impl<'a> Context<'a> {
    /// The context without attributes.
    pub const fn empty() -> Self {
        Self { attributes: Vec::new() }
    }

    /// Takes attributes in any order; numbers that are not finite become null.
    ///
    /// # Errors
    /// A name that occurs twice in one object, or a limit that is exceeded.
    pub fn new(attributes: Vec<(Cow<'a, str>, Attribute<'a>)>) -> Result<Self, ContextFault> {
        let mut attributes = attributes;
        let mut budget = Budget::default();
        for (_, attribute) in &mut attributes {
            budget.settle(attribute, 1)?;
        }
        sort_names(&mut attributes)?;
        Ok(Self { attributes })
    }

    /// Takes attributes that are already counted and checked below the top level.
    pub(super) fn from_checked(mut attributes: Vec<(Cow<'a, str>, Attribute<'a>)>) -> Result<Self, ContextFault> {
        sort_names(&mut attributes)?;
        Ok(Self { attributes })
    }

    /// The same context with some attributes in place of those of the same names. What is added does not count toward
    /// the limits: it comes from the operator, not from the caller.
    #[must_use]
    pub fn overlaid(mut self, over: impl IntoIterator<Item = (Cow<'a, str>, Attribute<'a>)>) -> Self {
        for (name, attribute) in over {
            match self.attributes.binary_search_by(|(held, _)| held.as_ref().cmp(&name)) {
                Ok(at) => self.attributes[at].1 = attribute,
                Err(at) => self.attributes.insert(at, (name, attribute)),
            }
        }
        self
    }

    /// Every attribute at the top, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attribute<'a>)> {
        self.attributes.iter().map(|(name, attribute)| (name.as_ref(), attribute))
    }

    /// The attribute of that name.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&Attribute<'a>> {
        find(&self.attributes, name)
    }

    /// The attribute at the end of a path of names; missing where a step is missing or is no object.
    #[inline]
    pub fn at(&self, path: &[String]) -> Option<&Attribute<'a>> {
        let (first, rest) = path.split_first()?;
        let mut attribute = self.get(first)?;
        for name in rest {
            let Attribute::Object(inner) = attribute else { return None };
            attribute = find(inner, name)?;
        }
        Some(attribute)
    }

    /// The targeting key, where it is a string that is not empty.
    pub fn targeting_key(&self) -> Option<&str> {
        match self.get(TARGETING_KEY) {
            Some(Attribute::String(key)) if !key.is_empty() => Some(key),
            _ => None,
        }
    }

    /// How many attributes there are at the top.
    pub fn len(&self) -> usize {
        self.attributes.len()
    }

    /// True without any attribute.
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty()
    }

    /// A 128-bit XXH3 of everything in the context: equal contexts have equal digests, whatever the order of their
    /// names. For answers that depend on the context, such as the ETag of a bulk evaluation. Not a secret: it must
    /// not be published where guessing a context from it would matter.
    pub fn digest(&self) -> u128 {
        let mut hasher = Xxh3::new();
        digest_object(&mut hasher, &self.attributes);
        hasher.digest128()
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({} attributes)", self.attributes.len())
    }
}

impl fmt::Debug for Attribute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Bool(_) => f.write_str("Bool"),
            Self::Integer(_) | Self::Unsigned(_) => f.write_str("Integer"),
            Self::Float(_) => f.write_str("Float"),
            Self::String(_) => f.write_str("String"),
            Self::List(elements) => write!(f, "List({} elements)", elements.len()),
            Self::Object(attributes) => write!(f, "Object({} attributes)", attributes.len()),
        }
    }
}

/// What is left of the limits while a context is taken in.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: CONTEXT_ATTRIBUTES_MAX }
    }
}

impl Budget {
    /// Pays for one attribute or element that stands `depth` levels deep (the top is 1).
    pub(super) fn pay(&mut self, depth: usize) -> Result<(), ContextFault> {
        if depth > CONTEXT_NESTING_MAX {
            return Err(ContextFault::TooDeep);
        }
        self.left = self.left.checked_sub(1).ok_or(ContextFault::TooManyAttributes)?;
        Ok(())
    }

    /// Counts an attribute with all it holds, sorts its objects and replaces numbers that are not finite.
    fn settle(&mut self, attribute: &mut Attribute<'_>, depth: usize) -> Result<(), ContextFault> {
        self.pay(depth)?;
        match attribute {
            Attribute::Float(number) if !number.is_finite() => *attribute = Attribute::Null,
            Attribute::List(elements) => {
                for element in elements {
                    self.settle(element, depth + 1)?;
                }
            }
            Attribute::Object(inner) => {
                for (_, attribute) in &mut *inner {
                    self.settle(attribute, depth + 1)?;
                }
                sort_names(inner)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Sorts by name and refuses a name that occurs twice.
pub(super) fn sort_names<'a>(attributes: &mut [(Cow<'a, str>, Attribute<'a>)]) -> Result<(), ContextFault> {
    attributes.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
    let twice = attributes.windows(2).any(|pair| pair[0].0 == pair[1].0);
    if twice { Err(ContextFault::DuplicateAttribute) } else { Ok(()) }
}

#[inline]
pub(super) fn find<'c, 'a>(attributes: &'c [(Cow<'a, str>, Attribute<'a>)], name: &str) -> Option<&'c Attribute<'a>> {
    if attributes.len() <= SCAN_MAX {
        return attributes.iter().find(|(candidate, _)| candidate.as_ref() == name).map(|(_, attribute)| attribute);
    }
    let at = attributes.binary_search_by(|(candidate, _)| candidate.as_ref().cmp(name)).ok()?;
    attributes.get(at).map(|(_, attribute)| attribute)
}

/// Every value is preceded by a tag for its type and every text and container by its length, so that two different
/// contexts never feed the same bytes.
fn digest_attribute(hasher: &mut Xxh3, attribute: &Attribute<'_>) {
    match attribute {
        Attribute::Null => hasher.update(b"n"),
        Attribute::Bool(value) => hasher.update(if *value { b"t" } else { b"f" }),
        Attribute::Integer(value) => digest_integer(hasher, i128::from(*value)),
        Attribute::Unsigned(value) => digest_integer(hasher, i128::from(*value)),
        Attribute::Float(value) => {
            hasher.update(b"d");
            hasher.update(&value.to_bits().to_le_bytes());
        }
        Attribute::String(text) => digest_text(hasher, text),
        Attribute::List(elements) => {
            digest_length(hasher, b"l", elements.len());
            elements.iter().for_each(|element| digest_attribute(hasher, element));
        }
        Attribute::Object(inner) => digest_object(hasher, inner),
    }
}

fn digest_object(hasher: &mut Xxh3, attributes: &[(Cow<'_, str>, Attribute<'_>)]) {
    digest_length(hasher, b"o", attributes.len());
    for (name, attribute) in attributes {
        digest_text(hasher, name);
        digest_attribute(hasher, attribute);
    }
}

fn digest_integer(hasher: &mut Xxh3, value: i128) {
    hasher.update(b"i");
    hasher.update(&value.to_le_bytes());
}

fn digest_text(hasher: &mut Xxh3, text: &str) {
    digest_length(hasher, b"s", text.len());
    hasher.update(text.as_bytes());
}

fn digest_length(hasher: &mut Xxh3, tag: &[u8; 1], length: usize) {
    hasher.update(tag);
    hasher.update(&(length as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Attribute<'_> {
        Attribute::String(Cow::Borrowed(text))
    }

    #[test]
    fn paths_descend_into_objects() {
        let context = Context::new(vec![(
            "address".into(),
            Attribute::Object(vec![("zip".into(), Attribute::Integer(1)), ("city".into(), string("Bonn"))]),
        )])
        .unwrap();
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(context.at(&path("address.city")), Some(&string("Bonn")));
        assert_eq!(context.at(&path("address.city.x")), None);
        assert_eq!(context.at(&path("nowhere.city")), None);
        assert_eq!(context.at(&[]), None);
    }

    #[test]
    fn lookups_agree_for_few_and_for_many_attributes() {
        for count in [1, SCAN_MAX, SCAN_MAX + 1, 500] {
            let attributes = (0..count).rev().map(|n| (format!("name-{n}").into(), Attribute::Integer(n as i64)));
            let context = Context::new(attributes.collect()).unwrap();
            for n in 0..count {
                assert_eq!(context.get(&format!("name-{n}")), Some(&Attribute::Integer(n as i64)));
            }
            assert_eq!(context.get("name-"), None);
        }
    }

    #[test]
    fn what_is_too_much_or_ambiguous_is_refused() {
        let twice = vec![("a".into(), Attribute::Null), ("b".into(), Attribute::Null), ("a".into(), Attribute::Null)];
        assert_eq!(Context::new(twice.clone()), Err(ContextFault::DuplicateAttribute));
        assert_eq!(Context::new(vec![("o".into(), Attribute::Object(twice))]), Err(ContextFault::DuplicateAttribute));
        let many = Attribute::List(vec![Attribute::Null; CONTEXT_ATTRIBUTES_MAX]);
        assert_eq!(Context::new(vec![("a".into(), many)]), Err(ContextFault::TooManyAttributes));
        let nest = |levels: usize| (1..levels).fold(Attribute::Null, |inner, _| Attribute::List(vec![inner]));
        assert!(Context::new(vec![("a".into(), nest(CONTEXT_NESTING_MAX))]).is_ok());
        assert_eq!(Context::new(vec![("a".into(), nest(CONTEXT_NESTING_MAX + 1))]), Err(ContextFault::TooDeep));
    }

    #[test]
    fn numbers_that_are_not_finite_count_as_missing() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Attribute::from_double(number), Attribute::Null);
            let context = Context::new(vec![("n".into(), Attribute::List(vec![Attribute::Float(number)]))]).unwrap();
            assert_eq!(context.get("n"), Some(&Attribute::List(vec![Attribute::Null])));
        }
        assert_eq!(Attribute::from_double(42.0), Attribute::Integer(42));
        assert_eq!(Attribute::from_double(0.5), Attribute::Float(0.5));
        assert_eq!(Attribute::from_double(1e300), Attribute::Float(1e300));
    }

    #[test]
    fn the_digest_depends_on_content_and_not_on_order() {
        let one = vec![("a".into(), string("1")), ("b".into(), Attribute::Integer(1))];
        let mut turned = one.clone();
        turned.reverse();
        let digest = Context::new(one).unwrap().digest();
        assert_eq!(digest, Context::new(turned).unwrap().digest());
        for other in [
            vec![],
            vec![("a".into(), string("1"))],
            vec![("a".into(), string("1")), ("b".into(), string("1"))],
            vec![("a".into(), string("1")), ("b".into(), Attribute::Float(1.0))],
            vec![("a".into(), string("1b")), ("".into(), Attribute::Integer(1))],
        ] {
            assert_ne!(digest, Context::new(other).unwrap().digest());
        }
    }

    #[test]
    fn debug_shows_counts_only() {
        let context = Context::new(vec![(
            "email".into(),
            Attribute::Object(vec![("secret-name".into(), string("secret-value"))]),
        )])
        .unwrap();
        let shown = format!("{context:?} {:?}", context.get("email").unwrap());
        assert_eq!(shown, "Context(1 attributes) Object(1 attributes)");
    }
}
