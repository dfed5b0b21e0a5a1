//! The admin API as a client without any library uses it.

use serde_json::{Value, json};

use crate::harness::{Server, http::Client};

const ENV: &str = "/v1/environments/production";

fn flag(serve: u32) -> Value {
    json!({"variants": {"on": true, "off": false}, "defaultVariant": "off", "serve": {"on": serve}, "tags": ["t"]})
}

fn send(client: &mut Client, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
    let answer = client.send(method, path, headers, body.to_string().as_bytes());
    (answer.status, answer.json())
}

fn server() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(dir.path(), &[]);
    (dir, server)
}

#[test]
fn a_flag_is_put_read_changed_under_conditions_and_deleted() {
    let (_dir, server) = server();
    let mut admin = server.admin();
    let path = format!("{ENV}/flags/a");
    let absent = [("if-none-match", "*")];
    assert_eq!(send(&mut admin, "PUT", &path, &absent, &flag(5)).1["objects"][0]["effect"], "created");
    assert_eq!(send(&mut admin, "PUT", &path, &absent, &flag(5)).0, 412);
    let read = admin.get(&path);
    let etag = read.header("etag").expect("an ETag").to_owned();
    assert_eq!((read.json()["definition"]["serve"]["on"].as_u64(), read.json()["killed"].is_null()), (Some(5), true));
    assert_eq!(send(&mut admin, "PUT", &path, &[("if-match", &etag)], &flag(6)).0, 200);
    let (status, problem) = send(&mut admin, "PUT", &path, &[("if-match", &etag)], &flag(7));
    assert_eq!((status, &problem["code"]), (412, &json!("precondition-failed")));
    let (_, same) = send(&mut admin, "PUT", &path, &[], &flag(6));
    assert_eq!((&same["revision"], &same["objects"][0]["effect"]), (&Value::Null, &json!("unchanged")));
    let set = format!("{path}?flagSet=mobile");
    assert_eq!(send(&mut admin, "PUT", &set, &[], &flag(9)).0, 200);
    assert_eq!(admin.get(&set).json()["definition"]["serve"]["on"], 9);
    assert_eq!(admin.get(&path).json()["definition"]["serve"]["on"], 6);
    let listed = admin.get(&format!("{ENV}/flags?flagSet=mobile")).json();
    assert_eq!(listed["flags"].as_array().map(Vec::len), Some(1));
    assert_eq!(send(&mut admin, "DELETE", &path, &[], &Value::Null).0, 200);
    assert_eq!(admin.get(&path).status, 404);
    for missing in ["/v1/environments/nowhere/flags", &format!("{ENV}/segments/nope"), "/v1/tokens/nope"] {
        let method = if missing.starts_with("/v1/tokens") { "DELETE" } else { "GET" };
        assert_eq!(send(&mut admin, method, missing, &[], &Value::Null).0, 404, "{missing}");
    }
}

#[test]
fn an_import_says_what_it_would_do_and_then_does_it_at_once() {
    let (_dir, server) = server();
    let mut admin = server.admin();
    admin.put(&format!("{ENV}/flags/a"), &flag(5));
    let document = json!({"segments": {"staff": {"group": "staff"}}, "flags": {"a": flag(5), "b": flag(6),
        "c": {"variants": {"on": true, "off": false}, "defaultVariant": "off",
            "rules": [{"when": {"segment": "staff"}, "serve": "on"}]}}});
    let dry = admin.post(&format!("{ENV}/import?dry_run=true"), &document).json();
    let effects: Vec<_> =
        dry["objects"].as_array().expect("objects").iter().map(|object| object["effect"].clone()).collect();
    assert_eq!(
        (dry["revision"].clone(), effects),
        (Value::Null, vec![json!("created"), json!("unchanged"), json!("created"), json!("created")])
    );
    assert_eq!(admin.get(&format!("{ENV}/flags/b")).status, 404);
    assert!(admin.post(&format!("{ENV}/import"), &document).json()["revision"].is_u64());
    assert_eq!(admin.get(&format!("{ENV}/flags/b")).status, 200);
    let (status, problem) = send(&mut admin, "DELETE", &format!("{ENV}/segments/staff"), &[], &Value::Null);
    assert_eq!((status, &problem["diagnostics"][0]["code"]), (422, &json!("segment-in-use")));
    let elsewhere = json!({"environment": "staging", "flags": {"a": flag(5)}});
    assert_eq!(admin.post(&format!("{ENV}/import"), &elsewhere).status, 422, "a document does not widen the path");
}

