//! One request with its response, as one record. Its drop writes one access-log line and one set of metrics, however the
//! exchange ended. What stands here is for people; nothing decides by it.

use std::{
    error::Error,
    net::IpAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, Request, StatusCode, Uri, Version, header, uri::PathAndQuery};
use hyper::body::{Body, Incoming};

use super::{
    buffers::Buffers,
    connection::Client,
    facts::Facts,
    https::HostOwner,
    ids::Ids,
    places::Turn,
    pulse::Pulse,
    requester::Requester,
    upgrade,
    upload::{Fault, Tally},
};
use crate::{
    routing::{Host, Match, Tenant, TenantId},
    telemetry::{
        self,
        access_log::{Line, Try},
        causes,
        outcome::{AttemptOutcome, Limit, Outcome},
    },
    upstream::{AnswerError, ClientAddresses, Endpoint},
};

/// The record of one exchange.
pub(super) struct Exchange {
    client: Arc<Client>,
    requester: IpAddr,
    /// Among the requests of its client.
    pub(super) turn: Option<Turn>,
    started: Instant,
    /// `None` where the head could not be read.
    asked: Option<Asked>,
    pub(super) ids: Ids,
    /// The host that was looked up; empty where none could be read.
    host: LoggedHost,
    pub(super) tenant: Option<Arc<Tenant>>,
    pub(super) matched: Option<Match>,
    pub(super) host_owner: Option<HostOwner>,
    pub(super) endpoint: Option<Arc<Endpoint>>,
    pub(super) attempts: u32,
    /// Those that brought no answer to pass on.
    tries: Vec<Try>,
    pub(super) upstream_wait: Duration,
    pub(super) request_tally: Option<Arc<Tally>>,
    pub(super) bytes_out: u64,
    /// Bytes that a tunnel has carried to the app.
    pub(super) tunnelled_in: u64,
    /// Whether the answer has no end of its own.
    is_stream: bool,
    /// The status of the answer, once there is one.
    pub(super) status: Option<StatusCode>,
    finished: Option<Instant>,
    /// How it ended; the client counts as gone until something else is known.
    pub(super) outcome: Outcome,
    /// Why, in words for the operator.
    pub(super) reason: Option<String>,
}

/// What the client asked for.
struct Asked {
    method: Method,
    target: Uri,
    version: Version,
    accept: Option<HeaderValue>,
    has_body: bool,
    /// The connection itself is to become a WebSocket.
    switches: bool,
}

impl Asked {
    fn of(request: &Request<Incoming>) -> Self {
        Self {
            method: request.method().clone(),
            target: request.uri().clone(),
            version: request.version(),
            accept: request.headers().get(header::ACCEPT).cloned(),
            has_body: !request.body().is_end_stream(),
            switches: upgrade::asks_for_websocket(request),
        }
    }
}

impl Exchange {
    /// Begins the record when the head of a request is complete.
    pub(super) fn open(client: &Arc<Client>, requester: &Requester, request: &Request<Incoming>) -> Box<Self> {
        let ids = Ids::of(request.headers(), client.standing);
        Box::new(Self::new(client, requester.address, ids, Some(Asked::of(request))))
    }

    /// The record of a request whose head could not be read.
    pub(super) fn without_head(client: &Arc<Client>) -> Self {
        Self::new(client, client.address(), Ids::make(), None)
    }

    /// The store that it is for, once that is known.
    pub(super) fn store_id(&self) -> Option<&TenantId> {
        self.tenant.as_ref().map(|tenant| &tenant.id)
    }

    fn new(client: &Arc<Client>, requester: IpAddr, ids: Ids, asked: Option<Asked>) -> Self {
        client.pulse.begin();
        Self {
            client: Arc::clone(client),
            requester,
            turn: None,
            started: Instant::now(),
            asked,
            ids,
            host: LoggedHost::None,
            tenant: None,
            matched: None,
            host_owner: None,
            endpoint: None,
            attempts: 0,
            tries: Vec::new(),
            upstream_wait: Duration::ZERO,
            request_tally: None,
            bytes_out: 0,
            tunnelled_in: 0,
            is_stream: false,
            status: None,
            finished: None,
            outcome: Outcome::ClientGone,
            reason: None,
        }
    }

    /// Remembers the host that is looked up.
    pub(super) fn remember_host(&mut self, facts: &Facts<'_>) {
        self.host = match &facts.authority.host {
            Host::Name(name) => LoggedHost::remember(facts.written, name.as_str()),
            Host::Ip(_) => LoggedHost::Canonical(facts.authority.host.to_string().into()),
        };
    }

