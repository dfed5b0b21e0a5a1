//! Unleash's strategies: each one a condition and the share of users for whom it is on.

use super::super::ledger::Ledger;
use super::super::place::At;
use super::super::truth::Truth;
use super::constraint::{Segments, all, attribute};
use crate::flag::definition::{AttributePath, Operator, Scalar};
use crate::flag::parse::walk::shorten;

/// For whom a strategy is on.
#[derive(Debug, Clone)]
pub(super) struct Strategy<'n> {
    /// Where it stands.
    pub(super) at: At<'n>,
    /// What must hold.
    pub(super) when: Truth,
    /// Percent of those for whom it holds.
    pub(super) percent: u32,
    /// What the cohort is made of; unimportant at 0 and 100.
    pub(super) cohort: Cohort,
}

/// What places users inside a percentage.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cohort {
    /// The unit; the targeting key where left out.
    pub(super) by: Option<AttributePath>,
    /// Flags and strategies of one group share their cohorts.
    pub(super) group: String,
    /// What users without the unit get there, for the report.
    pub(super) without: &'static str,
    /// True where chance places users anew each time.
    pub(super) chance: bool,
}

const KEYS: &[&str] = &[
    "id",
    "name",
    "strategyName",
    "featureName",
    "featureId",
    "projectId",
    "environment",
    "title",
    "parameters",
    "constraints",
    "segments",
    "variants",
    "disabled",
    "sortOrder",
    "createdAt",
    "milestoneId",
];

/// Translates the strategies of a flag, in their order.
pub(super) fn strategies<'n>(
    ledger: &mut Ledger<'_>,
    list: &[At<'n>],
    segments: &Segments,
    flag: &str,
) -> Option<Vec<Strategy<'n>>> {
    let mut strategies = Vec::new();
    for at in list.iter().filter(|at| !at.says("disabled")) {
        ledger.only(at, KEYS, "the strategy");
        let constraints = all(ledger, &at.list("constraints"));
        let segments = segments_of(ledger, at, segments);
        let mut strategy = alone(ledger, at, flag);
        if let (Some(strategy), Some(constraints), Some(segments)) = (&mut strategy, constraints, segments) {
            strategy.when = Truth::all([constraints, segments, strategy.when.clone()]);
        }
        strategies.extend(strategy);
    }
    if let Some(first) = list.first()
        && list.iter().all(|at| at.says("disabled"))
    {
        return ledger.refuse(first, "all strategies are disabled", "disable the flag, or delete the strategies");
    }
    (!ledger.is_refused()).then_some(strategies)
}

fn segments_of(ledger: &mut Ledger<'_>, at: &At<'_>, segments: &Segments) -> Option<Truth> {
    let mut parts = Vec::new();
    for segment in at.list("segments") {
        match segment.integer().map(|id| segments.get(&id)) {
            Some(Some(Some(truth))) => parts.push(truth.clone()),
            Some(Some(None)) => return ledger.refuse(&segment, "it uses a segment that is left out", ""),
            _ => {
                let help = "import the answer of /api/client/features instead, which holds the segments' constraints";
                return ledger.refuse(&segment, "the constraints of this segment are not in the export", help);
            }
        }
    }
    Some(Truth::all(parts))
}

/// The strategy without its constraints.
fn alone<'n>(ledger: &mut Ledger<'_>, at: &At<'n>, flag: &str) -> Option<Strategy<'n>> {
    let whole = |when| Some(Strategy { at: at.clone(), when, percent: 100, cohort: Cohort::default() });
    let name = at.word("name").filter(|_| at.get("strategyName").is_none()).or_else(|| at.word("strategyName"));
    match name.unwrap_or_default() {
        "default" => whole(Truth::Always),
        "userWithId" => whole(among(ledger, at, "userIds", "userId")?),
        "remoteAddress" => whole(addresses(ledger, at)?),
        "flexibleRollout" => {
            let stickiness = parameter(at, "stickiness").unwrap_or("default");
            gradual(ledger, at, "rollout", stickiness, flag)
        }
        "gradualRolloutUserId" => gradual(ledger, at, "percentage", "userId", flag),
        "gradualRolloutSessionId" => gradual(ledger, at, "percentage", "sessionId", flag),
        "gradualRolloutRandom" => gradual(ledger, at, "percentage", "random", flag),
        "applicationHostname" => {
            let why = "`applicationHostname` asks for the machine on which the application runs";
            ledger.refuse(at, why, "let the application send its host name, and write a rule for it")
        }
        other => {
            let why = format!("the strategy `{}` is the application's own", shorten(other));
            ledger.refuse(at, why, "write a rule for the attributes that it looks at")
        }
    }
}

