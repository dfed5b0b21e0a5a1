//! OFREP, the OpenFeature Remote Evaluation Protocol (OpenAPI 0.3.0): one flag or all of them for one context.
//!
//! Everything that a request decides happens in [`single`] and [`bulk`], which are pure: bytes in, status and bytes
//! out. Around them stands what HTTP adds: who asks, which environment, how large a body. Where flagd and the
//! published clients go beyond the specification, they are followed: a missing body is an empty context, `metadata` is
//! always an object, `errorDetails` is always there, `reason` is never an invented word. The JSON itself is written in
//! `ofrep_json`.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper::body::Bytes;
use prometheus_client::metrics::counter::Counter;
use xxhash_rust::xxh3::xxh3_128;

use super::body::{self, BodyFault, BodyLimit};
use super::ofrep_json as json;
use super::problem::Problem;
use crate::eval::context::Context;
use crate::eval::evaluate::evaluate;
use crate::eval::outcome::ErrorCode;
use crate::eval::set::CompiledSet;
use crate::flag::key::FlagSetName;
use crate::flag::time::{Revision, Timestamp};
use crate::serve::door::{self, Door};
use crate::serve::selection::{SELECTOR, Selection, Selector};
use crate::snapshot::Snapshot;

/// The revision of the snapshot that answered; bodies carry nothing that changes without the flag.
pub const REVISION: HeaderName = HeaderName::from_static("rampart-revision");
const SINGLE: &str = "/ofrep/v1/evaluate/flags/{key}";
const BULK: &str = "/ofrep/v1/evaluate/flags";
const BULK_SLASH: &str = "/ofrep/v1/evaluate/flags/";

/// What one environment serves.
#[derive(Debug, Clone)]
pub struct Served {
    set: CompiledSet,
    flag_sets: Arc<[FlagSetName]>,
    revision: Revision,
}

impl Served {
    /// What a snapshot serves.
    fn of(snapshot: &Snapshot) -> Self {
        Self { set: snapshot.set.clone(), flag_sets: Arc::clone(&snapshot.flag_sets), revision: snapshot.revision }
    }

    /// Takes a compiled set; looks through it once for the names of its flag sets.
    #[cfg(test)]
    fn new(set: CompiledSet, revision: Revision) -> Self {
        let mut flag_sets: Vec<_> = set.iter().filter_map(|flag| flag.id().flag_set.clone()).collect();
        flag_sets.dedup();
        flag_sets.sort();
        flag_sets.dedup();
        Self { set, flag_sets: flag_sets.into(), revision }
    }

    /// The flags that a request asks for.
    fn select<'s>(&'s self, selector: Selector<'s>) -> Selection<'s> {
        Selection::new(&self.set, &self.flag_sets, selector)
    }
}

/// An answer before HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body; empty with 304.
    pub body: Vec<u8>,
    /// The quoted entity tag of a bulk answer.
    pub etag: Option<String>,
}

impl Answer {
    fn new(status: StatusCode, body: Vec<u8>) -> Self {
        Self { status, body, etag: None }
    }
}

/// Answers for one flag. `body` is the request's, `selector` the header's text, `enrich` what the operator adds to the
/// context.
pub fn single<'a>(
    served: &Served,
    key: &str,
    selector: Option<&str>,
    body: &'a [u8],
    enrich: impl FnOnce(Context<'a>) -> Context<'a>,
    now: Timestamp,
) -> Answer {
    let selector = match Selector::parse(selector) {
        Ok(selector) => selector,
        Err(fault) => {
            let details = format!("invalid selector: {fault}");
            return Answer::new(StatusCode::BAD_REQUEST, json::failure(Some(key), ErrorCode::General, &details));
        }
    };
    let context = match json::context(body) {
        Ok(context) => enrich(context),
        Err(fault) => {
            let body = json::failure(Some(key), ErrorCode::InvalidContext, &fault.to_string());
            return Answer::new(StatusCode::BAD_REQUEST, body);
        }
    };
    let Some(flag) = served.select(selector).find(key) else {
        let details = format!("flag `{key}` does not exist");
        return Answer::new(StatusCode::NOT_FOUND, json::failure(Some(key), ErrorCode::FlagNotFound, &details));
    };
    let evaluation = evaluate(&served.set, flag, &context, now);
    let mut body = Vec::with_capacity(json::USUAL_ITEM_BYTES);
    json::item(&mut body, &evaluation);
    let status = if evaluation.error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Answer::new(status, body)
}

