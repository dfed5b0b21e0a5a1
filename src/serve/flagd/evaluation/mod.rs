//! `flagd.evaluation` v1 and v2: one flag for a typed question, all flags, and a stream of what changed.
//!
//! Both versions ask and answer alike, byte for byte: the fields have the same numbers, and where v2 leaves a value out
//! (use the code default), v1 says NOT_FOUND. So there is one dispatcher, which reads the version from the path, and no
//! adapter per message. It decides in flagd's order: who calls, selector, context, flag, evaluation, type.

use std::future::ready;
use std::sync::Arc;

use connectrpc::dispatcher::{
    RequestStream, StreamingResult, UnaryResult, unimplemented_streaming, unimplemented_unary,
};
use connectrpc::{
    CodecFormat, ConnectError, Dispatcher, EncodedBody, EncodedResponse, MethodDescriptor, Payload, RequestContext,
    Response,
};
use http::HeaderValue;
use hyper::body::Bytes;

use crate::eval::evaluate::evaluate;
use crate::eval::outcome::ErrorCode;
use crate::serve::http::ofrep::REVISION;
use crate::serve::selection::{Selection, Selector};

use self::answer::Answer;
use self::changes::Changes;
use self::encode::Metadata;
use self::method::{Call, Method, Version};
use self::question::Question;
use super::judged::admitted;
use super::{Flagd, fault};

mod answer;
mod changes;
mod encode;
mod events;
mod method;
mod question;

/// Both services.
#[derive(Debug, Clone)]
pub struct Evaluation(Arc<Shared>);

/// What all calls share.
#[derive(Debug)]
struct Shared {
    flagd: Flagd,
    changes: Changes,
}

impl Evaluation {
    /// Takes what the services share.
    pub fn new(flagd: Flagd) -> Self {
        Self(Arc::new(Shared { flagd, changes: Changes::default() }))
    }
}

impl Shared {
    fn unary(
        &self,
        method: Method,
        context: &RequestContext,
        request: &Payload,
        format: CodecFormat,
    ) -> Result<EncodedResponse, ConnectError> {
        let headers = context.headers();
        let admitted = admitted(context)?;
        let (snapshot, now) = (&admitted.snapshot, admitted.now);
        let selector = Selector::of(headers).map_err(|fault| ConnectError::invalid_argument(fault.to_string()))?;
        let body = request.encoded()?;
        let question = Question::read(method.call, &body, format, context.decode_options())?;
        let asked = question.context().map_err(|fault| ConnectError::invalid_argument(fault.to_string()))?;
        let asked = self.flagd.door.enrichment.apply(headers, asked);
        self.flagd.evaluations[method.version as usize].inc();
        let selection = Selection::of(snapshot, selector);
        let encoded = match method.call {
            Call::Resolve(wanted) => {
                let fail = |code| fault::of(code, self.flagd.settings.strict_status);
                let flag = selection.find(&question.key).ok_or_else(|| fail(ErrorCode::FlagNotFound))?;
                let evaluation = evaluate(&snapshot.set, flag, &asked, now);
                let answer = Answer::of(evaluation, wanted).map_err(fail)?;
                if method.version == Version::V1 && answer.value.is_none() {
                    return Err(fail(ErrorCode::FlagNotFound));
                }
                encode::one(&answer, &Metadata::new(selector, &evaluation), format)?
            }
            Call::ResolveAll | Call::EventStream => {
                let flags = selection.iter().map(|flag| evaluate(&snapshot.set, flag, &asked, now));
                encode::all(flags, selector, format)?
            }
        };
        let mut response = Response::new(EncodedBody::from(encoded));
        response.headers.insert(REVISION, HeaderValue::from(snapshot.revision.0));
        Ok(response)
    }
}

impl Dispatcher for Evaluation {
    fn lookup(&self, path: &str) -> Option<MethodDescriptor> {
        Method::at(path).map(|method| match method.call {
            Call::EventStream => MethodDescriptor::server_streaming(),
            Call::Resolve(_) | Call::ResolveAll => MethodDescriptor::unary(false),
        })
    }

    fn call_unary(&self, path: &str, ctx: RequestContext, request: Payload, format: CodecFormat) -> UnaryResult {
        match Method::at(path) {
            Some(method) if method.call != Call::EventStream => {
                Box::pin(ready(self.0.unary(method, &ctx, &request, format)))
            }
            _ => unimplemented_unary(path),
        }
    }

    fn call_server_streaming(
        &self,
        path: &str,
        ctx: RequestContext,
        request: Bytes,
        format: CodecFormat,
    ) -> StreamingResult {
        match Method::at(path) {
            Some(method) if method.call == Call::EventStream => {
                let opened = events::open(&self.0, method, &ctx, &request, format);
                Box::pin(ready(opened.map(Response::new)))
            }
            _ => unimplemented_streaming(path),
        }
    }

    fn call_client_streaming(&self, path: &str, _: RequestContext, _: RequestStream, _: CodecFormat) -> UnaryResult {
        unimplemented_unary(path)
    }

    fn call_bidi_streaming(&self, path: &str, _: RequestContext, _: RequestStream, _: CodecFormat) -> StreamingResult {
        unimplemented_streaming(path)
    }
}
