//! The services: open challenges are kept, names found that need a certificate, and worked for as the CAs allow.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep, sleep_until},
};

use super::{
    ari,
    arrival::Arrivals,
    beside,
    budget::Budget,
    challenges,
    demand::{Demand, Waiter},
    issuer::Issuer,
    names::Names,
    order_key,
    settings::Settings,
    shared::Shared,
    standing, store,
    work::Work,
};
use crate::{database::session::Session, telemetry::causes::one_line, tls::Keyring};

/// How often the database is asked for names that are due. Each look reads one page of the app's rows and a few of our own, by
/// indexes: some milliseconds, however many rows there are.
const LOOK: Duration = Duration::from_secs(5);

/// Orders at once in this instance for what is due. CAs allow some hundreds in three hours, and each takes some seconds.
const ORDERS_MAX: usize = 8;

/// And for names that handshakes ask for. Anybody can name somebody's domain in a handshake, and one whose DNS does
/// not lead here costs a visit of five seconds each time: half as many, so that these cannot keep what is due from its turn. Who
/// finds no place has its turn there too, within some seconds.
const DEMANDED_MAX: usize = 4;

/// Names that handshakes ask for and nobody has looked at.
const DEMANDS_MAX: usize = 256;

/// How often what nobody needs any more is removed.
const SWEEP: Duration = Duration::from_hours(1);

/// The services.
pub struct Acme {
    shared: Arc<Shared>,
    demand: mpsc::Receiver<Demand>,
    standing: Arc<standing::Counted>,
    /// For what is due.
    permits: Arc<Semaphore>,
    /// For what handshakes ask for.
    demanded: Arc<Semaphore>,
    /// How far the rows of the app have been read.
    cursor: String,
}

impl Acme {
    /// The services, and what others see of them. `arrivals` says whether names lead here, where that is to be seen.
    pub fn new(
        settings: Settings,
        session: Session,
        keys: Arc<Keyring>,
        names: Arc<dyn Names>,
        arrivals: Option<Arc<dyn Arrivals>>,
    ) -> (Self, Issuer) {
        let shared = Arc::new(Shared::new(settings, session, keys, names, arrivals));
        let (sender, demand) = mpsc::channel(DEMANDS_MAX);
        let standing = Arc::<standing::Counted>::default();
        let issuer = Issuer::new(&shared, sender, Arc::clone(&standing));
        (Self::over(shared, demand, standing), issuer)
    }

    pub(super) fn over(shared: Arc<Shared>, demand: mpsc::Receiver<Demand>, standing: Arc<standing::Counted>) -> Self {
        let [permits, demanded] = [ORDERS_MAX, DEMANDED_MAX].map(|max| Arc::new(Semaphore::new(max)));
        Self { shared, demand, standing, permits, demanded, cursor: String::new() }
    }

    /// Removes certificates that nobody needs any more.
    #[cfg(test)]
    pub(super) async fn sweep(&self) {
        store::sweep(&self.shared).await.unwrap();
    }

    /// When the first certificate ends that is renewed.
    #[cfg(test)]
    pub(super) async fn earliest_expiry(&self) -> Option<i64> {
        standing::count(&self.shared).await.unwrap().earliest_expiry
    }

    /// Visits names that are missing in certificates.
    #[cfg(test)]
    pub(super) async fn visit(&self) {
        beside::look(&self.shared).await;
    }

