//! OFREP answer by answer, and over HTTP without a socket.

use std::sync::Arc;
use std::time::Duration;

use super::events::EventSettings;
use super::*;
use crate::access::policy::DataPlaneAuth;
use crate::access::scope::{Scope, Scopes};
use crate::access::token::{Environments, IssuedToken, TokenInfo, Tokens, issue};
use crate::eval::compile::compile_all;
use crate::eval::object::Object;
use crate::flag::definition::{
    Allocation, AttributePath, Condition, Definition, Operator, Rule, Scalar, Serve, State as FlagState, Test,
};
use crate::flag::key::{FlagId, FlagKey, FlagSetName, VariantName};
use crate::flag::kill::{KillMark, KillSet};
use crate::flag::percent::Percent;
use crate::flag::time::{Generation, Revision};
use crate::serve::door::Enrichment;
use crate::serve::http::caller::Gate;
use crate::serve::http::fixture;
use crate::serve::rate::RateLimit;
use crate::snapshot::Snapshot;
use axum::body::Body;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

fn single(served: &Served, key: &str, selector: Option<&str>, body: &[u8], now: Timestamp) -> Answer {
    answer::single(served, key, selector, body, std::convert::identity, now)
}

fn bulk<'h>(
    served: &Served,
    selector: Option<&str>,
    tags: impl IntoIterator<Item = &'h str>,
    body: &[u8],
    now: Timestamp,
) -> Answer {
    let asked = Asked { selector, if_none_match: tags.into_iter().collect(), ..Asked::default() };
    answer::bulk(served, &asked, body, std::convert::identity, now)
}

const NOW: Timestamp = Timestamp::from_micros(1);

fn variant(name: &str) -> VariantName {
    VariantName::new(name).unwrap()
}

fn flag(variants: &[(&str, Value)], default: Option<&str>) -> Definition {
    Definition {
        variants: variants.iter().map(|(name, value)| (variant(name), value.clone())).collect(),
        default_variant: default.map(variant),
        ..Definition::default()
    }
}

fn switch() -> Definition {
    flag(&[("on", json!(true)), ("off", json!(false))], Some("off"))
}

fn id(set: Option<&str>, key: &str) -> FlagId {
    FlagId { flag_set: set.map(|set| FlagSetName::new(set).unwrap()), key: FlagKey::new(key).unwrap() }
}

fn metadata(pairs: &[(&str, Value)]) -> std::collections::BTreeMap<String, Value> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// One flag of every kind, `killed` among them.
fn served() -> Served {
    let test = Test {
        attribute: AttributePath::parse("country").unwrap(),
        operator: Operator::Equals(Scalar::String("DE".into())),
    };
    let rule = |serve| Rule { name: None, when: Condition::Test(test.clone()), serve };
    let half = Serve::percentages([(variant("on"), Percent::from_thousandths(100_000).unwrap())].into());
    let flags = [
        (id(None, "static"), Definition { metadata: metadata(&[("team", json!("a")), ("n", json!(1.0))]), ..switch() }),
        (id(None, "disabled"), Definition { state: FlagState::Disabled, ..switch() }),
        (id(None, "code-default"), flag(&[("on", json!(true))], None)),
        (id(None, "rule"), Definition { rules: vec![rule(Serve::variant(variant("on")))], ..switch() }),
        (id(None, "split"), Definition { serve: Some(half.clone()), ..switch() }),
        (
            id(None, "none"),
            Definition {
                serve: Some(Serve::percentages([(variant("on"), Percent::from_thousandths(50_000).unwrap())].into())),
                metadata: metadata(&[("noUnit", json!("mine"))]),
                ..switch()
            },
        ),
        (id(None, "killed"), Definition { serve: Some(half), metadata: metadata(&[("killed", json!(0))]), ..switch() }),
        (id(None, "float"), flag(&[("ten", json!(10.0))], Some("ten"))),
        (id(None, "integer"), flag(&[("ten", json!(10))], Some("ten"))),
        (id(None, "object"), flag(&[("o", json!({"b": [1, {"a": null}], "a": "\"q\""}))], Some("o"))),
        (id(None, "both"), switch()),
        (id(Some("web"), "both"), flag(&[("web", json!("w"))], Some("web"))),
        (id(Some("web"), "a/b ü"), flag(&[("web", json!("w"))], Some("web"))),
        (id(Some("ios"), "only"), flag(&[("ios", json!("i"))], Some("ios"))),
    ];
    let objects = flags.map(|(id, definition)| Object::Flag {
        id,
        revision: Revision(3),
        definition: Arc::new(definition),
        allocation: None,
    });
    let (set, diagnostics) = compile_all(objects);
    assert_eq!(diagnostics, []);
    let mut kills = KillSet::default();
    kills.merge(&id(None, "killed"), KillMark { generation: Generation(9), killed: true });
    Served::new(set.with_kills(Arc::new(kills)), Revision(7))
}

