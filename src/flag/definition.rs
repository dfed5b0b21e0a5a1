//! What a person writes: a flag, its rules and percentages, a segment.
//!
//! These types can only hold definitions whose shape is right; whether the names in them exist and whether patterns
//! compile is found in `eval::compile`. Parsing is in `parse`, the canonical JSON in `print`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Number, Value};

use super::key::{FlagKey, FlagSetName, SegmentName, VariantName};
use super::percent::Percent;

/// Whether a flag answers at all; flagd's field and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// `ENABLED`: the flag is evaluated.
    #[default]
    Enabled,
    /// `DISABLED`: the flag answers "use the code default".
    Disabled,
}

/// The type that all variants of a flag share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VariantType {
    /// JSON `true` or `false`.
    Boolean,
    /// A JSON string.
    String,
    /// A JSON number.
    Number,
    /// A JSON object.
    Object,
}

impl VariantType {
    /// The type of a JSON value; none for null and arrays, which cannot be variants.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(_) => Some(Self::Boolean),
            Value::String(_) => Some(Self::String),
            Value::Number(_) => Some(Self::Number),
            Value::Object(_) => Some(Self::Object),
            Value::Null | Value::Array(_) => None,
        }
    }

    /// The type's name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Number => "number",
            Self::Object => "object",
        }
    }
}

/// One flag as written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Definition {
    /// What the flag is for.
    pub description: Option<String>,
    /// Whether it answers.
    pub state: State,
    /// Variant → value; at least one, all of one type, no null and no array.
    pub variants: BTreeMap<VariantName, Value>,
    /// What is served when nothing matched; none means the code default.
    pub default_variant: Option<VariantName>,
    /// What a kill serves; the default variant where left out.
    pub safe_variant: Option<VariantName>,
    /// Who answers for the flag.
    pub owner: Option<String>,
    /// Words to find and to kill it by.
    pub tags: BTreeSet<String>,
    /// The day (`YYYY-MM-DD`) after which the flag should be gone; reported, never enforced.
    pub expires: Option<String>,
    /// Other flags that must serve a certain variant first.
    pub requires: Vec<Requirement>,
    /// First match wins.
    pub rules: Vec<Rule>,
    /// What everybody else gets.
    pub serve: Option<Serve>,
    /// flagd's JSONLogic targeting, instead of `rules` and `serve`.
    pub targeting: Option<Value>,
    /// Where the flag came from, as flagd names sources and selectors select them (`source=…`).
    pub source: Option<String>,
    /// flagd's metadata, merged from the document and the flag: strings, numbers and booleans. `flagSetId` is not kept
    /// here: it is part of the flag's identity.
    pub metadata: BTreeMap<String, Value>,
}

impl Definition {
    /// The variant that a kill serves: `safeVariant`, or `defaultVariant`, or none for the code default.
    pub fn safe(&self) -> Option<&VariantName> {
        self.safe_variant.as_ref().or(self.default_variant.as_ref())
    }

    /// The type of the flag's variants; none where there are none.
    pub fn variant_type(&self) -> Option<VariantType> {
        self.variants.values().next().and_then(VariantType::of)
    }
}

/// A prerequisite: `flag` must serve `variant` to the same context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The other flag, in the same flag set, or in none where the set has no such key.
    pub flag: FlagKey,
    /// The variant it must serve.
    pub variant: VariantName,
}

/// One rule: when it matches, evaluation ends with what it serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// A name for people, shown in explanations.
    pub name: Option<String>,
    /// What must hold; an empty `All` always holds.
    pub when: Condition,
    /// What is served then.
    pub serve: Serve,
}

/// What is served and how users are spread over it.
#[derive(Debug, Clone, PartialEq)]
pub struct Serve {
    /// One variant or percentages.
    pub to: ServeTo,
    /// The unit that stays together: a path of attribute names; `targetingKey` where left out.
    pub by: Option<AttributePath>,
    /// The salt of the cohort; the flag key where left out.
    pub salt: Option<String>,
    /// The hash that places units in buckets.
    pub hash: Hash,
}

impl Serve {
    /// Serves one variant to everybody.
    pub fn variant(name: VariantName) -> Self {
        Self { to: ServeTo::Variant(name), by: None, salt: None, hash: Hash::default() }
    }

    /// Serves percentages of the targeting keys.
    pub fn percentages(percentages: BTreeMap<VariantName, Percent>) -> Self {
        Self { to: ServeTo::Percentages(percentages), by: None, salt: None, hash: Hash::default() }
    }
}

/// The two forms of `serve`.
#[derive(Debug, Clone, PartialEq)]
pub enum ServeTo {
    /// Everybody gets this variant.
    Variant(VariantName),
    /// Percent by variant; their sum is at most 100, the rest gets the default variant.
    Percentages(BTreeMap<VariantName, Percent>),
}

/// How a unit becomes a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hash {
    /// Rampart's own: XXH3-64.
    #[default]
    Xxh3,
    /// flagd's current string hash.
    Murmur3,
    /// flagd's next one: murmur3 over deterministic CBOR.
    Murmur3Cbor,
}

impl Hash {
    /// Every hash with the word that files use for it.
    pub const ALL: [(&'static str, Self); 3] =
        [("xxh3", Self::Xxh3), ("murmur3", Self::Murmur3), ("murmur3_cbor", Self::Murmur3Cbor)];
}

/// The percentages in force for a flag while a rollout owns them; takes the place of the definition's `serve`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// Percent by variant; the rest gets the default variant.
    pub percentages: BTreeMap<VariantName, Percent>,
}

/// A named condition that flags of the environment share.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// What must hold to belong to it.
    pub when: Condition,
}

