//! One attempt: a request at one app server, until the head of its answer has come or it is known that none will.

use std::{
    future::poll_fn,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Request, StatusCode, response::Parts};

use super::{
    again::Ending,
    body::RequestBody,
    buffers::Buffers,
    clock::Elapsed,
    error::Failure,
    exchange::Exchange,
    replay::Replay,
    search::{Found, Search},
    upload::Tally,
    worker::Worker,
};
use crate::{
    telemetry::outcome::AttemptOutcome,
    upstream::{AnswerError, Connection, Unanswered, Unsent, connection_died, was_refused},
};

/// How soon a kept connection ends that the app server was closing when the request was written: what says so is on its way at that
/// moment, and here within a round trip, over half of the world and past a busy machine too. Whatever ends later has had the time
/// to begin with the request.
const CROSSING_MAX: Duration = Duration::from_millis(200);

pub(super) type Outgoing = Request<RequestBody>;

type Head = Result<Parts, Unanswered<RequestBody>>;

/// What became of an attempt.
pub(super) enum Attempted {
    /// An answer to pass on.
    Answered(Parts),
    /// One that says that the app server failed, and the request: it may be sent to another one.
    Doubted(Parts, Box<Outgoing>),
    /// None, and the request: it may be sent again.
    Again(Box<Outgoing>),
    /// None, and that was it.
    Failed(Failure),
}

/// Sends `request` on what was found, and waits for the head.
pub(super) async fn attempt(
    search: &mut Search<'_>,
    found: &mut Found,
    mut request: Outgoing,
    exchange: &mut Exchange,
) -> Attempted {
    let Search { worker, position, is_repeatable, .. } = *search;
    let spare = Spare::of(&mut request, &found.connection, is_repeatable, &worker.buffers);
    found.connection.begin(request, is_repeatable);
    let tally = exchange.request_tally.clone();
    let mut running = Running { worker, position, found, spare, tally, outcome: AttemptOutcome::Cancelled };
    let patience = search.patience(running.found.ready);
    let first = search.attempt_timeout().min(patience);
    let mut head = running.head(first).await;
    if head.is_err() && first < patience {
        // Another server gets the request, or this one gets the rest of the time.
        match running.again(Ending::Failed, search, exchange) {
            Some(request) => return running.overdue(Attempted::Again(request), exchange),
            None => head = running.head(patience - first).await,
        }
    }
    match head {
        Ok(Ok(head)) => running.answered(head, search, exchange),
        Ok(Err(error)) => running.broken(error, search, exchange),
        Err(Elapsed) => running.overdue(Attempted::Failed(Failure::HeadTimeout), exchange),
    }
}

/// An attempt while it runs. It counts itself when it ends; one whose client goes away ends without being told.
struct Running<'a> {
    worker: &'a Worker,
    position: usize,
    found: &'a mut Found,
    spare: Spare,
    tally: Option<Arc<Tally>>,
    outcome: AttemptOutcome,
}