fn parameter<'n>(at: &At<'n>, key: &str) -> Option<&'n str> {
    at.get("parameters")?.word(key)
}

/// A list of texts joined by commas, of which the attribute is one.
fn among(ledger: &mut Ledger<'_>, at: &At<'_>, key: &str, name: &str) -> Option<Truth> {
    let list = parameter(at, key).unwrap_or_default();
    if list.is_empty() {
        return Some(Truth::Never);
    }
    let items: Vec<&str> = list.split(',').map(str::trim).collect();
    if list.trim() != list || items.iter().any(|item| item.is_empty()) {
        let why = format!("`{key}` has spaces around it or an empty entry, which Unleash's SDKs read differently");
        return ledger.refuse(at, why, "remove them");
    }
    let list = items.into_iter().map(|item| Scalar::String(item.to_owned())).collect();
    Some(Truth::test(&attribute(name)?, Operator::In(list)))
}

/// Plain IPv4 addresses: everything else has several spellings.
fn addresses(ledger: &mut Ledger<'_>, at: &At<'_>) -> Option<Truth> {
    let list = parameter(at, "IPs").unwrap_or_default();
    let part = |part: &str| part.parse::<u8>().is_ok_and(|number| number.to_string() == part);
    let plain = |item: &str| item.trim().split('.').count() == 4 && item.trim().split('.').all(part);
    if !list.is_empty() && !list.split(',').all(plain) {
        let why = "`remoteAddress` with networks or IPv6 addresses: there is no test for address ranges";
        return ledger.refuse(at, why, "let the application send an attribute that says it");
    }
    among(ledger, at, "IPs", "remoteAddress")
}

fn gradual<'n>(ledger: &mut Ledger<'_>, at: &At<'n>, key: &str, stickiness: &str, flag: &str) -> Option<Strategy<'n>> {
    let value = at.get("parameters").and_then(|parameters| parameters.get(key));
    let percent = value.as_ref().and_then(|value| match value.text() {
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        Some(_) => None,
        None => value.integer().and_then(|number| u32::try_from(number).ok()),
    });
    let Some(percent) = percent.filter(|percent| *percent <= 100) else {
        return ledger.refuse(at, format!("`{key}` is no whole percentage from 0 to 100"), "correct it");
    };
    let by = match stickiness {
        "default" | "random" | "userId" => None,
        other => attribute(other),
    };
    let strategy = |when| {
        let without = match stickiness {
            "default" => "; there, users without a userId are placed by sessionId or by chance: here they are outside",
            _ => "",
        };
        let chance = stickiness == "random";
        let group = parameter(at, "groupId").filter(|group| !group.is_empty()).unwrap_or(flag).to_owned();
        Strategy { at: at.clone(), when, percent, cohort: Cohort { by: by.clone(), group, without, chance } }
    };
    match (percent, stickiness) {
        (0, _) => Some(strategy(Truth::Never)),
        // By chance or by whatever is there, everybody is inside.
        (100, "default" | "random") => Some(strategy(Truth::Always)),
        (100, name) => Some(strategy(Truth::test(&attribute(name)?, Operator::Exists(true)))),
        (_, "random") => {
            let why = "a percentage of evaluations, drawn anew each time: users here stay where they are";
            ledger.refuse(at, why, "choose another stickiness")
        }
        _ => Some(strategy(Truth::Always)),
    }
}
