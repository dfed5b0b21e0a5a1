//! CORS: which web pages may read the data plane's answers.
//!
//! Without origins there is no CORS header at all, and browsers keep other pages out. Preflights are answered before
//! anybody asks for a token, since browsers send none with them. Not an access control: whoever is no browser is not
//! stopped by it.

use std::time::Duration;

use http::header::{ETAG, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer, ExposeHeaders};

use super::ofrep::REVISION;
use super::request_id::REQUEST_ID;

/// How long a browser may remember a preflight: as long as any of them does.
const MAX_AGE: Duration = Duration::from_secs(7200);

/// The pages that may read answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Every page, without its cookies and other credentials of its own.
    Any,
    /// Pages of exactly these origins.
    Only(Vec<HeaderValue>),
}

/// What a page may read of an answer beside its body: what OFREP's clients look for, and what gRPC-Web and Connect
/// write instead of trailers.
fn exposed() -> [HeaderName; 10] {
    [
        ETAG,
        RETRY_AFTER,
        REVISION,
        REQUEST_ID,
        HeaderName::from_static("grpc-status"),
        HeaderName::from_static("grpc-message"),
        HeaderName::from_static("grpc-status-details-bin"),
        HeaderName::from_static("grpc-encoding"),
        HeaderName::from_static("connect-content-encoding"),
        HeaderName::from_static("connect-protocol-version"),
    ]
}

/// The layer that goes around the data plane.
pub fn layer(origins: &Origins) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_methods(AllowMethods::list([Method::GET, Method::HEAD, Method::POST, Method::OPTIONS]))
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(ExposeHeaders::list(exposed()))
        .max_age(MAX_AGE);
    match origins {
        Origins::Any => layer.allow_origin(AllowOrigin::any()),
        Origins::Only(origins) => {
            layer.allow_origin(AllowOrigin::list(origins.iter().cloned())).allow_credentials(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::response::Response;
    use axum::routing::post;
    use http::Request;
    use http::header::{ACCEPT, CONTENT_TYPE};
    use tower::ServiceExt as _;

    async fn ask(origins: &Origins, method: Method, origin: &'static str) -> Response {
        let routes = Router::new().route("/x", post(|| async { [(ETAG, "\"a\"")] })).layer(layer(origins));
        let request = Request::builder()
            .method(method)
            .uri("/x")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type,flagd-selector")
            .header(ACCEPT, "*/*")
            .header(CONTENT_TYPE, "application/json");
        routes.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
        response.headers().get(name).map(|value| value.to_str().unwrap())
    }

    #[tokio::test]
    async fn a_page_of_the_list_may_ask_and_another_may_not() {
        let origins = Origins::Only(vec![HeaderValue::from_static("https://shop.example")]);
        let preflight = ask(&origins, Method::OPTIONS, "https://shop.example").await;
        assert_eq!(preflight.status(), 200);
        assert_eq!(header(&preflight, "access-control-allow-origin"), Some("https://shop.example"));
        assert_eq!(header(&preflight, "access-control-allow-credentials"), Some("true"));
        assert_eq!(header(&preflight, "access-control-allow-methods"), Some("GET,HEAD,POST,OPTIONS"));
        let headers = header(&preflight, "access-control-allow-headers");
        assert_eq!(headers, Some("authorization,content-type,flagd-selector"));
        assert_eq!(header(&preflight, "access-control-max-age"), Some("7200"));
        let answer = ask(&origins, Method::POST, "https://shop.example").await;
        let exposed = header(&answer, "access-control-expose-headers").unwrap();
        for name in ["etag", "retry-after", "rampart-revision", "grpc-status", "grpc-message"] {
            assert!(exposed.split(',').any(|held| held == name), "{name} in {exposed}");
        }
        for origin in ["https://shop.example.evil", "http://shop.example", "https://shop.example:8443", "null"] {
            for method in [Method::OPTIONS, Method::POST] {
                let answer = ask(&origins, method, origin).await;
                assert_eq!(header(&answer, "access-control-allow-origin"), None, "{origin}");
            }
        }
    }

    #[tokio::test]
    async fn every_page_may_ask_without_credentials() {
        let answer = ask(&Origins::Any, Method::POST, "https://anywhere.example").await;
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
        assert_eq!(header(&answer, "access-control-allow-credentials"), None);
    }
}
