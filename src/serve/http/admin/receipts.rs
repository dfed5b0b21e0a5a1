//! Who has confirmed: receipts of a kill or a revision, and the list of subscribers.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::call::{Params, environment};
use super::refused::bad;
use super::{Admin, json};
use crate::flag::key::EnvironmentName;
use crate::flag::time::{Generation, Timestamp};
use crate::serve::http::problem::{Missing, Problem};
use crate::serve::subscription::receipts::{NAMES_MAX, Question, WAIT_MAX, ask};
use crate::snapshot::roster::Client;
use crate::snapshot::roster::receipts::{Fate, Receipts, Word, name};
use crate::sync::message::{Lane, ObjectError};

/// How long an answer is waited for where nobody says how long.
const TIMEOUT: Duration = Duration::from_secs(25);
/// How many are named where nobody says how many.
const NAMES: usize = 100;

/// How long to wait for whom.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// Answer when this many have confirmed: `all`, a share (`0.999`) or a percentage (`99.9%`).
    pub wait: Option<String>,
    /// Answer after this long in any case: `25s`, `500ms`; at most `60s`.
    pub timeout: Option<String>,
    /// How many of those that have not confirmed to name; at most 1000, 100 where left out.
    pub names: Option<usize>,
}

/// What receipts are asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReceiptsQuery {
    /// A kill or a restore, by its generation.
    generation: Option<u64>,
    /// Or everything up to this revision.
    revision: Option<u64>,
    /// As `WaitQuery`.
    wait: Option<String>,
    /// As `WaitQuery`.
    timeout: Option<String>,
    /// As `WaitQuery`.
    names: Option<usize>,
}

impl WaitQuery {
    /// Whom to wait for; none where nobody is to be waited for.
    ///
    /// # Errors
    /// Neither `all` nor a share.
    pub fn word(&self) -> Result<Option<Word>, Problem> {
        let wrong = || bad("wait: `all`, a share such as 0.999, or a percentage such as 99.9%".to_owned(), "/wait");
        self.wait.as_deref().map(|text| Word::parse(text).ok_or_else(wrong)).transpose()
    }

    /// Refuses what cannot be asked, before anything is done.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), Problem> {
        self.word()?;
        self.timeout.as_deref().map_or(Ok(TIMEOUT), duration).map(drop)
    }

    fn question(&self, environment: EnvironmentName, lane: Lane, position: u64) -> Result<Question, Problem> {
        Ok(Question {
            environment,
            lane,
            position,
            word: self.word()?.unwrap_or(Word::Now),
            timeout: self.timeout.as_deref().map_or(Ok(TIMEOUT), duration)?,
            names: self.names.unwrap_or(NAMES),
        })
    }
}

/// `25s`, `500ms`, `1m`; a number alone is seconds.
fn duration(text: &str) -> Result<Duration, Problem> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        _ => -1.0,
    };
    let seconds = number.parse::<f64>().unwrap_or(-1.0) * scale;
    if !(0.0..=WAIT_MAX.as_secs_f64()).contains(&seconds) {
        return Err(bad(format!("timeout: {text:?} is not from 0s to 60s, such as 25s or 500ms"), "/timeout"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Receipts, as an answer has them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptsView {
    /// Where.
    environment: String,
    /// The kill or restore that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    /// Or the revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    /// Whether as many have it as were waited for; without a wait, whether all have.
    reached: bool,
    /// Clients that are counted: the sum of the next six.
    subscribers: usize,
    /// They have it, and their set hash is the server's.
    confirmed: usize,
    /// They came later, and have it.
    late_joined: usize,
    /// Connected, and not yet.
    pending: usize,
    /// They applied it, and cannot use some of it.
    rejected: usize,
    /// Connected, and do not acknowledge.
    unconfirmable: usize,
    /// Lost lately without a word, and not yet.
    disconnected: usize,
    /// When it was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    published_at: Option<String>,
    /// From publish to the first receipt, in microseconds; 0 for none.
    first_us: u64,
    /// To the median receipt.
    p50_us: u64,
    /// To the 99th percentile of receipts.
    p99_us: u64,
    /// To the last receipt so far.
    max_us: u64,
    /// Some of those that do not have it.
    missing: Vec<MissingView>,
}

/// A client that does not have it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MissingView {
    /// `pending`, `rejected`, `unconfirmable` or `disconnected`.
    state: &'static str,
    #[serde(flatten)]
    client: ClientView,
}

/// A subscriber.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ClientView {
    /// Random per process.
    instance_id: String,
    /// Its name, where it has one.
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    /// Its library.
    #[serde(skip_serializing_if = "String::is_empty")]
    sdk: String,
    /// Words about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
    /// `grpc` or `sse`.
    surface: &'static str,
    /// Whether it acknowledges.
    acks: bool,
    /// Whether a stream of it is open.
    connected: bool,
    /// The kill generation that it confirmed.
    generation: u64,
    /// The revision that it confirmed.
    revision: u64,
    /// When it was last heard of, or lost.
    last_seen: String,
    /// What it holds and cannot use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejected: Vec<RejectedView>,
}

/// An object that a client cannot use.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RejectedView {
    /// Its key.
    key: String,
    /// Its flag set.
    #[serde(skip_serializing_if = "Option::is_none")]
    flag_set: Option<String>,
    /// The revision that was refused.
    revision: u64,
    /// Why, for machines.
    code: String,
    /// Why, for people.
    message: String,
}

