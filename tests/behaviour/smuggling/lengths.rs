//! `Content-Length`: RFC 9110 §8.6, RFC 9112 §6.3.

use super::{Fate, Refused, Served, Stage, post};

/// `fields` in front of a body of four bytes.
fn check(cases: &[(&str, Fate)]) {
    Stage::new().check(cases.iter().map(|(fields, fate)| (post(fields, "body"), *fate)));
}

/// RFC 9110 §8.6: `Content-Length = 1*DIGIT`.
#[test]
fn a_length_that_is_no_number_is_refused() {
    check(&[
        ("Content-Length: +4", Refused(&[400])),
        ("Content-Length: -4", Refused(&[400])),
        ("Content-Length: -0", Refused(&[400])),
        ("Content-Length: 0x4", Refused(&[400])),
        ("Content-Length: 4e0", Refused(&[400])),
        ("Content-Length: 4.0", Refused(&[400])),
        ("Content-Length: 4;", Refused(&[400])),
        ("Content-Length: 4 4", Refused(&[400])),
        ("Content-Length: \"4\"", Refused(&[400])),
        ("Content-Length: four", Refused(&[400])),
        ("Content-Length:", Refused(&[400])),
        ("Content-Length: \u{b}4", Refused(&[400])),
        ("Content-Length: 4\u{c}", Refused(&[400])),
        ("Content-Length: \u{ff14}", Refused(&[400])),
        ("Content-Length: 1_0", Refused(&[400])),
    ]);
}

/// RFC 9112 §6.3: an invalid length is an unrecoverable error; a number that does not fit is one that nobody can honour.
#[test]
fn a_length_that_no_machine_can_count_is_refused() {
    check(&[
        ("Content-Length: 18446744073709551615", Refused(&[400, 413, 431])),
        ("Content-Length: 18446744073709551616", Refused(&[400])),
        ("Content-Length: 18446744073709551620", Refused(&[400])),
        ("Content-Length: 99999999999999999999999999999999999999", Refused(&[400])),
    ]);
}

/// RFC 9112 §6.3 no. 5: several lengths are refused, unless all are the same.
#[test]
fn lengths_that_differ_are_refused_and_equal_ones_become_one() {
    check(&[
        ("Content-Length: 4\r\nContent-Length: 5", Refused(&[400])),
        ("Content-Length: 5\r\nContent-Length: 4", Refused(&[400])),
        ("Content-Length: 4\r\nContent-Length: 0", Refused(&[400])),
        ("Content-Length: 4\r\nX: y\r\ncontent-length: 44", Refused(&[400])),
        ("Content-Length: 4, 5", Refused(&[400])),
        ("Content-Length: 4, 4", Refused(&[400])),
        ("Content-Length: 4,", Refused(&[400])),
        ("Content-Length: 4\r\nContent-Length: 4, 4", Refused(&[400])),
        ("Content-Length: 4\r\nContent-Length:", Refused(&[400])),
        ("Content-Length: 4\r\nContent-Length: 4", Served("body")),
        ("Content-Length: 4\r\nCONTENT-LENGTH: 4\r\ncontent-length: 4", Served("body")),
    ]);
}

/// The app may read a leading zero as octal. RFC 9110 §8.6 allows it, so the app is told the same number without it.
#[test]
fn a_length_reaches_the_app_in_its_one_usual_form() {
    check(&[
        ("Content-Length: 04", Served("body")),
        ("Content-Length: 0000000000000000000000000000000004", Served("body")),
        ("Content-Length: 04\r\nContent-Length: 4", Served("body")),
        ("Content-Length:4", Served("body")),
        ("Content-Length: \t 4 \t ", Served("body")),
    ]);
    let zero = post("Content-Length: 00", "");
    Stage::new().check([(zero, Served(""))]);
}

/// What only some readers take for a length is none, or no request at all (RFC 9112 §5.1).
#[test]
fn a_field_that_is_nearly_a_length_is_refused_or_does_not_reach_the_app() {
    Stage::new().check([
        (post("Content-Length : 4", "body"), Refused(&[400])),
        (post("Content-Length\t: 4", "body"), Refused(&[400])),
        (post(" Content-Length: 4", "body"), Refused(&[400])),
        (post("Content-Length\0: 4", "body"), Refused(&[400])),
        (post("\u{feff}Content-Length: 4", "body"), Refused(&[400])),
        (post("Content_Length: 4", ""), Served("")),
        (post("X-Content-Length: 4", ""), Served("")),
    ]);
}

/// A length that `Connection` nominates is still the length (RFC 9110 §7.6.1 forbids to nominate it).
#[test]
fn a_length_cannot_be_nominated_away() {
    check(&[
        ("Connection: Content-Length\r\nContent-Length: 4", Served("body")),
        ("Content-Length: 4\r\nConnection: keep-alive, content-length", Served("body")),
    ]);
}

/// RFC 9110 §9.3: any method may have a body, and it ends where the length says.
#[test]
fn a_body_behind_a_method_that_has_none_is_no_request() {
    let requests = ["GET", "HEAD", "DELETE", "OPTIONS", "M-SEARCH"]
        .map(|method| format!("{method} /case HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 4\r\n\r\nbody"));
    Stage::new().check(requests.into_iter().map(|case| (case, Served("body"))));
}
