//! What every operator yields, at its edges above all, and that hostile rules and contexts end.

#![allow(clippy::needless_pass_by_value, reason = "cases are literals that are written where they are used")]

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::Facts;
use super::budget::{Budget, Fault};
use super::value::{Value, double};
use crate::eval::compile::compile_all;
use crate::eval::context::Context;
use crate::eval::fractional::FractionalHash;
use crate::eval::number::Number;
use crate::eval::samples::{NOW, ask, boolean, colours, flag, id, named};
use crate::eval::set::CompiledSet;
use crate::flag::definition::Definition;

/// The set with the flag `f` that has this rule.
fn with_rule(rule: Json) -> CompiledSet {
    compile_all([flag("f", Definition { targeting: Some(rule), ..boolean() })]).0
}

fn json_of(value: &Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Number(Number::Integer(value)) => json!(value),
        Value::Number(number) => json!(double(*number)),
        Value::Text(text) => json!(**text),
        Value::List(list) => (0..list.len()).map(|index| json_of(&list.get(index).unwrap())).collect(),
        Value::Object(object) => {
            object.entries().iter().map(|(name, value)| ((*name).to_owned(), json_of(value))).collect()
        }
    }
}

fn run(rule: &Json, context: &Json, hash: FractionalHash) -> Result<Json, Fault> {
    let set = with_rule(rule.clone());
    let context = context.to_string();
    let context = Context::from_json(context.as_bytes()).unwrap();
    let facts = Facts { flag_key: "f", now: NOW, hash };
    let flag = set.get(&id("f")).expect("the flag is in the set");
    let logic = flag.targeting().expect("the flag has targeting");
    logic.run(&context, facts, &mut Budget::default()).map(|value| json_of(&value))
}

/// Numbers count by value, so that `3` may stand for `3.0`.
fn same(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Number(left), Json::Number(right)) => left.as_f64() == right.as_f64(),
        (Json::Array(left), Json::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        _ => left == right,
    }
}

/// Each rule yields for the context what stands beside it.
fn check(context: Json, cases: &[(Json, Json)]) {
    for (rule, expected) in cases {
        let found = run(rule, &context, FractionalHash::V2).unwrap_or_else(|fault| panic!("{rule} {fault:?}"));
        assert!(same(&found, expected), "{rule} for {context} yields {found}, not {expected}");
    }
}

fn person() -> Json {
    json!({
        "email": "a@example.com", "age": 42, "size": 1.5, "big": 9_007_199_254_740_993_u64, "no": null, "empty": "",
        "yes": true, "roles": ["admin", "dev", 7], "none": [], "o": {}, "user": {"name": "Ann", "tags": [{"id": 5}]},
        "a.b": 1, "$flagd": {"flagKey": "mine", "timestamp": 1}, "path": "user.name", "text": "abc", "0": "zero"
    })
}

#[test]
fn var_follows_names_and_indexes_and_has_a_default() {
    check(
        person(),
        &[
            (json!({"var": "age"}), json!(42)),
            (json!({"var": ["age"]}), json!(42)),
            (json!({"var": "user.name"}), json!("Ann")),
            (json!({"var": "roles.1"}), json!("dev")),
            (json!({"var": "roles.01"}), json!(null)),
            (json!({"var": "roles.9"}), json!(null)),
            (json!({"var": "roles.length"}), json!(3)),
            (json!({"var": "user.tags.0.id"}), json!(5)),
            (json!({"var": 0}), json!("zero")),
            (json!({"var": "a.b"}), json!(null)),
            (json!({"var": "age.x"}), json!(null)),
            (json!({"var": "text.0"}), json!(null)),
            (json!({"var": ["nowhere", "default"]}), json!("default")),
            (json!({"var": ["no", "default"]}), json!("default")),
            (json!({"var": ["empty", "default"]}), json!("")),
            (json!({"var": ["nowhere", {"var": "age"}]}), json!(42)),
            (json!({"var": {"var": "path"}}), json!("Ann")),
            (json!({"var": [{"cat": ["user", ".", "name"]}, 1]}), json!("Ann")),
            (
                json!({"var": [{"var": "nowhere2"}, 1]}),
                run(&json!({"var": ""}), &person(), FractionalHash::V2).unwrap(),
            ),
            (json!({"var": {"var": "roles"}}), json!("dev")),
            (json!({"var": "$flagd.flagKey"}), json!("f")),
            (json!({"var": "$flagd.timestamp"}), json!(1_760_000_000)),
            (json!({"var": "$flagd.other"}), json!(null)),
        ],
    );
    for everything in [json!({"var": ""}), json!({"var": null}), json!({"var": []}), json!({"var": [""]})] {
        let whole = run(&everything, &person(), FractionalHash::V2).unwrap();
        assert_eq!(whole["$flagd"], json!({"flagKey": "f", "timestamp": 1_760_000_000}));
        assert_eq!(whole["user"], person()["user"]);
        assert_eq!(whole.as_object().unwrap().len(), person().as_object().unwrap().len());
    }
}

