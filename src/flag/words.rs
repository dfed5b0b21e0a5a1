//! The words of the language: every key that a document, a flag, a rule and a prerequisite may hold, and every
//! operator with what it takes.
//!
//! One table for the parser, its "did you mean" and the JSON Schema, so that they cannot drift apart.

/// One key of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// The key as written.
    pub name: &'static str,
    /// What the value looks like.
    pub shape: Shape,
    /// True where only Rampart knows the key: such a flag is checked strictly, since no other tool reads it.
    pub native: bool,
    /// What the value means, one sentence.
    pub doc: &'static str,
}

/// What a value looks like; the schema knows one form for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Any text.
    Text,
    /// A name as `flag::key` allows it.
    Name,
    /// The name of an environment.
    Environment,
    /// `ENABLED` or `DISABLED`.
    State,
    /// Variant → value.
    Variants,
    /// The name of a variant.
    Variant,
    /// The name of a variant, or null, or an empty string.
    VariantOrNothing,
    /// A list of texts.
    Texts,
    /// A day, `YYYY-MM-DD`.
    Day,
    /// A list of prerequisites.
    Requirements,
    /// A list of rules.
    Rules,
    /// A variant, or variant → percentage.
    Serve,
    /// A path of attribute names with dots.
    Attribute,
    /// `xxh3`, `murmur3` or `murmur3_cbor`.
    Hash,
    /// JSONLogic.
    Targeting,
    /// Text → string, number or boolean.
    Metadata,
    /// A condition map.
    Condition,
    /// Name → condition map.
    Segments,
    /// Key → flag, or a list of flags that each hold their `key`.
    Flags,
    /// Anything: not read here.
    Anything,
}

/// What an operator takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// A string, number or boolean.
    Scalar,
    /// A list of scalars.
    Scalars,
    /// A string or a list of strings.
    Strings,
    /// A regular expression.
    Pattern,
    /// A number.
    Number,
    /// A semantic version.
    Version,
    /// An RFC 3339 time.
    Time,
    /// `true` or `false`.
    Bool,
}

const fn word(name: &'static str, shape: Shape, doc: &'static str) -> Word {
    Word { name, shape, native: false, doc }
}

const fn native(name: &'static str, shape: Shape, doc: &'static str) -> Word {
    Word { name, shape, native: true, doc }
}

/// The keys of a document.
pub const DOCUMENT: &[Word] = &[
    word("$schema", Shape::Text, "The JSON Schema that editors use; not read."),
    native("environment", Shape::Environment, "The environment that the document is meant for."),
    word("metadata", Shape::Metadata, "Metadata of every flag of the document; `flagSetId` names their flag set."),
    native("segments", Shape::Segments, "Named conditions that the flags of the environment share."),
    word("$evaluators", Shape::Anything, "JSONLogic that `targeting` refers to with `$ref`."),
    word("flags", Shape::Flags, "The flags by key."),
];

/// The keys of a flag.
pub const FLAG: &[Word] = &[
    word("description", Shape::Text, "What the flag is for."),
    word("state", Shape::State, "Whether the flag answers; a disabled flag answers \"use the code default\"."),
    word("variants", Shape::Variants, "The answers by name: booleans, strings, numbers or objects, one type per flag."),
    word(
        "defaultVariant",
        Shape::VariantOrNothing,
        "What is served when nothing matched; none means the code default.",
    ),
    native("safeVariant", Shape::Variant, "What a kill serves; the default variant where left out."),
    native("owner", Shape::Text, "Who answers for the flag."),
    native("tags", Shape::Texts, "Words to find the flag and to kill it by."),
    native("expires", Shape::Day, "The day after which the flag should be gone; reported, never enforced."),
    native("requires", Shape::Requirements, "Other flags that must serve a certain variant first."),
    native("rules", Shape::Rules, "The first rule that matches decides."),
    native("serve", Shape::Serve, "What everybody else gets: a variant, or percentages by variant."),
    word("by", Shape::Attribute, "The unit that stays together in `serve`; `targetingKey` where left out."),
    word("salt", Shape::Name, "The salt of the cohort in `serve`; the flag key where left out."),
    word("hash", Shape::Hash, "The hash that places units in buckets in `serve`; `xxh3` where left out."),
    word("targeting", Shape::Targeting, "flagd's JSONLogic, instead of `rules` and `serve`."),
    word("source", Shape::Text, "Where the flag came from; flagd writes it, and selectors can name it."),
    word("metadata", Shape::Metadata, "Facts for clients; `flagSetId` names the flag set."),
];

/// The key of a flag in a list of flags, beside those of [`FLAG`].
pub const FLAG_KEY: Word = word("key", Shape::Name, "The flag's key, in a list of flags.");

