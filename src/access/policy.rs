//! The one policy table: which route needs what. Every request of both planes is judged by it and by nothing else.
//!
//! A route is its method and the template that the router matched, never the text of the path, so that no spelling of
//! a path can slip past. What is not in the table is denied. Judging knows nothing of HTTP; `serve` turns a
//! [`Refusal`] into an answer.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::scope::Scope;
use super::token::{Environments, Principal};
use crate::flag::key::EnvironmentName;

/// The two doors of a server, so that a network policy can keep them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Plane {
    /// Answers and subscriptions: OFREP and gRPC.
    Data,
    /// Administration: definitions, kills, tokens, audit, metrics.
    Admin,
}

/// Whether the data plane of an environment asks for a token. Set by people, never by creating or revoking tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataPlaneAuth {
    /// Without a token too; one that is presented must be valid and must have the scope.
    #[default]
    Optional,
    /// Only with a token.
    Required,
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Anybody; no token is looked at.
    Open,
    /// Metrics: anybody, unless the server has a metrics token of its own; then that token, which is none of ours.
    Metrics,
    /// Any valid token.
    Anyone,
    /// The scope in the environment that the token decides; without a token where the environment lets in anybody.
    Data(Scope),
    /// The scope in the environment that the path names.
    Environment(Scope),
    /// The scope in any environment; the answer shows only those that the token is for.
    Within(Scope),
    /// The scope in a token for all environments.
    Server(Scope),
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// The door.
    pub plane: Plane,
    /// The HTTP method.
    pub method: &'static str,
    /// The path as the router knows it; `{env}` is the environment.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
}

