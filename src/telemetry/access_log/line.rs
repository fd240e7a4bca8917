//! One line: what it says, and how it becomes JSON.
//!
//! Most of it was written by clients. Whatever could end the line, end the string or steer a terminal is escaped: the
//! text is ASCII without control characters, so a line in the log is a line that usher wrote.

use std::{io::Write, net::IpAddr, sync::Arc};

use crate::telemetry::outcome::AttemptOutcome;

/// What one line says; borrowed from the exchange, formatted without allocation.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// Milliseconds since the Unix epoch at which the request's head was complete.
    pub time_ms: u64,
    /// The request id.
    pub request_id: &'a str,
    /// The client's address.
    pub client: IpAddr,
    /// The method.
    pub method: &'a str,
    /// The host that was looked up; empty where none could be read.
    pub host: &'a str,
    /// Path and query as sent.
    pub target: &'a str,
    /// `HTTP/1.1`, …
    pub version: &'static str,
    /// The version of TLS, `1.3`; empty on a plain connection.
    pub tls: &'static str,
    /// The tenant's id; empty without one.
    pub store: &'a str,
    /// The value of `X-Store-Match`; empty without one.
    pub matched: &'static str,
    /// Status sent; 0 where the client had gone before.
    pub status: u16,
    /// Body bytes received from the client.
    pub bytes_in: u64,
    /// Body bytes sent to the client.
    pub bytes_out: u64,
    /// From the complete head to the last byte, in microseconds.
    pub duration_us: u64,
    /// From the first attempt to the response head, in microseconds; 0 without one.
    pub upstream_us: u64,
    /// The app server that answered; empty without one.
    pub endpoint: &'a str,
    /// Attempts made.
    pub attempts: u32,
    /// Those that brought no answer to pass on, in their order.
    pub tries: &'a [Try],
    /// How it ended: `ok`, or the phase that failed.
    pub outcome: &'static str,
    /// Whose fault that was: `client`, `app`, `database` or `usher`; empty where it was nobody's.
    pub fault: &'static str,
    /// The reason in words, for a refusal or failure; empty without one.
    pub reason: &'a str,
}

/// An attempt that brought no answer to pass on.
#[derive(Clone, Debug)]
pub struct Try {
    /// The app server.
    pub endpoint: Arc<str>,
    /// What became of it.
    pub outcome: AttemptOutcome,
    /// For how long it was tried, in microseconds.
    pub took_us: u64,
}