fn parse(answer: &Answer) -> (u16, Value) {
    (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
}

fn one(key: &str, body: &str) -> (u16, Value) {
    parse(&single(&served(), key, None, body.as_bytes(), NOW))
}

#[test]
fn one_flag_is_answered_as_ofrep_has_it() {
    let user = r#"{"context": {"targetingKey": "user-1", "country": "DE"}}"#;
    for (key, body, expected) in [
        (
            "static",
            user,
            json!({"key": "static", "reason": "STATIC", "variant": "off", "value": false,
            "metadata": {"team": "a", "n": 1.0}}),
        ),
        ("disabled", user, json!({"key": "disabled", "reason": "DISABLED", "metadata": {}})),
        (
            "rule",
            user,
            json!({"key": "rule", "reason": "TARGETING_MATCH", "variant": "on", "value": true,
            "metadata": {}}),
        ),
        (
            "rule",
            "",
            json!({"key": "rule", "reason": "DEFAULT", "variant": "off", "value": false,
            "metadata": {}}),
        ),
        (
            "split",
            user,
            json!({"key": "split", "reason": "SPLIT", "variant": "on", "value": true,
            "metadata": {}}),
        ),
        (
            "none",
            "",
            json!({"key": "none", "reason": "DEFAULT", "variant": "off", "value": false,
            "metadata": {"noUnit": true}}),
        ),
        (
            "killed",
            user,
            json!({"key": "killed", "reason": "DEFAULT", "variant": "off", "value": false,
            "metadata": {"killed": true}}),
        ),
        (
            "object",
            user,
            json!({"key": "object", "reason": "STATIC", "variant": "o",
            "value": {"b": [1, {"a": null}], "a": "\"q\""}, "metadata": {}}),
        ),
        (
            "a/b ü",
            user,
            json!({"key": "a/b ü", "reason": "STATIC", "variant": "web", "value": "w",
            "metadata": {"flagSetId": "web"}}),
        ),
    ] {
        assert_eq!(one(key, body), (200, expected), "{key} {body}");
    }
    let (status, body) = one("code-default", user);
    assert_eq!((status, body.get("value"), body.get("variant")), (200, None, None));
}

#[test]
fn a_number_keeps_the_form_it_was_written_in() {
    for (key, text) in [("float", r#""value":10.0,"#), ("integer", r#""value":10,"#)] {
        let body = String::from_utf8(single(&served(), key, None, b"", NOW).body).unwrap();
        assert!(body.contains(text), "{body}");
    }
}

#[test]
fn an_unknown_flag_is_404_with_its_key() {
    let expected = json!({"key": "no\"pe", "errorCode": "FLAG_NOT_FOUND",
        "errorDetails": "flag `no\"pe` does not exist", "metadata": {}});
    assert_eq!(one("no\"pe", "{}"), (404, expected));
}

#[test]
fn whatever_is_no_context_counts_as_an_empty_one() {
    for body in [
        "",
        " \n",
        "null",
        "{}",
        r#"{"context": null}"#,
        r#"{"context": 5}"#,
        r#"{"context": [1, {}]}"#,
        r#"{"context": "x"}"#,
        r#"{"other": {"targetingKey": "u"}}"#,
        r#"{"context": {}}"#,
        r#"{"c\u006fntext": {"a": 1}}"#,
    ] {
        assert_eq!(one("none", body).1["metadata"]["noUnit"], true, "{body}");
    }
    let escaped = r#"{"x": 1, "c\u006fntext": {"t\u0061rgetingKey": "u"}, "y": [2]}"#;
    assert_eq!(one("split", escaped).1["reason"], "SPLIT");
}

#[test]
fn a_body_that_cannot_be_read_is_an_invalid_context_and_is_not_repeated() {
    let many: Vec<String> = (0..2000).map(|number| format!("\"secret{number}\": 1")).collect();
    for body in [
        "{",
        "{\"context\"",
        "secret",
        "[]",
        "\"secret\"",
        "5",
        "true",
        "{} {}",
        "{\"context\": {}} secret",
        r#"{"context": {"secret": 1, "secret": 2}}"#,
        &format!("{{\"context\": {{{}}}}}", many.join(",")),
        &format!("{{\"context\": {}{}}}", "{\"secret\":".repeat(40), "}".repeat(40)),
        &format!("{{\"context\": {}", "[".repeat(100_000)),
        &"[".repeat(100_000),
    ] {
        for (status, answer) in [one("static", body), parse(&bulk(&served(), None, [], body.as_bytes(), NOW))] {
            let shown: String = body.chars().take(60).collect();
            assert_eq!((status, &answer["errorCode"]), (400, &json!("INVALID_CONTEXT")), "{shown}");
            let details = answer["errorDetails"].as_str().unwrap();
            assert!(!details.is_empty() && !details.contains("secret"), "{shown}: {details}");
        }
    }
    let invalid = single(&served(), "static", None, b"\xff\xfe", NOW);
    assert_eq!(invalid.status, 400);
}

#[test]
fn all_flags_are_answered_at_once_each_key_once() {
    let (status, body) = parse(&bulk(&served(), None, [], b"", NOW));
    let keys: Vec<_> = body["flags"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap()).collect();
    assert_eq!(status, 200);
    assert_eq!(
        keys,
        [
            "both",
            "code-default",
            "disabled",
            "float",
            "integer",
            "killed",
            "none",
            "object",
            "rule",
            "split",
            "static",
            "only",
            "a/b ü"
        ]
    );
    assert_eq!(body["metadata"], json!({}));
    for item in body["flags"].as_array().unwrap() {
        let alone = one(item["key"].as_str().unwrap(), "").1;
        assert_eq!(item, &alone, "the same flag alone");
    }
}

#[test]
fn a_selector_narrows_to_one_flag_set() {
    let keys = |selector| {
        let (_, body) = parse(&bulk(&served(), Some(selector), [], b"", NOW));
        let keys = body["flags"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap().to_owned());
        (keys.collect::<Vec<_>>(), body["metadata"].clone())
    };
    assert_eq!(keys("flagSetId=web"), (vec!["a/b ü".into(), "both".into()], json!({"flagSetId": "web"})));
    assert_eq!(keys("flagSetId=nowhere"), (vec![], json!({"flagSetId": "nowhere"})));
    assert_eq!(keys("flagSetId=").0.len(), 11);
    assert_eq!(keys("").0.len(), 13);
    let value = |selector| parse(&single(&served(), "both", selector, b"", NOW)).1["value"].clone();
    assert_eq!((value(None), value(Some("flagSetId=web"))), (json!(false), json!("w")));
    assert_eq!(single(&served(), "only", Some("flagSetId=web"), b"", NOW).status, 404);
    for selector in ["source=x", "x"] {
        assert_eq!(single(&served(), "both", Some(selector), b"", NOW).status, 404, "{selector}");
    }
    for selector in ["team=x", "=x"] {
        let (status, body) = parse(&single(&served(), "both", Some(selector), b"", NOW));
        assert_eq!((status, &body["errorCode"]), (400, &json!("GENERAL")), "{selector}");
        assert!(body["errorDetails"].as_str().unwrap().starts_with("invalid selector: "));
        assert_eq!(bulk(&served(), Some(selector), [], b"", NOW).status, 400);
    }
}

#[test]
fn an_unchanged_answer_is_304_and_another_context_is_not() {
    let ask = |tags: &[&str], body: &str| bulk(&served(), None, tags.iter().copied(), body.as_bytes(), NOW);
    let here = r#"{"context": {"targetingKey": "u", "country": "DE"}}"#;
    let there = r#"{"context": {"targetingKey": "u", "country": "AT"}}"#;
    let etag = ask(&[], here).etag.unwrap();
    assert_eq!(etag.len(), 34);
    for tags in [&[etag.as_str()][..], &["*"], &[&format!("W/{etag}")], &[&format!("\"x\", {etag}")], &["\"x\"", &etag]]
    {
        let answer = ask(tags, here);
        assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0), "{tags:?}");
        assert_eq!(answer.etag.as_ref(), Some(&etag));
    }
    for tags in [&[][..], &["\"x\""], &[etag.trim_matches('"')], &[""]] {
        assert_eq!(ask(tags, here).status, 200, "{tags:?}");
    }
    assert_eq!(ask(&[&etag], there).status, 200);
    let other = Served::new(served().set.with_kills(Arc::default()), Revision(8));
    assert_eq!(bulk(&other, None, [etag.as_str()], here.as_bytes(), NOW).status, 200);
}