/// What must hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Every one holds; true when empty.
    All(Vec<Self>),
    /// At least one holds; false when empty.
    Any(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// The context belongs to the segment.
    Segment(SegmentName),
    /// An attribute passes a test.
    Test(Test),
}

impl Condition {
    /// The condition that always holds.
    pub fn always() -> Self {
        Self::All(Vec::new())
    }
}

/// One attribute and what is asked of it. A missing or differently typed attribute makes it false.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    /// Which attribute.
    pub attribute: AttributePath,
    /// What is asked.
    pub operator: Operator,
}

/// The names that lead to an attribute: `address.city` is two.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributePath(Vec<String>);

impl AttributePath {
    /// Splits at dots, as definitions write it. None where a part is empty.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<String> = text.split('.').map(str::to_owned).collect();
        parts.iter().all(|part| !part.is_empty()).then_some(Self(parts))
    }

    /// Takes one name as it is, dots and all, as `attr: {name: …}` writes it. None where it is empty.
    pub fn literal(name: &str) -> Option<Self> {
        (!name.is_empty()).then(|| Self(vec![name.to_owned()]))
    }

    /// The names, outermost first; at least one.
    pub fn parts(&self) -> &[String] {
        &self.0
    }

    /// The dotted form.
    pub fn dotted(&self) -> String {
        self.0.join(".")
    }
}

/// A value that attributes are compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A number; integers and floats compare by value.
    Number(Number),
    /// A string.
    String(String),
}

/// What is asked of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Operator {
    /// `eq`: the same type and value.
    Equals(Scalar),
    /// `in`: equal to one of them; for a list attribute, some element is.
    In(Vec<Scalar>),
    /// `not_in`: present, a scalar, and equal to none of them.
    NotIn(Vec<Scalar>),
    /// `starts_with`: begins with one of them.
    StartsWith(Vec<String>),
    /// `ends_with`: ends with one of them.
    EndsWith(Vec<String>),
    /// `contains`: a string attribute has it as a part; a list attribute has it as an element.
    Contains(Scalar),
    /// `matches`: a linear-time regular expression finds a match anywhere in the string.
    Matches(String),
    /// `lt`, `lte`, `gt`, `gte`.
    Compare(Comparison, Number),
    /// `semver_eq`, `semver_lt`, `semver_lte`, `semver_gt`, `semver_gte`, `semver_caret`, `semver_tilde`.
    Semver(SemverTest, String),
    /// `before`: the RFC 3339 time lies before this one.
    Before(String),
    /// `after`: the RFC 3339 time lies after this one.
    After(String),
    /// `exists`: the attribute is there and not null (`true`), or is not (`false`).
    Exists(bool),
}

/// An order between numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// A relation between semantic versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SemverTest {
    /// Equal precedence.
    Equal,
    /// Lower precedence.
    Less,
    /// Lower or equal precedence.
    LessOrEqual,
    /// Higher precedence.
    Greater,
    /// Higher or equal precedence.
    GreaterOrEqual,
    /// Not lower, and the same leftmost non-zero number.
    Caret,
    /// Not lower, and the same major and minor number.
    Tilde,
}

impl Operator {
    /// Every operator's word in definitions, in the order in which the schema lists them.
    pub const WORDS: [&'static str; 21] = [
        "eq",
        "in",
        "not_in",
        "starts_with",
        "ends_with",
        "contains",
        "matches",
        "lt",
        "lte",
        "gt",
        "gte",
        "semver_eq",
        "semver_lt",
        "semver_lte",
        "semver_gt",
        "semver_gte",
        "semver_caret",
        "semver_tilde",
        "before",
        "after",
        "exists",
    ];

    /// The word that definitions use for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Equals(_) => "eq",
            Self::In(_) => "in",
            Self::NotIn(_) => "not_in",
            Self::StartsWith(_) => "starts_with",
            Self::EndsWith(_) => "ends_with",
            Self::Contains(_) => "contains",
            Self::Matches(_) => "matches",
            Self::Compare(Comparison::Less, _) => "lt",
            Self::Compare(Comparison::LessOrEqual, _) => "lte",
            Self::Compare(Comparison::Greater, _) => "gt",
            Self::Compare(Comparison::GreaterOrEqual, _) => "gte",
            Self::Semver(SemverTest::Equal, _) => "semver_eq",
            Self::Semver(SemverTest::Less, _) => "semver_lt",
            Self::Semver(SemverTest::LessOrEqual, _) => "semver_lte",
            Self::Semver(SemverTest::Greater, _) => "semver_gt",
            Self::Semver(SemverTest::GreaterOrEqual, _) => "semver_gte",
            Self::Semver(SemverTest::Caret, _) => "semver_caret",
            Self::Semver(SemverTest::Tilde, _) => "semver_tilde",
            Self::Before(_) => "before",
            Self::After(_) => "after",
            Self::Exists(_) => "exists",
        }
    }
}

/// A whole document: the flags and segments of one flag set in one environment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FlagFile {
    /// The environment that the document names, if it does.
    pub environment: Option<super::key::EnvironmentName>,
    /// Segments by name.
    pub segments: BTreeMap<SegmentName, Segment>,
    /// Flags by identity (`metadata.flagSetId` of the document or the flag decides the set).
    pub flags: BTreeMap<super::key::FlagId, Definition>,
    /// The flag set that the document's own metadata names.
    pub flag_set: Option<FlagSetName>,
}