    /// Whether nothing that was due is under way.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.permits.available_permits() == ORDERS_MAX
    }

    /// Does all of it, for as long as the process runs.
    pub async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let standing = Arc::clone(&self.standing);
        tokio::join!(
            shared.challenges.watch(&shared.session, &shared.clock),
            ari::watch(&shared),
            beside::watch(&shared),
            standing.watch(&shared),
            sweep(&shared),
            renew_strangers(&shared),
            self.plan(),
        );
    }

    async fn plan(&mut self) {
        let mut next = Instant::now();
        loop {
            tokio::select! {
                asked = self.demand.recv() => asked.into_iter().for_each(|demand| self.take_up(demand)),
                () = sleep_until(next) => {
                    next = Instant::now() + LOOK.mul_f32(fastrand::f32() + 0.5);
                    self.look().await;
                }
            }
        }
    }

    /// Finds what is to be done, and begins with as much of it as can be done now.
    pub(super) async fn look(&mut self) {
        self.find().await;
        let count = self.permits.available_permits().min(self.room().await);
        if count == 0 {
            return;
        }
        let due = self.shared.leases.take_due(&self.shared.session, count).await;
        for lease in tell("what is due", due).unwrap_or_default() {
            let (Some(work), Ok(permit)) =
                (Work::begin(&self.shared, &lease.name), Arc::clone(&self.permits).try_acquire_owned())
            else {
                // A handshake has asked for it meanwhile.
                tell("a lease", self.shared.leases.leave(&self.shared.session, &lease).await);
                continue;
            };
            tokio::spawn(async move {
                work.run_under(lease).await;
                drop(permit);
            });
        }
    }

    pub(super) fn take_up(&self, demand: Demand) {
        match demand {
            Demand::Certificate { name, waiter } => self.work_for(&name, waiter),
            Demand::LeadsHere(name) => {
                let shared = Arc::clone(&self.shared);
                tokio::spawn(async move {
                    tell("a name that leads here", shared.leases.hurry(&shared.session, &name).await);
                });
            }
        }
    }

    /// Begins with a name that a handshake asks for, unless somebody has: whoever waits shares the one order.
    fn work_for(&self, name: &str, waiter: Option<Waiter>) {
        let Err(waiter) = Work::join(&self.shared, name, waiter) else { return };
        let now = self.shared.clock.now();
        if !self.shared.authorities.iter().any(|authority| authority.rest(|rest| rest.left(now)) == 0) {
            // Nothing will come of it for a while.
            let _told = waiter.map(|waiter| waiter.send(()));
            return;
        }
        let Ok(permit) = Arc::clone(&self.demanded).try_acquire_owned() else {
            // It is found among what is due, here or by another instance, and waited for.
            self.shared.counts.count_full();
            return;
        };
        let Some(work) = Work::begin(&self.shared, name) else { return };
        let _joined = Work::join(&self.shared, name, waiter);
        tokio::spawn(async move {
            work.run().await;
            drop(permit);
        });
    }

    /// Notes who is wanted: those without a certificate on the next page of the app's rows, and whose time has come.
    async fn find(&mut self) {
        let (shared, wildcards) = (&self.shared, self.shared.wildcards());
        tell("which wildcards are missing", shared.queue.want(&shared.session, &wildcards).await);
        if let Some(page) = tell("who lacks a certificate", shared.names.lacking(&self.cursor).await) {
            self.cursor = page.next.unwrap_or_default();
            tell("who lacks a certificate", shared.queue.want(&shared.session, &page.names).await);
        }
        tell("which certificates run out", shared.queue.want_renewals(&shared.session).await);
    }

    /// How many orders can be made now: a CA has to be there that wants to be asked, and the limits to have something left. More leases
    /// than that would only be given back, and their names lose their turn.
    async fn room(&self) -> usize {
        let shared = &self.shared;
        tell("who wants to be left alone", shared.hear_rests().await);
        let now = shared.clock.now();
        let awake = shared.authorities.iter().find(|authority| authority.rest(|rest| rest.left(now)) == 0);
        let Some(authority) = awake else { return 0 };
        let budget = Budget::Orders(authority.directory());
        let room = shared.budgets.room(&shared.session, &budget, shared.settings.limits.orders).await;
        let room = tell("what the limits have left", room).unwrap_or_default();
        self.standing.note_limit(room == 0);
        room
    }
}

/// Lets the time come for what other CAs have issued, once; as long as the database cannot be asked, again and again.
async fn renew_strangers(shared: &Shared) {
    let (directories, mut after) = (shared.directories(), String::new());
    loop {
        match shared.queue.renew_strangers(&shared.session, &directories, &after).await {
            Ok(Some(next)) => after = next,
            Ok(None) => return,
            Err(error) => {
                tell::<(), _>("the CAs of certificates", Err(error));
                sleep(LOOK).await;
            }
        }
    }
}

/// Removes what nobody needs any more, for as long as the process runs.
async fn sweep(shared: &Shared) {
    loop {
        sleep(SWEEP.mul_f32(fastrand::f32() + 0.5)).await;
        tell("old budgets", shared.budgets.sweep(&shared.session).await);
        tell("old certificates", store::sweep(shared).await);
        tell("keys of old orders", order_key::sweep(shared).await);
        tell("old challenges", challenges::sweep(&shared.session, &shared.clock).await);
    }
}

/// What the database said; where it could not be asked, that is told.
pub(super) fn tell<T, E: std::error::Error>(what: &str, asked: Result<T, E>) -> Option<T> {
    asked.inspect_err(|error| tracing::warn!(what, error = one_line(error), "the database cannot be asked")).ok()
}
