//! Native flags as flagd's in-process clients get them: the published evaluators, over the translation, must give the
//! variant and the value that Rampart gives, and say STATIC and DISABLED exactly where Rampart does.
//!
//! DEFAULT and TARGETING_MATCH are not told apart: a translation may name the default variant where Rampart says that
//! nothing matched. Clients do the same with both; only a STATIC answer is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use rampart::eval::context::Context;
use rampart::eval::evaluate::evaluate;
use rampart::eval::outcome::Reason;
use rampart::eval::set::CompiledSet;
use rampart::eval::translate::translate;
use rampart::flag::key::{FlagId, FlagKey};
use rampart::flag::kill::{KillMark, KillSet};
use rampart::flag::time::{Generation, Timestamp};
use serde_json::{Map, Value, json};

use crate::script::{Language, Script};

use super::random::Random;
use super::rules::Rules;
use super::{CASES, Case, NOW_SECONDS, Said, compiled, from_environment, plain, theirs};

const FLAGS: usize = 200;
const CONTEXTS: usize = 6;
const ATTRIBUTES: [&str; 10] =
    ["email", "country", "tier", "age", "score", "beta", "groups", "marks", "place.country", "organisation"];

/// A condition map, a few levels deep.
fn condition(random: &mut Random, depth: usize) -> Value {
    let mut map = Map::new();
    for _ in 0..=random.below(2) {
        let attribute = (*random.pick(&ATTRIBUTES)).to_owned();
        match random.below(if depth == 0 { 6 } else { 10 }) {
            6 => drop(map.insert("not".to_owned(), condition(random, depth - 1))),
            7 => {
                let list: Vec<Value> = (0..=random.below(2)).map(|_| condition(random, depth - 1)).collect();
                map.insert((*random.pick(&["any", "all"])).to_owned(), Value::Array(list));
            }
            8 => drop(map.insert("segment".to_owned(), json!(format!("segment-{}", random.below(3))))),
            _ => drop(map.insert(attribute, test(random))),
        }
    }
    Value::Object(map)
}

fn test(random: &mut Random) -> Value {
    let text = json!(*random.pick(&["DE", "ada@example.com", "gold", "a", "Zürich", "1", "true", "", "org-7"]));
    let number = random.pick(&[json!(0), json!(1), json!(2.25), json!(-3), json!(17)]).clone();
    let scalar = random.pick(&[text.clone(), number.clone(), json!(true), json!(false)]).clone();
    match random.below(10) {
        0 => scalar,
        1 => json!({"eq": scalar}),
        2 => json!({"in": [scalar, text, number]}),
        3 => json!({"not_in": [scalar, text]}),
        4 => json!({"starts_with": [text, "D"]}),
        5 => json!({"ends_with": [text, ".com"]}),
        6 => json!({"contains": scalar}),
        7 | 8 => json!({*random.pick(&["lt", "lte", "gt", "gte"]): number}),
        _ => json!({"exists": random.chance(50)}),
    }
}

/// One variant or percentages, with what stands beside them.
fn serve(random: &mut Random, into: &mut Map<String, Value>) {
    if random.chance(50) {
        into.insert("serve".to_owned(), json!(*random.pick(&["on", "off", "blue"])));
        return;
    }
    let first = random.below(60);
    into.insert("serve".to_owned(), json!({"on": first, "blue": random.below(101 - first)}));
    into.insert(
        "hash".to_owned(),
        json!(*random.pick(&["murmur3", "murmur3", "murmur3_cbor", "murmur3_cbor", "xxh3"])),
    );
    if random.chance(30) {
        into.insert("by".to_owned(), json!("organisation"));
    }
    if random.chance(20) {
        into.insert("salt".to_owned(), json!("winter"));
    }
}

fn flag(random: &mut Random, index: usize) -> Value {
    let mut flag = Map::new();
    flag.insert("variants".to_owned(), json!({"on": "yes", "off": "no", "blue": "perhaps"}));
    if random.chance(85) {
        flag.insert("defaultVariant".to_owned(), json!(*random.pick(&["on", "off", "blue"])));
    }
    if random.chance(5) {
        flag.insert("state".to_owned(), json!("DISABLED"));
    }
    if random.chance(15) && index > 0 {
        let other = format!("flag-{}", random.below(index));
        flag.insert("requires".to_owned(), json!([{"flag": other, "variant": *random.pick(&["on", "off"])}]));
    }
    let rules: Vec<Value> = (0..random.below(4))
        .map(|_| {
            let mut rule = Map::new();
            rule.insert("when".to_owned(), condition(random, 2));
            serve(random, &mut rule);
            Value::Object(rule)
        })
        .collect();
    if !rules.is_empty() {
        flag.insert("rules".to_owned(), Value::Array(rules));
    }
    if random.chance(60) {
        serve(random, &mut flag);
    }
    Value::Object(flag)
}

