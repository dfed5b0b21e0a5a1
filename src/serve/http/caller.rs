//! From a request to who makes it: the token in its headers, the principal, and what the policy table says.
//!
//! The admin plane is gated by one middleware, so that a handler cannot forget to ask; what it needs to know stands in
//! [`Caller`]. The data plane asks by itself, since there the token decides the environment first. What is judged is
//! the route's template and the decoded environment, never the text of the path.

use std::sync::Arc;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use tracing::debug;

use super::problem::{Missing, Problem};
use crate::access::policy::{self, Access, DataPlaneAuth, Decision, Plane, Refusal, Route};
use crate::access::token::{Environments, Principal, TOKEN_PREFIX, Tokens};
use crate::control::clock::Clock;
use crate::flag::key::EnvironmentName;
use crate::flag::time::Timestamp;
use crate::snapshot::hub::Hub;

/// The header that takes a token beside `Authorization`, as OFREP's clients send it.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Where the edge finds tokens and the time.
#[derive(Debug, Clone)]
pub struct Gate {
    /// What is served, the tokens that are valid now among it.
    pub hub: Arc<Hub>,
    /// The time.
    pub clock: Clock,
}

/// Who makes an admin request, about what, as the gate let it through.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token; none on open routes.
    pub principal: Option<Principal>,
    /// The environment that the path names.
    pub environment: Option<EnvironmentName>,
    /// What an answer may show: only what belongs to these environments.
    pub visible: Environments,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    /// Fails where the gate did not stand before the handler: a mistake in the wiring denies, it does not open.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or(Problem::Internal)
    }
}

/// The text of the token that a request presents, if it presents one.
///
/// # Errors
/// Two of them, one in the query, or something else than a bearer token.
pub fn presented<'r>(headers: &'r HeaderMap, query: Option<&str>) -> Result<Option<&'r str>, Problem> {
    if query.is_some_and(|query| query.contains(TOKEN_PREFIX)) {
        let advice = "a token in the URL ends up in logs: send it as `Authorization: Bearer …`, and revoke this one";
        return Err(Problem::BadRequest(advice.into()));
    }
    let mut tokens = headers.get_all(AUTHORIZATION).iter().map(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_ascii())
    });
    let mut keys = headers.get_all(API_KEY).iter().map(|value| value.to_str().ok());
    let first = tokens.next().or_else(|| keys.next());
    if tokens.next().is_some() || first.is_some() && keys.next().is_some() {
        return Err(Problem::BadRequest("send one token: one `Authorization` or one `X-API-Key` header".into()));
    }
    match first {
        None => Ok(None),
        Some(Some(token)) => Ok(Some(token)),
        Some(None) => Err(Problem::Unauthenticated { presented: true }),
    }
}

/// Who makes a request; none where it presents no token.
///
/// # Errors
/// A token that proves nothing is refused everywhere, also where none is needed.
pub fn authenticate(
    headers: &HeaderMap,
    query: Option<&str>,
    tokens: &Tokens,
    now: Timestamp,
) -> Result<Option<Principal>, Problem> {
    let Some(text) = presented(headers, query)? else { return Ok(None) };
    tokens.authenticate(text, now).map(Some).map_err(|fault| {
        debug!(%fault, "token refused");
        Problem::Unauthenticated { presented: true }
    })
}

/// The environment whose flags a data-plane request sees: the token's, else the default.
///
/// # Errors
/// A token for several environments, of which the default is none.
pub fn decide_environment<'a>(
    principal: Option<&'a Principal>,
    default: &'a EnvironmentName,
) -> Result<&'a EnvironmentName, Problem> {
    match principal {
        None => Ok(default),
        Some(principal) => principal.environments.decide(default).ok_or(Problem::Forbidden(Refusal::OtherEnvironment)),
    }
}

/// Asks the policy table; what the answer may show.
///
/// # Errors
/// 401 or 403.
pub fn permit(
    principal: Option<&Principal>,
    route: &Route,
    environment: Option<&EnvironmentName>,
    data_plane: DataPlaneAuth,
) -> Result<Environments, Problem> {
    match policy::authorize(principal, route, environment, data_plane) {
        Decision::Allow => Ok(Environments::All),
        Decision::AllowWithin(environments) => Ok(environments.clone()),
        Decision::Deny(Refusal::Unauthenticated) => Err(Problem::Unauthenticated { presented: false }),
        Decision::Deny(refusal) => Err(Problem::Forbidden(refusal)),
    }
}

