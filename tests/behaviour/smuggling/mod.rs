//! One request from a client is one request at the app. Every ambiguity in length or framing is refused and the connection
//! closed, or shown to be harmless where the app receives it: in the one form that every reader understands alike.
//!
//! Each case stands in front of [`NEXT`], which is served only if usher and the case agree about where the case ends.

mod chunks;
mod codings;
mod heads;
mod lengths;
mod lines;
mod pipelines;
mod tape;

use self::tape::{Arrived, Take, Tape};
use crate::support::{App, Backend, Binary, Client, Tables, Usher};

/// What stands behind each case: another tenant's request, which also ends the connection.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: customdomain2.com\r\nConnection: close\r\n\r\n";

/// What becomes of a case.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Answered with this status or one of a few, connection closed, nothing at the app.
    Refused(&'static [u16]),
    /// Found out while it was on its way: the app has the beginning of a request and never a whole one.
    CutOff,
    /// One request with this body at the app; the next one is served as a request of its own.
    Served(&'static str),
    /// One request with this body at the app, and then the connection is closed.
    ServedAndClosed(&'static str),
}

use Fate::{CutOff, Refused, Served, ServedAndClosed};

/// usher with one worker, and the app that records.
struct Stage {
    usher: Usher,
    tape: Tape,
    _app: App,
    _tables: Tables,
}

/// What was seen on both sides of usher.
#[derive(Debug)]
struct Outcome {
    statuses: Vec<u16>,
    closed: bool,
    take: Take,
}

impl Stage {
    fn new() -> Self {
        let tape = Tape::default();
        let app = tape.app();
        let tables = Tables::example(Backend::Sqlite);
        let usher = Binary::over(&tables).apps(&[&app]).config("[listen]\nworkers = 1").start();
        Self { usher, tape, _app: app, _tables: tables }
    }

    /// Sends these bytes on a connection of their own and watches what comes of them.
    fn send(&self, bytes: impl AsRef<[u8]>) -> Outcome {
        let mut client = self.usher.connect();
        client.send(bytes);
        let statuses = statuses(&mut client);
        let closed = client.closed_by_peer();
        self.settle();
        let mut take = self.tape.take();
        take.requests.retain(|request| request.target() != "/settled");
        Outcome { statuses, closed, take }
    }

    /// Once this request is answered, the one worker has done what it had to do before.
    fn settle(&self) {
        assert_eq!(self.usher.get("customdomain1.com", "/settled").status, 200);
    }

    /// What is wrong with the outcome of a case, if anything.
    fn fault(&self, case: &[u8], fate: Fate) -> Option<String> {
        let outcome = self.send([case, NEXT.as_bytes()].concat());
        let fits = outcome.closed && fate.fits(&outcome);
        let shown = String::from_utf8_lossy(case).into_owned();
        (!fits).then(|| format!("{shown:?} is not {fate:?}: {outcome:?}"))
    }

    /// Checks a table of cases and reports all that is wrong with it at once.
    fn check<C: AsRef<[u8]>>(&self, cases: impl IntoIterator<Item = (C, Fate)>) {
        let faults: Vec<String> =
            cases.into_iter().filter_map(|(case, fate)| self.fault(case.as_ref(), fate)).collect();
        assert!(faults.is_empty(), "{} cases went wrong:\n{}", faults.len(), faults.join("\n"));
    }
}

impl Fate {
    fn fits(self, outcome: &Outcome) -> bool {
        let Outcome { statuses, take, .. } = outcome;
        let bodies: Vec<(&str, &[u8])> = take.requests.iter().map(|r| (r.target(), r.body.as_slice())).collect();
        match self {
            Refused(allowed) => {
                matches!(statuses[..], [status] if allowed.contains(&status))
                    && take.requests.is_empty()
                    && take.unfinished == 0
            }
            CutOff => matches!(statuses[..], [] | [400]) && take.requests.is_empty(),
            Served(body) => {
                *statuses == [200, 200] && bodies == [("/case", body.as_bytes()), ("/next", b"")] && are_apart(take)
            }
            ServedAndClosed(body) => {
                *statuses == [200] && bodies == [("/case", body.as_bytes())] && take.unfinished == 0
            }
        }
    }
}

/// Each request carries the store of its own host, whoever sent it first.
fn are_apart(take: &Take) -> bool {
    take.unfinished == 0 && take.requests.iter().all(Arrived::is_for_its_host)
}

impl Arrived {
    fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    }

    fn is_for_its_host(&self) -> bool {
        let store = match self.all("host")[..] {
            ["customdomain1.com"] => "1",
            ["customdomain2.com"] => "2",
            _ => return false,
        };
        self.all("x-store-id") == [store]
    }
}

/// The answers on a connection, up to its end.
fn statuses(client: &mut Client) -> Vec<u16> {
    std::iter::from_fn(|| client.try_response().ok().flatten()).map(|response| response.status).collect()
}

/// A request of tenant 1 with these further lines, and what follows its head.
fn post(fields: &str, rest: &str) -> String {
    format!("POST /case HTTP/1.1\r\nHost: customdomain1.com\r\n{fields}\r\n\r\n{rest}")
}