#[test]
fn kills_name_their_generation_and_repeat_their_answer_over_a_restart() {
    let (dir, mut server) = server();
    let mut admin = server.admin();
    for key in ["a", "b"] {
        admin.put(&format!("{ENV}/flags/{key}"), &flag(100));
    }
    let kill = format!("{ENV}/flags/a/kill");
    let key = [("idempotency-key", "call-1")];
    let reason = json!({"reason": "drill"});
    let (status, first) = send(&mut admin, "POST", &kill, &key, &reason);
    assert_eq!((status, &first["durability"]), (200, &json!("journal")));
    assert_eq!(send(&mut admin, "POST", &kill, &key, &reason).1["replayed"], true);
    assert_eq!(send(&mut admin, "POST", &kill, &key, &json!({"reason": "another"})).0, 422);
    let again = admin.post(&kill, &json!({})).json();
    assert_eq!((&again["objects"][0]["effect"], &again["generation"]), (&json!("unchanged"), &first["generation"]));
    let by_tag = admin.post(&format!("{ENV}/kill"), &json!({"tag": "t"})).json();
    assert_eq!(by_tag["objects"][1]["effect"], "killed");
    assert_eq!(admin.post(&format!("{ENV}/kill"), &json!({"flags": ["nope"]})).status, 404);
    let wrong = json!({"flags": ["b"], "generation": first["generation"]});
    assert_eq!(admin.post(&format!("{ENV}/restore"), &wrong).status, 409);
    assert_eq!(admin.send("DELETE", &format!("{ENV}/flags/a"), &[], b"").status, 200);
    admin.put(&format!("{ENV}/flags/a"), &flag(100));
    assert!(!admin.get(&format!("{ENV}/flags/a")).json()["killed"].is_null(), "deleting and putting undoes no kill");

    assert!(server.terminate().success());
    let server = Server::start(dir.path(), &[]);
    let mut admin = server.admin();
    let (_, replayed) = send(&mut admin, "POST", &kill, &key, &reason);
    assert_eq!((&replayed["replayed"], &replayed["revision"]), (&json!(true), &first["revision"]));
    assert_eq!(admin.post(&format!("{ENV}/restore"), &json!({"flags": ["a", "b"]})).status, 200);
    assert!(admin.get(&format!("{ENV}/flags/a")).json()["killed"].is_null());
}

#[test]
fn tokens_see_their_environment_and_the_last_way_in_stays_open() {
    let (_dir, server) = server();
    let mut admin = server.admin();
    assert_eq!(admin.put("/v1/environments/staging", &json!({"dataPlaneAuth": "required"})).status, 200);
    admin.put(&format!("{ENV}/flags/a"), &flag(5));
    admin.put("/v1/environments/staging/flags/s", &flag(5));
    let body = json!({"scopes": ["read", "evaluate"], "environments": ["staging"], "name": "staging reader"});
    let created = admin.post("/v1/tokens", &body).json();
    let token = created["token"].as_str().expect("a token").to_owned();
    let mut reader = admin.with_token(Some(&token));
    let seen = reader.get("/v1/environments").json();
    assert_eq!(seen["environments"].as_array().map(Vec::len), Some(1));
    assert_eq!(reader.get(&format!("{ENV}/flags")).status, 403);
    let trail = reader.get("/v1/audit?limit=500").text();
    assert!(
        trail.contains("staging") && !trail.contains("\"environment\":\"production\"") && !trail.contains("secretHash"),
        "{trail}"
    );
    let mut data = server.data().with_token(Some(&token));
    assert_eq!(data.post("/ofrep/v1/evaluate/flags/s", &json!({})).status, 200);
    assert_eq!(data.post("/ofrep/v1/evaluate/flags/a", &json!({})).status, 404, "the token decides the environment");

    let listed = admin.get("/v1/tokens");
    assert!(!listed.text().contains(&token), "a secret is shown once");
    let first = listed.json()["tokens"]
        .as_array()
        .expect("tokens")
        .iter()
        .find(|t| t["scopes"] == json!(["admin"]))
        .expect("the first token")["id"]
        .clone();
    let path = format!("/v1/tokens/{}", first.as_str().expect("an id"));
    assert_eq!(admin.send("DELETE", &path, &[], b"").status, 409, "the last admin token cannot go");
    let path = format!("/v1/tokens/{}", created["id"].as_str().expect("an id"));
    assert_eq!(admin.send("DELETE", &path, &[], b"").status, 200);
    assert_eq!(reader.get("/v1/environments").status, 401);
    assert_eq!(data.post("/ofrep/v1/evaluate/flags/s", &json!({})).status, 401);
    let soon = json!({"scopes": ["read"], "expires": "2020-01-01T00:00:00Z"});
    assert_eq!(admin.post("/v1/tokens", &soon).status, 422);
}

