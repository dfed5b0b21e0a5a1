//! What documents mean and what the parser survives. Single mistakes are in `tests/vectors/bad-definitions`.

use super::*;
use crate::flag::definition::{Condition, Operator, ServeTo, State};
use crate::flag::generate::{definitions, segments};
use crate::flag::key::{FlagKey, VariantName};
use crate::flag::limits::{
    CONDITIONS_MAX, DIAGNOSTICS_MAX, DOCUMENT_NESTING_MAX, FLAGS_MAX, LIST_VALUES_MAX, RULES_MAX,
};
use crate::flag::percent::Percent;
use crate::flag::print::{definition_to_json, segment_to_json};
use proptest::prelude::*;
use serde_json::json;

fn yaml(text: &str) -> Parsed {
    parse_document(text.as_bytes(), Format::Yaml, Some("flags.yaml"))
}

fn good(text: &str) -> FlagFile {
    let parsed = yaml(text);
    assert_eq!(parsed.diagnostics, []);
    parsed.file
}

fn id(key: &str) -> FlagId {
    FlagId::plain(FlagKey::new(key).expect("a valid key"))
}

fn codes(parsed: &Parsed) -> Vec<&'static str> {
    parsed.diagnostics.iter().map(|found| found.code).collect()
}

#[test]
fn a_document_yields_environment_segments_and_flags() {
    let file = good(
        r#"
environment: production
segments:
  internal: {any: [{email: {ends_with: "@example.com"}}, {group: {in: [staff, qa]}}]}
flags:
  sliceB_documents:
    description: New document flow (Slice B)
    variants: {"on": true, "off": false}
    defaultVariant: "off"
    safeVariant: "off"
    owner: documents-team
    requires: [{flag: document_storage_v2, variant: "on"}]
    rules:
      - name: staff first
        when: {segment: internal}
        serve: "on"
      - when: {app_version: {semver_gte: "2.4.0"}, country: {in: [DE, AT]}}
        serve: {"on": "5%"}
    serve: {"on": 0.125}
"#,
    );
    assert_eq!(file.environment.as_ref().map(|name| name.as_str()), Some("production"));
    assert_eq!(file.segments.len(), 1);
    let flag = &file.flags[&id("sliceB_documents")];
    assert_eq!(flag.state, State::Enabled);
    assert_eq!(flag.rules.len(), 2);
    assert!(matches!(&flag.rules[0].when, Condition::Segment(name) if name.as_str() == "internal"));
    assert!(matches!(&flag.rules[1].when, Condition::All(both) if both.len() == 2));
    let Some(ServeTo::Percentages(shares)) = flag.serve.as_ref().map(|serve| &serve.to) else {
        unreachable!("percentages")
    };
    assert_eq!(shares[&VariantName::new("on").expect("a valid name")], Percent::from_thousandths(125).expect("small"));
}

#[test]
fn conditions_mean_the_same_in_any_order_and_in_both_forms() {
    let short = parse_segment(b"{country: DE, age: {gte: 18, lt: 65}}", Format::Yaml).0;
    let long = parse_segment(
        br#"{"all": [{"age": {"gte": 18}}, {"age": {"lt": 65}}, {"country": {"eq": "DE"}}]}"#,
        Format::Json,
    )
    .0;
    assert!(short.is_some());
    assert_eq!(short, long);
    let literal = parse_segment(br#"{"attr": {"name": "a.b", "exists": true}}"#, Format::Json).0.expect("valid");
    let Condition::Test(test) = literal.when else { unreachable!("one test") };
    assert_eq!(test.attribute.parts(), ["a.b"]);
    assert_eq!(test.operator, Operator::Exists(true));
}

#[test]
fn a_flagd_file_is_a_valid_file() {
    let text = br#"{
        "$schema": "https://flagd.dev/schema/v0/flags.json",
        "metadata": {"flagSetId": "shop", "version": 3},
        "flags": {
            "plain": {"state": "ENABLED", "variants": {"a": 1, "b": 2.0}, "defaultVariant": "a", "targeting": {}},
            "none": {"state": "DISABLED", "variants": {"a": "x"}, "defaultVariant": null},
            "empty": {"state": "ENABLED", "variants": {"a": "x"}, "defaultVariant": "", "metadata": {"flagSetId": "", "version": 4}},
            "ruled": {"state": "ENABLED", "variants": {"a": {}}, "targeting": {"if": [true, "a", null]}}
        }}"#;
    let parsed = parse_document(text, Format::Json, None);
    assert_eq!(parsed.diagnostics, []);
    let set = FlagSetName::new("shop").expect("a valid name");
    let shop = |key: &str| FlagId { flag_set: Some(set.clone()), ..id(key) };
    let flags = &parsed.file.flags;
    assert_eq!(parsed.file.flag_set.as_ref(), Some(&set));
    assert_eq!(flags[&shop("plain")].targeting, None);
    assert_eq!(flags[&shop("plain")].metadata["version"], json!(3));
    assert_eq!(flags[&shop("plain")].variants["b"].to_string(), "2.0");
    assert_eq!(flags[&shop("none")].default_variant, None);
    assert_eq!(flags[&id("empty")].default_variant, None);
    assert_eq!(flags[&id("empty")].metadata, [("version".to_owned(), json!(4))].into());
    assert_eq!(flags[&shop("ruled")].targeting, Some(json!({"if": [true, "a", null]})));

    let list = br#"{"flags": [{"key": "a", "state": "ENABLED", "variants": {"x": 1}}]}"#;
    let parsed = parse_document(list, Format::Json, None);
    assert_eq!(parsed.diagnostics, []);
    assert_eq!(parsed.pointers[&id("a")], "/flags/0");
}

