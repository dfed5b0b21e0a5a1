//! Who calls, judged before anything of a call is read: whoever may not learns nothing else and fills no memory.
//!
//! One layer in front of all of flagd's services. A refusal has the form of the protocol that the call came by. What
//! may be asked is the policy table's; a path that it does not have goes on to be answered by the service itself.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use connectrpc::{ConnectError, RequestContext};

use super::fault;
use crate::access::policy::{self, Plane};
use crate::serve::connection::Peer;
use crate::serve::door::{Admitted, Door};
use crate::serve::http::problem::Problem;

/// The layer.
pub async fn judge(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    if let Some(route) = policy::find(Plane::Data, "POST", request.uri().path()) {
        match admit(&door, &request, ("POST", route.path)) {
            Ok(admitted) => drop(request.extensions_mut().insert(Arc::new(admitted))),
            Err(problem) => return fault::refused(&problem).into_http_response(request.headers()).map(Body::new),
        }
    }
    next.run(request).await
}

/// Who calls, as [`judge`] found out.
///
/// # Errors
/// INTERNAL where the layer did not stand before the service: a mistake in the wiring denies, it does not open.
pub fn admitted(context: &RequestContext) -> Result<Arc<Admitted>, ConnectError> {
    let admitted = context.extensions().get::<Arc<Admitted>>().cloned();
    admitted.ok_or_else(|| ConnectError::internal("the call was not judged"))
}

fn admit(door: &Door, request: &Request, route: (&str, &str)) -> Result<Admitted, Problem> {
    let admitted = door.admit(request.headers(), request.uri().query(), route)?;
    let peer = request.extensions().get::<Peer>().and_then(Peer::ip);
    door.spend(admitted.principal.as_ref(), peer, admitted.now)?;
    Ok(admitted)
}