impl Running<'_> {
    /// The limit is for the app: while the client's body goes on coming or is waited for, or is a stream that the app may want to
    /// hear more of, it begins anew.
    async fn head(&mut self, limit: Duration) -> Result<Head, Elapsed> {
        let (connection, tally) = (&mut self.found.connection, self.tally.as_deref());
        let received = || tally.map_or(0, Tally::bytes);
        let mut hear = |interim: StatusCode| tally.iter().for_each(|tally| tally.expectation.hear(interim));
        loop {
            let (before, was_open) = (received(), tally.is_some_and(Tally::is_open_stream));
            let head = poll_fn(|context| connection.poll_head(context, &mut hear));
            match self.worker.clock.within(limit, head).await {
                Err(Elapsed) if was_open || received() > before || tally.is_some_and(Tally::is_awaited) => {}
                head => return head,
            }
        }
    }

    fn answered(mut self, head: Parts, search: &mut Search<'_>, exchange: &mut Exchange) -> Attempted {
        if let Some(tally) = &self.tally {
            tally.expectation.answer();
        }
        if self.means_failure(head.status) {
            return self.doubted(head, search, exchange);
        }
        self.outcome = AttemptOutcome::Answered;
        self.spare.forget();
        let now = Instant::now();
        self.found.in_flight.answered(now.saturating_duration_since(self.found.since), now);
        exchange.upstream_wait = now.saturating_duration_since(search.began);
        Attempted::Answered(head)
    }

    fn means_failure(&self, status: StatusCode) -> bool {
        let settings = &self.worker.upstreams[self.position].upstream().settings;
        status.is_server_error() && settings.failure_status.contains(&status)
    }

    fn doubted(mut self, head: Parts, search: &mut Search<'_>, exchange: &mut Exchange) -> Attempted {
        self.failed(AttemptOutcome::ServerError);
        exchange.upstream_wait = search.began.elapsed();
        match self.again(Ending::Failed, search, exchange) {
            Some(request) => {
                self.tell(exchange);
                Attempted::Doubted(head, request)
            }
            None => {
                self.spare.forget();
                Attempted::Answered(head)
            }
        }
    }

    fn overdue(mut self, attempted: Attempted, exchange: &mut Exchange) -> Attempted {
        self.found.connection.leave();
        self.failed(AttemptOutcome::TimedOut);
        self.tell(exchange);
        attempted
    }

    fn broken(
        mut self,
        Unanswered { error, unsent }: Unanswered<RequestBody>,
        search: &mut Search<'_>,
        exchange: &mut Exchange,
    ) -> Attempted {
        let ending = if unsent.is_some() { Ending::Unprocessed } else { self.ending(&error) };
        let again = match unsent {
            Some(unsent) => search.goes_on(ending, self.is_reused(), exchange).then(|| Box::new(whole(*unsent))),
            None => self.again(ending, search, exchange),
        };
        if exchange.upload_fault().is_none() {
            self.judge(ending, again.is_some(), was_refused(&error));
            self.tell(exchange);
        }
        again.map_or_else(|| Attempted::Failed(error.into()), Attempted::Again)
    }

    /// A kept connection that ended under a request tells nothing about the app server; everything else does.
    fn judge(&mut self, ending: Ending, goes_on: bool, was_refused: bool) {
        self.outcome = match ending {
            _ if !goes_on => AttemptOutcome::Broken,
            Ending::Unprocessed if was_refused => AttemptOutcome::Refused,
            Ending::Unprocessed => AttemptOutcome::Stale,
            Ending::Crossed => AttemptOutcome::Crossed,
            Ending::Failed => AttemptOutcome::Broken,
        };
        if self.outcome == AttemptOutcome::Broken || !self.is_reused() {
            self.failed(self.outcome);
        }
    }

    fn ending(&self, error: &AnswerError) -> Ending {
        let is_shared = self.found.connection.is_shared();
        if is_shared && was_refused(error) {
            return Ending::Unprocessed;
        }
        // An answer that cannot be read is an answer still: the app has processed the request.
        let has_ended = if is_shared { connection_died(error) } else { !error.is_an_answer() };
        let may_have_crossed = self.is_reused() && has_ended && self.found.ready.elapsed() < CROSSING_MAX;
        if may_have_crossed { Ending::Crossed } else { Ending::Failed }
    }

    /// The request, where it may be sent again.
    fn again(&mut self, ending: Ending, search: &mut Search<'_>, exchange: &Exchange) -> Option<Box<Outgoing>> {
        let goes_on = search.goes_on(ending, self.is_reused(), exchange);
        goes_on.then(|| self.spare.request(&mut self.found.connection)).flatten().map(Box::new)
    }

    /// The app server is to blame.
    fn failed(&mut self, outcome: AttemptOutcome) {
        self.outcome = outcome;
        self.found.in_flight.failed(self.found.since.elapsed(), Instant::now());
    }

    fn tell(&self, exchange: &mut Exchange) {
        exchange.note_attempt(self.found.in_flight.endpoint(), self.outcome, self.found.since.elapsed());
    }

    fn is_reused(&self) -> bool {
        self.found.connection.reused()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.outcome == AttemptOutcome::Cancelled {
            self.found.in_flight.unanswered(self.found.since.elapsed(), Instant::now());
        }
        self.found.counts.attempt(self.outcome);
    }
}

/// The request as it was before something of its body was read.
fn whole(Unsent { mut request, read }: Unsent<RequestBody>) -> Outgoing {
    if !read.is_empty() {
        request.body_mut().put_back(read);
    }
    request
}

/// What is kept of a request to send it again.
struct Spare {
    body: Option<RequestBody>,
    /// Where others use the connection at the same time, which then cannot tell what was written.
    replay: Option<Replay>,
}

impl Spare {
    fn of(
        request: &mut Outgoing,
        connection: &Connection<RequestBody>,
        is_repeatable: bool,
        buffers: &Arc<Buffers>,
    ) -> Self {
        if connection.is_shared() {
            return Self { body: None, replay: Some(Replay::of(request, buffers)) };
        }
        Self { body: is_repeatable.then(|| request.body().again()).flatten(), replay: None }
    }

    fn request(&mut self, connection: &mut Connection<RequestBody>) -> Option<Outgoing> {
        match self.replay.take() {
            Some(replay) => replay.request(),
            None => connection.written(self.body.as_ref()?.again()?),
        }
    }

    /// The answer is passed on: nothing needs to be kept any more.
    fn forget(&mut self) {
        if let Some(replay) = self.replay.take() {
            replay.forget();
        }
    }
}