impl ClientView {
    fn of(client: &Client) -> Self {
        let rejected = |error: &ObjectError| RejectedView {
            key: error.key.key().to_owned(),
            flag_set: error.key.flag_set().map(str::to_owned),
            revision: error.revision.0,
            code: error.code.clone(),
            message: error.message.clone(),
        };
        Self {
            instance_id: client.who.instance_id.clone(),
            name: client.who.name.clone(),
            sdk: client.who.sdk.clone(),
            labels: client.who.labels.clone(),
            surface: client.who.surface,
            acks: client.who.acks,
            connected: client.connected,
            generation: client.generation,
            revision: client.revision,
            last_seen: text(client.last_seen),
            rejected: client.rejected.iter().map(rejected).collect(),
        }
    }
}

fn text(at: Timestamp) -> String {
    at.to_string()
}

impl ReceiptsView {
    /// The view of an answer to a question that asked for `word`.
    pub fn of(environment: &EnvironmentName, receipts: &Receipts, word: Word) -> Self {
        let at = |lane| (receipts.lane == lane).then_some(receipts.position);
        let word = if word == Word::Now { Word::All } else { word };
        let missing =
            |(fate, client): &(Fate, Client)| MissingView { state: fate.as_str(), client: ClientView::of(client) };
        Self {
            environment: environment.to_string(),
            generation: at(Lane::Kills),
            revision: at(Lane::Objects),
            reached: receipts.has_reached(word),
            subscribers: receipts.subscribers,
            confirmed: receipts.confirmed,
            late_joined: receipts.late_joined,
            pending: receipts.pending,
            rejected: receipts.rejected,
            unconfirmable: receipts.unconfirmable,
            disconnected: receipts.disconnected,
            published_at: receipts.published_at.map(text),
            first_us: receipts.first_us,
            p50_us: receipts.p50_us,
            p99_us: receipts.p99_us,
            max_us: receipts.max_us,
            missing: receipts.missing.iter().map(missing).collect(),
        }
    }
}

/// Waits for the receipts of a kill or a restore as its query asks; null where it asks for none, or where the lane did
/// not move.
///
/// # Errors
/// Too many wait already.
pub async fn of_kill(
    admin: &Admin,
    environment: &EnvironmentName,
    generation: Option<Generation>,
    asked: &WaitQuery,
) -> Result<Option<ReceiptsView>, Problem> {
    let (Some(word), Some(generation)) = (asked.word()?, generation) else { return Ok(None) };
    let question = asked.question(environment.clone(), Lane::Kills, generation.0)?;
    let at_once = Question { word: Word::Now, ..question.clone() };
    let (hub, clock) = (admin.control.hub(), admin.control.clock());
    let receipts = match ask(hub, clock, &admin.waiters, question).await {
        // It is done: what is known now is a better answer than that too many wait.
        Err(Problem::TooManyRequests { .. }) => ask(hub, clock, &admin.waiters, at_once).await?,
        answer => answer?,
    };
    Ok(Some(ReceiptsView::of(environment, &receipts, word)))
}

/// Who has confirmed a kill or a revision, and who has not. With `wait` the answer comes when enough have, or at the
/// timeout; `reached` says which.
#[utoipa::path(get, path = "/v1/environments/{env}/receipts", params(("env" = String, Path), ReceiptsQuery),
    responses((status = 200, body = ReceiptsView), (status = 404, description = "no such environment"),
        (status = 422, description = "that was not published yet")), tag = "receipts")]
pub async fn read(
    State(admin): State<Admin>,
    Path(env): Path<String>,
    Params(query): Params<ReceiptsQuery>,
) -> Result<Response, Problem> {
    let environment = environment(&env)?;
    let (lane, position) = match (query.generation, query.revision) {
        (Some(generation), None) => (Lane::Kills, generation),
        (None, Some(revision)) => (Lane::Objects, revision),
        _ => {
            let detail = format!("say either `{}` or `{}`", name(Lane::Kills), name(Lane::Objects));
            return Err(bad(detail, "/generation"));
        }
    };
    let asked = WaitQuery { wait: query.wait, timeout: query.timeout, names: query.names };
    let question = asked.question(environment.clone(), lane, position)?;
    let word = question.word;
    let receipts = ask(admin.control.hub(), admin.control.clock(), &admin.waiters, question).await?;
    Ok(json(StatusCode::OK, &ReceiptsView::of(&environment, &receipts, word)))
}

/// How many subscribers to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// At most this many; at most 1000, 100 where left out.
    limit: Option<usize>,
}

/// The subscribers of an environment on this node: those that are connected, and those that were lost lately.
#[utoipa::path(get, path = "/v1/environments/{env}/subscribers", params(("env" = String, Path), ListQuery),
    responses((status = 200, body = Value), (status = 404, description = "no such environment")), tag = "receipts")]
pub async fn subscribers(
    State(admin): State<Admin>,
    Path(env): Path<String>,
    Params(query): Params<ListQuery>,
) -> Result<Response, Problem> {
    let environment = environment(&env)?;
    let missing = || Problem::NotFound(Missing::Environment, environment.to_string());
    let roster = admin.control.hub().roster(&environment).ok_or_else(missing)?;
    let limit = query.limit.unwrap_or(NAMES).min(NAMES_MAX);
    let (clients, total) = roster.list(admin.control.clock().now(), limit);
    let clients: Vec<ClientView> = clients.iter().map(ClientView::of).collect();
    let body = serde_json::json!({"total": total, "connected": roster.connected(), "subscribers": clients});
    Ok(json(StatusCode::OK, &body))
}
