//! The evaluator against the published vectors, which a Python program computes from the formulas alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use rampart::eval::bucket::{self, Unit};
use rampart::eval::compile::compile_all;
use rampart::eval::context::{Attribute, Context};
use rampart::eval::evaluate::evaluate;
use rampart::eval::object::Object;
use rampart::eval::weighted::{LOG2_TABLE, negative_log2};
use rampart::flag::definition::{Definition, Serve};
use rampart::flag::key::{FlagId, FlagKey, VariantName};
use rampart::flag::percent::Percent;
use rampart::flag::time::{Revision, Timestamp};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    version: u32,
    #[serde(rename = "about")]
    _about: String,
    buckets: Vec<Bucket>,
    thresholds: Vec<Threshold>,
    weighted: Vec<Weighted>,
    logarithms: Vec<Logarithm>,
    log2_table: Vec<u64>,
}

#[derive(Deserialize)]
struct Bucket {
    salt: String,
    unit: Value,
    bucket: u32,
}

#[derive(Deserialize)]
struct Threshold {
    salt: String,
    unit: Value,
    thousandths: u32,
    inside: bool,
}

#[derive(Deserialize)]
struct Weighted {
    salt: String,
    unit: Value,
    thousandths: BTreeMap<String, u32>,
    default: Option<String>,
    variant: Option<String>,
}

#[derive(Deserialize)]
struct Logarithm {
    hash: String,
    negative_log2: String,
}

fn vectors() -> Vectors {
    let vectors: Vectors = serde_json::from_str(include_str!("../vectors/cohorts-v1.json")).expect("readable vectors");
    assert_eq!(vectors.version, 1);
    vectors
}

fn attribute(unit: &Value) -> Attribute<'_> {
    match unit {
        Value::String(text) => Attribute::String(text.into()),
        number => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Attribute::Integer(number),
            (None, Some(number)) => Attribute::Unsigned(number),
            (None, None) => panic!("{number} is no unit"),
        },
    }
}

/// What a flag with these percentages serves to a unit.
fn served(salt: &str, percentages: &BTreeMap<String, u32>, default: Option<&str>, unit: &Value) -> Option<String> {
    let name = |text: &str| VariantName::new(text).expect("a valid name");
    let share = |(text, thousandths): (&String, &u32)| (name(text), Percent::from_thousandths(*thousandths).unwrap());
    let serve = Serve::percentages(percentages.iter().map(share).collect());
    let definition = Definition {
        variants: percentages.keys().map(String::as_str).chain(default).map(|text| (name(text), true.into())).collect(),
        default_variant: default.map(name),
        serve: Some(Serve { salt: Some(salt.to_owned()), ..serve }),
        ..Definition::default()
    };
    let id = FlagId::plain(FlagKey::new("f").unwrap());
    let definition = Arc::new(definition);
    let flag = Object::Flag { id: id.clone(), revision: Revision(1), definition, allocation: None };
    let (set, diagnostics) = compile_all([flag]);
    assert_eq!(diagnostics, []);
    let context = Context::new(vec![("targetingKey".into(), attribute(unit))]).unwrap();
    let evaluation = evaluate(&set, set.get(&id).unwrap(), &context, Timestamp::default());
    evaluation.variant.map(|variant| variant.as_str().to_owned())
}

#[test]
fn units_fall_into_the_published_buckets() {
    for vector in vectors().buckets {
        let attribute = attribute(&vector.unit);
        let unit = Unit::of(&attribute).expect("a unit");
        assert_eq!(bucket::bucket(&vector.salt, &unit), vector.bucket, "{} {}", vector.salt, vector.unit);
    }
}

#[test]
fn thresholds_take_in_the_published_units() {
    for vector in vectors().thresholds {
        let percentages = BTreeMap::from([("on".to_owned(), vector.thousandths)]);
        let variant = served(&vector.salt, &percentages, Some("off"), &vector.unit);
        assert_eq!(variant.as_deref() == Some("on"), vector.inside, "{} {}", vector.salt, vector.unit);
    }
}

#[test]
fn weights_choose_the_published_variants() {
    for vector in vectors().weighted {
        let variant = served(&vector.salt, &vector.thousandths, vector.default.as_deref(), &vector.unit);
        assert_eq!(variant, vector.variant, "{} {} {:?}", vector.salt, vector.unit, vector.thousandths);
    }
}

#[test]
fn the_logarithm_and_its_table_are_the_published_ones() {
    let vectors = vectors();
    assert_eq!(vectors.log2_table, LOG2_TABLE);
    for vector in vectors.logarithms {
        let hash = vector.hash.parse().expect("a 64-bit number");
        assert_eq!(negative_log2(hash).to_string(), vector.negative_log2, "{hash}");
    }
}