    /// What the client accepts; decides the form of an answer of our own.
    pub(super) fn accept(&self) -> Option<&HeaderValue> {
        self.asked.as_ref()?.accept.as_ref()
    }

    /// The client and where it was met.
    pub(super) fn addresses(&self) -> ClientAddresses {
        self.client.addresses().of(self.requester)
    }

    /// Whether the client speaks HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.version == Version::HTTP_2)
    }

    /// Whether the client wants the head alone.
    pub(super) fn is_head(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.method == Method::HEAD)
    }

    /// Whether the client wants its connection to become a WebSocket, and may go on as if it had. Without a tunnel the connection
    /// must end with the answer: what comes behind the request may be no request, and must not be taken for one.
    pub(super) fn switches(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.switches)
    }

    /// Whether the app has answered without the body that the client waits to send, so that its connection must end: in
    /// HTTP/1 the next request would stand behind it.
    pub(super) fn leaves_body_unread(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.version < Version::HTTP_2)
            && self.request_tally.as_ref().is_some_and(|tally| tally.expectation.is_refused())
    }

    /// Whether something of the body of the request was not read.
    fn has_unread_body(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.has_body)
            && !self.request_tally.as_ref().is_some_and(|tally| tally.ended())
    }

    /// An attempt at `endpoint` brought no answer to pass on.
    pub(super) fn note_attempt(&mut self, endpoint: &Endpoint, outcome: AttemptOutcome, took: Duration) {
        self.tries.push(Try { endpoint: Arc::clone(endpoint.label()), outcome, took_us: micros(took) });
    }

    /// When the head of the request was complete.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// The answer was delivered whole, at `now`.
    pub(super) fn finish(&mut self, now: Instant) {
        self.outcome = Outcome::Ok;
        self.finished = Some(now);
    }

    /// The exchange fails with `outcome`, because of `error` and its causes.
    pub(super) fn fail(&mut self, outcome: Outcome, error: &(dyn Error + 'static)) {
        self.outcome = outcome;
        self.reason = Some(causes::one_line(error));
    }

    /// The answer broke off with `error`; where the request body did before, because of it.
    pub(super) fn break_off(&mut self, error: &AnswerError) {
        match self.upload_fault() {
            None if matches!(error, AnswerError::Silent) => self.fail(Outcome::AnswerTimeout, error),
            None => self.fail(Outcome::BodyBroken, error),
            Some(Fault::Broken) => self.fail(Outcome::RequestBroken, error),
            Some(Fault::Limit(limit)) => {
                self.fail(Outcome::Limited, &limit);
                self.count_limit(limit.into());
            }
        }
    }

    /// The answer has no end of its own: nobody is hurried who listens to it.
    pub(super) fn begin_stream(&mut self) {
        self.is_stream = true;
        self.pulse().begin_stream();
    }

    /// Whether that is so.
    pub(super) fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// What the connection of the client is doing.
    pub(super) fn pulse(&self) -> &Pulse {
        &self.client.pulse
    }

    /// The memory for bodies.
    pub(super) fn buffers(&self) -> &Arc<Buffers> {
        &self.client.worker.buffers
    }

    /// Why the request body ended too early.
    pub(super) fn upload_fault(&self) -> Option<Fault> {
        self.request_tally.as_ref()?.fault()
    }

    /// The client has reached `limit`.
    pub(super) fn count_limit(&self, limit: Limit) {
        self.client.worker.metrics.limit(limit);
    }

    fn line<'a>(&'a self, duration: Duration, bytes_in: u64) -> Line<'a> {
        let asked = self.asked.as_ref();
        let target = asked.and_then(|asked| asked.target.path_and_query());
        Line {
            time_ms: self.client.worker.clock.unix_ms(self.started),
            request_id: self.ids.request_id_str(),
            client: self.requester,
            method: asked.map_or("", |asked| asked.method.as_str()),
            host: self.host.as_str(),
            target: target.map_or("", PathAndQuery::as_str),
            version: asked.map_or("", |asked| version(asked.version)),
            tls: self.client.secured().map_or("", |secured| secured.version.as_str()),
            store: self.store_id().map_or("", TenantId::as_str),
            matched: self.matched.map_or("", Match::as_str),
            status: self.status.map_or(0, |status| status.as_u16()),
            bytes_in,
            bytes_out: self.bytes_out,
            duration_us: micros(duration),
            upstream_us: micros(self.upstream_wait),
            endpoint: self.endpoint.as_ref().map_or("", |endpoint| endpoint.label()),
            attempts: self.attempts,
            tries: &self.tries,
            outcome: self.outcome.as_str(),
            fault: self.outcome.fault().map_or("", telemetry::Fault::as_str),
            reason: self.reason.as_deref().unwrap_or(""),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let is_over = self.client.worker.is_over.load(Relaxed);
        if let Some((outcome, reason)) = cut_short(self.outcome, self.pulse().cut_off_reason(), is_over) {
            self.outcome = outcome;
            self.reason = Some(reason.to_owned());
        }
        let duration = self.finished.unwrap_or_else(Instant::now).saturating_duration_since(self.started);
        let bytes_in = self.tunnelled_in + self.request_tally.as_ref().map_or(0, |tally| tally.bytes());
        let Client { worker, pulse, .. } = &*self.client;
        worker.metrics.exchange(self.outcome, self.status.map_or(0, |status| status.as_u16()), duration);
        worker.access_log.write(&self.line(duration, bytes_in));
        if self.outcome == Outcome::ClientGone {
            pulse.reset();
        }
        let now = worker.clock.now_ms();
        if self.is_stream {
            pulse.end_stream(now);
        }
        pulse.end(now, self.has_unread_body());
    }
}

