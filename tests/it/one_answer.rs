//! One question, one answer: generated flags and contexts through every surface of a real server, and in process.
//!
//! The reference is what a subscriber evaluates in its own process. Each surface must give the same variant and value,
//! and the reason that the design's table names for it: flagd's surfaces say TARGETING_MATCH for percentages, and
//! flagd's first version has no way to say "use the code default" but NOT_FOUND.

use std::collections::BTreeMap;

use rampart::client::options::Options;
use rampart::client::subscription::follow;
use rampart::eval::context::Context;
use rampart::eval::evaluate::evaluate;
use rampart::eval::fractional::FractionalHash;
use rampart::eval::outcome::{ErrorCode, Reason};
use rampart::eval::set::CompiledSet;
use rampart::flag::time::Timestamp;
use rampart::proto::rampart_v1 as wire;
use rampart::proto::rampart_v1::evaluation_client::EvaluationClient;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::harness::flagd::{Flagd, Transport};
use crate::harness::{GUARD, Server, http::Client};

/// Whoever changes it sees other flags; every run sees the same.
const SEED: u64 = 20_261_124;
const FLAGS: usize = 90;

/// A sequence of numbers that is the same everywhere (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).expect("small")
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.roll(list.len())].clone()
    }
}

fn variants(dice: &mut Dice) -> Value {
    dice.pick(&[
        json!({"a": true, "b": false, "c": false}),
        json!({"a": "red", "b": "", "c": "grün"}),
        json!({"a": 1, "b": 10, "c": -7}),
        json!({"a": 0.5, "b": 10.0, "c": 1e100}),
        json!({"a": {}, "b": {"deep": [1, {"x": null}], "n": 2.5}, "c": {"t": "text"}}),
    ])
}

fn when(dice: &mut Dice) -> Value {
    dice.pick(&[
        json!({"country": {"in": ["DE", "AT"]}}),
        json!({"segment": "staff"}),
        json!({"app_version": {"semver_gte": "2.0.0"}}),
        json!({"age": {"gt": 17.5}, "country": "DE"}),
        json!({"not": {"address.city": "Berlin"}}),
        json!({"tags": {"contains": "beta"}}),
        json!({}),
    ])
}

fn serve(dice: &mut Dice) -> Value {
    dice.pick(&[
        json!("b"),
        json!({"b": 50}),
        json!({"b": 0}),
        json!({"b": 100}),
        json!({"b": 30, "c": 30}),
        json!({"a": 20, "b": 40, "c": 40}),
    ])
}

fn targeting(dice: &mut Dice) -> Value {
    dice.pick(&[
        json!({"if": [{"in": [{"var": "country"}, ["DE", "AT"]]}, "b", "c"]}),
        json!({"if": [{"ends_with": [{"var": "email"}, "@example.com"]}, "b", null]}),
        json!({"fractional": [["b", 50], ["c", 50]]}),
        json!({"fractional": [{"var": "email"}, ["b", 1], ["c", 3]]}),
        json!({"if": [{"sem_ver": [{"var": "app_version"}, ">=", "2.0.0"]}, "b"]}),
        json!({"if": [{">": [{"var": "age"}, 17]}, "nowhere", "b"]}),
        json!({"no such operator": [1]}),
        json!({"if": [{"==": [{"var": "$flagd.flagKey"}, "flag-3"]}, "b", "c"]}),
        json!({"var": "chosen"}),
    ])
}

fn flag(dice: &mut Dice, number: usize) -> Value {
    let mut flag = json!({"state": "ENABLED", "variants": variants(dice), "defaultVariant": "a"});
    match dice.roll(10) {
        0 | 1 => {}
        2..=4 => flag["targeting"] = targeting(dice),
        5 => flag["serve"] = serve(dice),
        6 => {
            flag["serve"] = serve(dice);
            flag["hash"] = dice.pick(&[json!("murmur3"), json!("murmur3_cbor")]);
            if dice.roll(2) == 0 {
                flag["by"] = json!("email");
            }
        }
        7 if number > 0 => {
            let other = format!("flag-{}", dice.roll(number));
            flag["requires"] = json!([{"flag": other, "variant": dice.pick(&["a", "b"])}]);
            flag["serve"] = json!("b");
        }
        _ => {
            let rule = |dice: &mut Dice| json!({"when": when(dice), "serve": serve(dice)});
            flag["rules"] = json!([rule(dice), rule(dice)]);
            flag["serve"] = serve(dice);
        }
    }
    match dice.roll(8) {
        0 => drop(flag.as_object_mut().expect("an object").remove("defaultVariant")),
        1 => flag["state"] = json!("DISABLED"),
        2 => flag["metadata"] = json!({"team": "documents", "n": 2, "f": 2.5, "yes": true}),
        _ => {}
    }
    flag
}