fn document(random: &mut Random) -> Value {
    let segments: Map<String, Value> = (0..3).map(|index| (format!("segment-{index}"), condition(random, 0))).collect();
    let flags: Map<String, Value> = (0..FLAGS).map(|index| (format!("flag-{index}"), flag(random, index))).collect();
    json!({"segments": segments, "flags": flags})
}

/// A tenth of the flags is killed.
fn killed(random: &mut Random, set: &CompiledSet) -> CompiledSet {
    let mut kills = KillSet::default();
    for index in 0..FLAGS {
        if random.chance(10) {
            let id = FlagId::plain(FlagKey::new(&format!("flag-{index}")).expect("a key"));
            kills.merge(&id, KillMark { generation: Generation(1), killed: true });
        }
    }
    set.with_kills(Arc::new(kills))
}

/// Whether clients may keep the answer, in words: reasons that they treat alike are one.
fn alike(mut said: Said) -> Said {
    if matches!(said.reason.as_deref(), Some("SPLIT" | "TARGETING_MATCH")) {
        said.reason = Some("DEFAULT".to_owned());
    }
    said
}

/// What Rampart says.
fn ours(set: &CompiledSet, case: &Case) -> Said {
    let context = case.context.to_string();
    let context = Context::from_json(context.as_bytes()).expect("the generator makes contexts");
    let flag = set.flag(None, &case.flag).expect("translated, so there");
    let answer = evaluate(set, flag, &context, Timestamp::from_micros(NOW_SECONDS * 1_000_000));
    // No value, so the code default: flagd has one word for it, whatever Rampart says.
    let reason = match (answer.reason, answer.variant) {
        (Reason::Static, None) => Reason::Default,
        (reason, _) => reason,
    };
    Said {
        value: plain(answer.value.unwrap_or(&Value::Null)),
        variant: answer.variant.map(|variant| variant.as_str().to_owned()),
        reason: Some(reason.as_str().to_owned()),
        error: None,
        note: Value::Null,
    }
}

#[test]
fn translated_flags_answer_in_process_as_they_do_on_the_server() {
    let seed = from_environment("RAMPART_SEED").unwrap_or_else(Random::seed);
    println!("RAMPART_SEED={seed}");
    let mut random = Random::of(seed);
    let mut compiling = Script::start(Language::Node, "workers/flagd_core.mjs", &["compiled"]);
    let mut interpreting = Script::start(Language::Node, "workers/flagd_core.mjs", &["interpreted"]);
    let mut python = Script::start(Language::Python, "workers/flagd_core.py", &[]);
    let wanted: usize = from_environment("RAMPART_CASES").unwrap_or(CASES);
    let (mut compared, mut left_out, mut differences) = (0, BTreeMap::<&str, usize>::new(), Vec::new());
    while compared < wanted {
        let document = document(&mut random);
        let set = compiled(&document).0;
        let set = killed(&mut random, &set);
        let contexts: Vec<Value> = (0..CONTEXTS * 4).map(|_| Rules::new(&mut random, true).context()).collect();
        let (mut flags, mut cases) = (Map::new(), Vec::new());
        for flag in set.iter() {
            let key = flag.id().key.as_str().to_owned();
            match translate(&set, flag) {
                Ok(translation) => {
                    for _ in 0..CONTEXTS {
                        let context = random.pick(&contexts).clone();
                        let definition = document["flags"][&key].clone();
                        cases.push(Case { flag: key.clone(), kind: "string", definition, context });
                    }
                    flags.insert(key, translation);
                }
                Err(obstacles) => *left_out.entry(obstacles[0].code).or_default() += 1,
            }
        }
        // A flag that hashes is for the clients of that generation. JavaScript's make code of rules unless they are told
        // not to, as where a page forbids it.
        for (worker, name, other) in [
            (&mut compiling, "JavaScript, compiled", "v3"),
            (&mut interpreting, "JavaScript, interpreted", "v3"),
            (&mut python, "Python", "v2"),
        ] {
            let payload = json!({ "flags": flags });
            let said = theirs(worker, &payload, &cases);
            for (case, theirs) in cases.iter().zip(&said) {
                if flags[&case.flag]["metadata"]["fractionalHash"] == other {
                    continue;
                }
                compared += 1;
                let ours = ours(&set, case);
                if !alike(theirs.clone()).agrees(&alike(ours.clone())) {
                    differences.push(json!({"peer": name, "flag": case.flag, "definition": case.definition,
                        "translation": flags[&case.flag], "context": case.context,
                        "theirs": theirs.json(), "ours": ours.json()}));
                }
            }
        }
    }
    if let Some(file) = std::env::var_os("RAMPART_DIFFERENCES") {
        super::append(&file, &differences);
    }
    println!("{compared} answers compared; flags without a translation: {left_out:?}");
    if let Some(first) = differences.first() {
        panic!("{} of {compared} answers differ, RAMPART_SEED={seed}; the first: {first:#}", differences.len());
    }
}