/// The middleware before every admin route (`Router::route_layer`): 404 and 405 for what the table does not know, 401
/// and 403 for whom it does not let in.
pub async fn admin_gate(
    State(gate): State<Gate>,
    path: MatchedPath,
    params: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let judged = match params {
        Ok(params) => judge(&gate, path.as_str(), &params, &request),
        Err(_) => Err(Problem::BadRequest("the path is not UTF-8 once its percent signs are decoded".into())),
    };
    match judged {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn judge(gate: &Gate, path: &str, params: &RawPathParams, request: &Request) -> Result<Caller, Problem> {
    let Some(route) = policy::find(Plane::Admin, request.method().as_str(), path) else {
        let allow = policy::methods(Plane::Admin, path);
        return Err(match allow[..] {
            [] => Problem::NotFound(Missing::Route, String::new()),
            _ => Problem::MethodNotAllowed { allow },
        });
    };
    if matches!(route.access, Access::Open | Access::Metrics) {
        return Ok(Caller { principal: None, environment: None, visible: Environments::All });
    }
    let principal = authenticate(request.headers(), request.uri().query(), &gate.hub.tokens(), gate.clock.now())?;
    let named = params.iter().find(|(name, _)| *name == "env").map(|(_, value)| value);
    let environment = named.and_then(|name| EnvironmentName::new(name).ok());
    let visible = match permit(principal.as_ref(), route, environment.as_ref(), DataPlaneAuth::Required) {
        // No environment can have that name, which is no secret.
        Err(Problem::Forbidden(Refusal::OtherEnvironment)) if environment.is_none() => {
            return Err(Problem::NotFound(Missing::Environment, named.unwrap_or_default().to_owned()));
        }
        permitted => permitted?,
    };
    Ok(Caller { principal, environment, visible })
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::access::scope::{Scope, Scopes};
    use crate::access::token::{IssuedToken, TokenInfo, issue};
    use axum::Router;
    use axum::body::Body;
    use axum::routing::any;
    use http::{HeaderValue, StatusCode};
    use tower::ServiceExt as _;

    const NOW: Timestamp = Timestamp::from_micros(1);

    fn environment(name: &str) -> EnvironmentName {
        EnvironmentName::new(name).unwrap()
    }

    fn token(number: u8, scope: Scope, environments: Environments) -> (IssuedToken, TokenInfo) {
        let issued = issue([number; 8], [number; 32]);
        let info = TokenInfo {
            id: issued.id,
            name: "t".into(),
            hash: issued.hash,
            scopes: Scopes::only(scope),
            environments,
            expires: None,
            revoked: false,
        };
        (issued, info)
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn a_token_is_taken_from_either_header_once() {
        for (pairs, token) in [
            (&[][..], None),
            (&[("authorization", "Bearer abc")], Some("abc")),
            (&[("authorization", "bearer  abc")], Some("abc")),
            (&[("x-api-key", "abc")], Some("abc")),
        ] {
            assert_eq!(presented(&headers(pairs), None), Ok(token), "{pairs:?}");
        }
        for (pairs, code) in [
            (&[("authorization", "Basic abc")][..], "unauthenticated"),
            (&[("authorization", "abc")], "unauthenticated"),
            (&[("authorization", "Bearer é")], "unauthenticated"),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer a")], "bad-request"),
            (&[("x-api-key", "a"), ("x-api-key", "a")], "bad-request"),
            (&[("authorization", "Bearer a"), ("x-api-key", "a")], "bad-request"),
        ] {
            assert_eq!(presented(&headers(pairs), None).unwrap_err().code(), code, "{pairs:?}");
        }
        let query = Some("x=1&token=rampart_00");
        assert_eq!(presented(&HeaderMap::new(), query).unwrap_err().code(), "bad-request");
    }

    #[test]
    fn a_token_that_proves_nothing_is_401_and_none_is_nobody() {
        let (issued, info) = token(1, Scope::Evaluate, Environments::All);
        let tokens: Tokens = [info].into_iter().collect();
        let ask = |text: &str| authenticate(&headers(&[("x-api-key", text)]), None, &tokens, NOW);
        assert_eq!(ask(&issued.text).unwrap().unwrap().id, issued.id);
        assert_eq!(ask("nonsense"), Err(Problem::Unauthenticated { presented: true }));
        assert_eq!(authenticate(&HeaderMap::new(), None, &tokens, NOW), Ok(None));
    }

    /// The admin plane with a handler behind every route of the table, which says what it was told.
    fn plane(tokens: &Tokens) -> Router {
        let tokens = tokens.clone();
        let gate = fixture::gate(tokens, NOW);
        let told = |caller: Caller| async move {
            format!("{} {:?}", caller.environment.map_or("-".into(), |name| name.to_string()), caller.visible)
        };
        let mut paths: Vec<&str> =
            policy::ROUTES.iter().filter(|route| route.plane == Plane::Admin).map(|route| route.path).collect();
        paths.dedup();
        paths.sort_unstable();
        paths.dedup();
        let mut routes = Router::new();
        for path in paths {
            routes = routes.route(path, any(told));
        }
        // A route that somebody adds without a row in the table.
        routes = routes.route("/v1/backdoor", any(told));
        routes
            .route_layer(axum::middleware::from_fn_with_state(gate, admin_gate))
            .fallback(crate::serve::http::problem::not_found)
    }

    async fn ask(routes: &Router, method: &str, path: &str, token: Option<&str>) -> (StatusCode, String) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = routes.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 65_536).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_gate_gives_every_scope_what_the_table_says_over_http() {
        let here = Environments::one(environment("production"));
        let issued: Vec<_> = Scope::ALL.map(|scope| token(scope as u8 + 1, scope, here.clone())).into();
        let tokens: Tokens = issued.iter().map(|(_, info)| info.clone()).collect();
        let routes = plane(&tokens);
        for route in policy::ROUTES.iter().filter(|route| route.plane == Plane::Admin) {
            for name in ["production", "staging"] {
                let path = route.path.replace("{env}", name).replace(['{', '}'], "");
                for (issued, info) in &issued {
                    let principal = tokens.authenticate(&issued.text, NOW).unwrap();
                    let about = environment(name);
                    let decision = policy::authorize(Some(&principal), route, Some(&about), DataPlaneAuth::Required);
                    let expected = if matches!(decision, Decision::Deny(_)) { 403 } else { 200 };
                    let (status, body) = ask(&routes, route.method, &path, Some(&issued.text)).await;
                    assert_eq!(status, expected, "{} {path} as {}: {body}", route.method, info.scopes);
                }
                let open = matches!(route.access, Access::Open | Access::Metrics);
                let (status, _) = ask(&routes, route.method, &path, None).await;
                assert_eq!(status, if open { 200 } else { 401 }, "{} {path}", route.method);
            }
        }
    }

    #[tokio::test]
    async fn no_spelling_of_a_path_slips_past_the_gate() {
        let (issued, info) = token(1, Scope::Admin, Environments::one(environment("production")));
        let routes = plane(&[info].into_iter().collect());
        let text = Some(issued.text.as_str());
        for (method, path, expected) in [
            ("GET", "/v1/environments/production/flags/a%2Fb", 200),
            ("GET", "/v1/environments/%70roduction/flags", 200),
            ("GET", "/v1/environments/%73taging/flags", 403),
            ("GET", "/v1/environments/production%00/flags", 404),
            ("GET", "/v1/environments/%FF/flags", 400),
            ("GET", "/v1/environments/production/../staging/flags", 404),
            ("GET", "//v1/environments", 404),
            ("GET", "/v1/environments/", 404),
            ("GET", "/V1/environments", 404),
            ("GET", "/v1/%2e%2e/v1/environments", 404),
            ("GET", "/v1/backdoor", 404),
            ("PATCH", "/v1/environments/production", 405),
            ("TRACE", "/healthz", 405),
            ("HEAD", "/healthz", 200),
            ("POST", "/v1/environments/production/flags/f/kill/", 404),
        ] {
            let (status, body) = ask(&routes, method, path, text).await;
            assert_eq!(status, expected, "{method} {path}: {body}");
            assert!(status.is_success() || body.contains("urn:rampart:problem:"), "{method} {path}: {body}");
        }
    }

    #[tokio::test]
    async fn a_method_that_a_path_does_not_take_is_answered_with_those_it_takes() {
        let gate = fixture::gate(Tokens::default(), NOW);
        let routes = Router::new()
            .route("/v1/tokens", axum::routing::get(|| async { "tokens" }))
            .route_layer(axum::middleware::from_fn_with_state(gate, admin_gate));
        let request = Request::delete("/v1/tokens").body(Body::empty()).unwrap();
        let response = routes.oneshot(request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &HeaderValue::from_static("GET, POST"))
        );
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }

    #[tokio::test]
    async fn a_list_tells_its_handler_what_it_may_show() {
        let (all, everywhere) = token(1, Scope::Read, Environments::All);
        let (one, here) = token(2, Scope::Read, Environments::one(environment("staging")));
        let routes = plane(&[everywhere, here].into_iter().collect());
        assert_eq!(ask(&routes, "GET", "/v1/audit", Some(&all.text)).await.1, "- All");
        let (_, told) = ask(&routes, "GET", "/v1/audit", Some(&one.text)).await;
        assert!(told.starts_with("- Only(") && told.contains("staging"), "{told}");
    }

    #[tokio::test]
    async fn a_handler_without_the_gate_denies() {
        let routes = Router::new().route("/", any(|_: Caller| async { "let in" }));
        assert_eq!(ask(&routes, "GET", "/", None).await.0, 500);
    }

    #[test]
    fn a_token_decides_the_environment_of_a_data_plane_request() {
        let (production, staging) = (environment("production"), environment("staging"));
        let principal = |environments| Principal {
            id: issue([1; 8], [1; 32]).id,
            name: "t".into(),
            scopes: Scopes::only(Scope::Evaluate),
            environments,
        };
        assert_eq!(decide_environment(None, &production), Ok(&production));
        let bound = principal(Environments::one(staging.clone()));
        assert_eq!(decide_environment(Some(&bound), &production), Ok(&staging));
        let several = principal(Environments::Only(Arc::new([staging, environment("other")].into())));
        assert!(decide_environment(Some(&several), &production).is_err());
    }
}