fn environment(name: &str) -> EnvironmentName {
    EnvironmentName::new(name).unwrap()
}

fn token(number: u8, scope: Scope, place: &str) -> (IssuedToken, TokenInfo) {
    let issued = issue([number; 8], [number; 32]);
    let info = TokenInfo {
        id: issued.id,
        name: "t".into(),
        hash: issued.hash,
        scopes: Scopes::only(scope),
        environments: Environments::one(environment(place)),
        expires: None,
        revoked: false,
    };
    (issued, info)
}

fn ofrep(gate: Gate) -> Ofrep {
    Ofrep {
        door: Door {
            gate,
            default_environment: environment("production"),
            enrichment: Arc::new(Enrichment::default()),
            rate: None,
        },
        body: body::EVALUATE,
        single: Counter::default(),
        bulk: Counter::default(),
        events: None,
    }
}

/// `production` lets in anybody, `staging` asks for a token, `empty` has no snapshot.
fn edge(tokens: &Tokens) -> Router {
    let gate = fixture::gate(tokens.clone(), NOW);
    fixture::publish(&gate, "production", served().set, Revision(7), DataPlaneAuth::Optional);
    fixture::publish(&gate, "staging", served().set, Revision(8), DataPlaneAuth::Required);
    routes(ofrep(gate))
}

