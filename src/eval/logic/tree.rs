//! A rule as it is run: operators resolved, paths split, everything without an operator a literal.
//!
//! Arguments that the reference evaluates before the operator (`Apply`) are told apart from those that an operator
//! evaluates itself, when and as often as it wants.

use crate::eval::context::Attribute;

/// A part of a rule.
#[derive(Debug)]
pub enum Node {
    /// Stands for itself.
    Literal(Attribute<'static>),
    /// A list with operators in it.
    List(Box<[Self]>),
    /// `var` with a path that the rule spells out.
    Variable(Variable),
    /// `if` and `?:`: conditions and what follows from them in turn, then what follows otherwise.
    If(Box<[Self]>),
    /// `and`: the first that is false, else the last.
    And(Box<[Self]>),
    /// `or`: the first that is true, else the last.
    Or(Box<[Self]>),
    /// `!!`, and `!` where the answer is turned.
    Truth {
        /// What is asked.
        of: Box<Self>,
        /// True for `!`.
        turned: bool,
    },
    /// An operator over the elements of a list.
    Each {
        /// Which.
        kind: Each,
        /// What yields the list.
        list: Box<Self>,
        /// What is evaluated for each element.
        rule: Box<Self>,
    },
    /// `reduce`.
    Reduce {
        /// What yields the list.
        list: Box<Self>,
        /// What makes the next accumulator.
        rule: Box<Self>,
        /// The first accumulator.
        first: Box<Self>,
    },
    /// An operator whose arguments are evaluated first.
    Apply(Operator, Arguments),
    /// An operator that nobody knows.
    Unknown,
}

/// `var` with a path that the rule spells out.
#[derive(Debug)]
pub struct Variable {
    /// The names; none for everything there is.
    pub path: Box<[Box<str>]>,
    /// What counts where nothing is found.
    pub default: Option<Box<Node>>,
}

/// The arguments of an operator.
#[derive(Debug)]
pub enum Arguments {
    /// Each by itself.
    Listed(Box<[Node]>),
    /// One that stands without a list around it: a list that it yields is the list of arguments.
    Spread(Box<Node>),
}

/// The operators over the elements of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Each {
    /// `map`
    Map,
    /// `filter`
    Filter,
    /// `all`
    All,
    /// `some`
    Some,
    /// `none`
    None,
}

/// The operators whose arguments are evaluated first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `var` with a path that the rule computes.
    Var,
    /// `missing`
    Missing,
    /// `missing_some`
    MissingSome,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `===`
    StrictlyEqual,
    /// `!==`
    NotStrictlyEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
    /// `min`
    Least,
    /// `max`
    Greatest,
    /// `merge`
    Merge,
    /// `in`
    In,
    /// `cat`
    Concatenate,
    /// `substr`
    Substring,
    /// `fractional`
    Fractional,
    /// `sem_ver`
    Semver,
    /// `starts_with`
    StartsWith,
    /// `ends_with`
    EndsWith,
}

impl Operator {
    /// Every operator whose arguments are evaluated first, with its word.
    pub const ALL: [(&'static str, Self); 26] = [
        ("var", Self::Var),
        ("missing", Self::Missing),
        ("missing_some", Self::MissingSome),
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("===", Self::StrictlyEqual),
        ("!==", Self::NotStrictlyEqual),
        ("<", Self::Less),
        ("<=", Self::LessOrEqual),
        (">", Self::Greater),
        (">=", Self::GreaterOrEqual),
        ("+", Self::Add),
        ("-", Self::Subtract),
        ("*", Self::Multiply),
        ("/", Self::Divide),
        ("%", Self::Remainder),
        ("min", Self::Least),
        ("max", Self::Greatest),
        ("merge", Self::Merge),
        ("in", Self::In),
        ("cat", Self::Concatenate),
        ("substr", Self::Substring),
        ("fractional", Self::Fractional),
        ("sem_ver", Self::Semver),
        ("starts_with", Self::StartsWith),
        ("ends_with", Self::EndsWith),
    ];

    /// The operator of that word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == word).map(|(_, operator)| *operator)
    }
}

impl Each {
    /// Every operator over elements, with its word.
    pub const ALL: [(&'static str, Self); 5] =
        [("map", Self::Map), ("filter", Self::Filter), ("all", Self::All), ("some", Self::Some), ("none", Self::None)];

    /// The operator of that word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == word).map(|(_, kind)| *kind)
    }
}
