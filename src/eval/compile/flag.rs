//! One flag or segment by itself, from its definition. How it refers to others is checked in `settle`.

use std::sync::Arc;

use crate::flag::definition::{Allocation, Definition, Segment};
use crate::flag::diagnostic::{Diagnostic, join_pointer};
use crate::flag::key::{FlagId, SegmentName};
use crate::flag::limits::{REQUIRES_MAX, RULES_MAX, VARIANTS_MAX};
use crate::flag::time::Revision;

use crate::eval::compiled::{Compiled, CompiledSegment, Rule};
use crate::eval::outcome::Reason;
use crate::eval::serving::Serving;

use super::condition::Gathered;
use super::serving::Names;

/// The pointer to a flag in a document that holds it.
pub(super) fn flag_pointer(id: &FlagId) -> String {
    join_pointer("/flags", id.key.as_str())
}

/// The pointer to a segment in a document that holds it.
pub(super) fn segment_pointer(name: &SegmentName) -> String {
    join_pointer("/segments", name.as_str())
}

/// Compiles a flag.
///
/// # Errors
/// Everything that is wrong with it by itself.
pub(super) fn compile_flag(
    id: &FlagId,
    revision: Revision,
    definition: &Arc<Definition>,
    allocation: Option<&Allocation>,
) -> Result<Compiled, Vec<Diagnostic>> {
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
    if !gathered.diagnostics.is_empty() {
        return Err(gathered.diagnostics);
    }
    // With prerequisites the answer depends on the context even where no rule does.
    let asks_nothing = rules.is_empty() && definition.requires.is_empty();
    Ok(Compiled {
        id: id.clone(),
        revision,
        definition: Arc::clone(definition),
        allocation: allocation.cloned(),
        variants: definition.variants.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        default,
        safe,
        rules: rules.into(),
        otherwise,
        otherwise_reason: if asks_nothing { Reason::Static } else { Reason::Default },
        uses: gathered.uses,
    })
}

/// Compiles a segment.
///
/// # Errors
/// Everything that is wrong with it by itself.
pub(super) fn compile_segment(
    name: &SegmentName,
    revision: Revision,
    segment: &Arc<Segment>,
) -> Result<CompiledSegment, Vec<Diagnostic>> {
    let mut gathered = Gathered::default();
    let when = gathered.condition(&segment_pointer(name), &segment.when);
    if !gathered.diagnostics.is_empty() {
        return Err(gathered.diagnostics);
    }
    Ok(CompiledSegment { name: name.clone(), revision, segment: Arc::clone(segment), when, uses: gathered.uses })
}

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
    if definition.targeting.is_some() {
        let message = "JSONLogic `targeting` is not supported yet";
        let help = "write the conditions as `rules` with `when` and `serve`, and percentages as `serve: {\"on\": 5}`";
        gathered.error("not-supported-yet", join_pointer(pointer, "targeting"), message, help);
    }
}