async fn post_to(routes: &Router, path: &str, headers: &[(&str, &str)], body: Body) -> Response {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    routes.clone().oneshot(request.body(body).unwrap()).await.unwrap()
}

async fn text(response: Response) -> String {
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn keys_are_decoded_and_answers_carry_the_revision() {
    let routes = edge(&Tokens::default());
    let response = post_to(&routes, "/ofrep/v1/evaluate/flags/a%2Fb%20%C3%BC", &[], Body::empty()).await;
    assert_eq!((response.status().as_u16(), &response.headers()[REVISION]), (200, &HeaderValue::from_static("7")));
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    assert!(text(response).await.contains("\"value\":\"w\""));
    let response = post_to(&routes, "/ofrep/v1/evaluate/flags/%FF", &[], Body::empty()).await;
    assert_eq!(response.status(), 400);
    let etag = post_to(&routes, BULK, &[], Body::empty()).await.headers()[ETAG].clone();
    let headers = [("if-none-match", etag.to_str().unwrap())];
    let response = post_to(&routes, BULK_SLASH, &headers, Body::empty()).await;
    assert_eq!((response.status().as_u16(), &response.headers()[ETAG]), (304, &etag));
    let request = Request::get(BULK).body(Body::empty()).unwrap();
    let response = routes.oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &HeaderValue::from_static("POST")));
}