#[test]
fn the_audit_trail_is_paged_filtered_and_keeps_targets_to_itself() {
    let (_dir, server) = server();
    let mut admin = server.admin();
    let secret = json!({"variants": {"on": true, "off": false}, "defaultVariant": "off",
        "rules": [{"when": {"targetingKey": {"in": ["jane.doe", "john.doe"]}}, "serve": "on"}]});
    admin.put(&format!("{ENV}/flags/targets?reason=for%20two%20people"), &secret);
    for number in 0..5 {
        admin.put(&format!("{ENV}/flags/a"), &flag(number));
    }
    let all = admin.get("/v1/audit").text();
    assert!(all.contains("redacted") && all.contains("for two people") && !all.contains("jane.doe"), "{all}");
    let page = admin.get("/v1/audit?flag=a&limit=3").json();
    let revisions = |page: &Value| -> Vec<u64> {
        page["records"].as_array().into_iter().flatten().filter_map(|record| record["revision"].as_u64()).collect()
    };
    assert_eq!(revisions(&page).len(), 3);
    let rest = admin.get(&format!("/v1/audit?flag=a&before={}", page["next"])).json();
    assert_eq!(revisions(&rest).len(), 2);
    assert!(revisions(&page).into_iter().min() > revisions(&rest).into_iter().max());
    assert!(revisions(&admin.get("/v1/audit?actor=first-start").json()).len() >= 2);
    assert_eq!(revisions(&admin.get("/v1/audit?to=2020-01-01T00:00:00Z").json()).len(), 0);
    assert_eq!(admin.get("/v1/audit?form=x").status, 400, "an unknown parameter is named, not ignored");
}

#[test]
fn probes_answer_everybody_and_metrics_ask_for_their_token() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(dir.path(), &["--metrics-token", "m-secret"]);
    let mut nobody = server.admin().with_token(None);
    assert_eq!(
        (nobody.get("/healthz").status, nobody.get("/readyz").status, nobody.get("/metrics").status),
        (200, 200, 401)
    );
    let metrics = nobody.with_token(Some("m-secret")).get("/metrics");
    assert!(metrics.text().contains("rampart_journal_revision 2"), "{}", metrics.text());
    let document = server.admin().get("/openapi.json").json();
    let paths = document["paths"].as_object().expect("paths");
    let mut documented: Vec<String> = paths
        .iter()
        .flat_map(|(path, methods)| {
            methods
                .as_object()
                .into_iter()
                .flat_map(move |methods| methods.keys().map(move |method| format!("{} {path}", method.to_uppercase())))
        })
        .collect();
    let mut table: Vec<String> = rampart::access::policy::ROUTES
        .iter()
        .filter(|route| route.plane == rampart::access::policy::Plane::Admin)
        // gRPC describes itself elsewhere.
        .filter(|route| !route.path.starts_with("/grpc."))
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    documented.sort();
    table.sort();
    assert_eq!(documented, table, "the API document and the policy table name the same routes");
}
