//! Why a flag has no exact translation: what stands in the way, where, and what to write instead.

use crate::flag::definition::Operator;
use crate::flag::diagnostic::Diagnostic;

use super::path::PathFault;

/// At most this many are named for one flag.
pub(super) const OBSTACLES_MAX: usize = 20;

/// What an operator has no counterpart for.
pub(super) fn operator(pointer: &str, operator: &Operator) -> Diagnostic {
    let (why, help) = match operator {
        Operator::Matches(_) => {
            ("flagd has no regular expressions", "use `starts_with`, `ends_with`, `contains` or `in`")
        }
        Operator::Before(_) | Operator::After(_) => (
            "flagd does not read dates in attributes",
            "send the time as a number of seconds and compare it with `lt` or `gt`",
        ),
        Operator::Semver(..) => (
            "flagd takes more texts for versions than Rampart does (`2.4`, `v2.4.0`), and its `^` is another one",
            "write the flag as `targeting` with `sem_ver`, which then has flagd's meaning everywhere",
        ),
        _ => ("flagd has no counterpart", "write the flag as `targeting`"),
    };
    let message = format!("`{}` cannot be said to flagd clients exactly: {why}", operator.word());
    Diagnostic::error("no-counterpart", pointer, message, help)
}

/// What is wrong with a path.
pub(super) fn path(pointer: &str, name: &str, fault: PathFault) -> Diagnostic {
    let shown: String = name.chars().take(64).collect();
    let (why, help) = match fault {
        PathFault::Splits => (
            "flagd clients read dots, slashes and backslashes in a name as a path",
            "send the attribute under a name without them",
        ),
        PathFault::Reserved => ("flagd puts values of its own there", "send the attribute under another name"),
        PathFault::Ambiguous => (
            "texts, lists or objects have something of that name in the languages of flagd clients",
            "send the attribute under another name",
        ),
    };
    let message = format!("the attribute `{shown}` cannot be read by flagd clients exactly: {why}");
    Diagnostic::error("ambiguous-attribute", pointer, message, help)
}

/// A number that the doubles of some clients cannot tell from its neighbours.
pub(super) fn number(pointer: &str) -> Diagnostic {
    let message = "the number is beyond 2^53, where flagd clients in JavaScript cannot tell neighbours apart";
    Diagnostic::error("number-too-large", pointer, message, "compare a string")
}

/// Rampart's own hash.
pub(super) fn own_hash(pointer: &str) -> Diagnostic {
    let message = "flagd clients cannot compute Rampart's own hash, `xxh3`";
    let help = "write `hash: murmur3` beside `serve` (clients whose `fractional` is v2, such as JavaScript's) or \
                `hash: murmur3_cbor` (v3, such as Python's); this places users anew, once";
    Diagnostic::error("own-hash", pointer, message, help)
}

/// Two hashes in what one client has to evaluate.
pub(super) fn two_hashes(pointer: &str) -> Diagnostic {
    let message = "the flag uses both of flagd's hashes, and every client computes one of them only";
    let help = "use the same `hash` in all of its percentages and prerequisites; a `fractional` of its own counts by \
                `metadata.fractionalHash`, else by what the server is set to";
    Diagnostic::error("two-hashes", pointer, message, help)
}

/// A salt that some clients hash in another encoding.
pub(super) fn not_ascii(pointer: &str) -> Diagnostic {
    let message = "flagd clients in JavaScript hash texts beyond ASCII differently, and this salt or key has some";
    Diagnostic::error("not-ascii", pointer, message, "write a `salt` in ASCII, or `hash: murmur3_cbor`")
}

/// A prerequisite whose own answer cannot be inlined.
pub(super) fn prerequisite(pointer: &str, flag: &str, why: &str) -> Diagnostic {
    let message = format!("the prerequisite `{flag}` cannot be said to flagd clients exactly: {why}");
    let help = "give its percentages a `salt`, write it without `targeting`, or drop the prerequisite";
    Diagnostic::error("prerequisite", pointer, message, help)
}

/// A flag that grows beyond what clients take.
pub(super) fn too_large(pointer: &str) -> Diagnostic {
    let message = "with its segments and prerequisites written out the flag is too large for flagd clients";
    Diagnostic::error("too-large", pointer, message, "share fewer or smaller segments, or name each less often")
}

/// `targeting` that is no rule.
pub(super) fn odd_targeting(pointer: &str) -> Diagnostic {
    let message = "`targeting` is no JSONLogic rule, and flagd clients disagree about what it means";
    Diagnostic::error("odd-targeting", pointer, message, "write a rule, such as {\"if\": […]}")
}

/// A rollout that decides where flagd's own rule says nothing.
pub(super) fn rollout_over_targeting(pointer: &str) -> Diagnostic {
    let message = "a rollout owns this flag and decides where its `targeting` yields nothing; one rule cannot say both";
    Diagnostic::error("rollout-over-targeting", pointer, message, "write the rule as `rules` instead of `targeting`")
}