impl Line<'_> {
    /// Appends the line with its line feed to `out`. Without TLS, a store, match, endpoint, upstream time, failed attempt,
    /// fault or reason the field is left out.
    pub(super) fn append_to(&self, out: &mut Vec<u8>, clock: &mut Clock) {
        clock.append(out, self.time_ms);
        string(out, r#"","request_id":""#, self.request_id);
        out.extend_from_slice(br#"","client":""#);
        address(out, self.client);
        string(out, r#"","method":""#, self.method);
        string(out, r#"","host":""#, self.host);
        string(out, r#"","target":""#, self.target);
        string(out, r#"","version":""#, self.version);
        optional(out, r#"","tls":""#, self.tls);
        optional(out, r#"","store":""#, self.store);
        optional(out, r#"","match":""#, self.matched);
        number(out, r#"","status":"#, self.status);
        number(out, r#","bytes_in":"#, self.bytes_in);
        number(out, r#","bytes_out":"#, self.bytes_out);
        number(out, r#","duration_us":"#, self.duration_us);
        if self.upstream_us > 0 {
            number(out, r#","upstream_us":"#, self.upstream_us);
        }
        number(out, r#","attempts":"#, self.attempts);
        tries(out, self.tries);
        string(out, r#","outcome":""#, self.outcome);
        optional(out, r#"","fault":""#, self.fault);
        optional(out, r#"","endpoint":""#, self.endpoint);
        optional(out, r#"","reason":""#, self.reason);
        out.extend_from_slice(b"\"}\n");
    }
}

/// Writes time stamps (RFC 3339, UTC, milliseconds). The calendar is asked once per second.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: u64,
    /// The opening of a line up to its second; empty before the first.
    opening: Vec<u8>,
}

impl Clock {
    fn append(&mut self, out: &mut Vec<u8>, time_ms: u64) {
        let second = time_ms / 1000;
        if second != self.second || self.opening.is_empty() {
            self.set(second);
        }
        out.extend_from_slice(&self.opening);
        let digit = |place: u64| DIGITS[usize::try_from(time_ms / place % 10).unwrap_or(0)];
        out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1), b'Z']);
    }

    /// A time beyond the calendar, which no clock shows, is written as its last second.
    fn set(&mut self, second: u64) {
        let time = i64::try_from(second).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
        self.second = second;
        self.opening.clear();
        self.opening.extend_from_slice(br#"{"time":""#);
        // Writing to a Vec cannot fail.
        let _ = write!(self.opening, "{:.0}", time.unwrap_or(jiff::Timestamp::MAX));
        self.opening.pop_if(|last| *last == b'Z');
    }
}

const DIGITS: &[u8; 10] = b"0123456789";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// `opening`, which ends with a quote, then `value`; the closing quote is the next one's affair.
fn string(out: &mut Vec<u8>, opening: &str, value: &str) {
    out.extend_from_slice(opening.as_bytes());
    if is_plain(value) {
        out.extend_from_slice(value.as_bytes());
    } else {
        escape(out, value);
    }
}

fn optional(out: &mut Vec<u8>, opening: &str, value: &str) {
    if !value.is_empty() {
        string(out, opening, value);
    }
}

fn tries(out: &mut Vec<u8>, tries: &[Try]) {
    for (index, attempt) in tries.iter().enumerate() {
        let opening = if index == 0 { r#","tries":[{"endpoint":""# } else { r#",{"endpoint":""# };
        string(out, opening, &attempt.endpoint);
        string(out, r#"","outcome":""#, attempt.outcome.as_str());
        number(out, r#"","us":"#, attempt.took_us);
        out.push(b'}');
    }
    if !tries.is_empty() {
        out.push(b']');
    }
}

fn number(out: &mut Vec<u8>, opening: &str, value: impl itoa::Integer) {
    out.extend_from_slice(opening.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        // Written by hand: the standard library's padding costs as much as half of the line.
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            number(out, "", a);
            [b, c, d].into_iter().for_each(|octet| number(out, ".", octet));
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(v6) => _ = write!(out, "{v6}"),
    }
}

/// Whether nothing in `value` needs an escape. Without a branch per byte, so that the compiler takes 16 at a time.
fn is_plain(value: &str) -> bool {
    let plain = |byte: u8| (b' '..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\');
    value.bytes().fold(true, |all, byte| all & plain(byte))
}

/// RFC 8259 §7; beyond what it demands also DEL and everything outside of ASCII (C1 controls, line separators and
/// changes of direction are in there).
fn escape(out: &mut Vec<u8>, value: &str) {
    for char in value.chars() {
        match char {
            '"' => out.extend_from_slice(br#"\""#),
            '\\' => out.extend_from_slice(br"\\"),
            ' '..='~' => out.push(char as u8),
            _ => char.encode_utf16(&mut [0; 2]).iter().for_each(|unit| escape_unit(out, *unit)),
        }
    }
}

fn escape_unit(out: &mut Vec<u8>, unit: u16) {
    let digit = |shift: u16| HEX[usize::from(unit >> shift & 0xf)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const LINE: Line<'static> = Line {
        time_ms: 1_767_225_599_007,
        request_id: "0190b5a4",
        client: IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7)),
        method: "GET",
        host: "shop.alpha.com",
        target: "/p?q=1",
        version: "HTTP/1.1",
        tls: "1.3",
        store: "1",
        matched: "custom_domain",
        status: 200,
        bytes_in: 0,
        bytes_out: 150,
        duration_us: 1234,
        upstream_us: 1200,
        endpoint: "127.0.0.1:8000",
        attempts: 1,
        tries: &[],
        outcome: "ok",
        fault: "",
        reason: "",
    };

    fn format(line: &Line<'_>) -> String {
        let mut out = Vec::new();
        line.append_to(&mut out, &mut Clock::default());
        String::from_utf8(out).unwrap()
    }

    fn parse(line: &Line<'_>) -> Value {
        serde_json::from_str(&format(line)).unwrap()
    }

    #[test]
    fn a_line_says_everything_about_an_exchange() {
        let expected = json!({
            "time": "2025-12-31T23:59:59.007Z", "request_id": "0190b5a4", "client": "203.0.113.7", "method": "GET",
            "host": "shop.alpha.com", "target": "/p?q=1", "version": "HTTP/1.1", "tls": "1.3", "store": "1", "match": "custom_domain",
            "status": 200, "bytes_in": 0, "bytes_out": 150, "duration_us": 1234, "upstream_us": 1200,
            "endpoint": "127.0.0.1:8000", "attempts": 1, "outcome": "ok",
        });
        assert_eq!(parse(&LINE), expected);
    }

    #[test]
    fn what_there_was_not_is_left_out() {
        let line =
            Line { tls: "", store: "", matched: "", upstream_us: 0, endpoint: "", reason: "no such host", ..LINE };
        let parsed = parse(&line);
        for absent in ["tls", "store", "match", "upstream_us", "fault", "endpoint"] {
            assert_eq!(parsed.get(absent), None, "{absent}");
        }
        assert_eq!(parse(&Line { fault: "app", ..LINE })["fault"], "app");
        assert_eq!(parsed["reason"], "no such host");
    }

    #[test]
    fn attempts_that_failed_are_told_in_their_order() {
        let attempt = |endpoint: &str, outcome| Try { endpoint: endpoint.into(), outcome, took_us: 7 };
        let tries = [attempt("a:1", AttemptOutcome::NotConnected), attempt("b:2", AttemptOutcome::TimedOut)];
        let expected = json!([
            {"endpoint": "a:1", "outcome": "not_connected", "us": 7},
            {"endpoint": "b:2", "outcome": "timed_out", "us": 7},
        ]);
        let parsed = parse(&Line { attempts: 3, tries: &tries, ..LINE });
        assert_eq!((&parsed["tries"], &parsed["outcome"]), (&expected, &json!("ok")));
        assert_eq!(parse(&LINE).get("tries"), None);
    }

    #[test]
    fn client_addresses_are_written_as_text() {
        for text in ["0.0.0.0", "255.255.255.255", "10.0.20.3", "::1", "2001:db8::7", "::ffff:192.0.2.1"] {
            assert_eq!(parse(&Line { client: text.parse().unwrap(), ..LINE })["client"], text);
        }
    }

    #[test]
    fn the_clock_follows_time_forwards_and_backwards() {
        let mut clock = Clock::default();
        let mut stamp = |time_ms| {
            let mut out = Vec::new();
            clock.append(&mut out, time_ms);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(stamp(0), r#"{"time":"1970-01-01T00:00:00.000Z"#);
        assert_eq!(stamp(951_782_400_999), r#"{"time":"2000-02-29T00:00:00.999Z"#);
        assert_eq!(stamp(951_782_401_000), r#"{"time":"2000-02-29T00:00:01.000Z"#);
        assert_eq!(stamp(951_782_399_120), r#"{"time":"2000-02-28T23:59:59.120Z"#);
        assert!(stamp(u64::MAX).starts_with(r#"{"time":"9999-12-"#));
    }

    #[test]
    fn a_forged_line_stays_inside_its_string() {
        let hostile = "/\"}\n{\"time\":\"2025\r\u{1b}[2J\u{7f}\u{9b}\u{2028}\u{202e}\u{1f600}\\";
        let text = format(&Line { target: hostile, ..LINE });
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.trim_end_matches('\n').bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
        assert_eq!(parse(&Line { target: hostile, ..LINE })["target"], hostile);
    }

    proptest! {
        #[test]
        fn any_text_is_read_back_as_it_was(
            [request_id, method, host, target, reason] in proptest::array::uniform5("(?s).{0,40}"),
            numbers: (u64, u64, u64, u64, u16, u32),
        ) {
            let (time_ms, bytes_in, bytes_out, duration_us, status, attempts) = numbers;
            let line = Line {
                time_ms, bytes_in, bytes_out, duration_us, status, attempts, request_id: &request_id, method: &method,
                host: &host, target: &target, reason: &reason, ..LINE
            };
            let text = format(&line);
            prop_assert_eq!(text.find('\n'), Some(text.len() - 1));
            let parsed: Value = serde_json::from_str(&text).unwrap();
            for (name, value) in [("request_id", &request_id), ("method", &method), ("host", &host), ("target", &target)] {
                prop_assert_eq!(parsed[name].as_str(), Some(value.as_str()));
            }
            prop_assert_eq!(parsed.get("reason").map_or("", |reason| reason.as_str().unwrap()), reason);
            for (name, value) in [("bytes_in", bytes_in), ("bytes_out", bytes_out), ("duration_us", duration_us)] {
                prop_assert_eq!(parsed[name].as_u64(), Some(value));
            }
            prop_assert_eq!(parsed["status"].as_u64(), Some(u64::from(status)));
        }
    }
}
