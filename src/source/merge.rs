//! Several documents as one: which of them says what a flag is.
//!
//! The later document wins where two have the same flag, as in flagd. A flag that its winning document has wrong keeps
//! its last good definition: falling back to an earlier document would change what it answers because of a typing
//! mistake. Reading files and telling the writer is done in `several`.

use std::collections::{BTreeMap, BTreeSet};

use crate::control::command::{TakeFile, TextDigest, digest as digest_of};
use crate::flag::definition::FlagFile;
use crate::flag::key::EnvironmentName;
use crate::flag::parse::Parsed;

use super::file::places;

/// What the journal remembers several files by, together.
const IDENTITY: &str = "start";

/// One source, as far as it was read.
#[derive(Debug, Clone, Copy)]
pub struct Document<'d> {
    /// Its name, which its flags carry.
    pub name: &'d str,
    /// What it says, and the digest of its text; none where it was never read.
    pub said: Option<(&'d Parsed, TextDigest)>,
}

/// What several documents say together, by environment. `environments` are those that are to be told even where no
/// document names them any more.
pub fn merge(
    documents: &[Document<'_>],
    default: &EnvironmentName,
    environments: &BTreeSet<EnvironmentName>,
) -> Vec<TakeFile> {
    let of = |parsed: &Parsed| parsed.file.environment.clone().unwrap_or_else(|| default.clone());
    let mut groups: BTreeMap<EnvironmentName, Vec<(&str, &Parsed)>> =
        environments.iter().chain([default]).map(|name| (name.clone(), Vec::new())).collect();
    for document in documents {
        if let Some((parsed, _)) = document.said {
            groups.entry(of(parsed)).or_default().push((document.name, parsed));
        }
    }
    let named = |documents: &[Document<'_>]| documents.iter().map(|document| document.name.to_owned()).collect();
    let unread: BTreeMap<String, BTreeSet<String>> = documents
        .iter()
        .enumerate()
        .filter(|(_, document)| document.said.is_none())
        .map(|(at, document)| (document.name.to_owned(), named(&documents[at + 1..])))
        .collect();
    let digest = digest(documents);
    groups
        .into_iter()
        .map(|(environment, parts)| {
            let source =
                if environment == *default { IDENTITY.to_owned() } else { format!("{IDENTITY} {environment}") };
            let mut take = TakeFile {
                environment,
                source,
                digest,
                file: FlagFile::default(),
                bad: BTreeSet::new(),
                bad_keys: BTreeSet::new(),
                bad_segments: BTreeSet::new(),
                unread: unread.clone(),
                places: places(parts.iter().map(|(_, parsed)| *parsed)),
                allow_deletes: true,
            };
            parts.into_iter().for_each(|(name, parsed)| add(&mut take, name, parsed));
            take
        })
        .collect()
}

/// Lays a document over what the earlier ones said.
fn add(take: &mut TakeFile, name: &str, parsed: &Parsed) {
    for (id, definition) in &parsed.file.flags {
        let mut definition = definition.clone();
        definition.source = Some(name.to_owned());
        take.bad.remove(id);
        take.file.flags.insert(id.clone(), definition);
    }
    for id in &parsed.bad_flags {
        take.file.flags.remove(id);
        take.bad.insert(id.clone());
    }
    take.file.flags.retain(|id, _| !parsed.bad_keys.contains(id.key.as_str()));
    take.bad_keys.extend(parsed.bad_keys.iter().cloned());
    for (name, segment) in &parsed.file.segments {
        take.bad_segments.remove(name.as_str());
        take.file.segments.insert(name.clone(), segment.clone());
    }
    take.file.segments.retain(|name, _| !parsed.bad_segments.contains(name.as_str()));
    take.bad_segments.extend(parsed.bad_segments.iter().cloned());
}

/// By which the same documents in the same order are recognised.
fn digest(documents: &[Document<'_>]) -> TextDigest {
    let mut bytes = Vec::new();
    for document in documents {
        bytes.extend_from_slice(&digest_of(document.name.as_bytes()).0);
        bytes.extend_from_slice(&document.said.map_or([0; 32], |(_, digest)| digest.0));
    }
    digest_of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::key::{FlagId, FlagKey};
    use crate::flag::parse::{Format, parse_document};

    fn parsed(text: &str) -> (Parsed, TextDigest) {
        (parse_document(text.as_bytes(), Format::Json, Some("f")), digest_of(text.as_bytes()))
    }

    fn flag(key: &str, variant: &str) -> String {
        format!(r#""{key}":{{"state":"ENABLED","variants":{{"a":1,"b":2}},"defaultVariant":"{variant}"}}"#)
    }

    fn document(flags: &[String]) -> (Parsed, TextDigest) {
        parsed(&format!("{{\"flags\":{{{}}}}}", flags.join(",")))
    }

    fn merged(documents: &[(&str, Option<&(Parsed, TextDigest)>)]) -> TakeFile {
        let documents: Vec<Document<'_>> = documents
            .iter()
            .map(|(name, said)| Document { name, said: said.map(|(parsed, digest)| (parsed, *digest)) })
            .collect();
        let mut takes = merge(&documents, &EnvironmentName::new("production").unwrap(), &BTreeSet::new());
        assert_eq!(takes.len(), 1);
        takes.remove(0)
    }

    fn id(key: &str) -> FlagId {
        FlagId { flag_set: None, key: FlagKey::new(key).unwrap() }
    }

    fn answer(take: &TakeFile, key: &str) -> Option<(String, String)> {
        let flag = take.file.flags.get(&id(key))?;
        Some((flag.source.clone()?, flag.default_variant.as_ref()?.to_string()))
    }

    #[test]
    fn the_later_document_wins_and_every_flag_says_where_it_came_from() {
        let (one, two) = (document(&[flag("x", "a"), flag("y", "a")]), document(&[flag("x", "b")]));
        let take = merged(&[("one", Some(&one)), ("two", Some(&two))]);
        assert_eq!(answer(&take, "x"), Some(("two".to_owned(), "b".to_owned())));
        assert_eq!(answer(&take, "y"), Some(("one".to_owned(), "a".to_owned())));
        let take = merged(&[("two", Some(&two)), ("one", Some(&one))]);
        assert_eq!(answer(&take, "x"), Some(("one".to_owned(), "a".to_owned())));
    }

    #[test]
    fn a_flag_that_the_winner_has_wrong_is_bad_and_one_that_a_loser_has_wrong_is_good() {
        let (good, bad) = (document(&[flag("x", "a")]), document(&[flag("x", "nonsense")]));
        let take = merged(&[("good", Some(&good)), ("bad", Some(&bad))]);
        assert_eq!((answer(&take, "x"), take.bad.contains(&id("x"))), (None, true));
        let take = merged(&[("bad", Some(&bad)), ("good", Some(&good))]);
        assert_eq!(answer(&take, "x"), Some(("good".to_owned(), "a".to_owned())));
        assert!(take.bad.is_empty());
    }

    #[test]
    fn a_document_that_was_never_read_is_named_and_changes_the_digest() {
        let one = document(&[flag("x", "a")]);
        let (whole, part) = (merged(&[("one", Some(&one))]), merged(&[("one", Some(&one)), ("two", None)]));
        assert_eq!(part.unread, BTreeMap::from([("two".to_owned(), BTreeSet::new())]));
        let first = merged(&[("two", None), ("one", Some(&one))]);
        assert_eq!(first.unread, BTreeMap::from([("two".to_owned(), BTreeSet::from(["one".to_owned()]))]));
        assert!(whole.unread.is_empty());
        assert_ne!(whole.digest, part.digest);
    }

    #[test]
    fn documents_of_several_environments_are_told_apart() {
        let default = EnvironmentName::new("production").unwrap();
        let staging = EnvironmentName::new("staging").unwrap();
        let one = parsed(&format!("{{\"environment\":\"staging\",\"flags\":{{{}}}}}", flag("x", "a")));
        let named = Document { name: "one", said: Some((&one.0, one.1)) };
        let takes = merge(&[named], &default, &BTreeSet::new());
        let found: Vec<_> = takes.iter().map(|take| (take.environment.as_str(), take.file.flags.len())).collect();
        assert_eq!(found, [("production", 0), ("staging", 1)]);
        assert_ne!(takes[0].source, takes[1].source, "one must not delete what the other put");
        let takes = merge(&[], &default, &BTreeSet::from([staging]));
        assert_eq!(takes.len(), 2, "an environment that is named no more is told that its flags are gone");
    }
}