#[tokio::test]
async fn a_large_body_is_413_with_details() {
    let routes = edge(&Tokens::default());
    let response = post_to(&routes, "/ofrep/v1/evaluate/flags/static", &[], Body::from(vec![b' '; 70_000])).await;
    assert_eq!(response.status(), 413);
    assert!(text(response).await.contains(r#""errorDetails":"request body too large""#));
}

#[tokio::test]
async fn a_token_opens_its_environment_and_no_other() {
    let (evaluate, a) = token(1, Scope::Evaluate, "staging");
    let (kill, b) = token(2, Scope::Kill, "production");
    let (empty, c) = token(3, Scope::Evaluate, "empty");
    let (expired, d) = token(4, Scope::Evaluate, "production");
    let d = TokenInfo { expires: Some(NOW), ..d };
    let routes = edge(&[a, b, c, d].into_iter().collect());
    for (headers, expected) in [
        (&[][..], (200, "7")),
        (&[("x-api-key", evaluate.text.as_str())], (200, "8")),
        (&[("authorization", &format!("Bearer {}", evaluate.text))], (200, "8")),
        (&[("x-api-key", &kill.text)], (403, "")),
        (&[("x-api-key", &empty.text)], (503, "")),
        (&[("x-api-key", &expired.text)], (401, "")),
        (&[("x-api-key", "wrong")], (401, "")),
    ] {
        for path in [BULK, "/ofrep/v1/evaluate/flags/static"] {
            let response = post_to(&routes, path, headers, Body::empty()).await;
            let revision = response.headers().get(REVISION).map_or("", |value| value.to_str().unwrap());
            assert_eq!((response.status().as_u16(), revision), expected, "{path} {headers:?}");
        }
    }
}

#[tokio::test]
async fn an_environment_that_requires_a_token_lets_in_nobody_without_one() {
    let gate = fixture::gate(Tokens::default(), NOW);
    fixture::publish(&gate, "production", served().set, Revision(1), DataPlaneAuth::Required);
    let response = post_to(&routes(ofrep(gate)), BULK, &[], Body::empty()).await;
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"rampart\"");
}

#[test]
fn who_was_told_of_another_configuration_gets_the_whole_answer() {
    let served = served();
    let etag = bulk(&served, None, [], b"", NOW).etag.unwrap();
    let ask = |config_etag, config_last_modified| {
        let if_none_match = vec![etag.as_str()];
        let asked = Asked { if_none_match, config_etag, config_last_modified, ..Asked::default() };
        answer::bulk(&served, &asked, b"", std::convert::identity, NOW).status.as_u16()
    };
    // The configuration that is served is called `0000000000000000000000000000005a`, and it was published in second 9.
    for (config_etag, modified, status) in [
        (None, None, 304),
        (Some("0000000000000000000000000000005a"), None, 304),
        (Some("\"0000000000000000000000000000005a\""), Some("10"), 304),
        (Some("W/\"0000000000000000000000000000005a\""), None, 304),
        (Some(""), None, 304),
        (Some("0000000000000000000000000000005b"), None, 200),
        (Some("\"0000000000000000000000000000005b\""), Some("9"), 200),
        (None, Some("9"), 304),
        (None, Some("10"), 200),
        (None, Some("1970-01-01T00:00:09Z"), 304),
        (None, Some("1970-01-01T00:00:10Z"), 200),
        (None, Some("yesterday"), 304),
    ] {
        assert_eq!(ask(config_etag, modified), status, "{config_etag:?} {modified:?}");
    }
    let elsewhere = Asked {
        config_etag: Some("0000000000000000000000000000005a"),
        if_none_match: vec!["\"x\""],
        ..Asked::default()
    };
    let answer = answer::bulk(&served, &elsewhere, b"", std::convert::identity, NOW);
    assert_eq!(answer.status, 200, "the right configuration does not grant a 304");
}

#[test]
fn the_tag_is_another_one_for_another_selector_and_another_stream() {
    let tag = |selector, event_streams| {
        let asked = Asked { selector, event_streams, ..Asked::default() };
        answer::bulk(&served(), &asked, b"", std::convert::identity, NOW).etag.unwrap()
    };
    let tags = [
        tag(None, None),
        tag(Some("flagSetId=web"), None),
        tag(Some("flagSetId=nowhere"), None),
        tag(Some("flagSetId=elsewhere"), None),
        tag(None, Some("[1]")),
        tag(None, Some("[2]")),
    ];
    let different: std::collections::BTreeSet<_> = tags.iter().collect();
    assert_eq!(different.len(), tags.len());
}

#[test]
fn no_answer_that_a_client_would_keep_is_given_for_what_is_managed() {
    let managed = Object::Flag {
        id: id(None, "managed"),
        revision: Revision(3),
        definition: Arc::new(switch()),
        allocation: Some(Allocation {
            percentages: [(variant("on"), Percent::from_thousandths(99_999).unwrap())].into(),
        }),
    };
    let (set, diagnostics) = compile_all([managed]);
    assert_eq!(diagnostics, []);
    let served = Served::new(set, Revision(3));
    let body = br#"{"context": {"targetingKey": "u"}}"#;
    assert_eq!(parse(&single(&served, "managed", None, body, NOW)).1["reason"], "SPLIT");
    assert_eq!(parse(&single(&served, "managed", None, b"", NOW)).1["reason"], "DEFAULT");
    assert_eq!(one("killed", "").1["reason"], "DEFAULT");
}

#[tokio::test]
async fn failures_are_told_in_words_that_clients_read() {
    let two = [("authorization", "Bearer a"), ("x-api-key", "b")];
    let (empty, info) = token(3, Scope::Evaluate, "empty");
    let routes = edge(&[info].into_iter().collect());
    let nowhere = [("x-api-key", empty.text.as_str())];
    for (path, headers, status, key) in [
        ("/ofrep/v1/evaluate/flags/static", &two[..], 400, Some("static")),
        ("/ofrep/v1/evaluate/flags/%FF", &[], 400, None),
        (BULK, &two, 400, None),
        (BULK, &nowhere, 503, None),
        ("/ofrep/v1/evaluate/flags/static", &nowhere, 503, Some("static")),
    ] {
        let response = post_to(&routes, path, headers, Body::empty()).await;
        assert_eq!(response.status().as_u16(), status, "{path} {headers:?}");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        let body: Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!((&body["errorCode"], body["key"].as_str()), (&json!("GENERAL"), key), "{path}");
        assert!(body["errorDetails"].as_str().is_some_and(|details| !details.is_empty()), "{path}");
    }
}

#[tokio::test]
async fn a_caller_that_asks_too_often_is_told_when_to_come_back() {
    let (issued, info) = token(1, Scope::Evaluate, "production");
    let gate = fixture::gate([info].into_iter().collect(), NOW);
    fixture::publish(&gate, "production", served().set, Revision(1), DataPlaneAuth::Optional);
    let clock = gate.clock.clone();
    let mut ofrep = ofrep(gate);
    ofrep.door.rate = Some(Arc::new(RateLimit::per_second(2)));
    let routes = routes(ofrep);
    let ask = async |path, headers: &[(&str, &str)]| {
        let response = post_to(&routes, path, headers, Body::empty()).await;
        (response.status().as_u16(), response.headers().get("retry-after").cloned(), text(response).await)
    };
    let wait = Some(HeaderValue::from_static("1"));
    assert_eq!(ask(BULK, &[]).await.0, 200);
    assert_eq!(ask("/ofrep/v1/evaluate/flags/static", &[]).await.0, 200);
    for path in [BULK, "/ofrep/v1/evaluate/flags/static"] {
        let (status, retry_after, body) = ask(path, &[]).await;
        assert_eq!((status, &retry_after), (429, &wait));
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&body["errorCode"], &body["errorDetails"]), (&json!("GENERAL"), &json!("try again in 1 s")));
    }
    let headers = [("x-api-key", issued.text.as_str())];
    assert_eq!(ask(BULK, &headers).await.0, 200, "a token has a share of its own");
    clock.advance(500_000);
    assert_eq!((ask(BULK, &[]).await.0, ask(BULK, &[]).await.0), (200, 429));
}