/// What really ended a record that is dropped before its end, and why: a panic in the body of an answer unwinds through it, past
/// whoever would have told of it.
fn cut_short(outcome: Outcome, cut_off: Option<&'static str>, is_over: bool) -> Option<(Outcome, &'static str)> {
    match outcome {
        _ if thread::panicking() => Some((Outcome::Panicked, "the exchange panicked")),
        Outcome::ClientGone if is_over => Some((Outcome::Drained, "usher was stopped, and drain_timeout was over")),
        Outcome::ClientGone => cut_off.map(|reason| (Outcome::Limited, reason)),
        _ => None,
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// The canonical host of an exchange, without a copy where the client wrote it canonically.
enum LoggedHost {
    /// No host could be read.
    None,
    /// The first bytes of the `Host` value.
    Start(HeaderValue, usize),
    /// Written another way by the client.
    Canonical(Box<str>),
}

impl LoggedHost {
    /// Remembers `canonical`, read from `written`.
    fn remember(written: &HeaderValue, canonical: &str) -> Self {
        if written.as_bytes().starts_with(canonical.as_bytes()) {
            Self::Start(written.clone(), canonical.len())
        } else {
            Self::Canonical(canonical.into())
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::None => "",
            Self::Start(written, length) => written.to_str().ok().and_then(|text| text.get(..*length)).unwrap_or(""),
            Self::Canonical(text) => text,
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    /// Ends as the record does, and tells its outcome.
    struct Dropped<'a>(&'a std::sync::OnceLock<Option<Outcome>>);

    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            let _first = self.0.set(cut_short(Outcome::ClientGone, Some("slow"), false).map(|(outcome, _)| outcome));
        }
    }

    #[test]
    fn a_record_through_which_a_panic_unwinds_says_so() {
        let (in_peace, in_a_panic) = (std::sync::OnceLock::new(), std::sync::OnceLock::new());
        drop(Dropped(&in_peace));
        #[allow(clippy::panic, reason = "the panic is what is tested")]
        let caught = catch_unwind(|| {
            let _record = Dropped(&in_a_panic);
            panic!("a bug in the body of an answer");
        });
        assert!(caught.is_err());
        assert_eq!((in_peace.get(), in_a_panic.get()), (Some(&Some(Outcome::Limited)), Some(&Some(Outcome::Panicked))));
        assert_eq!(cut_short(Outcome::ClientGone, None, false), None);
        assert_eq!(cut_short(Outcome::Ok, Some("slow"), true), None);
        assert_eq!(cut_short(Outcome::ClientGone, None, true).map(|(outcome, _)| outcome), Some(Outcome::Drained));
    }

    #[test]
    fn the_logged_host_is_the_canonical_one_however_it_was_written() {
        for written in ["shop.alpha.com", "shop.alpha.com:8080", "shop.alpha.com.", "SHOP.alpha.com"] {
            let host = LoggedHost::remember(&HeaderValue::from_static(written), "shop.alpha.com");
            assert_eq!(host.as_str(), "shop.alpha.com");
        }
    }
}
