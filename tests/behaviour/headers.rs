//! Headers to the app can be trusted: whatever usher owns was written by usher, for this very request.

use crate::support::{App, Fixture, H2Client, Request};

/// What the app saw of a request with these further header lines.
fn seen(more: &str) -> Request {
    let stage = Fixture::new();
    let response = stage.usher.get_with("customdomain1.com", "/p", more);
    assert_eq!(response.status, 200, "{}", response.text());
    stage.app.last()
}

/// RFC 3875 §4.1.18: to an app behind CGI all of them are one name.
#[test]
fn no_spelling_of_x_store_id_gets_past_usher() {
    let stage = Fixture::new();
    let spellings = [
        "X-Store-Id",
        "x-store-id",
        "X-STORE-ID",
        "X_Store_Id",
        "x_store_id",
        "X-Store_Id",
        "X_STORE-ID",
        "x-Store-iD",
    ];
    for spelling in spellings {
        for times in 1..=2 {
            let more = format!("{spelling}: 2\r\n").repeat(times);
            assert_eq!(stage.usher.get_with("customdomain1.com", "/", &more).status, 200);
            assert_eq!(stage.app.last().folded("x-store-id"), ["1"], "{spelling} sent {times} times");
        }
    }
}

#[test]
fn admin_and_homepage_have_no_store_id_even_if_a_client_sends_one() {
    let stage = Fixture::new();
    for (host, matched) in [("admin.platform.com", "admin"), ("platform.com", "homepage")] {
        let more = "X-Store-Id: 2\r\nX_Store_Id: 2\r\nX-Store-Match: subdomain\r\n";
        assert_eq!(stage.usher.get_with(host, "/", more).status, 200);
        assert_eq!(stage.app.last().folded("x-store-id"), [""; 0]);
        assert_eq!(stage.app.last().folded("x-store-match"), [matched]);
    }
}

#[test]
fn every_header_that_usher_owns_is_its_own() {
    let owned = [
        "X-Store-Match",
        "X-Forwarded-Prefix",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Real-IP",
        "X-Request-Id",
        "Forwarded",
        "X-Original-URL",
        "X-Rewrite-URL",
    ];
    let stage = Fixture::new();
    for name in owned {
        for spelling in [name.to_owned(), name.to_lowercase(), name.replace('-', "_"), name.to_uppercase()] {
            let more = format!("{spelling}: forged\r\n{spelling}: forged\r\n");
            assert_eq!(stage.usher.get_with("customdomain1.com", "/", &more).status, 200);
            let request = stage.app.last();
            let values = request.folded(name);
            assert!(!values.iter().any(|value| value.contains("forged")), "{spelling}: {values:?}");
            assert!(values.len() <= 1, "{spelling}: {values:?}");
        }
    }
}

/// RFC 3875 §4.1.18.
#[test]
fn header_names_with_underscores_are_dropped() {
    let request = seen("X_Anything: 1\r\nX-Anything-Else: 2\r\n");
    assert_eq!(request.folded("x-anything"), [""; 0]);
    assert_eq!(request.folded("x-anything-else"), ["2"]);
}

#[test]
fn the_app_learns_who_asked_and_how() {
    let request = seen("");
    assert_eq!(request.folded("x-store-id"), ["1"]);
    assert_eq!(request.folded("x-store-match"), ["custom_domain"]);
    assert_eq!(request.folded("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.folded("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(request.folded("x-forwarded-proto"), ["http"]);
    assert_eq!(request.folded("x-forwarded-host"), ["customdomain1.com"]);
    assert!(request.folded("x-forwarded-port")[0].parse::<u16>().is_ok());
    assert_eq!(request.folded("x-forwarded-prefix"), [""; 0]);
    assert!(request.folded("via").concat().contains("1.1 "), "{:?}", request.folded("via"));
}

#[test]
fn every_request_gets_an_id_of_its_own() {
    let stage = Fixture::new();
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..50 {
        stage.usher.get_with("customdomain1.com", "/", "X-Request-Id: mine\r\n");
        let request = stage.app.last();
        let [id] = request.folded("x-request-id")[..] else { panic!("one X-Request-Id") };
        assert!(id.len() >= 16, "{id}");
        ids.insert(id.to_owned());
    }
    assert_eq!(ids.len(), 50);
}

/// W3C Trace Context §3.2.2.
#[test]
fn a_traceparent_is_kept_where_it_is_valid_and_made_where_it_is_not() {
    let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(seen(&format!("traceparent: {valid}\r\n")).folded("traceparent"), [valid]);
    for more in ["", "traceparent: nonsense\r\n", "traceparent: 00-0-0-0\r\n", "traceparent: a\r\ntraceparent: b\r\n"] {
        let request = seen(more);
        let [made] = request.folded("traceparent")[..] else { panic!("one traceparent after {more:?}") };
        let parts: Vec<&str> = made.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2], "{made}");
        assert!(made.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()), "{made}");
    }
}

