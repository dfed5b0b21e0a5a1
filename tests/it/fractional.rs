//! flagd's cohorts against the published vectors, which a Python program computes from the formulas alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use rampart::eval::cbor;
use rampart::eval::compile::compile_all;
use rampart::eval::context::Context;
use rampart::eval::evaluate::evaluate;
use rampart::eval::fractional::FractionalHash;
use rampart::eval::logic::budget::Budget;
use rampart::eval::logic::value::Value as LogicValue;
use rampart::eval::murmur3::murmur3;
use rampart::eval::object::Object;
use rampart::flag::definition::{Definition, Hash, Serve};
use rampart::flag::key::{FlagId, FlagKey, VariantName};
use rampart::flag::percent::Percent;
use rampart::flag::time::{Revision, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    version: u32,
    #[serde(rename = "about")]
    _about: String,
    hashes: Vec<Hashed>,
    suits: Vec<Suit>,
    native: Vec<Native>,
}

#[derive(Deserialize)]
struct Hashed {
    by: Value,
    cbor: String,
    v2: Option<u32>,
    v3: u32,
}

#[derive(Deserialize)]
struct Suit {
    by: String,
    v2: String,
    v3: String,
}

#[derive(Deserialize)]
struct Native {
    flag: String,
    salt: Option<String>,
    unit: String,
    thousandths: BTreeMap<String, u32>,
    default: Option<String>,
    murmur3: Option<String>,
    murmur3_cbor: Option<String>,
}

fn vectors() -> Vectors {
    let vectors: Vectors = serde_json::from_str(include_str!("../vectors/fractional.json")).expect("readable vectors");
    assert_eq!(vectors.version, 1);
    vectors
}

fn name(text: &str) -> VariantName {
    VariantName::new(text).expect("a valid name")
}

/// The variant that a flag serves.
fn served(key: &str, definition: Definition, hash: FractionalHash, context: &Value) -> Option<String> {
    let id = FlagId::plain(FlagKey::new(key).unwrap());
    let definition = Arc::new(definition);
    let flag = Object::Flag { id: id.clone(), revision: Revision(1), definition, allocation: None };
    let (set, diagnostics) = compile_all([flag]);
    assert_eq!(diagnostics, []);
    let set = set.with_fractional_hash(hash);
    let context = context.to_string();
    let context = Context::from_json(context.as_bytes()).unwrap();
    let evaluation = evaluate(&set, set.get(&id).unwrap(), &context, Timestamp::default());
    assert_eq!(evaluation.error, None);
    evaluation.variant.map(|variant| variant.as_str().to_owned())
}

#[test]
fn values_have_the_published_encoding_and_hashes() {
    for vector in vectors().hashes {
        let json = json!({ "by": vector.by }).to_string();
        let context = Context::from_json(json.as_bytes()).unwrap();
        let value = LogicValue::of(context.get("by").unwrap());
        let mut bytes = Vec::new();
        cbor::encode(&value, &mut Budget::default(), &mut |part| bytes.extend_from_slice(part)).unwrap();
        assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), vector.cbor, "{}", vector.by);
        assert_eq!(murmur3(&bytes), vector.v3, "{}", vector.by);
        assert_eq!(vector.by.as_str().map(|text| murmur3(text.as_bytes())), vector.v2, "{}", vector.by);
    }
}

#[test]
fn rules_choose_the_published_suits() {
    let names = ["clubs", "diamonds", "hearts", "spades"];
    let mut arguments = vec![json!({"var": "by"})];
    arguments.extend(names.map(|name| json!([name, 25])));
    let rule = json!({ "fractional": arguments });
    for vector in vectors().suits {
        for (hash, expected) in [(FractionalHash::V2, &vector.v2), (FractionalHash::V3, &vector.v3)] {
            let definition = Definition {
                variants: names.map(|text| (name(text), true.into())).into(),
                targeting: Some(rule.clone()),
                ..Definition::default()
            };
            let variant = served("f", definition, hash, &json!({ "by": vector.by }));
            assert_eq!(variant.as_ref(), Some(expected), "{} {hash:?}", vector.by);
        }
    }
}

#[test]
fn native_percentages_choose_the_published_variants_and_those_of_a_rule() {
    for vector in vectors().native {
        let variants = vector.thousandths.keys().chain(&vector.default).map(|text| (name(text), true.into()));
        let base = Definition {
            variants: variants.collect(),
            default_variant: vector.default.as_deref().map(name),
            ..Definition::default()
        };
        let percentages = vector.thousandths.iter();
        let percentages =
            percentages.map(|(text, thousandths)| (name(text), Percent::from_thousandths(*thousandths).unwrap()));
        let serve = Serve { salt: vector.salt.clone(), ..Serve::percentages(percentages.collect()) };
        // The same as a rule that names flagd's clients the same percentages.
        let listed = vector.thousandths.iter().filter(|(text, _)| Some(*text) != vector.default.as_ref());
        let mut shares: Vec<Value> = listed.clone().map(|(text, weight)| json!([text, weight])).collect();
        shares.push(json!([vector.default, 100_000 - listed.map(|(_, weight)| weight).sum::<u32>()]));
        if let Some(salt) = &vector.salt {
            shares.insert(0, json!({"cat": [salt, {"var": "targetingKey"}]}));
        }
        let context = json!({ "targetingKey": vector.unit });
        for (hash, generation, expected) in [
            (Hash::Murmur3, FractionalHash::V2, &vector.murmur3),
            (Hash::Murmur3Cbor, FractionalHash::V3, &vector.murmur3_cbor),
        ] {
            let native = Definition { serve: Some(Serve { hash, ..serve.clone() }), ..base.clone() };
            assert_eq!(&served(&vector.flag, native, generation, &context), expected, "{} {hash:?}", vector.unit);
            let rule = Definition { targeting: Some(json!({"fractional": shares})), ..base.clone() };
            assert_eq!(&served(&vector.flag, rule, generation, &context), expected, "{} {hash:?}", vector.unit);
        }
    }
}
