//! One flag or segment by itself, from its definition. How it refers to others is checked in `settle`.

use std::sync::Arc;

use crate::flag::definition::{Allocation, Definition, Segment};
use crate::flag::diagnostic::{Diagnostic, join_pointer};
use crate::flag::key::{FlagId, SegmentName};
use crate::flag::limits::{REQUIRES_MAX, RULES_MAX, VARIANTS_MAX};
use crate::flag::time::Revision;

use crate::eval::compiled::{Compiled, CompiledSegment, Rule};
use crate::eval::fractional::FractionalHash;
use crate::eval::outcome::Reason;
use crate::eval::serving::Serving;

use super::condition::Gathered;
use super::logic::logic;
use super::serving::Names;

/// The pointer to a flag in a document that holds it.
pub(super) fn flag_pointer(id: &FlagId) -> String {
    join_pointer("/flags", id.key.as_str())
}

/// The pointer to a segment in a document that holds it.
pub(super) fn segment_pointer(name: &SegmentName) -> String {
    join_pointer("/segments", name.as_str())
}

/// An object that can be used with what is odd about it, or everything that is wrong with it by itself.
pub(super) type Compilation<T> = Result<(T, Vec<Diagnostic>), Vec<Diagnostic>>;

/// Compiles a flag.
pub(super) fn compile_flag(
    id: &FlagId,
    revision: Revision,
    definition: &Arc<Definition>,
    allocation: Option<&Allocation>,
) -> Compilation<Compiled> {
    let pointer = flag_pointer(id);
    let mut gathered = Gathered::default();
    check_shape(&mut gathered, &pointer, definition);
    let names =
        Names { variants: &definition.variants, default: definition.default_variant.as_ref(), key: id.key.as_str() };
    let named = |variant: Option<&_>, word: &str, gathered: &mut Gathered| {
        variant.and_then(|name| names.index(gathered, &join_pointer(&pointer, word), name))
    };
    let default = named(definition.default_variant.as_ref(), "defaultVariant", &mut gathered);
    let safe = named(definition.safe_variant.as_ref(), "safeVariant", &mut gathered).or(default);
    let mut rules = Vec::with_capacity(definition.rules.len());
    for (at, rule) in definition.rules.iter().enumerate() {
        let pointer = format!("{pointer}/rules/{at}");
        let when = gathered.condition(&join_pointer(&pointer, "when"), &rule.when);
        rules.push(Rule { when, serving: names.serving(&mut gathered, &pointer, &rule.serve) });
    }
    let served = definition.serve.as_ref();
    let defined = served.map_or(Serving::Nothing, |serve| names.serving(&mut gathered, &pointer, serve));
    let otherwise = match allocation {
        Some(allocation) => {
            let pointer = join_pointer(&pointer, "allocation");
            names.percentages(&mut gathered, &pointer, &allocation.percentages, served)
        }
        None => defined,
    };
    let targeting = definition
        .targeting
        .as_ref()
        // flagd takes an empty rule for none.
        .filter(|rule| !rule.as_object().is_some_and(serde_json::Map::is_empty))
        .map(|rule| logic(&mut gathered, &join_pointer(&pointer, "targeting"), rule, &definition.variants));
    let fractional_hash = fractional_hash(&mut gathered, &pointer, definition);
    let diagnostics = gathered.verdict()?;
    // With prerequisites the answer depends on the context even where no rule does; and "nothing" is the caller's own
    // default, which is not the flag's.
    let asks_nothing = rules.is_empty() && definition.requires.is_empty() && targeting.is_none();
    let says_nothing = otherwise == Serving::Nothing && default.is_none();
    let compiled = Compiled {
        id: id.clone(),
        revision,
        definition: Arc::clone(definition),
        allocation: allocation.cloned(),
        variants: definition.variants.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        default,
        safe,
        rules: rules.into(),
        targeting,
        fractional_hash,
        otherwise,
        otherwise_reason: if asks_nothing && !says_nothing { Reason::Static } else { Reason::Default },
        uses: gathered.uses,
    };
    Ok((compiled, diagnostics))
}

/// Compiles a segment.
pub(super) fn compile_segment(
    name: &SegmentName,
    revision: Revision,
    segment: &Arc<Segment>,
) -> Compilation<CompiledSegment> {
    let mut gathered = Gathered::default();
    let when = gathered.condition(&segment_pointer(name), &segment.when);
    let diagnostics = gathered.verdict()?;
    let (name, segment) = (name.clone(), Arc::clone(segment));
    Ok((CompiledSegment { name, revision, segment, when, uses: gathered.uses }, diagnostics))
}

/// The generation of flagd's `fractional` that the flag's metadata, or its document's, asks for.
fn fractional_hash(gathered: &mut Gathered, pointer: &str, definition: &Definition) -> Option<FractionalHash> {
    let wanted = definition.metadata.get(FRACTIONAL_HASH)?;
    let hash = wanted.as_str().and_then(FractionalHash::named);
    if hash.is_none() {
        let pointer = join_pointer(&join_pointer(pointer, "metadata"), FRACTIONAL_HASH);
        let message = "the metadata names no generation of `fractional`; the server's own is used";
        gathered.warning("unknown-hash", pointer, message, "write \"v2\" or \"v3\"");
    }
    hash
}

/// The key in the metadata of a flag or a document.
const FRACTIONAL_HASH: &str = "fractionalHash";

fn check_shape(gathered: &mut Gathered, pointer: &str, definition: &Definition) {
    if definition.variants.is_empty() {
        let help = "name at least one, such as `variants: {\"on\": true, \"off\": false}`";
        gathered.error("no-variants", join_pointer(pointer, "variants"), "the flag has no variants", help);
    }
    for (word, count, max) in [
        ("variants", definition.variants.len(), VARIANTS_MAX),
        ("rules", definition.rules.len(), RULES_MAX),
        ("requires", definition.requires.len(), REQUIRES_MAX),
    ] {
        if count > max {
            let message = format!("the flag has {count} {word}, at most {max} are allowed");
            gathered.error("too-many", join_pointer(pointer, word), message, "split the flag in two");
        }
    }
}
