//! The service: takes note of new rows, looks at what is due, and writes what it has found.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    Edits, Evidence, Ownership, Proof, Reach, SelfCheck, Settings, State,
    claims::{Claim, Claims, Noticed, Verdict},
    dns::{self, Dns},
    edits::Told,
    next_check,
    traffic::{Traffic, Visitor},
};
use crate::{
    database::session::{self, Session},
    telemetry::causes::one_line,
};

/// How often the table is asked for claims that are due: one statement that finds them by an index.
const LOOK: Duration = Duration::from_secs(1);

/// How often all rows are read where edits are told, in case one was not.
const SWEEP_TOLD: Duration = Duration::from_mins(10);

/// The same where nobody tells of edits: a customer is waiting.
const SWEEP_UNTOLD: Duration = Duration::from_secs(5);

/// All rows are read in a twentieth of the time at most, however many there are and however often they are edited.
const SWEEP_SHARE: u32 = 20;

/// Between two attempts of what the database has refused.
const RETRY: Duration = Duration::from_secs(2);

/// The service.
pub struct Verifier {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    claims: Claims,
    dns: Dns,
    self_check: SelfCheck,
    links: Links,
    permits: Arc<Semaphore>,
    /// Something may be due.
    wake: Notify,
    counts: Arc<Counts>,
    /// What the database said last, so that it is logged once.
    trouble: Mutex<String>,
    /// The same of a row that it refused.
    refused: Mutex<String>,
}

/// What the service needs of others.
pub struct Links {
    /// Rows that were edited.
    pub edits: Edits,
    /// Whether edits are told at present.
    pub is_told: Box<dyn Fn() -> bool + Send + Sync>,
    /// Is called with a name, canonical, whose mark the service itself has written: an SQLite file tells only of what others write.
    pub on_mark: Box<dyn Fn(&str) + Send + Sync>,
    /// Is called with a name, canonical, whose visitors arrive here since this look.
    pub on_live: Box<dyn Fn(&str) + Send + Sync>,
}

/// What the service has done since the start.
#[derive(Debug, Default)]
pub struct Counts {
    proofs: [AtomicU64; 3],
    late: AtomicU64,
    entered: [AtomicU64; 5],
    running: AtomicU64,
    full: AtomicU64,
}

impl Counts {
    /// Looks that have ended, by what became of the proof: present, absent, unknown; and those of them that came to no end in time.
    pub fn looks(&self) -> ([u64; 3], u64) {
        (self.proofs.each_ref().map(|count| count.load(Relaxed)), self.late.load(Relaxed))
    }

    /// How often a claim has come into each state, in the order of [`State::ALL`].
    pub fn entered(&self) -> [u64; 5] {
        self.entered.each_ref().map(|count| count.load(Relaxed))
    }

    /// Looks in the air.
    pub fn running(&self) -> u64 {
        self.running.load(Relaxed)
    }

    /// How often as many looks were in the air as may be.
    pub fn full(&self) -> u64 {
        self.full.load(Relaxed)
    }
}

impl Verifier {
    /// The service over the rows behind `session`.
    pub fn new(settings: Settings, session: Session, self_check: SelfCheck, links: Links) -> Result<Self, dns::Error> {
        let shared = Shared {
            claims: Claims::new(session),
            dns: Dns::new(&settings.dns)?,
            self_check,
            links,
            permits: Arc::new(Semaphore::new(settings.checks_max)),
            wake: Notify::new(),
            counts: Arc::default(),
            trouble: Mutex::default(),
            refused: Mutex::default(),
            settings,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What it counts; for the metrics.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.shared.counts)
    }

    /// Works for as long as the process runs.
    pub async fn run(self) {
        tokio::join!(self.shared.notice(), self.plan());
    }

    async fn plan(&self) {
        loop {
            // Closed by nobody.
            let Ok(permit) = Arc::clone(&self.shared.permits).acquire_owned().await else { return };
            let begun = Shared::begin(&self.shared, permit).await;
            if !begun {
                let pause = LOOK.mul_f32(fastrand::f32() + 0.5);
                let _woken = timeout(pause, self.shared.wake.notified()).await;
            }
        }
    }
}

impl Shared {
    /// Takes note of rows as they are edited, and of all from time to time; a named one never waits for the rest.
    async fn notice(&self) {
        let (mut swept, mut rest, mut is_wanted) = (Instant::now(), Duration::ZERO, true);
        loop {
            let every = if (self.links.is_told)() { SWEEP_TOLD } else { SWEEP_UNTOLD };
            let due = swept + if is_wanted { rest } else { every.max(rest) };
            if Instant::now() >= due {
                let begun = Instant::now();
                self.insist(&Told::Everything).await;
                (swept, rest, is_wanted) = (Instant::now(), begun.elapsed() * SWEEP_SHARE, false);
                continue;
            }
            // Whether edits are told may change meanwhile.
            match timeout_at(due.min(Instant::now() + SWEEP_UNTOLD), self.links.edits.next()).await {
                Ok(Told::Everything) => is_wanted = true,
                Ok(names) => self.insist(&names).await,
                Err(_nothing) => {}
            }
        }
    }

    /// Until it has succeeded: what was told once is not told again.
    async fn insist(&self, told: &Told) {
        while let Err(error) = self.take_note(told).await {
            self.complain(&error);
            sleep(RETRY).await;
        }
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.wake.notify_one();
    }