#[test]
fn missing_names_the_paths_that_lead_nowhere() {
    check(
        person(),
        &[
            (json!({"missing": ["age", "x", "no", "empty", "user.y"]}), json!(["x", "no", "user.y"])),
            (json!({"missing": "x"}), json!(["x"])),
            (json!({"missing": []}), json!([])),
            (json!({"missing": [["x", "age"]]}), json!(["x"])),
            (json!({"missing": {"merge": ["x", ["y"]]}}), json!(["x", "y"])),
            (json!({"missing_some": [1, ["age", "x"]]}), json!([])),
            (json!({"missing_some": [2, ["age", "x", "y"]]}), json!(["x", "y"])),
            (json!({"missing_some": [0, ["x"]]}), json!([])),
            (json!({"missing_some": [1, "x"]}), json!([])),
            (json!({"if": [{"missing": ["age"]}, "incomplete", "complete"]}), json!("complete")),
        ],
    );
}

#[test]
fn conditions_are_lazy_and_empty_things_are_false() {
    check(
        person(),
        &[
            (json!({"if": []}), json!(null)),
            (json!({"if": ["x"]}), json!("x")),
            (json!({"if": [true, 1]}), json!(1)),
            (json!({"if": [false, 1]}), json!(null)),
            (json!({"if": [false, {"nope": 1}, 2]}), json!(2)),
            (json!({"if": [0, 1, "", 2, [], 3, {}, 4, null, 5, "0", 6, {"nope": 1}]}), json!(6)),
            (json!({"?:": [true, "a", {"nope": 1}]}), json!("a")),
            (json!({"and": []}), json!(null)),
            (json!({"and": [1, 0, {"nope": 1}]}), json!(0)),
            (json!({"and": [1, "a", 3]}), json!(3)),
            (json!({"and": {"var": "age"}}), json!(42)),
            (json!({"or": []}), json!(null)),
            (json!({"or": [0, "", 5, {"nope": 1}]}), json!(5)),
            (json!({"or": [0, ""]}), json!("")),
            (json!({"!": [true]}), json!(false)),
            (json!({"!": true}), json!(false)),
            (json!({"!": []}), json!(true)),
            (json!({"!": [[]]}), json!(true)),
            (json!({"!": {"var": "none"}}), json!(true)),
            (json!({"!": {"var": "roles"}}), json!(false)),
            (json!({"!!": [{"var": "o"}]}), json!(false)),
            (json!({"!!": ["0"]}), json!(true)),
            (json!({"!!": [{"/": [0, 0]}]}), json!(false)),
            (json!({"!!": {"var": "user"}}), json!(true)),
        ],
    );
}

#[test]
fn equality_is_loose_or_strict() {
    check(
        person(),
        &[
            (json!({"==": [1, 1.0]}), json!(true)),
            (json!({"==": [1, "1"]}), json!(true)),
            (json!({"==": ["", 0]}), json!(true)),
            (json!({"==": [" 7 ", 7]}), json!(true)),
            (json!({"==": ["abc", 0]}), json!(false)),
            (json!({"==": ["1", "1.0"]}), json!(false)),
            (json!({"==": [true, 1]}), json!(true)),
            (json!({"==": [true, "1"]}), json!(true)),
            (json!({"==": [true, "true"]}), json!(false)),
            (json!({"==": [null, {"var": "x"}]}), json!(true)),
            (json!({"==": [null, 0]}), json!(false)),
            (json!({"==": [null, false]}), json!(false)),
            (json!({"==": [null, ""]}), json!(false)),
            (json!({"==": [[1], 1]}), json!(false)),
            (json!({"==": [{"var": "roles"}, {"var": "roles"}]}), json!(false)),
            (json!({"==": [{"var": "big"}, 9_007_199_254_740_992_u64]}), json!(true)),
            (json!({"==": [{"/": [0, 0]}, {"/": [0, 0]}]}), json!(false)),
            (json!({"==": ["a"]}), json!(false)),
            (json!({"!=": [1, "1"]}), json!(false)),
            (json!({"!=": [1, "2"]}), json!(true)),
            (json!({"===": [1, 1.0]}), json!(true)),
            (json!({"===": [1, "1"]}), json!(false)),
            (json!({"===": ["a", "a"]}), json!(true)),
            (json!({"===": [null, null]}), json!(true)),
            (json!({"!==": [1, "1"]}), json!(true)),
            (json!({"!==": [1, 1]}), json!(false)),
        ],
    );
}