#[test]
fn evaluators_are_put_in_the_place_of_references() {
    let text = br#"{
        "$evaluators": {
            "is_ballmer": {"==": ["ballmer@macrosoft.com", {"var": ["email"]}]},
            "nested": {"and": [{"$ref": "is_ballmer"}]},
            "nothing": {}
        },
        "flags": {
            "a": {"state": "ENABLED", "variants": {"x": 1}, "targeting": {"if": [{"$ref":"is_ballmer"}, "x", {"!": {"$ref" : "is_ballmer"}}]}},
            "b": {"state": "ENABLED", "variants": {"x": 1}, "targeting": {"$ref": "is_ballmer"}},
            "c": {"state": "ENABLED", "variants": {"x": 1}, "targeting": {"if": [{"$ref": "is_balmer"}, {"$ref": "nested"}]}},
            "d": {"state": "ENABLED", "variants": {"x": 1}, "targeting": {"$ref": "nothing"}},
            "e": {"state": "ENABLED", "variants": {"x": 1}, "targeting": {"==": [{"$ref": 1}, {"$ref": "nothing", "other": 1}]}}
        }}"#;
    let parsed = parse_document(text, Format::Json, None);
    let ballmer = json!({"==": ["ballmer@macrosoft.com", {"var": ["email"]}]});
    let targeting = |key: &str| parsed.file.flags[&id(key)].targeting.clone();
    assert_eq!(targeting("a"), Some(json!({"if": [ballmer, "x", {"!": ballmer}]})));
    assert_eq!(targeting("b"), Some(ballmer.clone()));
    // Neither unknown nor nested references are followed; both are named with their places.
    assert_eq!(targeting("c"), Some(json!({"if": [{"$ref": "is_balmer"}, {"and": [{"$ref": "is_ballmer"}]}]})));
    assert_eq!(targeting("d"), None);
    assert_eq!(targeting("e"), Some(json!({"==": [{"$ref": 1}, {"$ref": "nothing", "other": 1}]})));
    let found: Vec<_> = parsed
        .diagnostics
        .iter()
        .map(|found| (found.code, found.pointer.as_str(), found.position.map_or(0, |position| position.line)))
        .collect();
    assert_eq!(
        found,
        [("nested-evaluator", "/$evaluators/nested/and/0", 4), ("unknown-evaluator", "/flags/c/targeting/if/0", 10)]
    );
    assert!(parsed.diagnostics[1].help.contains("`is_ballmer`"));
}

#[test]
fn a_flag_alone_has_no_evaluators() {
    let body = br#"{"variants": {"x": 1}, "targeting": {"$ref": "is_ballmer"}}"#;
    let (definition, diagnostics, _) = parse_definition(body, Format::Json, None);
    assert_eq!(definition.and_then(|flag| flag.targeting), Some(json!({"$ref": "is_ballmer"})));
    assert!(diagnostics.iter().any(|found| found.code == "unknown-evaluator"));
}