/// A change stream that is read.
struct Listening(axum::body::BodyDataStream);

impl Listening {
    /// The next event or comment; none at the end.
    async fn next(&mut self) -> Option<String> {
        use tokio_stream::StreamExt as _;
        let next = tokio::time::timeout(Duration::from_secs(30), self.0.next());
        let piece = next.await.expect("something within the guard")?.unwrap();
        Some(String::from_utf8(piece.to_vec()).unwrap())
    }
}

/// `production` lets in anybody, `staging` asks for a token; both serve [`served`], published long ago.
struct Streams {
    gate: Gate,
    routes: Router,
    draining: CancellationToken,
    tasks: TaskTracker,
}

impl Streams {
    fn new(tokens: Tokens, public_url: Option<&str>) -> Self {
        let settings = EventSettings {
            public_url: public_url.map(str::to_owned),
            inactivity: Duration::from_secs(120),
            keep_alive: Duration::from_secs(3600),
            stall: Duration::from_secs(30),
        };
        Self::kept(tokens, settings)
    }

    fn kept(tokens: Tokens, settings: EventSettings) -> Self {
        let gate = fixture::gate(tokens, NOW);
        fixture::publish(&gate, "production", served().set, Revision(7), DataPlaneAuth::Optional);
        fixture::publish(&gate, "staging", served().set, Revision(8), DataPlaneAuth::Required);
        gate.clock.advance(1_000_000_000);
        let (draining, tasks) = (CancellationToken::new(), TaskTracker::new());
        let events = Events::new(settings, draining.clone(), tasks.clone(), Gauge::default());
        let routes = routes(Ofrep { events: Some(events), ..ofrep(gate.clone()) });
        Self { gate, routes, draining, tasks }
    }

    async fn open(&self, path: &str, headers: &[(&str, &str)]) -> Result<Listening, u16> {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.routes.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        match response.status().as_u16() {
            200 => {
                assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
                assert_eq!(response.headers()["cache-control"], "no-store");
                Ok(Listening(response.into_body().into_data_stream()))
            }
            status => Err(status),
        }
    }

    /// The `requestUri` that a bulk answer names.
    async fn uri(&self, headers: &[(&str, &str)]) -> String {
        let response = post_to(&self.routes, BULK, headers, Body::empty()).await;
        let body: Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(body["eventStreams"][0]["type"], "sse");
        assert_eq!(body["eventStreams"][0]["inactivityDelaySec"], 120);
        body["eventStreams"][0]["endpoint"]["requestUri"].as_str().unwrap().to_owned()
    }