#[test]
fn orders_compare_texts_or_numbers_and_may_ask_for_between() {
    check(
        person(),
        &[
            (json!({"<": [1, 2]}), json!(true)),
            (json!({"<": [2, 2]}), json!(false)),
            (json!({"<=": [2, 2]}), json!(true)),
            (json!({">": ["10", 9]}), json!(true)),
            (json!({">": ["10", "9"]}), json!(false)),
            (json!({">=": ["b", "b"]}), json!(true)),
            (json!({"<": [{"var": "x"}, 18]}), json!(true)),
            (json!({"<": ["abc", 18]}), json!(false)),
            (json!({">": ["abc", 18]}), json!(false)),
            (json!({"<": [[1], 2]}), json!(false)),
            (json!({"<=": [null, null]}), json!(true)),
            (json!({"<": [1, 2, 3]}), json!(true)),
            (json!({"<": [1, 3, 3]}), json!(false)),
            (json!({"<=": [1, 3, 3]}), json!(true)),
            (json!({">": [3, 2, 1]}), json!(true)),
            (json!({">=": [3, 3, 4]}), json!(false)),
            (json!({"<=": [1, 1, 1, 0]}), json!(false)),
            (json!({"<": [1]}), json!(false)),
            (json!({"<": []}), json!(false)),
        ],
    );
}

#[test]
fn arithmetic_casts_and_computes_in_doubles() {
    check(
        person(),
        &[
            (json!({"+": [1, "2", true, null, 0.5]}), json!(4.5)),
            (json!({"+": "3.25"}), json!(3.25)),
            (json!({"+": ["-7"]}), json!(-7)),
            (json!({"+": []}), json!(0)),
            (json!({"-": [5]}), json!(-5)),
            (json!({"-": {"var": "age"}}), json!(-42)),
            (json!({"-": ["5", 2, 1]}), json!(2)),
            (json!({"*": [2, "3", 4]}), json!(24)),
            (json!({"*": []}), json!(1)),
            (json!({"/": [7, 2]}), json!(3.5)),
            (json!({"/": [7]}), json!(7)),
            (json!({"%": [-5, 3]}), json!(-2)),
            (json!({"%": [5.5, 2]}), json!(1.5)),
            (json!({"min": [3, "1", 2]}), json!(1)),
            (json!({"max": [-3, -1, -2]}), json!(-1)),
            (json!({"max": {"merge": [1, [5, 2]]}}), json!(5)),
            (json!({"<": [{"+": ["abc", 1]}, 5]}), json!(false)),
            (json!({">": [{"/": [1, 0]}, 1e300]}), json!(true)),
            (json!({"!!": [{"max": [1, "x", 2]}]}), json!(false)),
            (json!({"!!": [{"%": [1]}]}), json!(false)),
            (json!({"!!": [{"+": [[1]]}]}), json!(false)),
        ],
    );
}

#[test]
fn texts_are_joined_cut_and_searched() {
    check(
        person(),
        &[
            (json!({"cat": ["a", 1, 1.0, 1.5, true, null, {"var": "x"}, "z"]}), json!("a111.5truez")),
            (json!({"cat": [" a ", "b "]}), json!(" a b ")),
            (json!({"cat": [1e21, " ", 1e-7, " ", {"/": [1, 3]}]}), json!("1e+21 1e-7 0.3333333333333333")),
            (json!({"cat": [[1, [2, null], "x"], {}]}), json!("1,2,,x[object Object]")),
            (json!({"cat": {"var": "roles"}}), json!("admindev7")),
            (json!({"cat": "x"}), json!("x")),
            (json!({"cat": []}), json!("")),
            (json!({"substr": ["jsonlogic", 4]}), json!("logic")),
            (json!({"substr": ["jsonlogic", -5]}), json!("logic")),
            (json!({"substr": ["jsonlogic", 1, 3]}), json!("son")),
            (json!({"substr": ["jsonlogic", 4, -2]}), json!("log")),
            (json!({"substr": ["jsonlogic", -5, -2]}), json!("log")),
            (json!({"substr": ["jsonlogic", -99, 4]}), json!("json")),
            (json!({"substr": ["jsonlogic", 99]}), json!("")),
            (json!({"substr": ["jsonlogic", 7, -5]}), json!("")),
            (json!({"substr": ["jsonlogic", 0, 99]}), json!("jsonlogic")),
            (json!({"substr": ["jsonlogic", 0, 1.9]}), json!("j")),
            (json!({"substr": ["größe🙂!", 2, 4]}), json!("öße🙂")),
            (json!({"substr": [12345, 1, 2]}), json!("23")),
            (json!({"substr": [{"var": "x"}, 1]}), json!("")),
            (json!({"substr": [{"cat": ["ab", "cd"]}, 1, -1]}), json!("bc")),
            (json!({"in": ["bc", "abcd"]}), json!(true)),
            (json!({"in": ["x", "abcd"]}), json!(false)),
            (json!({"in": ["", "abcd"]}), json!(true)),
            (json!({"in": [1, "a1"]}), json!(true)),
            (json!({"in": [{"var": "x"}, "abcd"]}), json!(false)),
            (json!({"in": ["dev", {"var": "roles"}]}), json!(true)),
            (json!({"in": ["de", {"var": "roles"}]}), json!(false)),
            (json!({"in": [7.0, {"var": "roles"}]}), json!(true)),
            (json!({"in": ["7", {"var": "roles"}]}), json!(false)),
            (json!({"in": [null, [1, null]]}), json!(true)),
            (json!({"in": ["a", {"var": "x"}]}), json!(false)),
            (json!({"in": ["a", 5]}), json!(false)),
            (json!({"in": ["a"]}), json!(false)),
        ],
    );
}

