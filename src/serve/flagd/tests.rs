//! What the process-level tests cannot set up: a running rollout, what an operator adds, a rate, a full context.

use std::sync::Arc;

use http::{HeaderName, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use super::*;
use crate::access::policy::DataPlaneAuth;
use crate::access::token::Tokens;
use crate::eval::compile::compile_all;
use crate::eval::object::Object;
use crate::eval::set::CompiledSet;
use crate::flag::definition::{Allocation, AttributePath, Condition, Definition, Operator, Rule, Scalar, Serve, Test};
use crate::flag::key::{EnvironmentName, FlagId, FlagKey, VariantName};
use crate::flag::percent::Percent;
use crate::flag::time::{Revision, Timestamp};
use crate::serve::door::Enrichment;
use crate::serve::http::fixture;
use crate::serve::rate::RateLimit;

fn variant(name: &str) -> VariantName {
    VariantName::new(name).unwrap()
}

fn flag(key: &str, definition: Definition, allocation: Option<Allocation>) -> Object {
    let id = FlagId { flag_set: None, key: FlagKey::new(key).unwrap() };
    Object::Flag { id, revision: Revision(1), definition: Arc::new(definition), allocation }
}

fn switch() -> Definition {
    Definition {
        variants: [(variant("on"), json!(true)), (variant("off"), json!(false))].into_iter().collect(),
        default_variant: Some(variant("off")),
        source: Some("flags/a.json".to_owned()),
        ..Definition::default()
    }
}

fn when(attribute: &str, text: &str) -> Rule {
    let attribute = AttributePath::parse(attribute).unwrap();
    let when = Condition::Test(Test { attribute, operator: Operator::Equals(Scalar::String(text.into())) });
    Rule { name: None, when, serve: Serve::variant(variant("on")) }
}

fn set() -> CompiledSet {
    let share = |thousandths| {
        let percentages = [(variant("on"), Percent::from_thousandths(thousandths).unwrap())].into();
        Some(Allocation { percentages })
    };
    let (set, diagnostics) = compile_all([
        flag("static", switch(), None),
        flag("stopped", switch(), Some(Allocation { percentages: [].into() })),
        flag("at-0", switch(), share(0)),
        flag("at-100", switch(), share(100_000)),
        flag("fixed", Definition { rules: vec![when("country", "DE")], ..switch() }, None),
        flag("header", Definition { rules: vec![when("agent", "curl")], ..switch() }, None),
    ]);
    assert_eq!(diagnostics, []);
    set
}

fn flagd(rate: Option<RateLimit>) -> Router {
    let gate = fixture::gate(Tokens::default(), Timestamp::from_micros(1));
    fixture::publish(&gate, "production", set(), Revision(1), DataPlaneAuth::Optional);
    let enrichment = Enrichment {
        fixed: vec![("country".to_owned(), "DE".to_owned())],
        from_headers: vec![(HeaderName::from_static("x-agent"), "agent".to_owned())],
    };
    routes(Flagd {
        door: Door {
            gate,
            default_environment: EnvironmentName::new("production").unwrap(),
            enrichment: Arc::new(enrichment),
            rate: rate.map(Arc::new),
        },
        settings: FlagdSettings { strict_status: false, keep_alive: Duration::from_secs(20), stream_deadline: None },
        body: EVALUATE,
        draining: CancellationToken::new(),
        drive: Drive { tasks: TaskTracker::new(), stall: Duration::from_secs(30) },
        evaluations: [Counter::default(), Counter::default()],
        streams: Gauge::default(),
    })
}

async fn ask(routes: &Router, key: &str, context: Value, header: Option<(&str, &str)>) -> (u16, Value) {
    let mut request =
        Request::post("/flagd.evaluation.v2.Service/ResolveBoolean").header("content-type", "application/json");
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let body = json!({"flagKey": key, "context": context}).to_string();
    let response = routes.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn nothing_that_a_rollout_moves_is_static() {
    let routes = flagd(None);
    let user = json!({"targetingKey": "user-1"});
    for (key, value, reason) in [
        ("static", false, "STATIC"),
        ("stopped", false, "TARGETING_MATCH"),
        ("at-0", false, "TARGETING_MATCH"),
        ("at-100", true, "TARGETING_MATCH"),
    ] {
        let (_, answer) = ask(&routes, key, user.clone(), None).await;
        assert_eq!((&answer["value"], &answer["reason"]), (&json!(value), &json!(reason)), "{key}");
    }
}

#[tokio::test]
async fn what_the_operator_adds_wins_over_the_caller() {
    let routes = flagd(None);
    let (_, answer) = ask(&routes, "fixed", json!({"country": "FR"}), None).await;
    assert_eq!(answer["value"], true);
    for (header, value) in [(None, false), (Some(("x-agent", "curl")), true), (Some(("x-agent", "wget")), false)] {
        let (_, answer) = ask(&routes, "header", json!({"agent": "firefox"}), header).await;
        assert_eq!(answer["value"], value, "{header:?}");
    }
}

#[tokio::test]
async fn a_source_selects_and_is_reflected() {
    let routes = flagd(None);
    for selector in ["flags/a.json", "source=flags/a.json"] {
        let (_, answer) = ask(&routes, "static", json!({}), Some(("flagd-selector", selector))).await;
        assert_eq!(answer["metadata"], json!({"source": "flags/a.json"}));
    }
    let (status, _) = ask(&routes, "static", json!({}), Some(("flagd-selector", "flags/b.json"))).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let routes = flagd(Some(RateLimit::per_second(1)));
    let mut last = (0, Value::Null);
    for _ in 0..100 {
        last = ask(&routes, "static", json!({}), None).await;
    }
    assert_eq!((last.0, last.1["code"].as_str()), (429, Some("resource_exhausted")));
}

#[tokio::test]
async fn a_token_in_the_url_is_refused_so_that_nobody_gets_used_to_it() {
    let path = "/flagd.evaluation.v2.Service/ResolveBoolean?token=rampart_0";
    let request = Request::post(path).header("content-type", "application/json");
    let response = flagd(None).oneshot(request.body(Body::from(r#"{"flagKey":"static"}"#)).unwrap()).await.unwrap();
    assert_eq!(response.status(), 400);
}