    fn kill(&self, place: &str, flag: &FlagId, generation: u64) {
        let mut kills = KillSet::default();
        kills.merge(flag, KillMark { generation: Generation(generation), killed: true });
        let now = self.gate.clock.now();
        self.gate.hub.publish(&environment(place), |before| before.unwrap().with_kills(&kills, now));
    }

    fn state(&self, place: &str) -> String {
        answer::State::of(&self.gate.hub.current(&environment(place)).unwrap()).to_string()
    }
}

#[tokio::test]
async fn a_stream_says_nothing_until_something_changes() {
    let streams = Streams::new(Tokens::default(), None);
    assert_eq!(streams.uri(&[]).await, "/ofrep/v1/sse");
    let mut stream = streams.open("/ofrep/v1/sse", &[]).await.unwrap();
    let first = streams.state("production");
    let greeting = stream.next().await.unwrap();
    assert!(greeting.starts_with(": ok\nretry: ") && greeting.ends_with(&format!("\nid: {first}\n\n")), "{greeting}");
    streams.kill("staging", &id(None, "static"), 50);
    streams.kill("production", &id(None, "static"), 60);
    let now = streams.gate.clock.now().seconds();
    let state = streams.state("production");
    let data = format!(r#"{{"etag":"{state}","lastModified":{now},"type":"refetchEvaluation"}}"#);
    assert_eq!(stream.next().await.unwrap(), format!("id: {state}\nevent: message\ndata: {data}\n\n"));
    assert_ne!(state, first);
    streams.draining.cancel();
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_stream_with_a_selector_hears_of_its_flags_alone() {
    let streams = Streams::new(Tokens::default(), None);
    let uri = streams.uri(&[("flagd-selector", "flagSetId=web")]).await;
    assert_eq!(uri, "/ofrep/v1/sse/flagSetId%3Dweb");
    let mut web = streams.open(&uri, &[]).await.unwrap();
    let mut none = streams.open("/ofrep/v1/sse/flagSetId%3D", &[]).await.unwrap();
    for stream in [&mut web, &mut none] {
        stream.next().await.unwrap();
    }
    streams.kill("production", &id(None, "static"), 60);
    let first = streams.state("production");
    assert!(none.next().await.unwrap().contains(&first));
    streams.kill("production", &id(Some("web"), "both"), 70);
    let second = streams.state("production");
    assert!(web.next().await.unwrap().contains(&second), "the first event is that of the second kill");
    assert_eq!(streams.open("/ofrep/v1/sse/team%3Dx", &[]).await.err(), Some(400));
    assert_eq!(streams.open("/ofrep/v1/sse/%FF", &[]).await.err(), Some(400));
}

#[tokio::test]
async fn who_comes_back_is_told_at_once_where_it_missed_something() {
    let streams = Streams::new(Tokens::default(), None);
    let known = streams.state("production");
    let last = [("last-event-id", known.as_str())];
    let mut up_to_date = streams.open("/ofrep/v1/sse", &last).await.unwrap();
    streams.kill("production", &id(None, "static"), 60);
    let state = streams.state("production");
    let mut behind = streams.open("/ofrep/v1/sse", &last).await.unwrap();
    let mut silent = streams.open("/ofrep/v1/sse", &[]).await.unwrap();
    for stream in [&mut up_to_date, &mut behind, &mut silent] {
        stream.next().await.unwrap();
        assert!(stream.next().await.unwrap().contains(&format!("id: {state}\nevent: message")));
    }
    // Long after the change, who says nothing of what it knows hears of the next one only.
    streams.gate.clock.advance(61_000_000);
    let mut late = streams.open("/ofrep/v1/sse", &[]).await.unwrap();
    late.next().await.unwrap();
    streams.kill("production", &id(None, "rule"), 70);
    assert!(late.next().await.unwrap().contains(&streams.state("production")));
}

#[tokio::test]
async fn a_ticket_opens_the_stream_it_was_made_for_and_nothing_else() {
    let (issued, info) = token(1, Scope::Evaluate, "staging");
    let streams = Streams::new([info.clone()].into_iter().collect(), None);
    let headers = [("x-api-key", issued.text.as_str())];
    let uri = streams.uri(&headers).await;
    let (path, ticket) = uri.split_once("?ticket=").unwrap();
    assert_eq!(path, "/ofrep/v1/sse");
    assert!(!issued.text.contains(&ticket[17..]) && !uri.contains("rampart_"), "no token in the URL");
    let mut stream = streams.open(&uri, &[]).await.unwrap();
    stream.next().await.unwrap();
    streams.kill("staging", &id(None, "static"), 60);
    assert!(stream.next().await.unwrap().contains(&streams.state("staging")));
    assert!(streams.open("/ofrep/v1/sse", &headers).await.is_ok(), "a token in the headers opens it too");
    for path in ["/ofrep/v1/sse/flagSetId%3Dweb", "/ofrep/v1/sse/source%3Dx"] {
        assert_eq!(streams.open(&format!("{path}?ticket={ticket}"), &[]).await.err(), Some(401), "{path}");
    }
    let response = post_to(&streams.routes, &format!("{BULK}?ticket={ticket}"), &[], Body::empty()).await;
    assert_eq!(response.headers()[REVISION], "7", "elsewhere a ticket is nobody's");
    for bad in ["", "x", &ticket[..ticket.len() - 1], &format!("{ticket}0"), &issued.text] {
        let status = streams.open(&format!("/ofrep/v1/sse?ticket={bad}"), &[]).await.err();
        assert_eq!(status, Some(if bad.starts_with("rampart_") { 400 } else { 401 }), "{bad}");
    }
    streams.gate.hub.publish_tokens([TokenInfo { revoked: true, ..info }].into_iter().collect());
    assert_eq!(stream.next().await, None, "it ends with its token");
    assert_eq!(streams.open(&uri, &[]).await.err(), Some(401));
}

#[tokio::test]
async fn a_ticket_ends_in_its_time_and_the_next_answer_has_a_new_one() {
    let (issued, info) = token(1, Scope::Evaluate, "staging");
    let streams = Streams::new([info].into_iter().collect(), None);
    let headers = [("x-api-key", issued.text.as_str())];
    let tag = async || post_to(&streams.routes, BULK, &headers, Body::empty()).await.headers()[ETAG].clone();
    let (old, old_tag) = (streams.uri(&headers).await, tag().await);
    assert_eq!((streams.uri(&headers).await, tag().await), (old.clone(), old_tag.clone()));
    streams.gate.clock.advance(3_600_000_000);
    let new = streams.uri(&headers).await;
    assert_ne!(new, old);
    assert_ne!(tag().await, old_tag, "a client that asks whether anything changed gets the new ticket");
    assert!(streams.open(&old, &[]).await.is_ok());
    streams.gate.clock.advance(3_600_000_000);
    assert_eq!(streams.open(&old, &[]).await.err(), Some(401));
    assert!(streams.open(&new, &[]).await.is_ok());
}

#[tokio::test]
async fn a_stream_without_a_token_ends_when_its_environment_asks_for_one() {
    let streams = Streams::new(Tokens::default(), None);
    let mut stream = streams.open("/ofrep/v1/sse", &[]).await.unwrap();
    stream.next().await.unwrap();
    let required =
        |before: Option<&Snapshot>| Snapshot { data_plane_auth: DataPlaneAuth::Required, ..before.unwrap().clone() };
    streams.gate.hub.publish(&environment("production"), required);
    assert_eq!(stream.next().await, None);
    assert_eq!(streams.open("/ofrep/v1/sse", &[]).await.err(), Some(401));
}

#[tokio::test]
async fn a_public_address_is_named_whole_and_streams_can_be_switched_off() {
    let streams = Streams::new(Tokens::default(), Some("https://flags.example/base/"));
    let response = post_to(&streams.routes, BULK, &[("flagd-selector", "flagSetId=web")], Body::empty()).await;
    let body: Value = serde_json::from_str(&text(response).await).unwrap();
    let expected = "https://flags.example/base/ofrep/v1/sse/flagSetId%3Dweb";
    assert_eq!(body["eventStreams"], json!([{"type": "sse", "url": expected, "inactivityDelaySec": 120}]));
    let off = edge(&Tokens::default());
    assert!(!text(post_to(&off, BULK, &[], Body::empty()).await).await.contains("eventStreams"));
    let request = Request::get("/ofrep/v1/sse").body(Body::empty()).unwrap();
    assert_eq!(off.oneshot(request).await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let settings = EventSettings {
        public_url: None,
        inactivity: Duration::from_secs(120),
        keep_alive: Duration::from_millis(1),
        stall: Duration::from_millis(20),
    };
    let streams = Streams::kept(Tokens::default(), settings);
    let stuck = streams.open("/ofrep/v1/sse", &[]).await.unwrap();
    streams.tasks.close();
    tokio::time::timeout(Duration::from_secs(30), streams.tasks.wait()).await.expect("its task ends");
    drop(stuck);
}
