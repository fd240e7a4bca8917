//! Upgrades to WebSocket, asked for in HTTP/1.1 (RFC 6455 §4.1) or by an extended CONNECT of HTTP/2 (RFC 8441 §4). App servers
//! are always asked in HTTP/1.1.
//!
//! Other protocols are not switched to: an offer of one (Java's HTTP client offers `h2c` with every plain request) is dropped
//! with what else concerns one hop only, and the request is served as it stands.

use std::time::Instant;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::{
    body::{Body, Incoming},
    ext::Protocol,
    upgrade::OnUpgrade,
};

use super::{
    body::{RequestBody, Source},
    error::Failure,
    headers::remove_hop_by_hop,
    response::Answered,
    tunnel::Tunnel,
};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");
const SEC_WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const SEC_WEBSOCKET_ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");

/// How a client asks for a WebSocket.
pub(super) enum Upgrade {
    /// The connection itself becomes one.
    Connection,
    /// A stream of HTTP/2 becomes one, once it is answered. Its client knows nothing of the key that the app is asked with.
    Stream(OnUpgrade, HeaderValue),
}

impl Upgrade {
    /// What `request` asks for, if it does; `switches` says that it [`asks_for_websocket`]. An extended CONNECT becomes the GET that
    /// an app server understands.
    pub(super) fn take(request: &mut Request<Incoming>, switches: bool) -> Result<Option<Self>, Failure> {
        let Some(protocol) = request.extensions().get::<Protocol>() else {
            return Ok(switches.then_some(Self::Connection));
        };
        if protocol.as_ref() != b"websocket" {
            return Err(Failure::UpgradeRefused);
        }
        *request.method_mut() = Method::GET;
        Ok(Some(Self::Stream(hyper::upgrade::on(request), key())))
    }

    fn ask(&self, outgoing: &mut Request<RequestBody>) -> Result<(), Failure> {
        if outgoing.version() == Version::HTTP_2 {
            return Err(Failure::UpgradeRefused);
        }
        let headers = outgoing.headers_mut();
        headers.insert(header::CONNECTION, UPGRADE);
        headers.insert(header::UPGRADE, WEBSOCKET);
        if let Self::Stream(_, key) = self {
            headers.insert(SEC_WEBSOCKET_KEY, key.clone());
        }
        Ok(())
    }

    /// The app has agreed: what it said goes to the client, and a tunnel between them is ready.
    pub(super) fn switch(self, answered: Answered) -> Result<Response<Source>, Failure> {
        let Answered { mut head, connection, mut in_flight, .. } = answered;
        if !names(&head.headers, &header::UPGRADE, b"websocket") || !self.is_accepted_by(&head.headers) {
            return Err(Failure::UnaskedUpgrade);
        }
        let app = connection.switch().ok_or(Failure::UnaskedUpgrade)?;
        in_flight.delivered(Instant::now());
        remove_hop_by_hop(&mut head.headers);
        let stream = match self {
            Self::Connection => {
                head.headers.insert(header::CONNECTION, UPGRADE);
                head.headers.insert(header::UPGRADE, WEBSOCKET);
                None
            }
            Self::Stream(stream, _) => {
                head.status = StatusCode::OK;
                head.headers.remove(SEC_WEBSOCKET_ACCEPT);
                Some(stream)
            }
        };
        Ok(Response::from_parts(head, Source::Tunnel(Box::new(Tunnel::new(app, in_flight, stream)))))
    }

    /// Whether the client would take this answer, which is no agreement of the app, for an open tunnel: on HTTP/2 any success is
    /// (RFC 8441 §5).
    pub(super) fn would_open(&self, status: StatusCode) -> bool {
        matches!(self, Self::Stream(..)) && status.is_success()
    }

    /// Whether the app has read what it agrees to. Where the key is the client's the client looks at that.
    fn is_accepted_by(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Connection => true,
            Self::Stream(_, key) => {
                headers.get(SEC_WEBSOCKET_ACCEPT).is_some_and(|accept| accept.as_bytes() == accepted(key).as_bytes())
            }
        }
    }
}

/// Asks the app for what the client has asked for, if anything.
pub(super) fn ask(upgrade: Option<&Upgrade>, outgoing: &mut Request<RequestBody>) -> Result<(), Failure> {
    upgrade.map_or(Ok(()), |upgrade| upgrade.ask(outgoing))
}

/// Whether `request` asks for its connection to become a WebSocket (RFC 6455 §4.1).
pub(super) fn asks_for_websocket(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    // hyper leaves something in the extensions if a request asks for another protocol, and only then.
    !request.extensions().is_empty()
        && *request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && request.body().is_end_stream()
        && names(headers, &header::UPGRADE, b"websocket")
        && names(headers, &header::CONNECTION, b"upgrade")
}

/// Whether `token` stands in the list that `name` holds.
fn names(headers: &HeaderMap, name: &HeaderName, token: &[u8]) -> bool {
    let values = headers.get_all(name).iter();
    let mut tokens = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    tokens.any(|found| found.trim_ascii().eq_ignore_ascii_case(token))
}

/// A nonce, as every WebSocket over HTTP/1.1 has one (RFC 6455 §4.1); HTTP/2 clients do without.
fn key() -> HeaderValue {
    let nonce: [u8; 16] = fastrand::u128(..).to_ne_bytes();
    // base64 is visible ASCII.
    HeaderValue::from_str(&STANDARD.encode(nonce)).unwrap_or(HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="))
}

/// What an app says that has read `key` (RFC 6455 §4.2.2).
fn accepted(key: &HeaderValue) -> String {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        assert_eq!(accepted(&HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==")), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_token_is_found_in_a_list_whatever_its_case() {
        let mut headers = HeaderMap::new();
        headers.append(header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        assert!(names(&headers, &header::CONNECTION, b"upgrade"));
        assert!(!names(&headers, &header::CONNECTION, b"up"));
        assert!(!names(&headers, &header::UPGRADE, b"websocket"));
    }

    #[test]
    fn a_key_is_sixteen_octets_and_another_one_each_time() {
        let keys = [key(), key()];
        assert_eq!(STANDARD.decode(keys[0].as_bytes()).unwrap().len(), 16);
        assert_ne!(keys[0], keys[1]);
    }
}
