//! Answers of usher itself: HTML for browsers, `application/problem+json` (RFC 9457) for others, always with the request
//! id and never with internals.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header, uri::PathAndQuery};
use serde::Serialize;

use super::{
    body::Source, error::Failure, exchange::Exchange, facts::Facts, headers::X_REQUEST_ID, https, worker::Worker,
};
use crate::{routing::RedirectTarget, telemetry::outcome::Outcome};

/// What `Allow` says: the methods that are forwarded, as far as they have names of their own.
const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Seconds after which a client may ask again for a host that could not be looked up.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// The same where people have to act first, who are slower than servers: crawlers come back, and not every few seconds.
const RETRY_LATER: HeaderValue = HeaderValue::from_static("120");

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// The answer to what went wrong; the record is told the reason.
pub(super) fn to_failure(failure: Failure, exchange: &mut Exchange) -> Response<Source> {
    exchange.fail(failure.outcome(), &failure);
    if let Some(limit) = failure.limit() {
        exchange.count_limit(limit);
    }
    let mut response = page(failure.status(), failure.public(), exchange);
    let headers = response.headers_mut();
    if failure.status() == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, ALLOWED);
    }
    if failure.ends_connection() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if failure.passes() {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER);
    } else if failure.waits_for_somebody() {
        headers.insert(header::RETRY_AFTER, RETRY_LATER);
    }
    response
}

/// 308 (RFC 9110 §15.4.9): the method stays.
pub(super) fn redirect<B>(
    to: RedirectTarget<'_>,
    worker: &Worker,
    facts: &Facts<'_>,
    request: &Request<B>,
    exchange: &mut Exchange,
) -> Result<Response<Source>, Failure> {
    let location = match to {
        RedirectTarget::Url(url) => url,
        RedirectTarget::Host(host) => same_page(https::origin(worker, facts, &host), request.uri())?,
    };
    exchange.outcome = Outcome::Redirected;
    let mut response = page(StatusCode::PERMANENT_REDIRECT, "This page has moved.", exchange);
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// Path and query stay.
fn same_page(origin: String, target: &Uri) -> Result<HeaderValue, Failure> {
    let target = target.path_and_query().map_or("/", PathAndQuery::as_str);
    HeaderValue::try_from(origin + target).map_err(|_| Failure::BadTarget)
}

/// A text of usher's own, for programs.
pub(super) fn text(text: String, exchange: &mut Exchange) -> Response<Source> {
    exchange.outcome = Outcome::Ok;
    let mut response = Response::new(Source::Page(Bytes::from(text)));
    describe(response.headers_mut(), TEXT, exchange.ids.request_id.clone());
    response
}

/// What may be asked for, for who wants to know it of usher itself (RFC 9110 §9.3.7).
pub(super) fn allowed(exchange: &mut Exchange) -> Response<Source> {
    let mut response = text(String::new(), exchange);
    response.headers_mut().insert(header::ALLOW, ALLOWED);
    response
}

fn page(status: StatusCode, sentence: &str, exchange: &Exchange) -> Response<Source> {
    let html = exchange.accept().is_some_and(prefers_html);
    let title = status.canonical_reason().unwrap_or("Error");
    let id = exchange.ids.request_id_str();
    let text = if html { as_html(status, title, sentence, id) } else { as_problem(status, title, sentence, id) };
    let mut response = Response::new(Source::Page(Bytes::from(text)));
    *response.status_mut() = status;
    let content_type = if html { HTML } else { PROBLEM };
    describe(response.headers_mut(), content_type, exchange.ids.request_id.clone());
    response
}

/// A page of our own is no part of the answer to HEAD (RFC 9110 §9.3.2). In HTTP/1.1 hyper knows.
pub(super) fn spare_head(response: &mut Response<Source>, exchange: &Exchange) {
    if let Source::Page(page) = response.body_mut()
        && exchange.is_head()
    {
        let length = HeaderValue::from(std::mem::take(page).len());
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
    }
}

fn describe(headers: &mut HeaderMap, content_type: HeaderValue, request_id: HeaderValue) {
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(X_REQUEST_ID, request_id);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
}

/// Browsers name `text/html`; API clients say `*/*` or JSON.
fn prefers_html(accept: &HeaderValue) -> bool {
    accept.as_bytes().windows(9).any(|part| part.eq_ignore_ascii_case(b"text/html"))
}

fn as_html(status: StatusCode, title: &str, sentence: &str, id: &str) -> String {
    include_str!("page.html")
        .replace("{status}", status.as_str())
        .replace("{title}", title)
        .replace("{sentence}", sentence)
        .replace("{id}", id)
}

/// The members of RFC 9457 §3.1, and the id.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    request_id: &'a str,
}

fn as_problem(status: StatusCode, title: &str, detail: &str, request_id: &str) -> String {
    let problem = Problem { r#type: "about:blank", title, status: status.as_u16(), detail, request_id };
    serde_json::to_string(&problem).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_get_html_and_others_a_problem() {
        let html = |accept| prefers_html(&HeaderValue::from_static(accept));
        assert!(html("text/html,application/xhtml+xml,*/*;q=0.8"));
        assert!(!html("*/*"));
        assert!(!html("application/json"));
    }

    #[test]
    fn both_forms_carry_the_request_id() {
        let page = as_html(StatusCode::NOT_FOUND, "Not Found", "There is no shop.", "cafe");
        assert!(page.contains("404") && page.contains("There is no shop.") && page.contains("cafe"));
        assert!(!page.contains('{') || !page.contains("{id}"));
        let problem = as_problem(StatusCode::NOT_FOUND, "Not Found", "There is no shop.", "cafe");
        let problem: serde_json::Value = serde_json::from_str(&problem).unwrap();
        assert_eq!((&problem["status"], &problem["request_id"]), (&404.into(), &"cafe".into()));
    }
}