#[test]
fn lists_are_walked_each_element_in_its_own_scope() {
    let double = json!({"*": [{"var": ""}, 2]});
    check(
        json!({"n": [1, 2, 3, 4], "people": [{"name": "a", "age": 1}, {"name": "b", "age": 30}], "word": "x"}),
        &[
            (json!({"map": [{"var": "n"}, double]}), json!([2, 4, 6, 8])),
            (json!({"map": [{"var": "people"}, {"var": "name"}]}), json!(["a", "b"])),
            (json!({"map": [{"var": "n"}, {"var": "word"}]}), json!([null, null, null, null])),
            (json!({"map": [{"var": "nowhere"}, 1]}), json!([])),
            (json!({"map": ["text", 1]}), json!([])),
            (json!({"map": [[1]]}), json!([null])),
            (json!({"filter": [{"var": "n"}, {"%": [{"var": ""}, 2]}]}), json!([1, 3])),
            (json!({"filter": [{"var": "n"}, true]}), json!([1, 2, 3, 4])),
            (json!({"all": [{"var": "n"}, {">": [{"var": ""}, 0]}]}), json!(true)),
            (json!({"all": [{"var": "n"}, {">": [{"var": ""}, 1]}]}), json!(false)),
            (json!({"all": [[], true]}), json!(false)),
            (json!({"all": [{"var": "nowhere"}, true]}), json!(false)),
            (json!({"some": [{"var": "people"}, {">": [{"var": "age"}, 18]}]}), json!(true)),
            (json!({"some": [[], true]}), json!(false)),
            (json!({"some": ["abc", true]}), json!(false)),
            (json!({"none": [{"var": "people"}, {">": [{"var": "age"}, 99]}]}), json!(true)),
            (json!({"none": [{"var": "nowhere"}, true]}), json!(true)),
            (json!({"none": [[1], true]}), json!(false)),
            (json!({"reduce": [{"var": "n"}, {"+": [{"var": "accumulator"}, {"var": "current"}]}, 10]}), json!(20)),
            (json!({"reduce": [{"var": "n"}, {"var": "accumulator"}]}), json!(null)),
            (json!({"reduce": [{"var": "nowhere"}, 1, {"cat": ["in", "it"]}]}), json!("init")),
            (
                json!({"reduce": [{"var": "people"}, {"+": [{"var": "accumulator"}, {"var": "current.age"}]}, 0]}),
                json!(31),
            ),
            (json!({"reduce": [[1], {"var": ""}, 0]}), json!({"accumulator": 0, "current": 1})),
            (json!({"reduce": [[1], {"var": ["word", "hidden"]}, 0]}), json!("hidden")),
            (json!({"merge": [1, [2, [3]], "x", null]}), json!([1, 2, [3], "x", null])),
            (json!({"merge": 1}), json!([1])),
            (json!({"merge": []}), json!([])),
            (json!({"some": [{"map": [{"var": "n"}, double]}, {"==": [{"var": ""}, 8]}]}), json!(true)),
        ],
    );
}

