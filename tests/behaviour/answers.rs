//! The router's own answers: for people and for programs, always with the request's id, never with internals.

use crate::support::{App, Backend, Binary, Fixture, H2Client, Response, Tables};

const BROWSER: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n";

fn check_problem(response: &Response) {
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    let problem = response.json();
    assert_eq!(problem["status"], response.status);
    assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem}");
    let id = response.header("x-request-id").expect("X-Request-Id");
    assert!(!id.is_empty() && response.text().contains(id), "{id} is not in {}", response.text());
}

fn check_page(response: &Response) {
    assert!(response.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{:?}", response.head);
    let page = response.text();
    assert!(page.to_lowercase().starts_with("<!doctype html>"), "{page}");
    let id = response.header("x-request-id").expect("X-Request-Id");
    assert!(!id.is_empty() && page.contains(id), "{id} is not in {page}");
}

fn check_no_internals(response: &Response, app: &App) {
    let text = format!("{:?} {}", response.head, response.text()).to_lowercase();
    let address = app.address().to_string();
    for internal in [address.as_str(), "sqlite", "postgres", "stores", "hyper", "os error", "/tmp", "upstream", ".rs"] {
        assert!(!text.contains(internal), "{internal} in {text}");
    }
}

/// RFC 9110 §12.5.1, RFC 9457 §3.
#[test]
fn browsers_get_a_page_and_programs_a_problem() {
    let stage = Fixture::new();
    for (host, target, status) in [("unknown.com", "/", 404), ("customdomain1.com", "//admin", 400)] {
        let page = stage.usher.get_with(host, target, BROWSER);
        assert_eq!(page.status, status);
        check_page(&page);
        check_no_internals(&page, &stage.app);
        for accept in ["", "Accept: */*\r\n", "Accept: application/json\r\n"] {
            let problem = stage.usher.get_with(host, target, accept);
            assert_eq!(problem.status, status);
            check_problem(&problem);
            check_no_internals(&problem, &stage.app);
        }
    }
}

#[test]
fn who_waits_in_vain_is_told_nothing_of_what_is_behind() {
    let silent = App::scripted(|mut conversation| {
        let _goes = conversation.request().is_some() && conversation.closed_by_peer();
    });
    let config = "[upstreams.default]\nrequests_max = 1\nqueue_max = 0\nhead_timeout = '1s'";
    let stage = Fixture::configured(silent, config);
    let mut first = stage.usher.connect();
    first.send("GET / HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n");
    crate::support::eventually("it is at the app", || (stage.app.requests().len() == 1).then_some(()));
    let second = stage.usher.get_with("customdomain1.com", "/", BROWSER);
    let first = first.response();
    assert_eq!((first.status, second.status), (504, 503));
    check_problem(&first);
    check_page(&second);
    [first, second].iter().for_each(|answer| check_no_internals(answer, &stage.app));
}

/// RFC 9110 §9.3.2; for HTTP/2 nobody sees to it below us.
#[test]
fn head_is_answered_with_a_head_alone() {
    let stage = Fixture::new();
    let mut client = H2Client::connect(stage.usher.http());
    for (host, status) in [("unknown.com", 404), ("www.customdomain1.com", 308)] {
        let head = http::Request::head(format!("http://{host}/")).body(()).unwrap();
        let stream = client.ask(head).unwrap();
        let (answer, body) = client.answer(stream).unwrap();
        assert_eq!((answer.status().as_u16(), body.len()), (status, 0), "{host}");
        let whole = client.get(host, "/").unwrap().1.len();
        assert_eq!(answer.headers()["content-length"], whole.to_string().as_str(), "{host}");
    }
}

/// RFC 9110 §15.6.3.
#[test]
fn an_app_that_cannot_be_reached_is_a_502_without_its_address() {
    let tables = Tables::example(Backend::Sqlite);
    let silent = App::echo();
    let usher =
        Binary::over(&tables).config(&format!("[upstreams.default]\nservers = ['{}']", App::refusing_url())).start();
    for accept in ["", BROWSER] {
        let response = usher.get_with("customdomain1.com", "/", accept);
        assert_eq!(response.status, 502);
        check_no_internals(&response, &silent);
        assert!(!response.text().contains("127.0.0.1"), "{}", response.text());
    }
}

/// A page that echoes what it was sent can be made to run somebody else's script.
#[test]
fn nothing_a_client_sent_comes_back_in_a_page() {
    let stage = Fixture::new();
    let response = stage.usher.get_with("unknown.com", "/<script>alert(1)</script>", BROWSER);
    assert!(!response.text().contains("<script>alert"), "{}", response.text());
}

/// RFC 9111 §5.2.2.5.
#[test]
fn answers_of_the_router_are_not_cached_for_long() {
    let stage = Fixture::new();
    let response = stage.get("unknown.com", "/");
    assert_eq!(response.header("cache-control"), Some("no-store"));
}

/// RFC 9110 §9.3.2.
#[test]
fn a_head_request_is_answered_without_a_body_by_the_router_too() {
    let stage = Fixture::new();
    let mut client = stage.usher.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: unknown.com\r\n\r\n");
    assert_eq!(client.response_to_head().status, 404);
    client.send("GET / HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n");
    assert_eq!(client.response().status, 200);
}

/// RFC 9110 §15.5.6.
#[test]
fn a_method_that_is_not_served_is_told_which_ones_are() {
    let stage = Fixture::new();
    let response = stage.usher.raw("CONNECT customdomain1.com:443 HTTP/1.1\r\nHost: customdomain1.com:443\r\n\r\n");
    assert_eq!(response.status, 405);
    let allow = response.header("allow").expect("Allow");
    assert!(allow.contains("GET") && allow.contains("POST") && !allow.contains("CONNECT"), "{allow}");
    assert!(stage.app.requests().is_empty());
}

/// RFC 6585 §5.
#[test]
fn a_head_beyond_the_limits_is_431() {
    let stage = Fixture::configured(App::echo(), "[listen]\nheader_max_bytes = '16KiB'\nheader_max_count = 30");
    let many = "X-A: 1\r\n".repeat(40);
    let big = format!("X-A: {}\r\n", "a".repeat(20_000));
    for more in [many, big] {
        let response = stage.usher.get_with("customdomain1.com", "/", &more);
        assert_eq!(response.status, 431);
    }
    assert!(stage.app.requests().is_empty());
    assert_eq!(stage.usher.get_with("customdomain1.com", "/", &"X-A: 1\r\n".repeat(20)).status, 200);
}

/// RFC 9110 §15.4.9.
#[test]
fn a_redirect_keeps_the_target_byte_for_byte() {
    let stage = Fixture::new();
    let response = stage.get("www.customdomain1.com", "/a%2Fb/%7e?x=%20&y=/../z");
    assert_eq!(response.status, 308);
    assert_eq!(response.header("location"), Some("http://customdomain1.com/a%2Fb/%7e?x=%20&y=/../z"));
    assert!(response.header("x-request-id").is_some());
}
