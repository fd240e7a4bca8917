//! `Transfer-Encoding`, alone and beside a length: RFC 9112 §6.1, §6.3 and §7.

use super::{Fate, Refused, Served, ServedAndClosed, Stage, post};

/// A body that both framings could end: the chunked one is empty, and so may be what a reader of lengths makes of it.
const CHUNKS: &str = "4\r\nbody\r\n0\r\n\r\n";

fn check(cases: &[(&str, Fate)]) {
    Stage::new().check(cases.iter().map(|(fields, fate)| (post(fields, CHUNKS), *fate)));
}

/// RFC 9112 §6.1: a server may go by the coding alone, if it closes the connection afterwards and nobody sees the length.
#[test]
fn a_length_beside_a_coding_ends_the_connection_and_is_never_seen_again() {
    check(&[
        ("Content-Length: 4\r\nTransfer-Encoding: chunked", ServedAndClosed("body")),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4", ServedAndClosed("body")),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked", ServedAndClosed("body")),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\nContent-Length: 4", ServedAndClosed("body")),
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\nContent-Length: 15", ServedAndClosed("body")),
        ("Transfer-Encoding: chunked\r\nContent-Length: nonsense", ServedAndClosed("body")),
        ("Connection: keep-alive\r\nContent-Length: 4\r\nTransfer-Encoding: chunked", ServedAndClosed("body")),
        ("Content-Length: 4\r\nTransfer-Encoding: gzip, chunked", Refused(&[400, 501])),
        ("Content-Length: nonsense\r\nTransfer-Encoding: chunked", Refused(&[400])),
        ("Content-Length: 4\r\nTransfer-Encoding: identity", Refused(&[400, 501])),
    ]);
}

/// RFC 9112 §6.1: exactly one coding is understood, and it stands there once.
#[test]
fn whatever_is_not_exactly_chunked_is_refused() {
    check(&[
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Refused(&[400])),
        ("Transfer-Encoding: chunked, chunked", Refused(&[400, 501])),
        ("Transfer-Encoding: chunked, identity", Refused(&[400, 501])),
        ("Transfer-Encoding: identity, chunked", Refused(&[400, 501])),
        ("Transfer-Encoding: gzip, chunked", Refused(&[501])),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", Refused(&[400])),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip", Refused(&[400])),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\nTransfer-Encoding: chunked", Refused(&[400])),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding:", Refused(&[400])),
        ("Transfer-Encoding:\r\nTransfer-Encoding: chunked", Refused(&[400])),
        ("Transfer-Encoding:", Refused(&[400])),
        ("Transfer-Encoding: identity", Refused(&[400])),
        ("Transfer-Encoding: xchunked", Refused(&[400])),
        ("Transfer-Encoding: chunkedx", Refused(&[400])),
        ("Transfer-Encoding: chunk", Refused(&[400])),
        ("Transfer-Encoding: \"chunked\"", Refused(&[400])),
        ("Transfer-Encoding: 'chunked'", Refused(&[400])),
        ("Transfer-Encoding: chunked;q=1", Refused(&[400, 501])),
        ("Transfer-Encoding: chunked;", Refused(&[400, 501])),
        ("Transfer-Encoding: chunked,", Refused(&[400, 501])),
        ("Transfer-Encoding: ,chunked", Refused(&[400, 501])),
        ("Transfer-Encoding: chunked chunked", Refused(&[400, 501])),
        ("Transfer-Encoding: \u{b}chunked", Refused(&[400])),
        ("Transfer-Encoding: chunked\u{b}", Refused(&[400])),
        ("Transfer-Encoding: \u{c}chunked", Refused(&[400])),
        ("Transfer-Encoding: chunked\0", Refused(&[400])),
        ("Transfer-Encoding: \u{a0}chunked", Refused(&[400, 501])),
        ("Transfer-Encoding: \u{212a}chun\u{212a}ed", Refused(&[400, 501])),
        ("Transfer-Encoding:\r\n chunked", Refused(&[400])),
        ("Transfer-Encoding: chunked\r\n , identity", Refused(&[400])),
    ]);
}

/// RFC 9112 §5.1 and §7: optional white space and the case of letters mean nothing.
#[test]
fn chunked_is_chunked_however_it_is_padded_or_capitalised() {
    check(&[
        ("Transfer-Encoding: chunked", Served("body")),
        ("Transfer-Encoding:chunked", Served("body")),
        ("Transfer-Encoding: chunked ", Served("body")),
        ("Transfer-Encoding: \t chunked \t", Served("body")),
        ("TRANSFER-ENCODING: CHUNKED", Served("body")),
        ("tRaNsFeR-eNcOdInG: cHuNkEd", Served("body")),
    ]);
}

/// RFC 9112 §5.1: a name that only a lenient reader takes for the field is refused, or gone before the app.
#[test]
fn a_field_that_is_nearly_a_coding_is_refused_or_does_not_reach_the_app() {
    let stage = Stage::new();
    stage.check([
        (post("Transfer-Encoding : chunked", CHUNKS), Refused(&[400])),
        (post("Transfer-Encoding\t: chunked", CHUNKS), Refused(&[400])),
        (post(" Transfer-Encoding: chunked", CHUNKS), Refused(&[400])),
        (post("Transfer-Encoding\u{b}: chunked", CHUNKS), Refused(&[400])),
        (post("Transfer Encoding: chunked", CHUNKS), Refused(&[400])),
        (post("X: y\rTransfer-Encoding: chunked", CHUNKS), Refused(&[400])),
        (post("Transfer_Encoding: chunked", ""), Served("")),
        (post("Content-Length: 4\r\nTransfer_Encoding: chunked", "body"), Served("body")),
    ]);
}

/// A coding that `Connection` nominates still frames the message (RFC 9110 §7.6.1).
#[test]
fn a_coding_cannot_be_nominated_away() {
    check(&[
        ("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked", Served("body")),
        ("Transfer-Encoding: chunked\r\nConnection: transfer-encoding, close", ServedAndClosed("body")),
    ]);
}

/// RFC 9112 §6.1: HTTP/1.0 has no codings; a message that claims one is faulty, and its connection must be closed.
#[test]
fn http_1_0_has_no_codings() {
    let stage = Stage::new();
    let old = |fields: &str| format!("POST /case HTTP/1.0\r\nHost: customdomain1.com\r\n{fields}\r\n\r\n{CHUNKS}");
    stage.check([
        (old("Transfer-Encoding: chunked"), Refused(&[400])),
        (old("Connection: keep-alive\r\nTransfer-Encoding: chunked"), Refused(&[400])),
        (old("Content-Length: 4\r\nTransfer-Encoding: chunked"), Refused(&[400])),
        (old("Transfer-Encoding: identity\r\nContent-Length: 4"), Refused(&[400])),
    ]);
}
