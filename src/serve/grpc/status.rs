//! From a problem to a gRPC status: the one place where that is decided.

use http::StatusCode;
use tonic::{Code, Status};

use crate::serve::http::problem::Problem;

/// The number of a problem's status, for protocols that share gRPC's.
pub fn number(problem: &Problem) -> u32 {
    code_of(problem) as u32
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        Self::new(code_of(&problem), problem.detail().into_owned())
    }
}

fn code_of(problem: &Problem) -> Code {
    match problem.status() {
        StatusCode::BAD_REQUEST
        | StatusCode::UNPROCESSABLE_ENTITY
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::PAYLOAD_TOO_LARGE => Code::InvalidArgument,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::CONFLICT => Code::Aborted,
        StatusCode::PRECONDITION_FAILED | StatusCode::PRECONDITION_REQUIRED => Code::FailedPrecondition,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::INSUFFICIENT_STORAGE => Code::ResourceExhausted,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        _ => Code::Internal,
    }
}