#[test]
fn evaluators_cannot_fill_the_memory_or_the_stack() {
    // The twelve levels around it are the rule's and the document's.
    const FITTING: usize = DOCUMENT_NESTING_MAX - 12;
    let references = |count: usize| vec![json!({"$ref": "e"}); count];
    let flag = |targeting: Value| json!({"state": "ENABLED", "variants": {"x": 1}, "targeting": targeting});
    let document = |evaluator: Value, bad: Value| {
        let flags = json!({"bad": flag(bad), "good": flag(json!({"==": [1, 2]}))});
        let text = json!({"$evaluators": {"e": evaluator}, "flags": flags}).to_string();
        parse_document(text.as_bytes(), Format::Json, None)
    };
    let deep = |levels: usize| json!({ "!": (1..levels).fold(json!(1), |inner, _| json!([inner])) });
    let many = json!({ "in": ["a", vec![1; 10_000]] });
    let long = json!({ "==": ["x", "y".repeat(1024 * 1024)] });
    for (evaluator, bad, code) in [
        (many, json!({"or": references(100)}), "too-large"),
        (long, json!({"or": references(100)}), "too-large"),
        (deep(FITTING + 1), json!({"or": [[[[[[[[{"$ref": "e"}]]]]]]]]}), "nesting"),
    ] {
        let parsed = document(evaluator, bad);
        assert_eq!(codes(&parsed), [code]);
        assert_eq!(
            parsed.diagnostics[0].pointer.split('/').take(4).collect::<Vec<_>>(),
            ["", "flags", "bad", "targeting"]
        );
        assert_eq!(parsed.bad_flags, [id("bad")].into());
        check_promises(&parsed);
    }
    assert_eq!(codes(&document(deep(FITTING), json!({"or": [[[[[[[[{"$ref": "e"}]]]]]]]]}))), [""; 0]);
}

#[test]
fn a_bad_flag_or_segment_does_not_spoil_its_neighbours() {
    let parsed = yaml(
        r#"
segments:
  good: {a: 1}
  bad: {a: []}
flags:
  good: {state: ENABLED, variants: {a: 1}}
  bad: {state: ENABLED, variants: {a: null}}
  worse: {owner: x, variants: {a: 1}, metadata: {a: []}}
  lost: {state: ENABLED, variants: {a: 1}, metadata: {flagSetId: [1]}}
"#,
    );
    assert!(!parsed.unreadable);
    assert_eq!(parsed.file.flags.keys().collect::<Vec<_>>(), [&id("good")]);
    assert_eq!(parsed.bad_flags, [id("bad"), id("worse")].into());
    assert_eq!(parsed.bad_keys, ["lost".to_owned()].into());
    assert_eq!(parsed.bad_segments, ["bad".to_owned()].into());
    assert!(!parsed.is_good());
}

#[test]
fn of_twins_neither_is_used() {
    let parsed = yaml("flags:\n  a: {state: ENABLED, variants: {x: 1}}\n  a: {state: ENABLED, variants: {y: 1}}\n");
    assert_eq!(parsed.file.flags.len(), 0);
    assert_eq!(parsed.bad_flags, [id("a")].into());
    assert_eq!(codes(&parsed), ["duplicate-key"]);
}

#[test]
fn what_makes_the_whole_document_doubtful_makes_it_unreadable() {
    let flag = "a: {state: ENABLED, variants: {x: 1}}";
    for text in [
        "".to_owned(),
        "[]".to_owned(),
        format!("flags: {{{flag}"),
        format!("environment: Prod\nflags: {{{flag}}}"),
        format!("metadata: {{flagSetId: 1}}\nflags: {{{flag}}}"),
        format!("segments: []\nflags: {{{flag}}}"),
        format!("flags: {{{flag}}}\nflags: {{}}"),
        "flags: [{state: ENABLED, variants: {x: 1}}]".to_owned(),
        format!("segments: {{}}\nflag_sets: 1\nflags: {{{flag}}}"),
    ] {
        let parsed = yaml(&text);
        assert!(parsed.unreadable, "{text}");
        assert_eq!(parsed.file, FlagFile::default(), "{text}");
        assert!(!parsed.is_good(), "{text}");
    }
}

