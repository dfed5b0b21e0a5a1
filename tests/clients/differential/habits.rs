//! What a published evaluator does in its own way, one entry each; `tests/vectors/flagd-differences.md` says what
//! flagd and the others do, and why Rampart answers as it does.
//!
//! A habit explains a difference only where the evaluator says so itself, or where the rule has a place at which the
//! habit can show: an operator of the right kind that can be handed the right kind of value.

use serde_json::{Value, json};

use super::kinds::{Applied, Kinds, Shape, attribute, walk};
use super::{Case, Said};

/// The evaluators that Rampart is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// `@openfeature/flagd-core`.
    JavaScript,
    /// `openfeature-flagd-core`.
    Python,
}

/// One habit.
#[derive(Debug)]
pub struct Habit {
    /// Its name in `flagd-differences.md`.
    pub name: &'static str,
    /// Whose it is.
    pub of: &'static [Peer],
    /// Whether it explains a difference.
    pub shows: fn(&Case, &Said) -> bool,
}

const JAVASCRIPT: &[Peer] = &[Peer::JavaScript];
const PYTHON: &[Peer] = &[Peer::Python];
const BOTH: &[Peer] = &[Peer::JavaScript, Peer::Python];

/// All of them. What the evaluator says itself comes first, then what is rarest.
pub const HABITS: &[Habit] = &[
    Habit { name: "javascript-throws", of: JAVASCRIPT, shows: javascript_throws },
    Habit { name: "python-raises", of: PYTHON, shows: python_raises },
    Habit { name: "missing-counts", of: BOTH, shows: missing_counts },
    Habit { name: "javascript-unit-of-null", of: JAVASCRIPT, shows: unit_of_null },
    Habit { name: "javascript-unit-in-utf-16", of: JAVASCRIPT, shows: unit_in_utf_16 },
    Habit { name: "python-weight", of: PYTHON, shows: python_weight },
    Habit { name: "python-share-of-a-list", of: PYTHON, shows: python_share },
    Habit { name: "version-of-no-text", of: BOTH, shows: version_of_no_text },
    Habit { name: "walk-over-no-list", of: BOTH, shows: walk_over_no_list },
    Habit { name: "javascript-only-argument", of: JAVASCRIPT, shows: only_argument },
    Habit { name: "index-of-a-text", of: BOTH, shows: index_of_a_text },
    Habit { name: "javascript-substr-in-utf-16", of: JAVASCRIPT, shows: substr_in_utf_16 },
    Habit { name: "javascript-list-is-itself", of: JAVASCRIPT, shows: list_is_itself },
    Habit { name: "javascript-path-through-zero", of: JAVASCRIPT, shows: path_through_zero },
    Habit { name: "null-equals-zero", of: BOTH, shows: null_equals_zero },
    Habit { name: "empty-text-in-a-text", of: JAVASCRIPT, shows: empty_text },
    Habit { name: "variant-of-no-text", of: BOTH, shows: variant_of_no_text },
    Habit { name: "python-true-is-one", of: PYTHON, shows: true_is_one },
    Habit { name: "python-writes-otherwise", of: PYTHON, shows: written_otherwise },
    Habit { name: "python-remainder", of: PYTHON, shows: remainder },
    Habit { name: "list-as-a-number", of: BOTH, shows: list_as_a_number },
    Habit { name: "python-text-as-a-number", of: PYTHON, shows: text_as_a_number },
    Habit { name: "python-null-argument", of: PYTHON, shows: null_argument },
    Habit { name: "python-big-integers", of: PYTHON, shows: big_integers },
    Habit { name: "javascript-default-for-null", of: JAVASCRIPT, shows: default_for_null },
    Habit { name: "javascript-truth-of-a-list", of: JAVASCRIPT, shows: truth_of_a_list },
];