/// Every route there is.
pub const ROUTES: &[Route] = &[
    data("POST", "/ofrep/v1/evaluate/flags/{key}", Access::Data(Scope::Evaluate)),
    data("POST", "/ofrep/v1/evaluate/flags", Access::Data(Scope::Evaluate)),
    data("POST", "/ofrep/v1/evaluate/flags/", Access::Data(Scope::Evaluate)),
    // A ticket in the URL, which a bulk answer hands out, stands for the token that it was made for: browsers send no
    // headers here. Only this door reads tickets; what their holder may is judged like everybody else.
    data("GET", "/ofrep/v1/sse", Access::Data(Scope::Evaluate)),
    data("GET", "/ofrep/v1/sse/{selector}", Access::Data(Scope::Evaluate)),
    data("POST", "/rampart.v1.Evaluation/Evaluate", Access::Data(Scope::Evaluate)),
    data("POST", "/rampart.v1.Evaluation/EvaluateAll", Access::Data(Scope::Evaluate)),
    data("POST", "/rampart.v1.Subscription/Subscribe", Access::Data(Scope::Read)),
    data("POST", "/rampart.v1.Subscription/WatchKills", Access::Data(Scope::Read)),
    data("POST", "/rampart.v1.Subscription/GetReceipts", Access::Data(Scope::Read)),
    data("GET", "/v1/stream", Access::Data(Scope::Read)),
    data("POST", "/v1/stream/acks", Access::Data(Scope::Read)),
    data("GET", "/v1/kills", Access::Data(Scope::Read)),
    data("POST", "/flagd.evaluation.v1.Service/ResolveAll", Access::Data(Scope::Evaluate)),
    data("POST", "/flagd.evaluation.v1.Service/ResolveBoolean", Access::Data(Scope::Evaluate)),
    data("POST", "/flagd.evaluation.v1.Service/ResolveString", Access::Data(Scope::Evaluate)),
    data("POST", "/flagd.evaluation.v1.Service/ResolveFloat", Access::Data(Scope::Evaluate)),
    data("POST", "/flagd.evaluation.v1.Service/ResolveInt", Access::Data(Scope::Evaluate)),
    data("POST", "/flagd.evaluation.v1.Service/ResolveObject", Access::Data(Scope::Evaluate)),
    data("POST", "/flagd.evaluation.v1.Service/EventStream", Access::Data(Scope::Evaluate)),
    data("POST", "/flagd.evaluation.v2.Service/ResolveBoolean", Access::Data(Scope::Evaluate)),
    data("POST", "/flagd.evaluation.v2.Service/ResolveString", Access::Data(Scope::Evaluate)),
    data("POST", "/flagd.evaluation.v2.Service/ResolveFloat", Access::Data(Scope::Evaluate)),
    data("POST", "/flagd.evaluation.v2.Service/ResolveInt", Access::Data(Scope::Evaluate)),
    data("POST", "/flagd.evaluation.v2.Service/ResolveObject", Access::Data(Scope::Evaluate)),
    data("POST", "/flagd.evaluation.v2.Service/EventStream", Access::Data(Scope::Evaluate)),
    data("POST", "/flagd.sync.v1.FlagSyncService/SyncFlags", Access::Data(Scope::Read)),
    data("POST", "/flagd.sync.v1.FlagSyncService/FetchAllFlags", Access::Data(Scope::Read)),
    data("POST", "/flagd.sync.v1.FlagSyncService/GetMetadata", Access::Data(Scope::Read)),
    data("GET", "/v1/flags", Access::Data(Scope::Read)),
    data("GET", "/v1/flags/{selector}", Access::Data(Scope::Read)),
    data("POST", "/grpc.health.v1.Health/Check", Access::Open),
    data("POST", "/grpc.health.v1.Health/List", Access::Open),
    data("POST", "/grpc.health.v1.Health/Watch", Access::Open),
    admin("POST", "/grpc.health.v1.Health/Check", Access::Open),
    admin("POST", "/grpc.health.v1.Health/List", Access::Open),
    admin("POST", "/grpc.health.v1.Health/Watch", Access::Open),
    admin("GET", "/healthz", Access::Open),
    admin("GET", "/readyz", Access::Open),
    admin("GET", "/metrics", Access::Metrics),
    admin("GET", "/openapi.json", Access::Anyone),
    admin("GET", "/v1/environments", Access::Within(Scope::Read)),
    admin("GET", "/v1/environments/{env}", Access::Environment(Scope::Read)),
    admin("PUT", "/v1/environments/{env}", Access::Environment(Scope::Admin)),
    admin("GET", "/v1/environments/{env}/flags", Access::Environment(Scope::Read)),
    admin("GET", "/v1/environments/{env}/flags/{key}", Access::Environment(Scope::Read)),
    admin("PUT", "/v1/environments/{env}/flags/{key}", Access::Environment(Scope::Write)),
    admin("DELETE", "/v1/environments/{env}/flags/{key}", Access::Environment(Scope::Write)),
    admin("POST", "/v1/environments/{env}/flags/{key}/kill", Access::Environment(Scope::Kill)),
    admin("POST", "/v1/environments/{env}/flags/{key}/restore", Access::Environment(Scope::Kill)),
    admin("POST", "/v1/environments/{env}/kill", Access::Environment(Scope::Kill)),
    admin("POST", "/v1/environments/{env}/restore", Access::Environment(Scope::Kill)),
    admin("GET", "/v1/environments/{env}/receipts", Access::Environment(Scope::Read)),
    admin("GET", "/v1/environments/{env}/subscribers", Access::Environment(Scope::Read)),
    admin("POST", "/v1/environments/{env}/import", Access::Environment(Scope::Write)),
    admin("GET", "/v1/environments/{env}/segments", Access::Environment(Scope::Read)),
    admin("GET", "/v1/environments/{env}/segments/{name}", Access::Environment(Scope::Read)),
    admin("PUT", "/v1/environments/{env}/segments/{name}", Access::Environment(Scope::Write)),
    admin("DELETE", "/v1/environments/{env}/segments/{name}", Access::Environment(Scope::Write)),
    admin("GET", "/v1/audit", Access::Within(Scope::Read)),
    admin("GET", "/v1/tokens", Access::Server(Scope::Admin)),
    admin("POST", "/v1/tokens", Access::Server(Scope::Admin)),
    admin("DELETE", "/v1/tokens/{id}", Access::Server(Scope::Admin)),
];

const fn data(method: &'static str, path: &'static str, access: Access) -> Route {
    Route { plane: Plane::Data, method, path, access }
}

const fn admin(method: &'static str, path: &'static str, access: Access) -> Route {
    Route { plane: Plane::Admin, method, path, access }
}

/// The row of a route, by the template that the router matched. None is denied. `HEAD` counts as `GET`.
pub fn find(plane: Plane, method: &str, path: &str) -> Option<&'static Route> {
    let method = if method == "HEAD" { "GET" } else { method };
    ROUTES.iter().find(|route| route.plane == plane && route.path == path && route.method == method)
}