#[test]
fn every_diagnostic_says_file_place_pointer_and_cure() {
    let parsed = yaml("flags:\n  a:\n    variants: {x: 1}\n    serve: z\n");
    let text: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "flags.yaml:4:12: error[unknown-variant] at /flags/a/serve: `z` is not a variant of the flag; help: the variants are: x"
        ]
    );
    // What is found later has a place, too.
    let later = Diagnostic::error("unknown-flag", "/flags/a/serve", "", "");
    assert_eq!(parsed.positions.locate(later).position, Some(Position { line: 4, column: 12 }));
}

#[test]
fn a_flag_alone_belongs_to_the_flag_set_of_the_request() {
    let shop = FlagSetName::new("shop").expect("a valid name");
    let body = br#"{"variants": {"a": 1}, "serve": "a", "metadata": {"flagSetId": "shop", "team": "x"}}"#;
    let (definition, diagnostics, _) = parse_definition(body, Format::Json, Some(&shop));
    assert_eq!(diagnostics, []);
    assert_eq!(definition.map(|flag| flag.metadata), Some([("team".to_owned(), json!("x"))].into()));
    for set in [None, Some(FlagSetName::new("other").expect("a valid name"))] {
        let (definition, diagnostics, _) = parse_definition(body, Format::Json, set.as_ref());
        assert_eq!(definition, None);
        assert_eq!((diagnostics[0].code, diagnostics[0].pointer.as_str()), ("other-flag-set", "/metadata/flagSetId"));
    }
}

#[test]
fn the_same_limits_bind_a_document_and_a_flag_alone() {
    let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let flag = |levels: usize| format!("{{\"variants\": {{\"x\": {}}}, \"owner\": \"t\"}}", deep(levels));
    let document = |levels: usize| format!("{{\"flags\": {{\"f\": {}}}}}", flag(levels));
    for (levels, fits) in [(OBJECT_NESTING_MAX - 2, true), (OBJECT_NESTING_MAX - 1, false)] {
        for format in [Format::Json, Format::Yaml] {
            assert_eq!(parse_definition(flag(levels).as_bytes(), format, None).0.is_some(), fits);
            assert_eq!(parse_document(document(levels).as_bytes(), format, None).is_good(), fits);
        }
        let value: Value = serde_json::from_str(&flag(levels)).expect("JSON");
        assert_eq!(definition_from_json(&value).is_ok(), fits);
    }
}

#[test]
fn limits_are_enforced_with_their_numbers() {
    let flag = |rules: Value| json!({"flags": {"a": {"variants": {"x": 1}, "rules": rules}}});
    let rule = |when: Value| json!({"when": when, "serve": "x"});
    let values: Vec<usize> = (0..=LIST_VALUES_MAX).collect();
    let conditions: Vec<Value> = (0..CONDITIONS_MAX / 2).map(|_| json!({"a": {"gte": 1, "lte": 2}})).collect();
    let flags: serde_json::Map<String, Value> = (0..=FLAGS_MAX).map(|n| (n.to_string(), Value::Null)).collect();
    for (document, limit) in [
        (flag(vec![rule(json!({})); RULES_MAX + 1].into()), RULES_MAX),
        (flag(json!([rule(json!({"a": {"in": values}}))])), LIST_VALUES_MAX),
        (flag(json!([rule(json!({"any": conditions, "b": 1}))])), CONDITIONS_MAX),
        (json!({ "flags": flags }), FLAGS_MAX),
    ] {
        let parsed = parse_document(document.to_string().as_bytes(), Format::Json, None);
        assert_eq!(codes(&parsed), ["too-many"]);
        assert!(parsed.diagnostics[0].message.contains(&limit.to_string()), "{}", parsed.diagnostics[0]);
    }
    let large = vec![b' '; FILE_BYTES_MAX + 1];
    assert_eq!(codes(&parse_document(&large, Format::Json, None)), ["too-large"]);
}

#[test]
fn too_many_diagnostics_are_counted_and_errors_come_before_warnings() {
    let flags: Vec<String> = (0..DIAGNOSTICS_MAX * 2).map(|n| format!("  f{n}: {{variants: {{x: 1}}}}\n")).collect();
    let parsed = yaml(&format!("flags:\n{}  bad: {{state: 1, variants: {{x: 1}}}}\n", flags.concat()));
    assert_eq!(parsed.diagnostics.len(), DIAGNOSTICS_MAX + 1);
    assert!(parsed.diagnostics.iter().any(|found| found.pointer == "/flags/bad/state"));
    let last = parsed.diagnostics.last().expect("some");
    assert!(last.code == "more" && !last.is_error() && last.message.starts_with("201 more"), "{last}");
    assert_eq!(parsed.file.flags.len(), DIAGNOSTICS_MAX * 2);
}

