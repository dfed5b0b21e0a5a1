//! flagd.evaluation v1 and v2 over gRPC, gRPC-Web and Connect: the same answers and the same errors by every way, and
//! the protocol's own refusal for what is none of it.

use serde_json::{Value, json};

use crate::harness::Server;
use crate::harness::flagd::{Flagd, Outcome, Transport, envelope};
use crate::harness::http::{Answer, Client};

const FLAGS: &str = "/v1/environments/production/flags";

fn flags() -> Value {
    let boolean = json!({"on": true, "off": false});
    json!({"flags": {
        "yes": {"variants": boolean, "defaultVariant": "on", "metadata": {"team": "web", "level": 2, "live": true}},
        "no": {"variants": boolean, "defaultVariant": "off"},
        "empty": {"variants": {"e": ""}, "defaultVariant": "e"},
        "text": {"variants": {"t": "Grüße"}, "defaultVariant": "t"},
        "zero": {"variants": {"z": 0}, "defaultVariant": "z"},
        "ten": {"variants": {"t": 10.0}, "defaultVariant": "t"},
        "half": {"variants": {"h": 0.5}, "defaultVariant": "h"},
        "largest": {"variants": {"l": 9_007_199_254_740_991_i64}, "defaultVariant": "l"},
        "larger": {"variants": {"l": 9_007_199_254_740_992_i64}, "defaultVariant": "l"},
        "object": {"variants": {"o": {"a": [1, "b", null, {"c": false}], "d": {}}}, "defaultVariant": "o"},
        "disabled": {"state": "DISABLED", "variants": boolean, "defaultVariant": "on"},
        "nothing": {"variants": boolean, "rules": [{"when": {"country": "DE"}, "serve": "on"}]},
        "ruled": {"variants": boolean, "defaultVariant": "off", "rules": [{"when": {"country": "DE"}, "serve": "on"}]},
        "user42": {"variants": boolean, "defaultVariant": "off", "rules": [{"when": {"user": 42}, "serve": "on"}]},
        "all": {"variants": boolean, "defaultVariant": "off", "serve": {"on": 100}},
        "halfway": {"variants": boolean, "defaultVariant": "off", "serve": {"on": 50}},
        "victim": {"variants": boolean, "defaultVariant": "on", "safeVariant": "off"},
    }})
}

fn server(options: &[&str]) -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(dir.path(), options);
    let imported = server.admin().post("/v1/environments/production/import", &flags());
    assert_eq!(imported.status, 200, "{}", imported.text());
    let mobile = json!({"variants": {"on": true, "off": false}, "defaultVariant": "off", "metadata": {"team": "app"}});
    for key in ["yes", "mobile-only"] {
        assert_eq!(server.admin().put(&format!("{FLAGS}/{key}?flagSet=mobile"), &mobile).status, 200);
    }
    (dir, server)
}

fn ok(value: &Value, reason: &str, variant: &str) -> Outcome {
    Ok(json!({"value": value, "reason": reason, "variant": variant, "metadata": {}}))
}

fn refused(code: &str, message: &str) -> Outcome {
    Err((code.to_owned(), message.to_owned()))
}

/// The same number is the same answer, however it is written.
fn plain(outcome: Outcome) -> Outcome {
    fn numbers(value: Value) -> Value {
        match value {
            Value::Number(number) => json!(number.as_f64()),
            Value::Array(elements) => elements.into_iter().map(numbers).collect(),
            Value::Object(map) => map.into_iter().map(|(name, value)| (name, numbers(value))).collect(),
            other => other,
        }
    }
    outcome.map(numbers)
}