/// True where some operator of the rule is applied so.
fn applied(case: &Case, mut so: impl FnMut(&Applied<'_>) -> bool) -> bool {
    let mut found = false;
    walk(&case.definition["targeting"], &case.context, &mut |applied| found |= so(applied));
    found
}

fn is(applied: &Applied<'_>, operators: &[&str]) -> bool {
    operators.contains(&applied.operator)
}

fn any(applied: &Applied<'_>, kinds: Kinds) -> bool {
    applied.arguments.iter().any(|shape| shape.kinds.meets(kinds))
}

/// True where a shape may be of these kinds and, if its value is known, the value is so.
fn may_be(shape: &Shape, kinds: Kinds, so: impl Fn(&Value) -> bool) -> bool {
    shape.kinds.meets(kinds) && shape.value.as_ref().is_none_or(so)
}

const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "%", "min", "max"];
const ORDERS: &[&str] = &["<", "<=", ">", ">="];
const EQUALITY: &[&str] = &["==", "!="];
const STRICT: &[&str] = &["===", "!==", "in"];
const WALKS: &[&str] = &["map", "filter", "reduce", "all", "some", "none"];

/// Its engine throws where a number is NaN and where an operator lacks arguments.
fn javascript_throws(_: &Case, theirs: &Said) -> bool {
    theirs.note.as_str().is_some_and(|note| note.starts_with("Error evaluating targeting rule"))
}

/// Python's own exceptions: a division by zero, a text that cannot be compared.
fn python_raises(_: &Case, theirs: &Said) -> bool {
    let own = ["GeneralError", "ParseError", "TypeMismatchError", "FlagNotFoundError"];
    theirs.note.as_str().is_some_and(|note| !own.contains(&note))
}

/// Whether an attribute that is null, or an empty text, is missing.
fn missing_counts(case: &Case, _: &Said) -> bool {
    applied(case, |applied| {
        let empty = |name: &Value| {
            let found = name.as_str().and_then(|name| attribute(&case.context, name));
            found.is_some_and(|value| value.is_null() || value == "")
        };
        let names =
            applied.written.iter().flat_map(|name| name.as_array().map_or(std::slice::from_ref(name), |all| all));
        is(applied, &["missing", "missing_some"]) && names.into_iter().any(empty)
    })
}

fn unit_of_null(case: &Case, _: &Said) -> bool {
    applied(case, |applied| is(applied, &["fractional"]) && first(applied).kinds.meets(Kinds::NULL))
}

fn unit_in_utf_16(case: &Case, _: &Said) -> bool {
    let ascii = case.definition.to_string().is_ascii() && case.context.to_string().is_ascii();
    !ascii && applied(case, |applied| is(applied, &["fractional"]) && first(applied).kinds.meets(Kinds::TEXT))
}

/// The weights and variants of `fractional`, as far as they can be seen.
fn shares<'a>(applied: &'a Applied<'_>) -> impl Iterator<Item = &'a Value> {
    applied.written.iter().filter(|share| share.is_array())
}

/// A weight must be an integer for Python, while 2.0 is one for flagd; and a computed weight is a float there.
fn python_weight(case: &Case, _: &Said) -> bool {
    applied(case, |applied| {
        is(applied, &["fractional"]) && shares(applied).any(|share| !share[1].is_null() && share[1].as_u64().is_none())
    })
}

/// A list as a variant, or an argument that is no share.
fn python_share(case: &Case, _: &Said) -> bool {
    applied(case, |applied| {
        let composed = |value: &Value| value.is_array() || value.is_object();
        is(applied, &["fractional"])
            && (shares(applied).any(|share| composed(&share[0])) || any(applied, Kinds::OBJECT))
    })
}

fn version_of_no_text(case: &Case, _: &Said) -> bool {
    applied(case, |applied| {
        let other = Kinds::NUMBER.or(Kinds::LIST).or(Kinds::OBJECT).or(Kinds::BOOL);
        is(applied, &["sem_ver"]) && any(applied, other)
    })
}

