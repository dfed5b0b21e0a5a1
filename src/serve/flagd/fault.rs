//! From what went wrong to flagd's status and words: the one place where that is decided.

use connectrpc::{ConnectError, ErrorCode as Status};

use crate::eval::outcome::ErrorCode;
use crate::serve::grpc::status;
use crate::serve::http::problem::Problem;

/// An evaluation that failed. `strict` gives general errors flagd's status UNKNOWN; INTERNAL means the same to its
/// clients, but they do not try it again.
pub fn of(code: ErrorCode, strict: bool) -> ConnectError {
    match code {
        ErrorCode::FlagNotFound => ConnectError::not_found("Flag not found"),
        ErrorCode::TypeMismatch => ConnectError::invalid_argument("Type mismatch error"),
        ErrorCode::ParseError => ConnectError::data_loss("Error parsing input or configuration"),
        ErrorCode::TargetingKeyMissing => ConnectError::invalid_argument("the context has no targetingKey"),
        ErrorCode::InvalidContext => ConnectError::invalid_argument("the context cannot be used"),
        ErrorCode::ProviderNotReady => ConnectError::unavailable("there are no flags yet"),
        ErrorCode::General if strict => ConnectError::unknown("General error"),
        ErrorCode::General => ConnectError::internal("General error"),
    }
}

/// A request that is not let in, or not now; with the headers that belong to it.
pub fn refused(problem: &Problem) -> ConnectError {
    let code = Status::from_grpc_code(status::number(problem)).unwrap_or(Status::Internal);
    let mut error = ConnectError::new(code, problem.detail());
    problem.headers(error.response_headers_mut());
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};

    #[test]
    fn every_error_has_flagds_status() {
        for (code, strict, status, message) in [
            (ErrorCode::FlagNotFound, false, Status::NotFound, "Flag not found"),
            (ErrorCode::TypeMismatch, false, Status::InvalidArgument, "Type mismatch error"),
            (ErrorCode::ParseError, false, Status::DataLoss, "Error parsing input or configuration"),
            (ErrorCode::General, false, Status::Internal, "General error"),
            (ErrorCode::General, true, Status::Unknown, "General error"),
        ] {
            let error = of(code, strict);
            assert_eq!((error.code, error.message.as_deref()), (status, Some(message)), "{code} {strict}");
        }
    }

    #[test]
    fn a_refusal_brings_its_headers() {
        let error = refused(&Problem::Unauthenticated { presented: false });
        assert_eq!(error.code, Status::Unauthenticated);
        assert!(error.response_headers().contains_key(WWW_AUTHENTICATE));
        let error = refused(&Problem::Unavailable { detail: "later".into(), retry_after: 7 });
        assert_eq!((error.code, error.message.as_deref()), (Status::Unavailable, Some("later")));
        assert_eq!(error.response_headers()[RETRY_AFTER], "7");
    }
}
