//! `rampart.v1.Evaluation`: one question or all of them, answered from the snapshot in force.

use http::HeaderMap;
use prost::bytes::Bytes;
use serde_json::{Map, Value};
use tonic::{Extensions, Request, Response, Status};

use super::Grpc;
use crate::eval::context::Context;
use crate::eval::evaluate::evaluate;
use crate::eval::outcome::{ErrorCode, Evaluation as Answer, Reason};
use crate::proto::rampart_v1::evaluation_server::Evaluation;
use crate::proto::rampart_v1::{EvaluateAllRequest, EvaluateAllResponse, EvaluateRequest, EvaluateResponse, Evaluated};
use crate::serve::connection::Peer;
use crate::serve::door::Admitted;
use crate::serve::http::problem::Problem;

/// Bytes of a context, as on HTTP.
const CONTEXT_BYTES_MAX: usize = 64 * 1024;

/// The service.
#[derive(Debug, Clone)]
pub struct EvaluationService(pub Grpc);

#[tonic::async_trait]
impl Evaluation for EvaluationService {
    async fn evaluate(&self, request: Request<EvaluateRequest>) -> Result<Response<EvaluateResponse>, Status> {
        let (metadata, extensions, asked) = request.into_parts();
        let headers = metadata.into_headers();
        let Admitted { snapshot, now, .. } = self.admit(&headers, &extensions, "/rampart.v1.Evaluation/Evaluate")?;
        self.0.evaluations.inc();
        let key = asked.flag_key.as_str();
        let evaluated = match (context(&asked.context_json), snapshot.set.flag(asked.flag_set.as_deref(), key)) {
            (Err(details), _) => failure(key, asked.flag_set.as_deref(), ErrorCode::InvalidContext, details),
            (Ok(_), None) => {
                let details = format!("flag `{key}` does not exist");
                failure(key, asked.flag_set.as_deref(), ErrorCode::FlagNotFound, details)
            }
            (Ok(context), Some(flag)) => {
                let context = self.0.door.enrichment.apply(&headers, context);
                evaluated(&evaluate(&snapshot.set, flag, &context, now))
            }
        };
        Ok(Response::new(EvaluateResponse { evaluated: Some(evaluated), revision: snapshot.revision.0 }))
    }

    async fn evaluate_all(
        &self,
        request: Request<EvaluateAllRequest>,
    ) -> Result<Response<EvaluateAllResponse>, Status> {
        let (metadata, extensions, asked) = request.into_parts();
        let headers = metadata.into_headers();
        let Admitted { snapshot, now, .. } = self.admit(&headers, &extensions, "/rampart.v1.Evaluation/EvaluateAll")?;
        self.0.evaluations.inc();
        let context = context(&asked.context_json).map_err(Status::invalid_argument)?;
        let context = self.0.door.enrichment.apply(&headers, context);
        let answer = |flag| evaluated(&evaluate(&snapshot.set, flag, &context, now));
        let all = match &asked.flag_set {
            Some(name) => snapshot.set.in_flag_set(Some(name)).map(answer).collect(),
            None => snapshot.set.iter().map(answer).collect(),
        };
        Ok(Response::new(EvaluateAllResponse { evaluated: all, revision: snapshot.revision.0 }))
    }
}

impl EvaluationService {
    /// Who calls, what it sees, and one request from what it may ask now.
    fn admit(&self, headers: &HeaderMap, extensions: &Extensions, method: &str) -> Result<Admitted, Problem> {
        let admitted = self.0.door.admit_to(headers, None, ("POST", method), "")?;
        let peer = extensions.get::<Peer>().and_then(Peer::ip);
        self.0.door.spend(admitted.principal.as_ref(), peer, admitted.now)?;
        Ok(admitted)
    }
}

fn context(json: &[u8]) -> Result<Context<'_>, String> {
    if json.len() > CONTEXT_BYTES_MAX {
        return Err(format!("the context has more than {CONTEXT_BYTES_MAX} bytes"));
    }
    if json.is_empty() {
        return Ok(Context::empty());
    }
    Context::from_json(json).map_err(|fault| fault.to_string())
}

fn failure(key: &str, flag_set: Option<&str>, code: ErrorCode, details: String) -> Evaluated {
    Evaluated {
        flag_key: key.to_owned(),
        flag_set: flag_set.map(str::to_owned),
        reason: Reason::Error.as_str().to_owned(),
        error_code: Some(code.as_str().to_owned()),
        error_details: Some(details),
        ..Evaluated::default()
    }
}

fn evaluated(answer: &Answer<'_>) -> Evaluated {
    let id = answer.flag.id();
    Evaluated {
        flag_key: id.key.to_string(),
        flag_set: id.flag_set.as_ref().map(ToString::to_string),
        value_json: answer.value.map(json).unwrap_or_default(),
        variant: answer.variant.map(ToString::to_string),
        reason: answer.reason.as_str().to_owned(),
        error_code: answer.error.map(|code| code.as_str().to_owned()),
        error_details: answer.error.map(|_| "the flag cannot be evaluated".to_owned()),
        metadata_json: metadata(answer),
    }
}

fn metadata(answer: &Answer<'_>) -> Bytes {
    let held = answer.flag.metadata();
    if held.is_empty() && answer.killed.is_none() && !answer.no_unit {
        return Bytes::new();
    }
    let mut all: Map<String, Value> = held.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    if answer.killed.is_some() {
        all.insert("killed".to_owned(), Value::Bool(true));
    }
    if answer.no_unit {
        all.insert("noUnit".to_owned(), Value::Bool(true));
    }
    json(&Value::Object(all))
}

fn json(value: &Value) -> Bytes {
    serde_json::to_vec(value).expect("a JSON value has a JSON text").into()
}