#[test]
fn every_type_and_error_is_answered_alike_by_every_way() {
    let (_dir, server) = server(&[]);
    assert_eq!(server.admin().post(&format!("{FLAGS}/victim/kill"), &json!({})).status, 200);
    let mut flagd = Flagd::of(&server);
    let de = json!({"country": "DE", "targetingKey": "user-1"});
    let killed = json!({"value": false, "reason": "DEFAULT", "variant": "off", "metadata": {"killed": true}});
    let no_unit = json!({"value": false, "reason": "DEFAULT", "variant": "off", "metadata": {"noUnit": true}});
    let yes = json!({"value": true, "reason": "STATIC", "variant": "on",
        "metadata": {"team": "web", "level": 2, "live": true}});
    let object = json!({"a": [1, "b", null, {"c": false}], "d": {}});
    let mismatch = || refused("invalid_argument", "Type mismatch error");
    let missing = || refused("not_found", "Flag not found");
    for (method, key, context, expected) in [
        ("ResolveBoolean", "yes", json!({}), Ok(yes)),
        ("ResolveBoolean", "no", json!({}), ok(&json!(false), "STATIC", "off")),
        ("ResolveString", "text", json!({}), ok(&json!("Grüße"), "STATIC", "t")),
        ("ResolveString", "empty", json!({}), ok(&json!(""), "STATIC", "e")),
        ("ResolveInt", "zero", json!({}), ok(&json!("0"), "STATIC", "z")),
        ("ResolveInt", "ten", json!({}), ok(&json!("10"), "STATIC", "t")),
        ("ResolveInt", "largest", json!({}), ok(&json!("9007199254740991"), "STATIC", "l")),
        ("ResolveInt", "larger", json!({}), mismatch()),
        ("ResolveInt", "half", json!({}), mismatch()),
        ("ResolveFloat", "zero", json!({}), ok(&json!(0), "STATIC", "z")),
        ("ResolveFloat", "half", json!({}), ok(&json!(0.5), "STATIC", "h")),
        ("ResolveFloat", "larger", json!({}), ok(&json!(9_007_199_254_740_992_i64), "STATIC", "l")),
        ("ResolveObject", "object", json!({}), ok(&object, "STATIC", "o")),
        ("ResolveBoolean", "ruled", de.clone(), ok(&json!(true), "TARGETING_MATCH", "on")),
        ("ResolveBoolean", "ruled", json!({}), ok(&json!(false), "DEFAULT", "off")),
        ("ResolveBoolean", "user42", json!({"user": 42.0}), ok(&json!(true), "TARGETING_MATCH", "on")),
        // flagd never says SPLIT.
        ("ResolveBoolean", "all", de.clone(), ok(&json!(true), "TARGETING_MATCH", "on")),
        ("ResolveBoolean", "halfway", json!({}), Ok(no_unit)),
        ("ResolveBoolean", "victim", json!({}), Ok(killed)),
        ("ResolveBoolean", "text", json!({}), mismatch()),
        ("ResolveString", "yes", json!({}), mismatch()),
        ("ResolveFloat", "text", json!({}), mismatch()),
        ("ResolveObject", "zero", json!({}), mismatch()),
        ("ResolveInt", "yes", json!({}), mismatch()),
        ("ResolveBoolean", "absent", json!({}), missing()),
        ("ResolveBoolean", "", json!({}), missing()),
        ("ResolveBoolean", "mobile-only", json!({}), {
            Ok(json!({"value": false, "reason": "STATIC", "variant": "off",
                "metadata": {"team": "app", "flagSetId": "mobile"}}))
        }),
    ] {
        for transport in Transport::ALL {
            for version in ["v1", "v2"] {
                let answer = flagd.ask(transport, &format!("{version}.{method}"), key, &context, &[]);
                assert_eq!(plain(answer), plain(expected.clone()), "{version} {method} {key} by {transport:?}");
            }
        }
    }
}

#[test]
fn where_no_value_is_served_v2_leaves_it_out_and_v1_knows_no_flag() {
    let (_dir, server) = server(&[]);
    let mut flagd = Flagd::of(&server);
    for transport in Transport::ALL {
        for method in ["ResolveBoolean", "ResolveString", "ResolveFloat", "ResolveInt", "ResolveObject"] {
            for (key, reason) in [("disabled", "DISABLED"), ("nothing", "DEFAULT")] {
                let answer = flagd.ask(transport, &format!("v2.{method}"), key, &json!({}), &[]);
                assert_eq!(answer, Ok(json!({"reason": reason, "metadata": {}})), "{method} {key} by {transport:?}");
                let answer = flagd.ask(transport, &format!("v1.{method}"), key, &json!({}), &[]);
                assert_eq!(answer, refused("not_found", "Flag not found"), "{method} {key} by {transport:?}");
            }
        }
    }
}