#[test]
fn versions_and_ends_of_texts_yield_null_where_they_cannot_be_compared() {
    check(
        json!({"v": "2.1.0", "n": 1.5}),
        &[
            (json!({"sem_ver": [{"var": "v"}, "=", "v2.1.0+build"]}), json!(true)),
            (json!({"sem_ver": [{"var": "v"}, "!=", "2.1.0"]}), json!(false)),
            (json!({"sem_ver": ["2.0.0-alpha", "<", "2.0.0"]}), json!(true)),
            (json!({"sem_ver": ["1.0.0", "<=", "1.0.0"]}), json!(true)),
            (json!({"sem_ver": ["1.10.0", ">", "1.9.0"]}), json!(true)),
            (json!({"sem_ver": ["V1", ">=", "1.0.0"]}), json!(true)),
            (json!({"sem_ver": ["1.9.9", "^", "1"]}), json!(true)),
            (json!({"sem_ver": ["2.0.0", "^", "1.0.0"]}), json!(false)),
            (json!({"sem_ver": ["0.2.0", "^", "0.1.0"]}), json!(true)),
            (json!({"sem_ver": ["3.0.1", "~", "3.0.9"]}), json!(true)),
            (json!({"sem_ver": ["3.1.0", "~", "3.0.0"]}), json!(false)),
            (json!({"sem_ver": [{"var": "n"}, "=", "1.5.0"]}), json!(true)),
            (json!({"sem_ver": [1, "=", "1.0.0"]}), json!(true)),
            (json!({"sem_ver": ["2.0.0.0", "=", "2.0.0"]}), json!(null)),
            (json!({"sem_ver": ["1-alpha", "<", "1.0.0"]}), json!(null)),
            (json!({"sem_ver": [" 1.0.0", "=", "1.0.0"]}), json!(null)),
            (json!({"sem_ver": [{"var": "x"}, "=", "1.0.0"]}), json!(null)),
            (json!({"sem_ver": ["1.0.0", "==", "1.0.0"]}), json!(null)),
            (json!({"sem_ver": ["1.0.0", "="]}), json!(null)),
            (json!({"sem_ver": ["1.0.0", "=", "1.0.0", 1]}), json!(null)),
            (json!({"sem_ver": "1.0.0"}), json!(null)),
            (json!({"starts_with": [{"var": "v"}, "2."]}), json!(true)),
            (json!({"starts_with": [{"var": "v"}, "V"]}), json!(false)),
            (json!({"ends_with": [{"var": "v"}, ".0"]}), json!(true)),
            (json!({"ends_with": [{"var": "n"}, ".0"]}), json!(null)),
            (json!({"starts_with": ["abc"]}), json!(null)),
            (json!({"ends_with": ["abc", "c", 1]}), json!(null)),
            (json!({"starts_with": "abc"}), json!(null)),
        ],
    );
}

/// What `fractional` with these arguments yields in either generation.
fn fractional(arguments: Json, context: Json) -> [Json; 2] {
    let rule = json!({ "fractional": arguments });
    [FractionalHash::V2, FractionalHash::V3].map(|hash| run(&rule, &context, hash).unwrap())
}

#[test]
fn fractional_takes_what_it_hashes_by_from_its_first_argument() {
    let halves = |by: Json| json!([by, ["a", 50], ["b", 50]]);
    let short = json!([["a", 50], ["b", 50]]);
    let user = json!({"targetingKey": "user1", "flag": "f", "n": 7, "empty": ""});
    let null = json!(null);
    // The short form hashes the flag's key and the targeting key.
    let joined = json!({"cat": [{"var": "$flagd.flagKey"}, {"var": "targetingKey"}]});
    assert_eq!(fractional(short.clone(), user.clone())[0], fractional(halves(joined), user.clone())[0]);
    for context in [json!({}), json!({"targetingKey": ""}), json!({"targetingKey": 5}), json!({"targetingKey": null})] {
        assert_eq!(fractional(short.clone(), context.clone()), [null.clone(), null.clone()], "{context}");
    }
    // v2 falls back to the targeting key where there is nothing to hash by; v3 does not.
    let [v2, v3] = fractional(halves(json!({"var": "nowhere"})), user.clone());
    assert_eq!((&v2, &v3), (&fractional(short.clone(), user.clone())[0], &null));
    // For v2 a number is a malformed share, for v3 it is a unit.
    let [v2, v3] = fractional(halves(json!({"var": "n"})), user.clone());
    assert_eq!(v2, null);
    assert_ne!(v3, null);
    // An empty text is a text: hash 0, and 0x60 hashes to 661569231.
    assert_eq!(fractional(halves(json!({"var": "empty"})), user.clone()), [json!("a"), json!("a")]);
    assert_eq!(fractional(json!([]), user.clone()), [null.clone(), null.clone()]);
    assert_eq!(fractional(json!("x"), user.clone()), [null.clone(), null.clone()]);
    assert_eq!(fractional(json!([["only", 1]]), user.clone()), [json!("only"), json!("only")]);
    assert_eq!(fractional(json!([["only"]]), user), [json!("only"), json!("only")]);
}