    async fn take_note(&self, told: &Told) -> Result<(), session::Error> {
        match told {
            Told::Everything => {
                let noticed = self.claims.notice_all().await?;
                if noticed.refused.is_none() {
                    self.refused.lock().unwrap_or_else(PoisonError::into_inner).clear();
                }
                self.tell_marks(&noticed);
            }
            Told::Names(names) => {
                for name in names {
                    self.tell_marks(&self.claims.notice(name).await?);
                }
            }
        }
        Ok(())
    }

    /// Begins with what is due, at most as much as there are permits; says whether there was so much.
    async fn begin(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> bool {
        let free = self.permits.available_permits() + 1;
        let claims = match self.claims.take(free).await {
            Ok(claims) => claims,
            Err(error) => {
                self.complain(&error);
                return false;
            }
        };
        let is_full = claims.len() == free;
        if is_full {
            self.counts.full.fetch_add(1, Relaxed);
        }
        let mut permits = Some(permit);
        for claim in claims {
            let permit = match permits.take() {
                Some(permit) => permit,
                None => match Arc::clone(&self.permits).acquire_owned().await {
                    Ok(permit) => permit,
                    Err(_closed) => return false,
                },
            };
            let shared = Arc::clone(self);
            tokio::spawn(async move {
                shared.look_at(&claim).await;
                drop(permit);
            });
        }
        is_full
    }

    async fn look_at(&self, claim: &Claim) {
        let running = Running::count(&self.counts);
        if let Err(error) = self.work(claim).await {
            // The lease runs out, and somebody looks again.
            self.complain(&error);
        }
        drop(running);
    }

    async fn work(&self, claim: &Claim) -> Result<(), session::Error> {
        let Some(told) = self.claims.told(claim).await? else {
            self.tell_marks(&self.claims.notice_row_of(claim).await?);
            return self.claims.forget(claim).await;
        };
        let before = claim.standing.as_told(told, claim.now);
        let (evidence, finding) = self.look(claim).await;
        let after = before.after(evidence, claim.now);
        let verdict = Verdict {
            standing: after,
            finding: &finding,
            pause: next_check(&after, evidence, claim.now, fastrand::f64()),
            is_verified: after.is_verified(&before, told, self.settings.unverify_lost),
        };
        self.claims.settle(claim, &verdict).await?;
        if verdict.is_verified.is_some() {
            (self.links.on_mark)(&claim.name);
        }
        if after.state == State::Live && before.state != State::Live {
            (self.links.on_live)(&claim.name);
        }
        self.tell(&claim.name, before.state, after.state, &finding);
        Ok(())
    }

    fn tell_marks(&self, noticed: &Noticed) {
        noticed.unmarked.iter().for_each(|name| (self.links.on_mark)(name));
        let Some((row, error)) = &noticed.refused else { return };
        let error = one_line(error);
        if is_new(&self.refused, &error) {
            tracing::warn!(row, error, "the database refuses to take note of a row in store_domains");
        }
    }

    /// Both questions at once, since a customer waits for both answers.
    async fn look(&self, claim: &Claim) -> (Evidence, String) {
        let name = claim.name.as_str();
        let visitor = Visitor::new(&self.dns, &self.self_check, &self.settings);
        let ownership = Ownership::look(visitor, &self.settings, name, &claim.token);
        let questions = async { tokio::join!(ownership, self.visit(visitor, name)) };
        match timeout(self.settings.check_timeout, questions).await {
            Ok((ownership, traffic)) => {
                let evidence = Evidence { proof: ownership.proof(), reach: traffic.reach() };
                self.counts.count(evidence.proof);
                (evidence, format!("{ownership}; {traffic}"))
            }
            Err(_) => {
                self.counts.count(Proof::Unknown);
                self.counts.late.fetch_add(1, Relaxed);
                let finding = format!("no answers within {:?}", self.settings.check_timeout);
                (Evidence { proof: Proof::Unknown, reach: Reach::Unknown }, finding)
            }
        }
    }

    async fn visit(&self, visitor: Visitor<'_>, name: &str) -> Traffic {
        match self.self_check.load(self.claims.session()).await {
            Ok(()) => visitor.look(name).await,
            Err(error) => Traffic { failure: Some(one_line(&error)), ..Traffic::default() },
        }
    }

    fn tell(&self, name: &str, before: State, after: State, finding: &str) {
        if before == after {
            tracing::debug!(name, state = %after, finding, "domain looked at");
            return;
        }
        self.counts.entered[after as usize].fetch_add(1, Relaxed);
        match after {
            State::Drifting | State::Lost => {
                tracing::warn!(name, from = %before, state = %after, finding, "domain changed")
            }
            _ => tracing::info!(name, from = %before, state = %after, finding, "domain changed"),
        }
    }

    fn complain(&self, error: &session::Error) {
        let error = one_line(error);
        if is_new(&self.trouble, &error) {
            tracing::warn!(error, "the database cannot be asked which domains are to be looked at");
        }
    }
}

/// Whether this is another error than the last one.
fn is_new(last: &Mutex<String>, error: &str) -> bool {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    let is_new = *last != error;
    error.clone_into(&mut last);
    is_new
}

impl Counts {
    fn count(&self, proof: Proof) {
        self.proofs[proof as usize].fetch_add(1, Relaxed);
    }
}

/// A look in the air, until it is dropped.
struct Running<'a>(&'a Counts);

impl<'a> Running<'a> {
    fn count(counts: &'a Counts) -> Self {
        counts.running.fetch_add(1, Relaxed);
        Self(counts)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
    }
}