#[test]
fn all_flags_are_answered_in_v1_without_those_that_serve_nothing() {
    let (_dir, server) = server(&[]);
    let mut flagd = Flagd::of(&server);
    for transport in Transport::ALL {
        let all = flagd.ask(transport, "v1.ResolveAll", "", &json!({"country": "DE"}), &[]).expect("an answer");
        let flags = all["flags"].as_object().expect("a map");
        assert_eq!((flags.len(), &all["metadata"]), (17, &json!({})), "by {transport:?}");
        assert!(!flags.contains_key("disabled"), "a zero value would be taken for an answer");
        assert_eq!(flags["nothing"]["boolValue"], true);
        assert_eq!((&flags["ruled"]["reason"], &flags["ruled"]["variant"]), (&json!("TARGETING_MATCH"), &json!("on")));
        assert_eq!(flags["yes"]["metadata"]["team"], "web", "the flag in no set answers for its key");
        assert_eq!((&flags["text"]["stringValue"], &flags["ten"]["doubleValue"]), (&json!("Grüße"), &json!(10.0)));
        assert_eq!(flags["object"]["objectValue"]["a"][1], "b");
        let sent = [("flagd-selector", "flagSetId=mobile")];
        let mobile = flagd.ask(transport, "v1.ResolveAll", "", &json!({}), &sent).expect("an answer");
        assert_eq!(mobile["metadata"], json!({"flagSetId": "mobile"}));
        assert_eq!(
            mobile["flags"].as_object().map(|flags| flags.keys().collect::<Vec<_>>()).unwrap(),
            ["mobile-only", "yes"]
        );
        let unimplemented = flagd.ask(transport, "v2.ResolveAll", "", &json!({}), &[]).expect_err("not in v2");
        assert_eq!(unimplemented.0, "unimplemented", "by {transport:?}");
    }
}

#[test]
fn a_selector_chooses_and_is_reflected_and_a_wrong_one_comes_first() {
    let (_dir, server) = server(&[]);
    let mut flagd = Flagd::of(&server);
    let wrong = "invalid selector key \"team\", valid keys: \"flagSetId\", \"source\"";
    for transport in Transport::ALL {
        for version in ["v1", "v2"] {
            let mut ask = |key: &str, selector: &str| {
                let sent = [("flagd-selector", selector)];
                flagd.ask(transport, &format!("{version}.ResolveBoolean"), key, &json!({}), &sent)
            };
            let mobile = ask("yes", "flagSetId=mobile").expect("the one in the set");
            assert_eq!((&mobile["value"], &mobile["metadata"]["flagSetId"]), (&json!(false), &json!("mobile")));
            let none = ask("yes", "flagSetId=").expect("the one in none");
            assert_eq!((&none["value"], &none["metadata"]["flagSetId"]), (&json!(true), &json!("")));
            assert_eq!(ask("no", "flagSetId=mobile"), refused("not_found", "Flag not found"));
            assert_eq!(ask("no", "flagSetId=nowhere"), refused("not_found", "Flag not found"));
            assert_eq!(ask("no", "elsewhere.json"), refused("not_found", "Flag not found"));
            assert_eq!(ask("absent", "team=a").expect_err("first").0, "invalid_argument");
        }
    }
    let answer = flagd.ask(Transport::Grpc, "v2.ResolveBoolean", "yes", &json!({}), &[("flagd-selector", "team=a")]);
    assert_eq!(answer, refused("invalid_argument", wrong));
}