#[test]
fn fractional_shares_are_lists_of_a_variant_and_a_whole_weight() {
    let user = || json!({"targetingKey": "user1", "tier": "premium", "end": 50});
    let both = |arguments: Json, expected: Json| {
        assert_eq!(fractional(arguments.clone(), user()), [expected.clone(), expected], "{arguments}");
    };
    let unit = || json!({"var": "targetingKey"});
    both(json!([unit(), ["a", 100], ["b", -5]]), json!("a"));
    both(json!([unit(), ["a", 0], ["b", 1.0]]), json!("b"));
    both(json!([unit(), [true, 1]]), json!(true));
    both(json!([unit(), [2, 1]]), json!(2));
    both(json!([unit(), [null, 1]]), json!(null));
    both(json!([unit(), [{"if": [{"==": [{"var": "tier"}, "premium"]}, "gold", "tin"]}, 1]]), json!("gold"));
    both(json!([unit(), ["a", {"-": [40, {"var": "end"}]}], ["b", {"-": [{"var": "end"}, 40]}]]), json!("b"));
    both(json!([unit(), [{"fractional": [["inner"]]}, 1]]), json!("inner"));
    let many: Vec<Json> = (0..40).map(|n| json!([format!("v{n}"), i32::from(n == 33)])).collect();
    both(json!([unit(), many[0], many[33], many[39]]), json!("v33"));
    both(Json::Array([vec![unit()], many].concat()), json!("v33"));
    both(json!([unit(), ["a", 2_147_483_647]]), json!("a"));
    for malformed in [
        json!([unit(), ["a", 2_147_483_647], ["b", 1]]),
        json!([unit(), ["a", 4_294_967_296_u64]]),
        json!([unit(), ["a", 1.5]]),
        json!([unit(), ["a", -1.5]]),
        json!([unit(), ["a", "1"]]),
        json!([unit(), ["a", null]]),
        json!([unit(), ["a", true]]),
        json!([unit(), ["a", 1, 2]]),
        json!([unit(), [[], 1]]),
        json!([unit(), []]),
        json!([unit(), "a"]),
        json!([unit(), ["a", 0], ["b", 0]]),
        json!([unit()]),
    ] {
        both(malformed, json!(null));
    }
}

#[test]
fn an_operator_that_nobody_knows_fails_where_it_is_reached() {
    for rule in [
        json!({"nope": [1]}),
        json!({"$ref": "gone"}),
        json!({"if": [{"nope": 1}, 1, 2]}),
        json!([1, {"nope": 1}]),
        json!({"map": [[1], {"nope": 1}]}),
    ] {
        assert_eq!(run(&rule, &json!({}), FractionalHash::V2), Err(Fault::UnknownOperator), "{rule}");
    }
    check(
        json!({}),
        &[
            (json!({"map": [[], {"nope": 1}]}), json!([])),
            (json!({"a": 1, "b": {"nope": 1}}), json!({"a": 1, "b": {"nope": 1}})),
        ],
    );
}

#[test]
fn work_without_end_ends() {
    let elements: Vec<u32> = (0..1000).collect();
    let context = json!({ "n": elements });
    let mut nested = json!(1);
    for _ in 0..8 {
        nested = json!({"map": [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], nested]});
    }
    let acc = || json!({"var": "accumulator"});
    for (rule, fault) in [
        (nested, Fault::Exhausted),
        (json!({"reduce": [{"var": "n"}, {"cat": [acc(), acc()]}, "x"]}), Fault::Exhausted),
        (json!({"reduce": [{"var": "n"}, {"merge": [acc(), acc()]}, [1]]}), Fault::Exhausted),
        (json!({"reduce": [{"var": "n"}, [acc()], 1]}), Fault::TooDeep),
        (json!({"reduce": [{"var": "n"}, {"var": ""}, 1]}), Fault::TooDeep),
        (
            json!({"cat": [{"reduce": [{"filter": [{"var": "n"}, {"<": [{"var": ""}, 60]}]}, [acc(), acc()], 1]}]}),
            Fault::Exhausted,
        ),
        (
            json!({"fractional": [
                {"substr": [{"reduce": [{"filter": [{"var": "n"}, {"<": [{"var": ""}, 60]}]}, [acc(), acc()], 1]}, 0]}, ["a"]
            ]}),
            Fault::Exhausted,
        ),
    ] {
        assert_eq!(run(&rule, &context, FractionalHash::V3), Err(fault), "{rule}");
    }
}

