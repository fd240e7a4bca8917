//! Line ends, control octets and names in a head: RFC 9112 §2.2 and §5, RFC 9110 §5.5.

use super::{Fate, Refused, Served, Stage, post};

fn check(cases: &[(&str, Fate)]) {
    Stage::new().check(cases.iter().map(|(fields, fate)| (post(fields, ""), *fate)));
}

/// RFC 9112 §2.2: a bare CR is invalid wherever it stands.
#[test]
fn a_bare_cr_is_refused() {
    let stage = Stage::new();
    stage.check([
        (post("X: a\rb", ""), Refused(&[400])),
        (post("X: a\r\rb", ""), Refused(&[400])),
        (post("X\r: a", ""), Refused(&[400])),
        (post("X: a\rContent-Length: 4", ""), Refused(&[400])),
        ("GET /case HTTP/1.1\rHost: customdomain1.com\r\n\r\n".to_owned(), Refused(&[400])),
        ("GET /case\r HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n".to_owned(), Refused(&[400])),
        ("GET /case HTTP/1.1\r\r\nHost: customdomain1.com\r\n\r\n".to_owned(), Refused(&[400])),
        ("GET /case HTTP/1.1\r\nHost: customdomain1.com\r\r\n\r\n".to_owned(), Refused(&[400])),
        ("GET /case HTTP/1.1\r\nHost: customdomain1.com\r\n\r\r\n".to_owned(), Refused(&[400])),
    ]);
}

/// RFC 9112 §2.2 lets a recipient take a bare LF for a line end; the app sees CR LF, and so the same lines.
#[test]
fn a_bare_lf_ends_a_line_for_usher_and_the_app_sees_that_line() {
    let stage = Stage::new();
    stage.check([
        ("POST /case HTTP/1.1\nHost: customdomain1.com\nContent-Length: 4\n\nbody", Served("body")),
        ("POST /case HTTP/1.1\r\nHost: customdomain1.com\r\nX: y\nContent-Length: 4\r\n\r\nbody", Served("body")),
        ("POST /case HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 4\r\n\nbody", Served("body")),
        ("POST /case HTTP/1.1\r\nHost: customdomain1.com\nHost: customdomain2.com\r\n\r\n", Refused(&[400])),
        ("POST /case HTTP/1.1\r\nHost: customdomain1.com\r\nX: y\n folded\r\n\r\n", Refused(&[400])),
    ]);
}

/// RFC 9112 §5.2: a folded line is refused.
#[test]
fn a_folded_line_is_refused() {
    check(&[
        ("X: a\r\n b", Refused(&[400])),
        ("X: a\r\n\tb", Refused(&[400])),
        ("X: a\r\n \r\nY: b", Refused(&[400])),
        ("X:\r\n a", Refused(&[400])),
    ]);
    let first = "POST /case HTTP/1.1\r\n Host: customdomain1.com\r\nHost: customdomain1.com\r\n\r\n";
    Stage::new().check([(first, Refused(&[400]))]);
}

/// RFC 9110 §5.5: CR, LF, NUL and the other control octets are no part of a value.
#[test]
fn control_octets_are_refused_wherever_they_stand() {
    let stage = Stage::new();
    let controls = (0_u8..32).chain([127]).filter(|octet| !b"\t\n\r".contains(octet)).map(char::from);
    let cases = controls.flat_map(|octet| {
        [
            post(&format!("X: a{octet}b"), ""),
            post(&format!("X{octet}: a"), ""),
            format!("GET /case{octet} HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n"),
            format!("G{octet}T /case HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n"),
        ]
    });
    stage.check(cases.map(|case| (case, Refused(&[400]))));
}

/// RFC 9112 §5.1: no white space between name and colon, and a name is a token (RFC 9110 §5.1).
#[test]
fn a_name_that_is_no_token_is_refused() {
    check(&[
        ("X : a", Refused(&[400])),
        ("X\t: a", Refused(&[400])),
        (" X: a", Refused(&[400])),
        ("X Y: a", Refused(&[400])),
        (": a", Refused(&[400])),
        (":", Refused(&[400])),
        ("no colon", Refused(&[400])),
        ("X(y): a", Refused(&[400])),
        ("X@y: a", Refused(&[400])),
        ("X,y: a", Refused(&[400])),
        ("X/y: a", Refused(&[400])),
        ("\"X\": a", Refused(&[400])),
        ("{X}: a", Refused(&[400])),
        ("X\u{e9}: a", Refused(&[400])),
    ]);
}

/// RFC 9112 §2.2: an empty line or two in front of a request is left over from the one before.
#[test]
fn empty_lines_in_front_of_a_request_are_nothing() {
    let stage = Stage::new();
    let case = post("Content-Length: 4", "body");
    stage.check([(format!("\r\n{case}"), Served("body")), (format!("\r\n\r\n{case}\r\n"), Served("body"))]);
}