#[test]
fn a_context_beyond_the_limits_is_refused_without_its_content() {
    let (_dir, server) = server(&[]);
    let mut flagd = Flagd::of(&server);
    let many: serde_json::Map<String, Value> = (0..2_000).map(|n| (format!("secret-{n}"), json!(n))).collect();
    let deep = (0..20).fold(json!("secret"), |inner, _| json!({"secret": inner}));
    for transport in Transport::ALL {
        for context in [Value::Object(many.clone()), deep.clone()] {
            let (code, message) =
                flagd.ask(transport, "v2.ResolveBoolean", "yes", &context, &[]).expect_err("beyond the limits");
            assert_eq!(code, "invalid_argument", "by {transport:?}");
            assert!(message.contains("context") && !message.contains("secret"), "{message}");
        }
    }
}

#[test]
fn tokens_are_judged_before_anything_that_is_asked() {
    let (_dir, server) = server(&[]);
    let mut admin = server.admin();
    let environment = json!({"dataPlaneAuth": "required"});
    assert_eq!(admin.put("/v1/environments/production", &environment).status, 200);
    let mut token = |scope: &str| {
        let created = admin.post("/v1/tokens", &json!({"scopes": [scope], "name": scope})).json();
        created["token"].as_str().expect("a token").to_owned()
    };
    let (evaluate, kill) = (token("evaluate"), token("kill"));
    let bearer = format!("Bearer {evaluate}");
    let mut flagd = Flagd::of(&server);
    for transport in Transport::ALL {
        for (sent, expected) in [
            (vec![], Some("unauthenticated")),
            (vec![("x-api-key", "rampart_wrong")], Some("unauthenticated")),
            (vec![("x-api-key", kill.as_str())], Some("permission_denied")),
            (vec![("x-api-key", evaluate.as_str())], None),
            (vec![("authorization", bearer.as_str())], None),
        ] {
            let answer = flagd.ask(transport, "v2.ResolveBoolean", "yes", &json!({}), &sent);
            assert_eq!(answer.err().map(|(code, _)| code).as_deref(), expected, "{sent:?} by {transport:?}");
        }
    }
    let headers = [("content-type", "application/json")];
    let answer = server.data().send("POST", "/flagd.evaluation.v1.Service/ResolveBoolean", &headers, b"[");
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer realm=\"rampart\"")));
}

const RESOLVE: &str = "/flagd.evaluation.v2.Service/ResolveBoolean";
const EVENTS: &str = "/flagd.evaluation.v1.Service/EventStream";

fn still_answers(client: &mut Client) {
    let answer = client.post(RESOLVE, &json!({"flagKey": "yes"}));
    assert_eq!((answer.status, answer.json()["value"].as_bool()), (200, Some(true)), "{}", answer.text());
}