#[test]
fn results_choose_variants_by_their_text() {
    let variants = ["true", "1", "1.5", "on", "null"];
    for (rule, variant, reason) in [
        (json!(true), Some("true"), "TARGETING_MATCH"),
        (json!({"==": [1, 1]}), Some("true"), "TARGETING_MATCH"),
        (json!({"+": [0.5, 0.5]}), Some("1"), "TARGETING_MATCH"),
        (json!(1.5), Some("1.5"), "TARGETING_MATCH"),
        (json!({"cat": ["o", "n"]}), Some("on"), "TARGETING_MATCH"),
        (json!("null"), Some("null"), "TARGETING_MATCH"),
        (json!(null), Some("true"), "DEFAULT"),
        (json!({"if": [false, "on"]}), Some("true"), "DEFAULT"),
        (json!({"fractional": [["on", 1]]}), Some("true"), "DEFAULT"),
        (json!({}), Some("true"), "STATIC"),
        (json!("three"), None, "ERROR"),
        (json!(["on"]), None, "ERROR"),
        (json!({"/": [0, 0]}), None, "ERROR"),
        (json!({"var": ""}), None, "ERROR"),
        (json!({"nope": 1}), None, "ERROR"),
    ] {
        let (set, _) = compile_all([flag("f", Definition { targeting: Some(rule.clone()), ..colours(&variants) })]);
        let evaluation = ask(&set, "f", "{}");
        assert_eq!(evaluation.variant.map(|name| name.as_str()), variant, "{rule}");
        assert_eq!(evaluation.reason.as_str(), reason, "{rule}");
        assert_eq!(evaluation.value.is_some(), variant.is_some());
        let error = evaluation.error.map(|error| error.as_str());
        let expected = if rule == json!({"nope": 1}) { "PARSE_ERROR" } else { "GENERAL" };
        assert_eq!(error, (reason == "ERROR").then_some(expected), "{rule}");
    }
    let nothing = Definition { targeting: Some(json!({"if": [false, "on"]})), default_variant: None, ..boolean() };
    let (set, _) = compile_all([flag("f", nothing)]);
    let evaluation = ask(&set, "f", "{}");
    assert_eq!((evaluation.variant, evaluation.reason.as_str(), evaluation.error), (None, "DEFAULT", None));
}

#[test]
fn what_fails_only_when_it_is_reached_is_a_warning_with_its_place() {
    let rule =
        json!({"if": [{"and": [true, {"start_with": ["a", "b"]}]}, "On", {"$ref": "x"}, "off", {"a": 1, "b": 2}, 5]});
    let (set, diagnostics) = compile_all([flag("f", Definition { targeting: Some(rule), ..boolean() })]);
    assert_eq!(set.len(), 1);
    assert!(diagnostics.iter().all(|found| !found.is_error() && !found.help.is_empty()));
    assert_eq!(
        named(&diagnostics),
        [
            ("unknown-operator", "/flags/f/targeting/if/0/and/1/start_with"),
            ("unknown-variant", "/flags/f/targeting/if/1"),
            ("odd-rule", "/flags/f/targeting/if/4"),
            ("unknown-variant", "/flags/f/targeting/if/5"),
        ]
    );
    assert_eq!(diagnostics[0].help, "did you mean `starts_with`?");
}

#[test]
fn forty_alternatives_inside_each_other_are_a_rule() {
    let rule = (0..40).rev().fold(json!(null), |other, n| json!({"if": [{"==": [{"var": "n"}, n]}, "on", other]}));
    let set = with_rule(rule);
    for (n, variant) in [(0, "on"), (39, "on"), (40, "off")] {
        let evaluation = ask(&set, "f", &json!({ "n": n }).to_string());
        assert_eq!(evaluation.variant.map(|name| name.as_str()), Some(variant), "{n}");
    }
}

#[test]
fn rules_that_are_too_deep_or_too_large_are_refused() {
    let deep = (0..crate::flag::limits::DOCUMENT_NESTING_MAX).fold(json!("on"), |inner, _| json!({ "!": [inner] }));
    let large = json!({"in": ["x", vec![0; crate::flag::limits::LOGIC_VALUES_MAX]]});
    let odd = json!({"a": 1, "b": {"c": vec![0; crate::flag::limits::LOGIC_VALUES_MAX]}});
    let hidden = json!({"in": ["x", [odd]]});
    for (rule, code) in [(deep, "too-deep"), (large, "too-many-values"), (hidden, "too-many-values")] {
        let (set, diagnostics) = compile_all([flag("f", Definition { targeting: Some(rule), ..boolean() })]);
        assert!(set.is_empty());
        assert!(diagnostics.iter().any(|found| found.code == code && found.is_error()));
    }
}

