//! Who may use the API: whoever holds the token, and for reading everybody on this machine.

use std::net::SocketAddr;

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{Parts, problem::Problem};

/// The secret of the API. `Debug` does not show it.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A token of 16 visible ASCII characters or more: what is shorter can be guessed, and other ones cannot be sent.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let fits = text.len() >= 16 && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then_some(Self(text))
    }

    /// The text itself, for whoever asks with it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `given` is the token. The time that this takes tells nothing but its length.
    fn is(&self, given: &[u8]) -> bool {
        let (own, mut differences) = (self.0.as_bytes(), 0);
        if own.len() != given.len() {
            return false;
        }
        own.iter().zip(given).for_each(|(one, other)| differences |= one ^ other);
        std::hint::black_box(differences) == 0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Lets a request to the API through that may be made by whoever makes it.
pub(super) async fn require(
    State(parts): State<Parts>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if (reads && peer.ip().to_canonical().is_loopback()) || holds(request.headers(), parts.token.as_ref()) {
        return next.run(request).await;
    }
    refusal(parts.token.is_some()).into_response()
}

/// Whether the token stands in `headers`, as RFC 6750 §2.1 has it.
pub(super) fn holds(headers: &HeaderMap, token: Option<&Token>) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    token.zip(given).is_some_and(|(token, given)| token.is(given))
}

fn refusal(is_configured: bool) -> Problem {
    match is_configured {
        true => {
            Problem::new(StatusCode::UNAUTHORIZED, "this needs the token of admin.token_file: Authorization: Bearer …")
        }
        false => Problem::new(StatusCode::FORBIDDEN, "this needs a token, and admin.token_file names none"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_and_can_be_sent() {
        assert!(Token::new("0123456789abcdef").is_some());
        for text in ["", "0123456789abcde", "0123456789 abcdef", "0123456789abcdeä"] {
            assert!(Token::new(text).is_none(), "{text}");
        }
    }

    #[test]
    fn only_the_token_is_the_token() {
        let token = Token::new("0123456789abcdef").unwrap();
        let headers = |value: &str| HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
        assert!(holds(&headers("Bearer 0123456789abcdef"), Some(&token)));
        for wrong in [
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcdef0",
            "Bearer ",
            "0123456789abcdef",
            "Basic 0123456789abcdef",
        ] {
            assert!(!holds(&headers(wrong), Some(&token)), "{wrong}");
        }
        assert!(!holds(&HeaderMap::new(), Some(&token)) && !holds(&headers("Bearer "), None));
        assert_eq!(format!("{token:?}"), "***");
    }
}