#[test]
fn connect_unary_speaks_as_flagd_does() {
    let (_dir, server) = server(&[]);
    let mut client = server.data();
    let json = "application/json";
    for (kind, body) in [
        (json, r#"{"flagKey":"no"}"#),
        ("application/json; charset=utf-8", r#"{"flag_key":"no","context":{"a":[1,{"b":null}]},"other":1}"#),
        (json, r#"{"flagKey":"no","context":null}"#),
    ] {
        let answer = client.send("POST", RESOLVE, &[("content-type", kind)], body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        // The text itself: zero values are there.
        assert_eq!(answer.text(), r#"{"value":false,"reason":"STATIC","variant":"off","metadata":{}}"#);
        assert!(answer.header("rampart-revision").is_some() && answer.header("content-length").is_some());
    }
    for (method, key, text) in [
        ("ResolveInt", "zero", r#"{"value":"0","reason":"STATIC","variant":"z","metadata":{}}"#),
        ("ResolveString", "empty", r#"{"value":"","reason":"STATIC","variant":"e","metadata":{}}"#),
        ("ResolveBoolean", "disabled", r#"{"reason":"DISABLED","metadata":{}}"#),
    ] {
        let path = format!("/flagd.evaluation.v2.Service/{method}");
        assert_eq!(client.post(&path, &json!({"flagKey": key})).text(), text);
    }
    let answer = client.post("/flagd.evaluation.v1.Service/ResolveBoolean", &json!({"flagKey": "absent"}));
    assert_eq!((answer.status, answer.json()), (404, json!({"code": "not_found", "message": "Flag not found"})));
    let answer = client.post(RESOLVE, &json!({"flagKey": "text"}));
    assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("invalid_argument")));
}

#[test]
fn what_is_none_of_the_protocol_gets_its_own_refusal_and_the_next_request_an_answer() {
    let (_dir, server) = server(&[]);
    let mut client = server.data();
    let json = ("content-type", "application/json");
    let proto = ("content-type", "application/proto");
    let gzip = ("content-encoding", "gzip");
    let large = vec![b'a'; 1_100_000];
    let one_word = json!({"flagKey": "yes", "context": {"a": "b".repeat(900_000)}}).to_string();
    type Case<'c> = (&'c str, &'c str, Vec<(&'c str, &'c str)>, &'c [u8], u16);
    let cases: Vec<Case<'_>> = vec![
        ("POST", RESOLVE, vec![json], b"", 400),
        ("POST", RESOLVE, vec![json], b"[", 400),
        ("POST", RESOLVE, vec![json], b"null", 400),
        ("POST", RESOLVE, vec![json], b"{\"flagKey\": 7}", 400),
        ("POST", RESOLVE, vec![json], b"{\"flagKey\":\"yes\",\"context\":\"secret\"}", 400),
        ("POST", RESOLVE, vec![json], b"{\"flagKey\":\"yes\"}{}", 400),
        ("POST", RESOLVE, vec![json], b"\xff\xfe", 400),
        ("POST", RESOLVE, vec![proto], b"", 404),
        ("POST", RESOLVE, vec![proto], b"\x0a\xff", 400),
        ("POST", RESOLVE, vec![proto], b"\x0a\x01\xff", 400),
        ("POST", RESOLVE, vec![proto], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 400),
        ("POST", RESOLVE, vec![json, gzip], b"{\"flagKey\":\"yes\"}", 400),
        ("POST", RESOLVE, vec![json], b"\x1f\x8b\x08\x00\x00", 400),
        ("POST", RESOLVE, vec![json, ("content-encoding", "snappy")], b"{\"flagKey\":\"yes\"}", 501),
        ("POST", RESOLVE, vec![("content-type", "text/plain")], b"{}", 415),
        ("POST", RESOLVE, vec![], b"{}", 415),
        ("POST", RESOLVE, vec![json], &large, 429),
        ("POST", RESOLVE, vec![json], one_word.as_bytes(), 200),
        ("GET", RESOLVE, vec![], b"", 405),
        ("PUT", RESOLVE, vec![json], b"{}", 405),
        ("POST", "/flagd.evaluation.v2.Service/Resolve", vec![json], b"{}", 404),
        ("POST", "/flagd.evaluation.v2.Service/", vec![json], b"{}", 404),
        ("POST", "/flagd.evaluation.v3.Service/ResolveBoolean", vec![json], b"{}", 404),
        ("POST", RESOLVE, vec![json], b"[\"yes\"]", 400),
        ("POST", EVENTS, vec![json], b"{}", 501),
    ];
    for (method, path, headers, body, expected) in cases {
        let answer = client.send(method, path, &headers, body);
        let said = String::from_utf8_lossy(&body[..body.len().min(60)]);
        assert_eq!(answer.status, expected, "{method} {path} {headers:?} {said}: {}", answer.text());
        assert!(!answer.text().contains("secret"), "{}", answer.text());
        if expected == 405 {
            assert_eq!(answer.header("allow"), Some("POST"));
        }
        if [400, 404, 429].contains(&expected) && path == RESOLVE {
            assert!(answer.json()["code"].is_string(), "{said}: {}", answer.text());
        }
        still_answers(&mut client);
    }
}

/// The status in the trailers of a gRPC-Web answer, or in its headers.
fn web_status(answer: &Answer) -> Option<String> {
    let text = answer.text();
    let trailer = text.split("grpc-status: ").nth(1).map(|rest| rest.split("\r\n").next().unwrap_or_default());
    trailer.or(answer.header("grpc-status")).map(str::to_owned)
}

#[test]
fn broken_envelopes_end_in_a_status() {
    let (_dir, server) = server(&[]);
    let mut client = server.data();
    let web = [("content-type", "application/grpc-web+proto")];
    let connect = [("content-type", "application/connect+json")];
    let cut = [0, 0, 0, 0, 9, b'x'];
    let endless = [0, 0xff, 0xff, 0xff, 0xff];
    let compressed = envelope(1, b"\x0a\x03yes");
    let unknown = envelope(0x7c, b"\x0a\x03yes");
    let twice = [envelope(0, b"\x0a\x03yes"), envelope(0, b"\x0a\x03yes")].concat();
    for body in [&b""[..], b"\0", b"\0\0\0\0", &cut, &endless, &compressed, &twice, &unknown, &[0xff; 64]] {
        let answer = client.send("POST", RESOLVE, &web, body);
        let status = web_status(&answer);
        assert!(answer.status == 200 && status.is_some(), "{body:?}: {} {}", answer.status, answer.text());
        if body != unknown {
            assert_ne!(status.as_deref(), Some("0"), "{body:?}");
        }
        still_answers(&mut client);
        let answer = client.send("POST", EVENTS, &connect, body);
        let text = answer.text();
        assert!(answer.status == 200 && text.contains("\"error\""), "{body:?}: {} {text}", answer.status);
        still_answers(&mut client);
    }
}

#[test]
fn gzip_is_taken_and_given_where_it_is_announced() {
    let (_dir, server) = server(&[]);
    let long = json!({"variants": {"l": "x".repeat(20_000)}, "defaultVariant": "l"});
    assert_eq!(server.admin().put(&format!("{FLAGS}/long"), &long).status, 200);
    let path = "/flagd.evaluation.v2.Service/ResolveString";
    let headers = [("content-type", "application/json"), ("accept-encoding", "gzip")];
    let answer = server.data().send("POST", path, &headers, br#"{"flagKey":"long"}"#);
    assert_eq!((answer.status, answer.header("content-encoding")), (200, Some("gzip")));
    assert!(answer.body.len() < 1_000 && answer.body.starts_with(b"\x1f\x8b"));
}

#[test]
fn what_operators_add_and_count_covers_these_surfaces() {
    let (_dir, server) = server(&[]);
    let mut flagd = Flagd::of(&server);
    for (method, times) in [("v1.ResolveBoolean", 2), ("v2.ResolveBoolean", 3)] {
        for _ in 0..times {
            flagd.ask(Transport::Grpc, method, "yes", &json!({}), &[]).expect("an answer");
        }
    }
    let metrics = server.admin().get("/metrics").text();
    for line in
        ["rampart_evaluations_total{surface=\"flagd_v1\"} 2", "rampart_evaluations_total{surface=\"flagd_v2\"} 3"]
    {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    for version in ["v1", "v2"] {
        assert!(flagd.is_healthy(&format!("flagd.evaluation.{version}.Service")));
    }
}

#[test]
fn a_page_of_a_listed_origin_may_ask() {
    let (_dir, server) = server(&["--cors-origins", "https://shop.example"]);
    let asked = [
        ("origin", "https://shop.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "connect-protocol-version,content-type"),
    ];
    for path in [RESOLVE, EVENTS] {
        let preflight = server.data().send("OPTIONS", path, &asked, b"");
        assert_eq!(preflight.header("access-control-allow-origin"), Some("https://shop.example"), "{path}");
        let allowed = preflight.header("access-control-allow-headers");
        assert_eq!(allowed, Some("connect-protocol-version,content-type"));
    }
    let sent = [("origin", "https://shop.example"), ("content-type", "application/json")];
    let answer = server.data().send("POST", RESOLVE, &sent, br#"{"flagKey":"yes"}"#);
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("https://shop.example")));
}