/// Answers for every flag. `if_none_match` are the values of that header.
///
/// The entity tag is a hash of the body, so it depends on the context exactly as far as the answers do, and also where
/// a rule asks for the time.
pub fn bulk<'a, 'h>(
    served: &Served,
    selector: Option<&str>,
    if_none_match: impl IntoIterator<Item = &'h str>,
    body: &'a [u8],
    enrich: impl FnOnce(Context<'a>) -> Context<'a>,
    now: Timestamp,
) -> Answer {
    let selector = match Selector::parse(selector) {
        Ok(selector) => selector,
        Err(fault) => {
            let details = format!("invalid selector: {fault}");
            return Answer::new(StatusCode::BAD_REQUEST, json::failure(None, ErrorCode::General, &details));
        }
    };
    let context = match json::context(body) {
        Ok(context) => enrich(context),
        Err(fault) => {
            let body = json::failure(None, ErrorCode::InvalidContext, &fault.to_string());
            return Answer::new(StatusCode::BAD_REQUEST, body);
        }
    };
    let selection = served.select(selector);
    let flags = selection.iter().map(|flag| evaluate(&served.set, flag, &context, now));
    let body = json::list(flags, selector, selection.expected());
    let etag = format!("\"{:032x}\"", xxh3_128(&body));
    if if_none_match.into_iter().any(|value| matches(value, &etag)) {
        return Answer { status: StatusCode::NOT_MODIFIED, body: Vec::new(), etag: Some(etag) };
    }
    Answer { status: StatusCode::OK, body, etag: Some(etag) }
}

/// True where a value of `If-None-Match` names the tag: `*`, or one of a list, strong or weak (RFC 9110 section 13.1.2).
fn matches(value: &str, etag: &str) -> bool {
    value.trim() == "*" || value.split(',').map(str::trim).any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// What the handlers need from the rest of the server.
#[derive(Debug, Clone)]
pub struct Ofrep {
    /// Who asks, and what it sees.
    pub door: Door,
    /// How large a body may be.
    pub body: BodyLimit,
    /// Counts single evaluations.
    pub single: Counter,
    /// Counts bulk evaluations.
    pub bulk: Counter,
}

/// The OFREP routes.
pub fn routes(ofrep: Ofrep) -> Router {
    Router::new()
        .route(SINGLE, post(answer_single))
        .route(BULK, post(answer_bulk))
        .route(BULK_SLASH, post(answer_bulk))
        .method_not_allowed_fallback(only_post)
        .with_state(ofrep)
}

async fn only_post() -> Problem {
    Problem::MethodNotAllowed { allow: vec!["POST"] }
}

async fn answer_single(
    State(ofrep): State<Ofrep>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let key = params.ok().and_then(|params| params.iter().next().map(|(_, key)| key.to_owned()));
    let Some(key) = key else {
        return Problem::BadRequest("the key is not UTF-8 once its percent signs are decoded".into()).into_response();
    };
    let (served, headers, body, now) = match admit(&ofrep, SINGLE, Some(&key), request).await {
        Ok(admitted) => admitted,
        Err(refused) => return refused,
    };
    ofrep.single.inc();
    let enrich = |context| ofrep.door.enrichment.apply(&headers, context);
    respond(&served, single(&served, &key, selector_of(&headers), &body, enrich, now))
}

async fn answer_bulk(State(ofrep): State<Ofrep>, request: Request) -> Response {
    let (served, headers, body, now) = match admit(&ofrep, BULK, None, request).await {
        Ok(admitted) => admitted,
        Err(refused) => return refused,
    };
    let tags = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    ofrep.bulk.inc();
    let enrich = |context| ofrep.door.enrichment.apply(&headers, context);
    respond(&served, bulk(&served, selector_of(&headers), tags, &body, enrich, now))
}

type Admitted = (Served, HeaderMap, Bytes, Timestamp);

/// Who asks, for which environment, with which body.
async fn admit(ofrep: &Ofrep, path: &str, key: Option<&str>, request: Request) -> Result<Admitted, Response> {
    let (parts, body) = request.into_parts();
    let admitted = ofrep.door.admit(&parts.headers, parts.uri.query(), ("POST", path));
    let door::Admitted { snapshot, now, .. } = admitted.map_err(Problem::into_response)?;
    let served = Served::of(&snapshot);
    match body::read(body, ofrep.body).await {
        Ok(body) => Ok((served, parts.headers, body, now)),
        Err(BodyFault::TooLarge { .. }) => {
            let body = json::failure(key, ErrorCode::General, "request body too large");
            Err(respond(&served, Answer::new(StatusCode::PAYLOAD_TOO_LARGE, body)))
        }
        Err(fault) => Err(Problem::from(fault).into_response()),
    }
}

/// The selector as sent; one that is no text is as wrong as any other.
fn selector_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(SELECTOR).map(|value| value.to_str().unwrap_or("\u{fffd}=\u{fffd}"))
}

fn respond(served: &Served, answer: Answer) -> Response {
    let empty = answer.status == StatusCode::NOT_MODIFIED;
    let mut response = Response::new(answer.body.into());
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    if !empty {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    headers.insert(REVISION, HeaderValue::from(served.revision.0));
    if let Some(etag) = answer.etag.and_then(|etag| HeaderValue::from_str(&etag).ok()) {
        headers.insert(ETAG, etag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::access::policy::DataPlaneAuth;
    use crate::access::scope::{Scope, Scopes};
    use crate::access::token::{Environments, IssuedToken, TokenInfo, Tokens, issue};
    use crate::eval::compile::compile_all;
    use crate::eval::object::Object;
    use crate::flag::definition::{
        AttributePath, Condition, Definition, Operator, Rule, Scalar, Serve, State as FlagState, Test,
    };
    use crate::flag::key::EnvironmentName;
    use crate::flag::key::{FlagId, FlagKey, VariantName};
    use crate::flag::kill::{KillMark, KillSet};
    use crate::flag::percent::Percent;
    use crate::flag::time::Generation;
    use crate::serve::door::Enrichment;
    use crate::serve::http::caller::Gate;
    use axum::body::Body;
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    fn single(served: &Served, key: &str, selector: Option<&str>, body: &[u8], now: Timestamp) -> Answer {
        super::single(served, key, selector, body, std::convert::identity, now)
    }

    fn bulk<'h>(
        served: &Served,
        selector: Option<&str>,
        tags: impl IntoIterator<Item = &'h str>,
        body: &[u8],
        now: Timestamp,
    ) -> Answer {
        super::bulk(served, selector, tags, body, std::convert::identity, now)
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
            (
                id(None, "static"),
                Definition { metadata: metadata(&[("team", json!("a")), ("n", json!(1.0))]), ..switch() },
            ),
            (id(None, "disabled"), Definition { state: FlagState::Disabled, ..switch() }),
            (id(None, "code-default"), flag(&[("on", json!(true))], None)),
            (id(None, "rule"), Definition { rules: vec![rule(Serve::variant(variant("on")))], ..switch() }),
            (id(None, "split"), Definition { serve: Some(half.clone()), ..switch() }),
            (
                id(None, "none"),
                Definition {
                    serve: Some(Serve::percentages(
                        [(variant("on"), Percent::from_thousandths(50_000).unwrap())].into(),
                    )),
                    metadata: metadata(&[("noUnit", json!("mine"))]),
                    ..switch()
                },
            ),
            (
                id(None, "killed"),
                Definition { serve: Some(half), metadata: metadata(&[("killed", json!(0))]), ..switch() },
            ),
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
        for tags in
            [&[etag.as_str()][..], &["*"], &[&format!("W/{etag}")], &[&format!("\"x\", {etag}")], &["\"x\"", &etag]]
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
            },
            body: body::EVALUATE,
            single: Counter::default(),
            bulk: Counter::default(),
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
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &HeaderValue::from_static("POST"))
        );
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
}