/// The methods a path takes, for the `Allow` header; empty where there is no such path.
pub fn methods(plane: Plane, path: &str) -> Vec<&'static str> {
    ROUTES.iter().filter(|route| route.plane == plane && route.path == path).map(|route| route.method).collect()
}

/// What the table says about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision<'a> {
    /// Go ahead.
    Allow,
    /// Go ahead, and show only what belongs to these environments.
    AllowWithin(&'a Environments),
    /// No.
    Deny(Refusal),
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A token is needed and none was presented.
    Unauthenticated,
    /// The token lacks the scope.
    MissingScope(Scope),
    /// The token has the scope, in other environments.
    OtherEnvironment,
    /// The token has the scope, and what is asked concerns the whole server.
    NotServerWide,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unauthenticated => f.write_str("a token is needed"),
            Self::MissingScope(scope) => write!(f, "the token lacks the scope `{scope}`"),
            Self::OtherEnvironment => f.write_str("the token is not for this environment"),
            Self::NotServerWide => f.write_str("this needs a token for all environments"),
        }
    }
}

/// Judges one request: who asks, for which route, about which environment (the one the path names on the admin plane,
/// the one the token decides on the data plane), and whether that environment's data plane asks for a token.
///
/// The scope is checked before the environment, so that a token learns nothing of environments it is not for. A route
/// about an environment without one in `environment` is denied.
pub fn authorize<'a>(
    principal: Option<&'a Principal>,
    route: &Route,
    environment: Option<&EnvironmentName>,
    data_plane: DataPlaneAuth,
) -> Decision<'a> {
    let (scope, principal) = match (route.access, principal) {
        (Access::Open | Access::Metrics, _) => return Decision::Allow,
        (Access::Data(_), None) if data_plane == DataPlaneAuth::Optional => return Decision::Allow,
        (_, None) => return Decision::Deny(Refusal::Unauthenticated),
        (Access::Anyone, Some(_)) => return Decision::Allow,
        (
            Access::Data(scope) | Access::Environment(scope) | Access::Within(scope) | Access::Server(scope),
            Some(principal),
        ) => (scope, principal),
    };
    if !principal.scopes.allow(scope) {
        return Decision::Deny(Refusal::MissingScope(scope));
    }
    match route.access {
        Access::Within(_) => match &principal.environments {
            Environments::All => Decision::Allow,
            only @ Environments::Only(_) => Decision::AllowWithin(only),
        },
        Access::Server(_) if principal.environments == Environments::All => Decision::Allow,
        Access::Server(_) => Decision::Deny(Refusal::NotServerWide),
        _ if environment.is_some_and(|name| principal.environments.contain(name)) => Decision::Allow,
        _ => Decision::Deny(Refusal::OtherEnvironment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::scope::Scopes;
    use crate::access::token::TokenId;
    use std::collections::BTreeSet;

    /// Written by hand, beside the code's own table. After the route, one column for no token and one for each scope:
    /// none, evaluate, read, report, operate, write, kill, admin. `y` is allowed, `.` is 401, `n` is 403.
    /// The data plane stands here as `required`.
    const MATRIX: &str = "
        D POST   /ofrep/v1/evaluate/flags/{key}                 .ynnnyny
        D POST   /ofrep/v1/evaluate/flags                       .ynnnyny
        D POST   /ofrep/v1/evaluate/flags/                      .ynnnyny
        D GET    /ofrep/v1/sse                                  .ynnnyny
        D GET    /ofrep/v1/sse/{selector}                       .ynnnyny
        D POST   /rampart.v1.Evaluation/Evaluate                .ynnnyny
        D POST   /rampart.v1.Evaluation/EvaluateAll             .ynnnyny
        D POST   /rampart.v1.Subscription/Subscribe             .nynyyny
        D POST   /rampart.v1.Subscription/WatchKills            .nynyyny
        D POST   /rampart.v1.Subscription/GetReceipts           .nynyyny
        D GET    /v1/stream                                     .nynyyny
        D POST   /v1/stream/acks                                .nynyyny
        D GET    /v1/kills                                      .nynyyny
        D POST   /flagd.evaluation.v1.Service/ResolveAll       .ynnnyny
        D POST   /flagd.evaluation.v1.Service/ResolveBoolean   .ynnnyny
        D POST   /flagd.evaluation.v1.Service/ResolveString    .ynnnyny
        D POST   /flagd.evaluation.v1.Service/ResolveFloat     .ynnnyny
        D POST   /flagd.evaluation.v1.Service/ResolveInt       .ynnnyny
        D POST   /flagd.evaluation.v1.Service/ResolveObject    .ynnnyny
        D POST   /flagd.evaluation.v1.Service/EventStream      .ynnnyny
        D POST   /flagd.evaluation.v2.Service/ResolveBoolean   .ynnnyny
        D POST   /flagd.evaluation.v2.Service/ResolveString    .ynnnyny
        D POST   /flagd.evaluation.v2.Service/ResolveFloat     .ynnnyny
        D POST   /flagd.evaluation.v2.Service/ResolveInt       .ynnnyny
        D POST   /flagd.evaluation.v2.Service/ResolveObject    .ynnnyny
        D POST   /flagd.evaluation.v2.Service/EventStream      .ynnnyny
        D POST   /flagd.sync.v1.FlagSyncService/SyncFlags       .nynyyny
        D POST   /flagd.sync.v1.FlagSyncService/FetchAllFlags   .nynyyny
        D POST   /flagd.sync.v1.FlagSyncService/GetMetadata     .nynyyny
        D GET    /v1/flags                                      .nynyyny
        D GET    /v1/flags/{selector}                           .nynyyny
        D POST   /grpc.health.v1.Health/Check                   yyyyyyyy
        D POST   /grpc.health.v1.Health/List                    yyyyyyyy
        D POST   /grpc.health.v1.Health/Watch                   yyyyyyyy
        A POST   /grpc.health.v1.Health/Check                   yyyyyyyy
        A POST   /grpc.health.v1.Health/List                    yyyyyyyy
        A POST   /grpc.health.v1.Health/Watch                   yyyyyyyy
        A GET    /healthz                                       yyyyyyyy
        A GET    /readyz                                        yyyyyyyy
        A GET    /metrics                                       yyyyyyyy
        A GET    /openapi.json                                  .yyyyyyy
        A GET    /v1/environments                               .nynyyny
        A GET    /v1/environments/{env}                         .nynyyny
        A PUT    /v1/environments/{env}                         .nnnnnny
        A GET    /v1/environments/{env}/flags                   .nynyyny
        A GET    /v1/environments/{env}/flags/{key}             .nynyyny
        A PUT    /v1/environments/{env}/flags/{key}             .nnnnyny
        A DELETE /v1/environments/{env}/flags/{key}             .nnnnyny
        A POST   /v1/environments/{env}/flags/{key}/kill        .nnnnnyy
        A POST   /v1/environments/{env}/flags/{key}/restore     .nnnnnyy
        A POST   /v1/environments/{env}/kill                    .nnnnnyy
        A POST   /v1/environments/{env}/restore                 .nnnnnyy
        A GET    /v1/environments/{env}/receipts                .nynyyny
        A GET    /v1/environments/{env}/subscribers             .nynyyny
        A POST   /v1/environments/{env}/import                  .nnnnyny
        A GET    /v1/environments/{env}/segments                .nynyyny
        A GET    /v1/environments/{env}/segments/{name}         .nynyyny
        A PUT    /v1/environments/{env}/segments/{name}         .nnnnyny
        A DELETE /v1/environments/{env}/segments/{name}         .nnnnyny
        A GET    /v1/audit                                      .nynyyny
        A GET    /v1/tokens                                     .nnnnnny
        A POST   /v1/tokens                                     .nnnnnny
        A DELETE /v1/tokens/{id}                                .nnnnnny
    ";

    fn principal(scope: Scope, environments: Environments) -> Principal {
        Principal { id: TokenId([1; 8]), name: "t".into(), scopes: Scopes::only(scope), environments }
    }

    fn environment(name: &str) -> EnvironmentName {
        EnvironmentName::new(name).unwrap()
    }

    fn letter(decision: Decision<'_>) -> char {
        match decision {
            Decision::Allow | Decision::AllowWithin(_) => 'y',
            Decision::Deny(Refusal::Unauthenticated) => '.',
            Decision::Deny(_) => 'n',
        }
    }

    #[test]
    fn every_route_and_scope_is_judged_as_the_matrix_says() {
        let here = environment("production");
        let mut seen = BTreeSet::new();
        for line in MATRIX.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let [plane, method, path, cells] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                unreachable!("four columns in {line:?}");
            };
            let plane = if plane == "D" { Plane::Data } else { Plane::Admin };
            let route = find(plane, method, path).unwrap_or_else(|| unreachable!("{line} is not in the table"));
            for environments in [Environments::All, Environments::one(here.clone())] {
                let server = matches!(route.access, Access::Server(_)) && environments != Environments::All;
                let judge =
                    |who: Option<&Principal>| letter(authorize(who, route, Some(&here), DataPlaneAuth::Required));
                let row: String = std::iter::once(judge(None))
                    .chain(Scope::ALL.map(|scope| judge(Some(&principal(scope, environments.clone())))))
                    .collect();
                let expected = if server { cells.replace('y', "n") } else { cells.to_owned() };
                assert_eq!(row, expected, "{method} {path} as {environments:?}");
            }
            assert!(seen.insert((plane == Plane::Data, method, path)), "{line} twice");
        }
        assert_eq!(seen.len(), ROUTES.len(), "a route of the table is missing in the matrix");
    }

    #[test]
    fn a_token_for_one_environment_gets_nowhere_in_another() {
        let (here, there) = (environment("production"), environment("staging"));
        for route in ROUTES {
            for scope in Scope::ALL {
                let who = principal(scope, Environments::one(here.clone()));
                let decision = authorize(Some(&who), route, Some(&there), DataPlaneAuth::Required);
                let bounded = matches!(route.access, Access::Data(_) | Access::Environment(_) | Access::Server(_));
                // What is not bounded by the path is bounded by the answer, or shows nothing of any environment.
                if let Access::Within(_) = route.access {
                    assert_ne!(decision, Decision::Allow, "{route:?} {scope}");
                }
                assert!(!bounded || letter(decision) == 'n', "{route:?} {scope}");
            }
        }
    }

    #[test]
    fn an_optional_data_plane_lets_in_nobody_to_the_admin_plane() {
        let here = environment("production");
        for route in ROUTES {
            let decision = authorize(None, route, Some(&here), DataPlaneAuth::Optional);
            let open = matches!(route.access, Access::Open | Access::Metrics);
            assert_eq!(letter(decision) == 'y', open || route.plane == Plane::Data, "{route:?}");
        }
    }

    #[test]
    fn a_presented_token_without_the_scope_is_refused_even_where_none_is_needed() {
        let route = find(Plane::Data, "POST", "/ofrep/v1/evaluate/flags").unwrap();
        let (who, here) = (principal(Scope::Kill, Environments::All), environment("production"));
        let decision = authorize(Some(&who), route, Some(&here), DataPlaneAuth::Optional);
        assert_eq!(decision, Decision::Deny(Refusal::MissingScope(Scope::Evaluate)));
    }

    #[test]
    fn a_route_about_an_environment_needs_one() {
        let who = principal(Scope::Admin, Environments::All);
        for route in ROUTES.iter().filter(|route| matches!(route.access, Access::Environment(_) | Access::Data(_))) {
            let decision = authorize(Some(&who), route, None, DataPlaneAuth::Required);
            assert_eq!(decision, Decision::Deny(Refusal::OtherEnvironment), "{route:?}");
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_not_found() {
        for (plane, method, path) in [
            (Plane::Admin, "POST", "/ofrep/v1/evaluate/flags"),
            (Plane::Data, "GET", "/v1/tokens"),
            (Plane::Admin, "PATCH", "/v1/environments/{env}"),
            (Plane::Admin, "GET", "/v1/environments/production/flags"),
            (Plane::Admin, "GET", "/v1/environments/"),
            (Plane::Admin, "get", "/healthz"),
        ] {
            assert_eq!(find(plane, method, path), None, "{method} {path}");
        }
        assert_eq!(find(Plane::Admin, "HEAD", "/healthz").map(|route| route.path), Some("/healthz"));
        assert_eq!(methods(Plane::Admin, "/v1/tokens"), ["GET", "POST"]);
    }
}