fn contexts() -> Vec<Value> {
    let mut contexts = vec![json!({}), json!({"targetingKey": ""}), json!({"targetingKey": 42, "country": "AT"})];
    for user in 0..12 {
        let mut context = json!({"targetingKey": format!("user-{user}"), "age": user * 3});
        let more = [
            json!({"country": "DE", "app_version": "2.4.1"}),
            json!({"country": "FR", "app_version": "1.9.9", "email": "u@example.com", "group": "staff"}),
            json!({"address": {"city": "Berlin"}, "tags": ["alpha", "beta"], "email": format!("{user}@example.com")}),
            json!({"country": null, "app_version": 2, "email": ["x"], "tags": "beta", "chosen": "b"}),
        ];
        let more = more[user % more.len()].as_object().expect("an object").clone();
        context.as_object_mut().expect("an object").extend(more);
        contexts.push(context);
    }
    contexts
}

/// An answer, whoever gave it.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    variant: Option<String>,
    value: Option<Value>,
    reason: String,
    error: Option<String>,
    killed: bool,
    no_unit: bool,
}

fn in_process(set: &CompiledSet, key: &str, context: &[u8]) -> Answer {
    let context = Context::from_json(context).expect("a context");
    let flag = set.flag(None, key).expect("the flag reached the subscriber");
    let said = evaluate(set, flag, &context, Timestamp::from_micros(1_700_000_000_000_000));
    Answer {
        variant: said.variant.map(ToString::to_string),
        value: said.value.cloned(),
        reason: said.reason.as_str().to_owned(),
        error: said.error.map(|code| code.as_str().to_owned()),
        killed: said.killed.is_some(),
        no_unit: said.no_unit,
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn ofrep(body: &Value) -> Answer {
    Answer {
        variant: text(&body["variant"]),
        value: body.get("value").cloned(),
        reason: text(&body["reason"]).unwrap_or_else(|| "ERROR".to_owned()),
        error: text(&body["errorCode"]),
        killed: body["metadata"]["killed"] == true,
        no_unit: body["metadata"]["noUnit"] == true,
    }
}

fn native(said: &wire::Evaluated) -> Answer {
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    let metadata = json(&said.metadata_json).unwrap_or_default();
    Answer {
        variant: said.variant.clone(),
        value: json(&said.value_json),
        reason: said.reason.clone(),
        error: said.error_code.clone(),
        killed: metadata["killed"] == true,
        no_unit: metadata["noUnit"] == true,
    }
}

/// What flagd's protocol makes of an answer: the message, or the name of the status.
fn as_flagd(answer: &Answer, version: &str) -> Result<Answer, &'static str> {
    match answer.error.as_deref() {
        Some("PARSE_ERROR") => return Err("data_loss"),
        Some(_) => return Err("internal"),
        None => {}
    }
    if answer.variant.is_none() && version == "v1" {
        return Err("not_found");
    }
    let reason = if answer.reason == "SPLIT" { "TARGETING_MATCH".to_owned() } else { answer.reason.clone() };
    Ok(Answer { reason, ..answer.clone() })
}

/// A message of flagd's in protobuf's JSON form. Integers are texts there, and absent fields are zero in version 1.
fn from_flagd(message: &Value, expected: &Answer) -> Answer {
    let zero = match &expected.value {
        Some(Value::Bool(_)) => json!(false),
        Some(Value::Number(_)) => json!(0),
        Some(Value::String(_)) => json!(""),
        _ => json!({}),
    };
    let value = message.get("value").cloned().or_else(|| expected.value.as_ref().map(|_| zero));
    Answer {
        variant: text(&message["variant"]),
        value,
        reason: text(&message["reason"]).unwrap_or_default(),
        error: None,
        killed: message["metadata"]["killed"] == true,
        no_unit: message["metadata"]["noUnit"] == true,
    }
}

/// The same value where numbers count by what they are worth: a Struct makes every number a double, and an int64 is a
/// text in JSON.
fn alike(left: &Value, right: &Value) -> bool {
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.parse().ok());
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, value)| right.get(key).is_some_and(|it| alike(value, it)))
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| alike(left, right))
        }
        (Value::Number(_), _) | (_, Value::Number(_)) => number(left) == number(right),
        _ => left == right,
    }
}