#[test]
fn a_byte_order_mark_is_skipped_and_formats_are_told_apart() {
    for text in ["\u{feff}{\"flags\": {}}", "\u{feff}flags: {}"] {
        let format = Format::of_text(text.as_bytes());
        assert_eq!(codes(&parse_document(text.as_bytes(), format, None)), [""; 0], "{text}");
    }
    assert_eq!(Format::of_text(b" \n[1]"), Format::Json);
    assert_eq!(Format::of_path(FilePath::new("a/b.YML")), Some(Format::Yaml));
    assert_eq!(Format::of_path(FilePath::new("json")), None);
}

#[test]
fn deep_nesting_is_one_clear_diagnostic() {
    for text in ["[".repeat(100_000), "{\"a\":".repeat(100_000), "{\"flags\":".repeat(100_000)] {
        for format in [Format::Json, Format::Yaml] {
            let parsed = parse_document(text.as_bytes(), format, None);
            assert_eq!(codes(&parsed), ["nesting"]);
            assert!(parsed.unreadable && parsed.diagnostics[0].position.is_some());
        }
    }
}

/// A valid document with one byte changed, removed, repeated or cut off.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let document = (definitions(), segments()).prop_map(|(definition, segment)| {
        json!({"segments": {"s": segment_to_json(&segment)}, "flags": {"f": definition_to_json(&definition)}})
    });
    let mutation = (any::<prop::sample::Index>(), any::<u8>(), 0..4u8);
    (document, prop::collection::vec(mutation, 1..4)).prop_map(|(document, mutations)| {
        let mut bytes = document.to_string().into_bytes();
        for (index, byte, kind) in mutations {
            let at = index.index(bytes.len().max(1));
            match kind {
                _ if bytes.is_empty() => {}
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, bytes[at]),
                _ => bytes.truncate(at),
            }
        }
        bytes
    })
}

/// What every result keeps to, whatever the text was.
fn check_promises(parsed: &Parsed) {
    assert!(!parsed.unreadable || parsed.diagnostics.iter().any(Diagnostic::is_error));
    assert!(!parsed.unreadable || parsed.file == FlagFile::default());
    let broken = parsed.unreadable
        || !(parsed.bad_flags.is_empty() && parsed.bad_keys.is_empty() && parsed.bad_segments.is_empty());
    assert_eq!(broken, parsed.diagnostics.iter().any(Diagnostic::is_error), "{:?}", parsed.diagnostics);
    assert!(parsed.diagnostics.len() <= DIAGNOSTICS_MAX + 1);
    for found in &parsed.diagnostics {
        assert!(found.position.is_some() || found.code == "more", "{found}");
        assert!(!found.message.is_empty() && !found.help.is_empty(), "{found}");
    }
    for definition in parsed.file.flags.values() {
        assert_eq!(definition_from_json(&definition_to_json(definition)).as_ref(), Ok(definition));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::Json, Format::Yaml] {
            check_promises(&parse_document(&bytes, format, None));
        }
    }

    #[test]
    fn any_words_of_the_language_are_read_or_refused(
        words in prop::collection::vec(prop::sample::select(&WORDS[..]), 0..60)
    ) {
        let text = words.concat();
        for format in [Format::Json, Format::Yaml] {
            check_promises(&parse_document(text.as_bytes(), format, None));
            let _ = parse_definition(text.as_bytes(), format, None);
        }
    }

    #[test]
    fn damaged_documents_are_read_or_refused(bytes in mutated()) {
        for format in [Format::Json, Format::Yaml] {
            check_promises(&parse_document(&bytes, format, None));
        }
    }
}

const WORDS: [&str; 32] = [
    "flags",
    "segments",
    "variants",
    "serve",
    "rules",
    "when",
    "defaultVariant",
    "metadata",
    "flagSetId",
    "any",
    "attr",
    "in",
    "a",
    "on",
    ": ",
    ": ",
    ": ",
    ", ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    "5",
    "1e1",
    "&a ",
    "*a",
    "<<",
];