fn walk_over_no_list(case: &Case, _: &Said) -> bool {
    applied(case, |applied| {
        let other = Kinds::BOOL.or(Kinds::NUMBER).or(Kinds::TEXT).or(Kinds::OBJECT).or(Kinds::NULL);
        is(applied, WALKS) && first(applied).kinds.meets(other)
    })
}

/// One argument that is a list counts as the list of arguments.
fn only_argument(case: &Case, _: &Said) -> bool {
    applied(case, |applied| {
        is(applied, ARITHMETIC) && applied.arguments.len() == 1 && any(applied, Kinds::LIST.or(Kinds::OBJECT))
    })
}

/// `var` reaches into a text by an index.
fn index_of_a_text(case: &Case, _: &Said) -> bool {
    applied(case, |applied| {
        let path = applied.written.first().and_then(Value::as_str).unwrap_or_default();
        let outer = path.split_once('.').and_then(|(outer, _)| case.context.get(outer));
        is(applied, &["var"]) && outer.is_some_and(Value::is_string)
    })
}

/// Characters are counted as halves of pairs.
fn substr_in_utf_16(case: &Case, _: &Said) -> bool {
    let far = |text: &str| text.chars().any(|character| character.len_utf16() > 1);
    applied(case, |applied| {
        is(applied, &["substr"]) && may_be(&first(applied), Kinds::TEXT, |value| value.as_str().is_some_and(far))
    }) && far(&format!("{}{}", case.definition, case.context))
}

/// A list is strictly equal to itself, which no other is.
fn list_is_itself(case: &Case, _: &Said) -> bool {
    applied(case, |applied| {
        let composed = |shape: &Shape| shape.kinds.meets(Kinds::LIST.or(Kinds::OBJECT));
        is(applied, &["===", "!=="]) && applied.arguments.len() > 1 && applied.arguments.iter().all(composed)
    })
}

/// Interpreted, a path that leads on from 0, `false` or an empty text ends there with that value.
fn path_through_zero(case: &Case, _: &Said) -> bool {
    applied(case, |applied| {
        let path = applied.written.first().and_then(Value::as_str).unwrap_or_default();
        let outer = path.rsplit_once('.').and_then(|(outer, _)| attribute(&case.context, outer));
        is(applied, &["var"])
            && outer.is_some_and(|outer| *outer == "" || *outer == false || outer.as_f64() == Some(0.0))
    })
}

fn null_equals_zero(case: &Case, _: &Said) -> bool {
    applied(case, |applied| {
        let other = Kinds::BOOL.or(Kinds::NUMBER).or(Kinds::TEXT).or(Kinds::LIST);
        is(applied, EQUALITY) && any(applied, Kinds::NULL) && any(applied, other)
    })
}

/// Whether an empty text, as which null and an empty list are written, is part of an empty text.
fn empty_text(case: &Case, _: &Said) -> bool {
    let kinds = Kinds::TEXT.or(Kinds::NULL).or(Kinds::LIST);
    let empty = |shape: &Shape| may_be(shape, kinds, |value| value.is_null() || *value == "" || *value == json!([]));
    applied(case, |applied| {
        is(applied, &["in"]) && applied.arguments.len() > 1 && applied.arguments.iter().take(2).all(empty)
    })
}

/// How a number, a list or an object is written where a variant's name is looked up.
fn variant_of_no_text(case: &Case, _: &Said) -> bool {
    let yields = walk(&case.definition["targeting"], &case.context, &mut |_| ());
    yields.kinds.meets(Kinds::NUMBER.or(Kinds::LIST).or(Kinds::OBJECT))
}

fn true_is_one(case: &Case, _: &Said) -> bool {
    applied(case, |applied| {
        let both = any(applied, Kinds::BOOL) && any(applied, Kinds::NUMBER);
        let stays = is(applied, &["min", "max"]) && any(applied, Kinds::BOOL);
        stays || is(applied, STRICT) && (both || any(applied, Kinds::LIST))
    })
}

