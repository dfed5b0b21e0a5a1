//! The door of the data plane: who asks, which environment it sees, and what the operator adds to its context.
//!
//! Every surface that evaluates comes in here, so that all of them judge alike and answer alike. What is asked and how
//! it is answered on the wire is the surfaces' own.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use crate::access::policy::{self, DataPlaneAuth, Plane, Refusal};
use crate::access::token::Principal;
use crate::eval::context::{Attribute, Context};
use crate::flag::key::EnvironmentName;
use crate::flag::time::Timestamp;
use crate::serve::http::caller::{Gate, authenticate, decide_environment, permit};
use crate::serve::http::problem::{Missing, Problem};
use crate::serve::rate::{Caller, RateLimit};
use crate::snapshot::Snapshot;

/// What the operator adds to every context: fixed attributes, and attributes from headers. Lowest to highest priority:
/// the request's own, the fixed ones, those from headers; the order of flagd.
#[derive(Debug, Clone, Default)]
pub struct Enrichment {
    /// Name and value of the fixed attributes: flagd's `--context-value`.
    pub fixed: Vec<(String, String)>,
    /// Header and attribute name: flagd's `--context-from-header`.
    pub from_headers: Vec<(HeaderName, String)>,
}

impl Enrichment {
    /// The context that is evaluated for a request.
    pub fn apply<'a>(&'a self, headers: &'a HeaderMap, context: Context<'a>) -> Context<'a> {
        if self.fixed.is_empty() && self.from_headers.is_empty() {
            return context;
        }
        let text = |name: &'a str, value: &'a str| (Cow::Borrowed(name), Attribute::String(Cow::Borrowed(value)));
        let fixed = self.fixed.iter().map(|(name, value)| text(name, value));
        let from_headers = self.from_headers.iter().filter_map(|(header, name)| {
            let value = headers.get(header)?.to_str().ok()?;
            Some(text(name, value))
        });
        context.overlaid(fixed.chain(from_headers))
    }
}

/// What the surfaces of the data plane share.
#[derive(Debug, Clone)]
pub struct Door {
    /// What is served, who may see it, and the time.
    pub gate: Gate,
    /// The environment of callers whose token does not decide it.
    pub default_environment: EnvironmentName,
    /// What is added to every context.
    pub enrichment: Arc<Enrichment>,
    /// How often each caller may ask for evaluations; none: as often as it can.
    pub rate: Option<Arc<RateLimit>>,
}

/// A caller that may do what it asks, and what it sees.
#[derive(Debug)]
pub struct Admitted {
    /// The token, if it presented one.
    pub principal: Option<Principal>,
    /// What it sees.
    pub snapshot: Arc<Snapshot>,
    /// The time of the call.
    pub now: Timestamp,
}

impl Door {
    /// Who calls, and what it sees. `route` is the method and the path as the policy table has them.
    ///
    /// # Errors
    /// 401 and 403; 503 where the environment has nothing to serve yet.
    pub fn admit(&self, headers: &HeaderMap, query: Option<&str>, route: (&str, &str)) -> Result<Admitted, Problem> {
        let now = self.gate.clock.now();
        let principal = authenticate(headers, query, &self.gate.hub.tokens(), now)?;
        self.admit_as(principal, route, now)
    }

    /// The same for a caller that has proved who it is.
    ///
    /// # Errors
    /// 403, and 401 for nobody; 503 where the environment has nothing to serve yet.
    pub fn admit_as(
        &self,
        principal: Option<Principal>,
        route: (&str, &str),
        now: Timestamp,
    ) -> Result<Admitted, Problem> {
        let row = policy::find(Plane::Data, route.0, route.1);
        let row = row.ok_or_else(|| Problem::NotFound(Missing::Route, String::new()))?;
        let environment = decide_environment(principal.as_ref(), &self.default_environment)?;
        let Some(snapshot) = self.gate.hub.current(environment) else {
            // Nobody without a right to this environment learns whether it is there.
            permit(principal.as_ref(), row, Some(environment), DataPlaneAuth::Optional)?;
            return Err(Problem::Unavailable {
                detail: "there is no snapshot of this environment yet".into(),
                retry_after: 1,
            });
        };
        permit(principal.as_ref(), row, Some(environment), snapshot.data_plane_auth)?;
        Ok(Admitted { principal, snapshot, now })
    }

    /// Who calls, and what it sees, where the caller may name the environment: `wanted`, empty for the one that its
    /// token decides.
    ///
    /// # Errors
    /// 401, 403 and 404 as on HTTP; 400 for what cannot be a name.
    pub fn admit_to(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        route: (&str, &str),
        wanted: &str,
    ) -> Result<Admitted, Problem> {
        let now = self.gate.clock.now();
        let row = policy::find(Plane::Data, route.0, route.1).ok_or(Problem::Internal)?;
        let principal = authenticate(headers, query, &self.gate.hub.tokens(), now)?;
        let environment = match EnvironmentName::new(wanted) {
            Ok(named) => named,
            Err(_) if wanted.is_empty() => decide_environment(principal.as_ref(), &self.default_environment)?.clone(),
            Err(fault) => return Err(Problem::BadRequest(format!("environment: {fault}").into())),
        };
        // A name never widens what a caller sees: without a token that is the default environment.
        if principal.is_none() && environment != self.default_environment {
            return Err(Problem::Forbidden(Refusal::OtherEnvironment));
        }
        let may = |auth| permit(principal.as_ref(), row, Some(&environment), auth);
        let Some(snapshot) = self.gate.hub.current(&environment) else {
            // Nobody without a right to this environment learns whether it is there.
            may(DataPlaneAuth::Required)?;
            return Err(Problem::NotFound(Missing::Environment, environment.to_string()));
        };
        may(snapshot.data_plane_auth)?;
        Ok(Admitted { principal, snapshot, now })
    }

    /// Whether a caller that was let in before would be let in now, for what lasts: its token may have been revoked or
    /// have expired, and its environment, of which this is the newest snapshot, may ask for one meanwhile.
    ///
    /// # Errors
    /// 401 and 403.
    pub fn readmit(
        &self,
        principal: Option<&Principal>,
        snapshot: &Snapshot,
        route: (&str, &str),
    ) -> Result<(), Problem> {
        let (now, tokens) = (self.gate.clock.now(), self.gate.hub.tokens());
        let row = policy::find(Plane::Data, route.0, route.1);
        let row = row.ok_or_else(|| Problem::NotFound(Missing::Route, String::new()))?;
        let counts = |principal: &Principal| {
            let token = tokens.get(principal.id);
            token.is_some_and(|token| !token.revoked && token.expires.is_none_or(|end| end > now))
        };
        if !principal.is_none_or(counts) {
            return Err(Problem::Unauthenticated { presented: true });
        }
        permit(principal, row, Some(&snapshot.environment), snapshot.data_plane_auth).map(drop)
    }

    /// Takes one evaluation request from what a caller may ask now: its token's share, or its address's without one.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub fn spend(&self, principal: Option<&Principal>, peer: Option<IpAddr>, now: Timestamp) -> Result<(), Problem> {
        let Some(rate) = &self.rate else { return Ok(()) };
        let caller = principal.map_or_else(|| Caller::at(peer), |principal| Caller::Token(principal.id));
        rate.take(caller, now).map_err(|retry_after| Problem::TooManyRequests { retry_after })
    }
}