#[test]
fn a_large_rule_full_of_oddities_warns_only_so_often() {
    let odd = json!({"a": 1, "b": 2});
    let unknown = json!({"nope": [odd]});
    for element in [odd, unknown] {
        let rule = json!({"if": [{"in": ["x", vec![element; 10_000]]}, "on"]});
        let (set, diagnostics) = compile_all([flag("f", Definition { targeting: Some(rule), ..boolean() })]);
        assert_eq!(set.len(), 1);
        assert_eq!(diagnostics.len(), crate::flag::limits::DIAGNOSTICS_MAX);
        assert!(diagnostics.iter().all(|found| !found.is_error()));
    }
}

/// Any rule: operators with any number of arguments of any kind, known and unknown.
fn a_rule() -> impl Strategy<Value = Json> {
    let words: Vec<&str> = super::tree::Operator::ALL
        .iter()
        .map(|(word, _)| *word)
        .chain(["if", "?:", "and", "or", "!", "!!", "map", "filter", "reduce", "all", "none", "some", "nope"])
        .collect();
    let scalar = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<f64>().prop_map(|value| json!(value)),
        prop::sample::select(vec![
            "",
            "on",
            "a.b",
            "1.0.0",
            "=",
            "accumulator",
            "current",
            "$flagd.flagKey",
            "ü🙂",
            "-3"
        ])
        .prop_map(|value| json!(value)),
    ];
    scalar.prop_recursive(5, 48, 4, move |inner| {
        let operation = (prop::sample::select(words.clone()), prop::collection::vec(inner.clone(), 0..4));
        prop_oneof![
            4 => operation.prop_map(|(word, arguments)| json!({ word: arguments })),
            1 => (prop::sample::select(words.clone()), inner.clone()).prop_map(|(word, argument)| json!({ word: argument })),
            1 => prop::sample::select(vec!["a", "a.b", "n", "list", "list.0", "", "nowhere"]).prop_map(|path| json!({"var": path})),
            1 => prop::collection::vec(inner, 0..3).prop_map(Json::Array),
        ]
    })
}

fn a_context() -> impl Strategy<Value = Json> {
    let value = prop_oneof![
        Just(json!(null)),
        any::<f64>().prop_filter("JSON", |value| value.is_finite()).prop_map(|value| json!(value)),
        ".{0,6}".prop_map(|value| json!(value)),
        Just(json!({"b": 2})),
        Just(json!([1, "x", [2], {"b": 1}])),
    ];
    prop::collection::btree_map(prop::sample::select(vec!["a", "n", "list", "targetingKey", "$flagd"]), value, 0..5)
        .prop_map(|entries| json!(entries))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Total: an answer or a fault, the same one each time, whatever the rule and the context are.
    #[test]
    fn any_rule_answers_any_context(rule in a_rule(), context in a_context(), v3: bool) {
        let hash = if v3 { FractionalHash::V3 } else { FractionalHash::V2 };
        let set = with_rule(rule.clone()).with_fractional_hash(hash);
        let text = context.to_string();
        let first = ask(&set, "f", &text);
        let again = ask(&set, "f", &text);
        prop_assert_eq!((first.variant, first.reason, first.error), (again.variant, again.reason, again.error));
        prop_assert_eq!(first.error.is_some(), first.reason.as_str() == "ERROR");
        prop_assert_eq!(first.variant.is_some(), first.value.is_some());
        prop_assert!(first.error.is_none() || first.variant.is_none());
    }

    /// A caller cannot say what flagd says.
    #[test]
    fn a_callers_own_flagd_never_counts(context in a_context()) {
        for path in ["$flagd.flagKey", "$flagd.timestamp"] {
            let rule = json!({ "var": path });
            prop_assert_eq!(run(&rule, &context, FractionalHash::V2), run(&rule, &json!({}), FractionalHash::V2));
        }
    }

    #[test]
    fn variant_first_a_cohort_only_grows(low in 0u32..=100, high in 0u32..=100, user in "[a-z0-9]{1,12}", v3: bool) {
        let (low, high) = (low.min(high), low.max(high));
        let hash = if v3 { FractionalHash::V3 } else { FractionalHash::V2 };
        let inside = |percent: u32| {
            let rule = json!({"fractional": [["on", percent], ["off", 100 - percent]]});
            run(&rule, &json!({ "targetingKey": user }), hash) == Ok(json!("on"))
        };
        prop_assert!(!inside(low) || inside(high));
    }
}
