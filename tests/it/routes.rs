//! Every route × scope cell of the policy table, over real HTTP.

use rampart::access::policy::{Access, DataPlaneAuth, Decision, Plane, ROUTES, authorize};
use rampart::access::scope::{Scope, Scopes};
use rampart::access::token::{Environments, Principal, TokenId};
use rampart::flag::key::EnvironmentName;
use serde_json::json;

use crate::harness::Server;

#[test]
fn every_cell_answers_as_the_policy_table_says() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(dir.path(), &[]);
    let mut admin = server.admin();
    for name in ["production", "staging"] {
        let body = json!({"dataPlaneAuth": "required"});
        assert_eq!(admin.put(&format!("/v1/environments/{name}"), &body).status, 200);
    }
    let production = EnvironmentName::new("production").expect("a name");
    let mut callers: Vec<(Option<Principal>, Option<String>)> = vec![(None, None)];
    for scope in Scope::ALL {
        for environments in [Environments::All, Environments::one(production.clone())] {
            let mut body = json!({"scopes": [scope.as_str()], "name": "cell"});
            if environments != Environments::All {
                body["environments"] = json!(["production"]);
            }
            let created = admin.post("/v1/tokens", &body).json();
            let scopes = Scopes::only(scope);
            let principal = Principal { id: TokenId([0; 8]), name: "cell".into(), scopes, environments };
            callers.push((Some(principal), created["token"].as_str().map(str::to_owned)));
        }
    }
    let mut cells = 0;
    // What is streamed, or spoken by gRPC alone, has tests of its own.
    let here = |path: &str| !path.starts_with("/rampart.") && !path.starts_with("/grpc.");
    let unary = |path: &str| !path.ends_with("/EventStream");
    for route in ROUTES.iter().filter(|route| here(route.path) && unary(route.path)) {
        for (principal, token) in &callers {
            for place in ["production", "staging"] {
                if place == "staging" && !route.path.contains("{env}") {
                    continue;
                }
                let environment = EnvironmentName::new(place).expect("a name");
                let expected = authorize(principal.as_ref(), route, Some(&environment), DataPlaneAuth::Required);
                let path = route.path.replace("{env}", place).replace("{key}", "none").replace("{name}", "none");
                let path = path.replace("{id}", "none").replace("{selector}", "flagSetId%3Dnone");
                let client = if route.plane == Plane::Admin { server.admin() } else { server.data() };
                let mut client = client.with_token(token.as_deref());
                // A body that no handler takes, so that no cell changes what another one sees.
                // A stream has no end; its head says enough.
                let endless = path.starts_with("/ofrep/v1/sse") || path == "/v1/stream";
                let method = if endless { "HEAD" } else { route.method };
                let answer = client.send(method, &path, &[("content-type", "application/json")], b"[");
                let said = match answer.status {
                    401 => "401",
                    403 => "403",
                    _ => "in",
                };
                let meant = match expected {
                    Decision::Allow | Decision::AllowWithin(_) => "in",
                    Decision::Deny(_) if principal.is_none() => "401",
                    Decision::Deny(_) => "403",
                };
                let who = principal.as_ref().map(|principal| (principal.scopes, &principal.environments));
                assert_eq!(said, meant, "{} {path} as {who:?}: {}", route.method, answer.text());
                // A streaming method that is asked as a unary one is answered with 501.
                let well = answer.status < 500 || answer.status == 501;
                assert!(route.access == Access::Open || well, "{path}: {}", answer.text());
                cells += 1;
            }
        }
    }
    assert!(cells > 500, "{cells} cells");
}
