//! Defence against DNS rebinding: a page at `evil.example` lets its own name point to 127.0.0.1, and the browser then takes
//! the admin listener for that page's own origin. The name stays in `Host`, so names are refused; an address or `localhost`
//! is no name that a stranger can give.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::{
    extract::Request,
    http::{HeaderValue, StatusCode, Version, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::problem::Problem;

/// Lets a request through whose host is an IP literal or `localhost`.
pub(super) async fn refuse_foreign_names(request: Request, next: Next) -> Response {
    match check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// The host of an absolute target and the one in `Host` are both checked: neither may be a stranger's name.
fn check(request: &Request) -> Result<(), Problem> {
    let authority = request.uri().authority();
    if authority.is_some_and(|authority| !is_ours(authority)) {
        return Err(misdirected());
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => check_field(host),
        // Probes of load balancers speak HTTP/1.0 without a host; browsers never do.
        (None, _) if request.version() == Version::HTTP_10 => Ok(()),
        _ => Err(Problem::new(StatusCode::BAD_REQUEST, "a request has exactly one Host (RFC 9112, section 3.2)")),
    }
}

fn check_field(host: &HeaderValue) -> Result<(), Problem> {
    let authority = Authority::try_from(host.as_bytes());
    if authority.is_ok_and(|authority| is_ours(&authority)) { Ok(()) } else { Err(misdirected()) }
}

fn is_ours(authority: &Authority) -> bool {
    let host = authority.host();
    let v6 = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let literal = v6.map_or_else(|| host.parse::<Ipv4Addr>().is_ok(), |v6| v6.parse::<Ipv6Addr>().is_ok());
    let userinfo = authority.as_str().contains('@');
    !userinfo && (literal || host.eq_ignore_ascii_case("localhost"))
}

fn misdirected() -> Problem {
    let detail = "the admin listener is asked for by an IP address or as localhost, not by another name";
    Problem::new(StatusCode::MISDIRECTED_REQUEST, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(host: &str) -> bool {
        check_field(&HeaderValue::from_str(host).unwrap()).is_ok()
    }

    #[test]
    fn addresses_and_localhost_are_ours() {
        for host in ["127.0.0.1", "127.0.0.1:9900", "10.1.2.3:9900", "[::1]", "[2001:db8::7]:9900", "LocalHost:9900"] {
            assert!(ours(host), "{host}");
        }
    }

    #[test]
    fn every_other_name_is_not() {
        for host in [
            "evil.example",
            "evil.example:9900",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            ":9900",
            "[::1",
            "localhost@evil.example",
            "evil.example@127.0.0.1",
            "0x7f.1",
            "2130706433",
            "::1",
            "[localhost]",
            "a b",
        ] {
            assert!(!ours(host), "{host}");
        }
    }
}