fn assert_alike(said: &Answer, expected: &Answer, place: &str) {
    let values = match (&said.value, &expected.value) {
        (Some(said), Some(expected)) => alike(said, expected),
        (said, expected) => said == expected,
    };
    assert!(values, "{place}: {said:?} instead of {expected:?}");
    let bare = |answer: &Answer| Answer { value: None, ..answer.clone() };
    assert_eq!(bare(said), bare(expected), "{place}");
}

/// The state that a subscriber holds once it is up to date.
fn subscribed(server: &Server) -> CompiledSet {
    let options = Options::new(&format!("http://{}", server.data), "one-answer".to_owned());
    let stop = CancellationToken::new();
    let (send, set) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (stopping, done) = (stop.clone(), stop.clone());
    let following = std::thread::spawn(move || {
        drop(runtime.block_on(follow(&options, &stopping, |_, replica| {
            if replica.set().len() == FLAGS && !replica.set().kills().is_empty() {
                drop(send.send(replica.set().clone()));
                done.cancel();
            }
        })));
    });
    let set = set.recv_timeout(GUARD).expect("the subscriber catches up");
    following.join().expect("no panic");
    set
}

struct Surfaces {
    http: Client,
    flagd: Flagd,
    native: EvaluationClient<Channel>,
    runtime: tokio::runtime::Runtime,
}

impl Surfaces {
    fn of(server: &Server) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let endpoint = Endpoint::from_shared(format!("http://{}", server.data)).expect("an address");
        let channel = runtime.block_on(endpoint.connect()).expect("the server listens");
        Self { http: server.data(), flagd: Flagd::of(server), native: EvaluationClient::new(channel), runtime }
    }

    fn check(&mut self, key: &str, context: &Value, expected: &Answer) {
        let place = |surface: &str| format!("{surface} of {key} for {context}");
        let single = self.http.post(&format!("/ofrep/v1/evaluate/flags/{key}"), &json!({"context": context})).json();
        assert_alike(&ofrep(&single), expected, &place("OFREP"));
        let asked = wire::EvaluateRequest {
            flag_key: key.to_owned(),
            flag_set: None,
            context_json: context.to_string().into_bytes().into(),
        };
        let said = self.runtime.block_on(self.native.evaluate(asked)).expect("an answer").into_inner();
        assert_alike(&native(&said.evaluated.expect("there")), expected, &place("rampart.v1"));
    }

    /// All protocols and versions, with every method that fits the flag's type.
    fn check_flagd(&mut self, key: &str, kind: &Value, context: &Value, expected: &Answer) {
        let methods: &[&str] = match kind {
            Value::Bool(_) => &["ResolveBoolean"],
            Value::String(_) => &["ResolveString"],
            Value::Number(number) if number.is_i64() => &["ResolveFloat", "ResolveInt"],
            Value::Number(_) => &["ResolveFloat"],
            _ => &["ResolveObject"],
        };
        for version in ["v1", "v2"] {
            let wanted = as_flagd(expected, version);
            for (transport, method) in Transport::ALL.iter().flat_map(|it| methods.iter().map(move |way| (*it, *way))) {
                let place = format!("{version} {transport:?} {method} of {key} for {context}");
                match (self.flagd.ask(transport, &format!("{version}.{method}"), key, context, &[]), &wanted) {
                    (Ok(message), Ok(wanted)) => assert_alike(&from_flagd(&message, wanted), wanted, &place),
                    (Err((code, _)), Err(wanted)) => assert_eq!(code, *wanted, "{place}"),
                    (said, wanted) => panic!("{place}: {said:?} instead of {wanted:?}"),
                }
            }
        }
    }

    /// The bulk answers of OFREP and of flagd.
    fn check_all(&mut self, context: &Value, expected: &BTreeMap<String, Answer>) {
        let bulk = self.http.post("/ofrep/v1/evaluate/flags", &json!({"context": context})).json();
        let items = bulk["flags"].as_array().expect("a list").iter();
        let said: BTreeMap<String, Answer> =
            items.map(|item| (item["key"].as_str().expect("a key").to_owned(), ofrep(item))).collect();
        assert_eq!(said.len(), expected.len());
        for (key, said) in &said {
            assert_alike(said, &expected[key], &format!("OFREP bulk, {key} for {context}"));
        }
        for transport in Transport::ALL {
            let all = self.flagd.ask(transport, "v1.ResolveAll", "", context, &[]).expect("an answer");
            let flags = all["flags"].as_object().expect("a map");
            for (key, item) in flags {
                let place = format!("ResolveAll {transport:?}, {key} for {context}");
                let value = ["boolValue", "stringValue", "doubleValue", "objectValue"];
                let value = value.iter().find_map(|name| item.get(*name)).cloned();
                let Ok(wanted) = as_flagd(&expected[key], "v1") else {
                    // Named with its failure; a code default has no place here.
                    assert!(expected[key].error.is_some(), "{place}: {item} instead of nothing");
                    assert_eq!((item["reason"].as_str(), value), (Some("ERROR"), None), "{place}: {item}");
                    continue;
                };
                let mut item = item.clone();
                if let Some(value) = value {
                    item["value"] = value;
                }
                assert_alike(&from_flagd(&item, &wanted), &wanted, &place);
            }
            for (key, answer) in expected {
                let named = answer.error.is_some() || as_flagd(answer, "v1").is_ok();
                assert_eq!(flags.contains_key(key), named, "ResolveAll {transport:?}, {key} for {context}");
            }
        }
    }
}