/// The keys of a rule.
pub const RULE: &[Word] = &[
    word("name", Shape::Text, "A name for people, shown in explanations."),
    word("when", Shape::Condition, "What must hold; an empty map always holds."),
    word("serve", Shape::Serve, "What is served then: a variant, or percentages by variant."),
    word("by", Shape::Attribute, "The unit that stays together; `targetingKey` where left out."),
    word("salt", Shape::Name, "The salt of the cohort; the flag key where left out."),
    word("hash", Shape::Hash, "The hash that places units in buckets; `xxh3` where left out."),
];

/// The keys of a prerequisite.
pub const REQUIREMENT: &[Word] = &[
    word("flag", Shape::Name, "The other flag, in the same flag set, or in none where the set has no such key."),
    word("variant", Shape::Variant, "The variant it must serve."),
];

/// The words of a condition map that are no attributes.
pub const CONDITION: [(&str, &str); 5] = [
    ("all", "A list of conditions: every one must hold."),
    ("any", "A list of conditions: at least one must hold."),
    ("not", "A condition that must not hold."),
    ("segment", "The name of a segment that the context must belong to."),
    ("attr", "An attribute whose name is reserved or holds dots: `{name: …, operator: operand}`."),
];

/// Every operator with what it takes and what it asks; the same words as `Operator::WORDS`.
pub const OPERATORS: [(&str, Operand, &str); 21] = [
    ("eq", Operand::Scalar, "The same type and value."),
    ("in", Operand::Scalars, "Equal to one of them; for a list attribute, some element is."),
    ("not_in", Operand::Scalars, "Present, a scalar, and equal to none of them."),
    ("starts_with", Operand::Strings, "Begins with it, or with one of them."),
    ("ends_with", Operand::Strings, "Ends with it, or with one of them."),
    ("contains", Operand::Scalar, "A string has it as a part; a list has it as an element."),
    ("matches", Operand::Pattern, "A linear-time regular expression finds a match anywhere in the string."),
    ("lt", Operand::Number, "Less than."),
    ("lte", Operand::Number, "Less than or equal."),
    ("gt", Operand::Number, "Greater than."),
    ("gte", Operand::Number, "Greater than or equal."),
    ("semver_eq", Operand::Version, "Equal precedence."),
    ("semver_lt", Operand::Version, "Lower precedence."),
    ("semver_lte", Operand::Version, "Lower or equal precedence."),
    ("semver_gt", Operand::Version, "Higher precedence."),
    ("semver_gte", Operand::Version, "Higher or equal precedence."),
    ("semver_caret", Operand::Version, "Not lower, and the same leftmost non-zero number."),
    ("semver_tilde", Operand::Version, "Not lower, and the same major and minor number."),
    ("before", Operand::Time, "The RFC 3339 time lies before this one."),
    ("after", Operand::Time, "The RFC 3339 time lies after this one."),
    ("exists", Operand::Bool, "The attribute is there and not null (`true`), or is not (`false`)."),
];

/// What an operator takes, in words for people.
pub fn operand_words(operand: Operand) -> &'static str {
    match operand {
        Operand::Scalar => "a string, number or boolean",
        Operand::Scalars => "a list of strings, numbers or booleans",
        Operand::Strings => "a string or a list of strings",
        Operand::Pattern => "a string with a regular expression",
        Operand::Number => "a number",
        Operand::Version => "a string with a semantic version, such as \"2.4.0\"",
        Operand::Time => "a string with an RFC 3339 time, such as \"2025-10-16T08:00:00Z\"",
        Operand::Bool => "true or false",
    }
}

/// The known word that was most likely meant, if one is near enough to suggest.
pub fn nearest<'w>(text: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    // Long texts are no misspelt words, and measuring them is quadratic.
    if text.len() > 128 {
        return None;
    }
    let bare = |word: &str| word.to_lowercase().replace(['_', '-', ' '], "");
    let wanted = bare(text);
    let measured = words.into_iter().filter(|word| word.len() <= 128).map(|word| {
        let distance = strsim::damerau_levenshtein(&wanted, &bare(word));
        (distance, word)
    });
    let (distance, word) = measured.min_by_key(|(distance, _)| *distance)?;
    let longest = wanted.chars().count().max(word.chars().count());
    (distance * 3 <= longest).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::definition::Operator;

    #[test]
    fn every_operator_is_in_the_table_in_the_same_order() {
        assert_eq!(OPERATORS.map(|(word, _, _)| word), Operator::WORDS);
    }

    #[test]
    fn the_nearest_word_is_suggested_only_when_near() {
        let words = ["defaultVariant", "safeVariant", "serve", "rules"];
        assert_eq!(nearest("default_variant", words), Some("defaultVariant"));
        assert_eq!(nearest("sevre", words), Some("serve"));
        assert_eq!(nearest("colour", words), None);
        assert_eq!(nearest(&"x".repeat(10_000), words), None);
    }
}