/// How null, a float, a list or an object is written where a text is wanted.
fn written_otherwise(case: &Case, _: &Said) -> bool {
    applied(case, |applied| {
        let mut arguments = applied.arguments.iter();
        match applied.operator {
            "cat" => arguments.any(otherwise),
            "substr" => arguments.next().is_some_and(otherwise),
            "in" if any(applied, Kinds::TEXT) && any(applied, Kinds::BOOL) => true,
            "in" | "<" | "<=" | ">" | ">=" | "==" | "!=" => any(applied, Kinds::TEXT) && arguments.any(otherwise),
            _ => false,
        }
    })
}

/// True for what Python may write otherwise than JSON does. Small whole numbers it writes alike.
fn otherwise(shape: &Shape) -> bool {
    let small = |value: &Value| value.as_i64().is_some_and(|number| number.unsigned_abs() < 1 << 53);
    may_be(shape, Kinds::NUMBER, |value| !small(value))
        || shape.kinds.meets(Kinds::NULL.or(Kinds::LIST).or(Kinds::OBJECT))
}

/// The remainder has the sign of the divisor in Python, that of the dividend elsewhere.
fn remainder(case: &Case, _: &Said) -> bool {
    // A text and a list may be a number there, too.
    let kinds = Kinds::NUMBER.or(Kinds::TEXT).or(Kinds::LIST).or(Kinds::OBJECT);
    let negative = |shape: &Shape| may_be(shape, kinds, |value| value.to_string().contains('-'));
    applied(case, |applied| is(applied, &["%"]) && applied.arguments.iter().any(negative))
}

/// `[]` and `[7]` are numbers for JavaScript's language and for Python's evaluator; for flagd they are none.
fn list_as_a_number(case: &Case, _: &Said) -> bool {
    applied(case, |applied| {
        let numeric = is(applied, ARITHMETIC) || is(applied, ORDERS) || is(applied, EQUALITY);
        numeric && any(applied, Kinds::LIST.or(Kinds::OBJECT))
    })
}

/// A blank text, a hexadecimal one and the like.
fn text_as_a_number(case: &Case, _: &Said) -> bool {
    applied(case, |applied| {
        let numeric = is(applied, ARITHMETIC) || is(applied, ORDERS) || is(applied, EQUALITY);
        numeric && any(applied, Kinds::TEXT)
    })
}

/// An argument after the first that is null is none at all for Python.
fn null_argument(case: &Case, _: &Said) -> bool {
    applied(case, |applied| {
        let later = applied.arguments.iter().skip(1).any(|shape| shape.kinds.meets(Kinds::NULL));
        later && (is(applied, ORDERS) || is(applied, &["-", "substr"]))
    })
}

/// Integers beyond 2^53 are exact in Python and doubles elsewhere.
fn big_integers(case: &Case, _: &Said) -> bool {
    let big = "9007199254740993";
    case.definition["targeting"].to_string().contains(big) || case.context.to_string().contains(big)
}

/// The default of `var` stands for an attribute that is not there, not for one that is null.
fn default_for_null(case: &Case, _: &Said) -> bool {
    applied(case, |applied| {
        let path = applied.written.first().and_then(Value::as_str).unwrap_or_default();
        let null = attribute(&case.context, path).is_some_and(Value::is_null);
        is(applied, &["var"]) && applied.written.len() > 1 && null
    })
}

/// A list of one element is as true as that element.
fn truth_of_a_list(case: &Case, _: &Said) -> bool {
    let truths = ["!", "!!", "and", "or", "if", "?:", "filter", "all", "some", "none"];
    applied(case, |applied| is(applied, &truths) && any(applied, Kinds::LIST))
}

fn first(applied: &Applied<'_>) -> Shape {
    applied.arguments.first().cloned().unwrap_or(Shape { kinds: Kinds::NULL, value: None })
}
