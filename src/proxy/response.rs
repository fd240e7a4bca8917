//! The app's answer on its way to the client.

use http::{Response, StatusCode, Version};
use hyper::body::Incoming;

use super::{
    body::{Relay, RequestBody, Source},
    error::Failure,
    headers::remove_hop_by_hop,
};
use crate::upstream::{Connection, InFlight};

/// An answer whose body has not run yet, with what it still holds at the app.
pub(super) struct Answered {
    pub(super) response: Response<Incoming>,
    pub(super) connection: Connection<RequestBody>,
    pub(super) in_flight: InFlight,
}

/// Frees the head of what was meant for us only; the body follows as it comes.
pub(super) fn relay(answered: Answered) -> Result<Response<Source>, Failure> {
    let Answered { mut response, connection, in_flight } = answered;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Failure::UnaskedUpgrade);
    }
    remove_hop_by_hop(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
    Ok(response
        .map(|incoming| Source::Upstream(Relay { incoming, connection: Some(connection), in_flight: Some(in_flight) })))
}
