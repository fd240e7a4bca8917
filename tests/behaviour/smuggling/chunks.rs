//! Chunks: RFC 9112 §7.1.

use super::{CutOff, Fate, Served, Stage, post};

fn check(cases: &[(&str, Fate)]) {
    Stage::new().check(cases.iter().map(|(body, fate)| (post("Transfer-Encoding: chunked", body), *fate)));
}

/// RFC 9112 §7.1: `chunk-size = 1*HEXDIG`, and it has to fit.
#[test]
fn a_size_that_is_no_number_ends_the_connection() {
    check(&[
        ("+4\r\nbody\r\n0\r\n\r\n", CutOff),
        ("-4\r\nbody\r\n0\r\n\r\n", CutOff),
        ("-0\r\n\r\n", CutOff),
        ("0x4\r\nbody\r\n0\r\n\r\n", CutOff),
        ("\\x4\r\nbody\r\n0\r\n\r\n", CutOff),
        ("4h\r\nbody\r\n0\r\n\r\n", CutOff),
        ("4_0\r\nbody\r\n0\r\n\r\n", CutOff),
        ("4.0\r\nbody\r\n0\r\n\r\n", CutOff),
        ("four\r\nbody\r\n0\r\n\r\n", CutOff),
        ("\r\nbody\r\n0\r\n\r\n", CutOff),
        (";ext\r\n\r\n", CutOff),
        ("10000000000000004\r\nbody\r\n0\r\n\r\n", CutOff),
        ("fffffffffffffffff\r\nbody\r\n0\r\n\r\n", CutOff),
        ("100000000000000000000000000000000004\r\nbody\r\n0\r\n\r\n", CutOff),
    ]);
}

/// RFC 9112 §7.1: a chunk is as long as its size says and ends with CR LF.
#[test]
fn a_chunk_that_is_not_as_long_as_it_says_ends_the_connection() {
    check(&[
        ("3\r\nbody\r\n0\r\n\r\n", CutOff),
        ("5\r\nbody\r\n0\r\n\r\n", CutOff),
        ("4\r\nbody0\r\n\r\n", CutOff),
        ("4\r\nbodyXX0\r\n\r\n", CutOff),
        ("4\r\nbody\n\n0\r\n\r\n", CutOff),
        ("4\r\nbody\r\r0\r\n\r\n", CutOff),
    ]);
}

/// RFC 9112 §2.2 tolerates a bare LF in the head only; between chunks two readers would count differently.
#[test]
fn lines_between_chunks_end_with_cr_lf() {
    check(&[
        ("4\nbody\r\n0\r\n\r\n", CutOff),
        ("4\rbody\r\n0\r\n\r\n", CutOff),
        ("4\r\nbody\n0\r\n\r\n", CutOff),
        ("4\r\nbody\r0\r\n\r\n", CutOff),
        ("4\r\nbody\r\n0\n\r\n", CutOff),
        ("4\r\nbody\r\n0\r\r\n", CutOff),
        ("4\n\rbody\r\n0\r\n\r\n", CutOff),
        ("4\0\r\nbody\r\n0\r\n\r\n", CutOff),
    ]);
}

/// RFC 9112 §7.1.1: extensions are ignored, and never handed on; one that hides a line end is no extension.
#[test]
fn extensions_end_at_usher() {
    check(&[
        ("4;name=value\r\nbody\r\n0\r\n\r\n", Served("body")),
        ("4;name=\"quoted\"\r\nbody\r\n0;last\r\n\r\n", Served("body")),
        ("4;\r\nbody\r\n0\r\n\r\n", Served("body")),
        ("4;a\nb\r\nbody\r\n0\r\n\r\n", CutOff),
        ("4;\n\r\nbody\r\n0\r\n\r\n", CutOff),
        ("4;a\rb\r\nbody\r\n0\r\n\r\n", CutOff),
        ("4;a=\"\r\nbody\r\n0\r\n\r\n", Served("body")),
    ]);
}

/// RFC 9112 §7.1.1: whoever reads extensions limits them, since they are work for nothing.
#[test]
fn extensions_without_end_are_cut_off() {
    let huge = format!("4;{}\r\nbody\r\n0\r\n\r\n", "x".repeat(64 * 1024));
    let many = format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "y".repeat(512)).repeat(64));
    let cases = [huge, many].map(|body| (post("Transfer-Encoding: chunked", &body), CutOff));
    Stage::new().check(cases);
}

/// RFC 9112 §7.1 allows zeros in front; the app receives sizes of our own making.
#[test]
fn sizes_reach_the_app_in_their_one_usual_form() {
    check(&[
        ("04\r\nbody\r\n0\r\n\r\n", Served("body")),
        ("000000000000000000000000004\r\nbody\r\n000\r\n\r\n", Served("body")),
        ("1\r\nb\r\n3\r\nody\r\n0\r\n\r\n", Served("body")),
        ("4 \r\nbody\r\n0\r\n\r\n", Served("body")),
        ("4\t\r\nbody\r\n0\r\n\r\n", Served("body")),
    ]);
}

/// RFC 9110 §6.5.1: fields that frame, route or authenticate have no place behind the body.
#[test]
fn a_trailer_frames_and_routes_nothing() {
    let stage = Stage::new();
    let announced = "Transfer-Encoding: chunked\r\nTrailer: Host, Content-Length, Transfer-Encoding, Authorization, \
                     X-Store-Id, X_Store_Id, X-Forwarded-For, X-Sum";
    let body = "4\r\nbody\r\n0\r\nHost: customdomain2.com\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\
                Authorization: Bearer x\r\nX-Store-Id: 2\r\nX_Store_Id: 2\r\nX-Forwarded-For: 6.6.6.6\r\nX-Sum: 7\r\n\r\n";
    let outcome = stage.send(post(announced, body) + super::NEXT);
    assert!(Served("body").fits(&outcome), "{outcome:?}");
    assert_eq!(outcome.take.requests[0].trailers, [("x-sum".to_owned(), "7".to_owned())]);
}

/// RFC 9112 §7.1.2: a trailer section is a list of fields and ends with an empty line, like a head.
#[test]
fn a_trailer_section_that_is_none_ends_the_connection() {
    check(&[
        ("4\r\nbody\r\n0\r\nno colon\r\n\r\n", CutOff),
        ("4\r\nbody\r\n0\r\nX : y\r\n\r\n", CutOff),
        ("4\r\nbody\r\n0\r\n: y\r\n\r\n", CutOff),
        ("4\r\nbody\r\n0\r\nX: y\0\r\n\r\n", CutOff),
        ("4\r\nbody\r\n0\r\nX: y\r\n folded\r\n\r\n", CutOff),
    ]);
    let endless = format!("4\r\nbody\r\n0\r\n{}\r\n", "X-Long: 0123456789\r\n".repeat(10_000));
    Stage::new().check([(post("Transfer-Encoding: chunked", &endless), CutOff)]);
}
