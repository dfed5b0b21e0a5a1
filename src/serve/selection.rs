//! Which flags a request is about: flagd's `flagd-selector`, and the flags of a snapshot that it selects.
//!
//! One rule for every surface: without a selector a key means the flag in no flag set, else the one in the first set
//! by name that has it, so that every key is answered once. Not an authorisation: a selector never widens what a
//! caller may see, its environment is decided elsewhere.

use std::collections::HashSet;

use http::HeaderName;

use crate::eval::compiled::Compiled;
use crate::eval::set::CompiledSet;
use crate::flag::key::FlagSetName;
use crate::snapshot::Snapshot;

/// The header (and gRPC metadata) that narrows a request, on every surface.
pub const SELECTOR: HeaderName = HeaderName::from_static("flagd-selector");

/// What a request selects by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selector<'a> {
    /// No selector.
    Everything,
    /// `flagSetId=<name>`; none (`flagSetId=`) for flags in no flag set.
    FlagSet(Option<&'a str>),
    /// `source=<text>`, or the text alone: flags that came from that source, as it was named when it was configured.
    Source(&'a str),
}

/// A selector that selects by nothing that there is; worded as flagd words it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid selector key {key:?}, valid keys: \"flagSetId\", \"source\"")]
pub struct SelectorFault {
    key: String,
}

impl<'a> Selector<'a> {
    /// Reads the header's text; it is split at the first `=`.
    ///
    /// # Errors
    /// Another key than `flagSetId` and `source`.
    pub fn parse(text: Option<&'a str>) -> Result<Self, SelectorFault> {
        match text.map(str::trim) {
            None | Some("") => Ok(Self::Everything),
            Some(text) => match text.split_once('=') {
                Some(("flagSetId", name)) => Ok(Self::FlagSet((!name.is_empty()).then_some(name))),
                Some(("source", source)) => Ok(Self::Source(source)),
                None => Ok(Self::Source(text)),
                // Clients may send anything, so only the beginning of it is repeated.
                Some((key, _)) => Err(SelectorFault { key: key.chars().take(64).collect() }),
            },
        }
    }

    /// The selector in a request's headers; one that is no text is as wrong as any other.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn of(headers: &'a http::HeaderMap) -> Result<Self, SelectorFault> {
        Self::parse(headers.get(SELECTOR).map(|value| value.to_str().unwrap_or("\u{fffd}=")))
    }

    /// The selector as text, one spelling of each; empty for everything.
    pub fn canonical(self) -> String {
        self.reflected().map(|(key, value)| format!("{key}={value}")).unwrap_or_default()
    }

    /// What answers say about the selection in their metadata: key and value; none without a selector.
    pub fn reflected(self) -> Option<(&'static str, &'a str)> {
        match self {
            Self::Everything => None,
            Self::FlagSet(name) => Some(("flagSetId", name.unwrap_or_default())),
            Self::Source(source) => Some(("source", source)),
        }
    }
}

/// The flags of one set that a selector selects.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'s> {
    set: &'s CompiledSet,
    flag_sets: &'s [FlagSetName],
    selector: Selector<'s>,
}

impl<'s> Selection<'s> {
    /// The flags of `set`, whose flag sets are `flag_sets`.
    pub fn new(set: &'s CompiledSet, flag_sets: &'s [FlagSetName], selector: Selector<'s>) -> Self {
        Self { set, flag_sets, selector }
    }

    /// The flags of a snapshot.
    pub fn of(snapshot: &'s Snapshot, selector: Selector<'s>) -> Self {
        Self::new(&snapshot.set, &snapshot.flag_sets, selector)
    }

    /// The flag that a key names.
    pub fn find(&self, key: &str) -> Option<&'s Compiled> {
        let set = self.set;
        let chosen = |flag: &&Compiled| self.is_from(flag);
        if let Selector::FlagSet(name) = self.selector {
            return set.flag(name, key);
        }
        let in_set = |name: &FlagSetName| set.flag(Some(name.as_str()), key).filter(chosen);
        set.flag(None, key).filter(chosen).or_else(|| self.flag_sets.iter().find_map(in_set))
    }

    /// Every flag that is selected, each key once.
    pub fn iter(self) -> Box<dyn Iterator<Item = &'s Compiled> + Send + 's> {
        match self.selector {
            Selector::FlagSet(name) => Box::new(self.set.in_flag_set(name)),
            Selector::Everything if self.flag_sets.is_empty() => Box::new(self.set.iter()),
            // The set is in the order in which keys are looked for: of a key that stands in several sets, the first counts.
            Selector::Everything | Selector::Source(_) => {
                let mut seen = HashSet::with_capacity(self.expected());
                let selected = self.set.iter().filter(move |flag| self.is_from(flag));
                Box::new(selected.filter(move |flag| seen.insert(flag.id().key.as_str())))
            }
        }
    }

    fn is_from(&self, flag: &Compiled) -> bool {
        match self.selector {
            Selector::Source(source) => flag.definition().source.as_deref() == Some(source),
            Selector::Everything | Selector::FlagSet(_) => true,
        }
    }

    /// About how many flags there are.
    pub fn expected(&self) -> usize {
        match self.selector {
            Selector::Everything => self.set.len(),
            Selector::FlagSet(_) | Selector::Source(_) => self.set.len().min(64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_as_flagd_reads_them() {
        for (text, wanted) in [
            (None, Ok(Selector::Everything)),
            (Some(" "), Ok(Selector::Everything)),
            (Some("flagSetId=shop"), Ok(Selector::FlagSet(Some("shop")))),
            (Some("flagSetId=a=b"), Ok(Selector::FlagSet(Some("a=b")))),
            (Some("flagSetId="), Ok(Selector::FlagSet(None))),
            (Some("source=a.json"), Ok(Selector::Source("a.json"))),
            (Some("flags/a.json"), Ok(Selector::Source("flags/a.json"))),
        ] {
            assert_eq!(Selector::parse(text), wanted, "{text:?}");
        }
        let fault = Selector::parse(Some("team=a")).unwrap_err().to_string();
        assert_eq!(fault, "invalid selector key \"team\", valid keys: \"flagSetId\", \"source\"");
    }
}