/// `Connection: X-Forwarded-For` made other proxies delete what they had added themselves.
/// RFC 9110 §7.6.1.
#[test]
fn a_client_cannot_nominate_our_headers_for_removal() {
    let request = seen(
        "Connection: X-Store-Id, x-forwarded-for, X-Store-Match, x-request-id, host, x-private\r\nX-Private: 1\r\n",
    );
    assert_eq!(request.folded("x-store-id"), ["1"]);
    assert_eq!(request.folded("x-store-match"), ["custom_domain"]);
    assert_eq!(request.folded("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.folded("x-request-id").len(), 1);
    assert_eq!(request.folded("host"), ["customdomain1.com"]);
    assert_eq!(request.folded("x-private"), [""; 0], "what the client nominates itself is dropped");
}

/// RFC 9110 §7.6.1.
#[test]
fn hop_by_hop_headers_end_at_usher() {
    let more = "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\n\
                Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n";
    let request = seen(more);
    for name in ["keep-alive", "proxy-connection", "upgrade"] {
        assert_eq!(request.folded(name), [""; 0], "{name}");
    }
}

/// RFC 9110 §5.3.
#[test]
fn ordinary_headers_pass_in_order_and_unchanged() {
    let more = "Cookie: a=1; b=2\r\nX-Twice: one\r\nAccept-Language: de, en;q=0.5\r\nX-Twice: two\r\nAuthorization: Bearer x\r\n";
    let request = seen(more);
    assert_eq!(request.head.all("cookie"), ["a=1; b=2"]);
    assert_eq!(request.head.all("x-twice"), ["one", "two"]);
    assert_eq!(request.head.all("accept-language"), ["de, en;q=0.5"]);
    assert_eq!(request.head.all("authorization"), ["Bearer x"]);
}

/// RFC 9110 §6.5.1.
#[test]
fn a_trailer_cannot_carry_what_usher_owns() {
    let stage = Fixture::new();
    let response = stage.usher.raw(
        "POST /p HTTP/1.1\r\nHost: customdomain1.com\r\nTransfer-Encoding: chunked\r\nTrailer: X-Store-Id, X-Sum\r\n\r\n\
         3\r\nabc\r\n0\r\nX-Store-Id: 2\r\nx_store_id: 2\r\nX-Forwarded-For: 6.6.6.6\r\nX-Sum: 5\r\n\r\n",
    );
    assert_eq!(response.status, 200);
    let request = stage.app.last();
    assert_eq!(request.body, b"abc");
    assert_eq!(request.folded("x-store-id"), ["1"]);
    assert_eq!(request.folded("x-forwarded-for"), ["127.0.0.1"]);
}

/// RFC 9110 §5.3: the one field that cannot be joined.
#[test]
fn cookies_set_by_the_app_arrive_one_by_one_and_in_order() {
    let stage = Fixture::with_app(App::answering(
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 0\r\nSet-Cookie: b=2, c\r\nSet-Cookie: a=3\r\n\r\n",
    ));
    let response = stage.get("customdomain1.com", "/");
    assert_eq!(response.head.all("set-cookie"), ["a=1; Path=/", "b=2, c", "a=3"]);
}

/// RFC 9110 §7.6.1.
#[test]
fn what_the_app_says_of_its_connection_ends_at_usher() {
    let stage = Fixture::with_app(App::answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Internal, keep-alive\r\nX-Internal: secret\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nX-Public: 1\r\nContent-Length: 2\r\n\r\nok",
    ));
    let response = stage.get("customdomain1.com", "/");
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    assert_eq!(response.header("x-public"), Some("1"));
    for name in ["x-internal", "keep-alive", "proxy-connection"] {
        assert_eq!(response.header(name), None, "{name}");
    }
}

/// RFC 9110 §9.1.
#[test]
fn methods_and_bodies_pass_unchanged() {
    let stage = Fixture::new();
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        let request =
            format!("{method} /p HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 5\r\n\r\n\0\r\n\x7f!");
        assert_eq!(stage.usher.raw(request).status, 200, "{method}");
        assert_eq!((stage.app.last().method(), stage.app.last().body.as_slice()), (method, b"\0\r\n\x7f!".as_slice()));
    }
}

/// RFC 9110 §7.6.2.
#[test]
fn an_options_request_goes_as_far_as_it_may() {
    let stage = Fixture::new();
    let ask = |method: &str, hops: &str| {
        stage.usher.raw(format!("{method} /p HTTP/1.1\r\nHost: customdomain1.com\r\nMax-Forwards: {hops}\r\n\r\n"))
    };
    for (method, hops, left) in [("OPTIONS", "7", "6"), ("OPTIONS", "1", "0"), ("OPTIONS", "x", "x"), ("GET", "0", "0")]
    {
        assert_eq!(ask(method, hops).status, 200);
        assert_eq!(stage.app.last().folded("max-forwards"), [left], "{method} {hops}");
    }
    let seen = stage.app.requests().len();
    let answer = ask("OPTIONS", "0");
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    assert!(answer.header("allow").is_some_and(|methods| methods.contains("PATCH")));
    assert_eq!(stage.app.requests().len(), seen, "it ends here");
}

/// RFC 9110 §9.3.2.
#[test]
fn a_head_request_is_answered_without_a_body() {
    let app = App::scripted(|mut conversation| {
        while conversation.head().is_some() {
            conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n").unwrap();
        }
    });
    let stage = Fixture::with_app(app);
    let mut client = stage.usher.connect();
    for _ in 0..3 {
        client.send("HEAD / HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n");
        let response = client.response_to_head();
        assert_eq!((response.status, response.header("content-length")), (200, Some("1234")));
    }
}

/// RFC 9110 §7.6.3: the version that was received, and none of what a client says in that field.
#[test]
fn via_tells_the_app_by_which_version_usher_was_reached() {
    let stage = Fixture::new();
    for (version, via) in [("HTTP/1.1", "1.1 usher"), ("HTTP/1.0", "1.0 usher")] {
        let request = format!("GET / {version}\r\nHost: customdomain1.com\r\nVia: 1.1 invented\r\n\r\n");
        assert_eq!(stage.usher.raw(request).status, 200);
        assert_eq!(stage.app.last().folded("via"), [via]);
    }
    assert_eq!(H2Client::connect(stage.usher.http()).get("customdomain1.com", "/").unwrap().0.status(), 200);
    assert_eq!(stage.app.last().folded("via"), ["2 usher"]);
}