#[test]
fn every_surface_gives_the_answer_that_a_subscriber_gives_itself() {
    ask_everywhere("v2");
}

/// Subscribers learn from the server which generation of `fractional` counts where a flag names none.
#[test]
fn so_it_does_where_the_server_counts_by_the_third_generation() {
    ask_everywhere("v3");
}

fn ask_everywhere(fractional_hash: &str) {
    let mut dice = Dice(SEED);
    let flags: BTreeMap<String, Value> =
        (0..FLAGS).map(|number| (format!("flag-{number}"), flag(&mut dice, number))).collect();
    let document = json!({
        "segments": {"staff": {"any": [{"email": {"ends_with": "@example.com"}}, {"group": "staff"}]}},
        "flags": flags,
    });
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("flags.json");
    std::fs::write(&file, document.to_string()).expect("a writable folder");
    let server = Server::start(
        &dir.path().join("data"),
        &["--flags", file.to_str().expect("UTF-8"), "--fractional-hash", fractional_hash],
    );
    for number in [5, 17, 31, 64] {
        let path = format!("/v1/environments/production/flags/flag-{number}/kill");
        assert_eq!(server.admin().post(&path, &json!({"reason": "test"})).status, 200);
    }

    let set = subscribed(&server);
    assert_eq!(FractionalHash::named(fractional_hash), Some(set.fractional_hash()));
    let mut surfaces = Surfaces::of(&server);
    let mut seen: BTreeMap<(String, bool), usize> = BTreeMap::new();
    for context in contexts() {
        let mut answers = BTreeMap::new();
        for (key, flag) in &flags {
            let expected = in_process(&set, key, context.to_string().as_bytes());
            *seen.entry((expected.error.clone().unwrap_or(expected.reason.clone()), expected.killed)).or_default() += 1;
            surfaces.check(key, &context, &expected);
            surfaces.check_flagd(key, &flag["variants"]["a"], &context, &expected);
            answers.insert(key.clone(), expected);
        }
        surfaces.check_all(&context, &answers);
    }
    // Nothing of what can be answered was left out by chance.
    let words = [Reason::Static, Reason::Default, Reason::TargetingMatch, Reason::Split, Reason::Disabled];
    let errors = [ErrorCode::ParseError, ErrorCode::General];
    for word in words.iter().map(|word| word.as_str()).chain(errors.iter().map(|error| error.as_str())) {
        assert!(seen.contains_key(&(word.to_owned(), false)), "{word} never came up: {seen:?}");
    }
    assert!(seen.contains_key(&("DEFAULT".to_owned(), true)), "no killed flag was asked: {seen:?}");
}
