//! The work for one name, under its lease: from the question whether there is anything to do to the certificate in the database.

use std::{collections::hash_map::Entry, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{
    arrival::{Arrivals, Astray},
    authority::{self, Authority},
    beside,
    budget::{Budget, registrable},
    demand::Waiter,
    failure::{OrderError, Reason},
    lease::Lease,
    order::Wanted,
    renewal,
    rest::Rest,
    service::tell,
    shared::Shared,
    store,
};
use crate::telemetry::causes::one_line;

/// For one order; less than a lease lasts.
pub(super) const WITHIN: Duration = Duration::from_mins(3);

/// Of that, for what the CA has to do: what follows has some time left.
const ISSUED_WITHIN: Duration = Duration::from_secs(170);

/// So often the visit of a name beside may fail before the other one is renewed without it: ten minutes.
const VISITS_MAX: u32 = 10;

/// A name that this instance works for, until it is dropped.
pub(super) struct Work {
    shared: Arc<Shared>,
    name: String,
}

/// A name that belongs to the one that was ordered for, and is not in the order.
pub(super) struct LeftOut {
    pub(super) name: String,
    why: Why,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It leads elsewhere.
    Elsewhere,
    /// Where it leads is not known, or the order was begun by another instance.
    Unclear,
    /// The last order may have been refused for its sake.
    Refused,
}

impl LeftOut {
    /// Whether it is to have a certificate for as long as it has one.
    pub(super) fn keeps_its_certificate(&self) -> bool {
        self.why != Why::Elsewhere
    }

    /// Whether the other one is renewed as soon as it leads here. What the CA has refused waits for the renewal that comes anyway.
    pub(super) fn is_visited_again(&self) -> bool {
        self.why != Why::Refused
    }
}

/// How work ends that does not fail.
enum Done {
    Issued,
    /// Another instance was faster.
    HadOne,
    Nobodys,
}

impl Work {
    /// Nothing where this instance works for `name` already.
    pub(super) fn begin(shared: &Arc<Shared>, name: &str) -> Option<Self> {
        match shared.under_way().entry(name.to_owned()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(place) => {
                place.insert(Vec::new());
                Some(Self { shared: Arc::clone(shared), name: name.to_owned() })
            }
        }
    }

    /// Has `waiter` told when the work ends that is under way for `name`; gives it back where there is none.
    pub(super) fn join(shared: &Shared, name: &str, waiter: Option<Waiter>) -> Result<(), Option<Waiter>> {
        match shared.under_way().get_mut(name) {
            Some(waiters) => {
                waiters.extend(waiter);
                Ok(())
            }
            None => Err(waiter),
        }
    }

    /// Nobody is told that it has ended, since it goes on elsewhere.
    fn keep_quiet(&self) {
        self.shared.under_way().get_mut(&self.name).into_iter().for_each(Vec::clear);
    }

    /// Takes the lease, if it can be had.
    pub(super) async fn run(self) {
        let (leases, session) = (&self.shared.leases, &self.shared.session);
        let is_elsewhere = match leases.take(session, &self.name).await {
            Ok(Some(lease)) => return self.run_under(lease).await,
            Ok(None) => leases.is_taken(session, &self.name).await,
            Err(error) => Err(error),
        };
        match is_elsewhere {
            Ok(true) => self.keep_quiet(),
            Ok(false) => {}
            Err(error) => tracing::warn!(name = self.name, error = one_line(&error), "a lease cannot be taken"),
        }
    }

    /// Works under a lease that was taken.
    pub(super) async fn run_under(self, lease: Lease) {
        let mut chosen = None;
        let outcome = timeout(WITHIN, work(&self.shared, &lease, &mut chosen)).await.unwrap_or(Err(OrderError::Late));
        let (name, leases, session) = (self.name.as_str(), &self.shared.leases, &self.shared.session);
        if let Some(authority) = chosen {
            learn(&self.shared, authority, name, outcome.as_ref().err()).await;
        }
        let ended = match outcome {
            Ok(done) => {
                if let Done::Issued = done {
                    self.shared.counts.count_issued();
                    tracing::info!(name, "certificate issued");
                }
                match done {
                    Done::Issued | Done::HadOne => leases.finish(session, &lease).await,
                    Done::Nobodys => self.let_go(&lease).await,
                }
            }
            Err(error) => self.fail(&lease, chosen, error).await,
        };
        if let Err(error) = ended {
            tracing::warn!(name, error = one_line(&error), "a lease cannot be given back");
        }
    }

    /// A name that is nobody's may belong to another one, which it comes with once it leads here.
    async fn let_go(&self, lease: &Lease) -> Result<(), crate::database::session::Error> {
        beside::hurry(&self.shared, &lease.name).await?;
        self.shared.leases.let_go(&self.shared.session, lease).await
    }

    async fn fail(
        &self,
        lease: &Lease,
        chosen: Option<&Authority>,
        error: OrderError,
    ) -> Result<(), crate::database::session::Error> {
        let Shared { leases, session, budgets, settings, counts, .. } = &*self.shared;
        let directory = chosen.map(Authority::directory).or(lease.directory.as_deref());
        let (reason, attempts) = (error.reason(), lease.failures(error.reason()));
        let again_in = leases.fail(session, lease, directory, &error).await?;
        if let Some(authority) = chosen.filter(|_| error.is_failed_validation()) {
            let failures = Budget::Failures(authority.directory(), &lease.name);
            // Taken after the fact: where nothing is left of it, the next order is not begun.
            let _nothing_left = budgets.take(session, &failures, settings.limits.failures).await;
        }
        let (name, error, reason_text) = (&lease.name, one_line(&error), reason.as_str());
        tracing::warn!(name, error, reason = reason_text, attempts, ?again_in, "no certificate was issued");
        counts.count_failure(reason);
        Ok(())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        for waiter in self.shared.under_way().remove(&self.name).into_iter().flatten() {
            // It may have given up.
            let _gone = waiter.send(());
        }
    }
}

/// What a failure, or success, says about the CA. What it has asked for itself all instances are told.
pub(super) async fn learn(shared: &Shared, authority: &Authority, name: &str, error: Option<&OrderError>) {
    let now = shared.clock.now();
    let Some(error) = error else { return authority.rest(Rest::answered) };
    if !error.concerns_all(registrable(name)) {
        return;
    }
    match (error.reason(), wish(error)) {
        (_, Some(wait)) => {
            let seconds = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
            authority.rest(|rest| rest.told(now, seconds));
            let noted = shared.budgets.note_rest(&shared.session, authority.directory(), seconds).await;
            tell("who wants to be left alone", noted);
        }
        (Reason::Unreachable, None) => authority.rest(|rest| rest.silent(now)),
        _ => authority.rest(Rest::answered),
    }
}

/// For how long the CA wants to be left alone, where it has said so.
fn wish(error: &OrderError) -> Option<Duration> {
    match error.reason() {
        Reason::RateLimited => Some(error.wait().unwrap_or_else(|| Reason::RateLimited.pause(1))),
        Reason::Unreachable => error.wait(),
        _ => None,
    }
}

async fn work<'a>(shared: &'a Shared, lease: &Lease, chosen: &mut Option<&'a Authority>) -> Result<Done, OrderError> {
    if store::has_certificate(shared, &lease.name).await? {
        return Ok(Done::HadOne);
    }
    if !is_wanted(shared, &lease.name).await? {
        return Ok(Done::Nobodys);
    }
    shared.hear_rests().await?;
    let authority = choose(shared, lease)?;
    let (names, left_out) = names(shared, lease, authority).await?;
    let replaced = store::issued_by(&shared.session, &lease.name, authority.directory()).await?;
    let (pays, is_renewal) = (!goes_on(lease, authority), replaced.is_some());
    if pays {
        afford(shared, authority, &lease.name, is_renewal).await?;
    }
    *chosen = Some(authority);
    let replaces = replaced.and_then(|chain| renewal::identifier(chain.as_bytes()));
    let wanted = Wanted { names: &names, replaces };
    let issuing = timeout(ISSUED_WITHIN, shared.issue.issue(shared, lease, authority, wanted));
    let issued = issuing.await.unwrap_or(Err(OrderError::Late));
    if pays && issued.as_ref().is_err_and(|error| error.reason() == Reason::Unreachable) {
        give_back(shared, authority, lease, is_renewal).await?;
    }
    store::store(shared, lease, authority.directory(), &issued?, left_out.as_ref()).await?;
    Ok(Done::Issued)
}

/// Whether the order of whoever had the lease before goes on.
fn goes_on(lease: &Lease, authority: &Authority) -> bool {
    lease.order_url.is_some() && lease.directory.as_deref() == Some(authority.directory())
}

/// Whether `name` is somebody's who is served under it, or a wildcard of the platform's.
pub(super) async fn is_wanted(shared: &Shared, name: &str) -> Result<bool, OrderError> {
    match name.strip_prefix("*.") {
        Some(_) => Ok(shared.wildcards().iter().any(|wildcard| wildcard == name)),
        None => Ok(shared.names.is_served(name).await?),
    }
}

fn choose<'a>(shared: &'a Shared, lease: &Lease) -> Result<&'a Authority, OrderError> {
    let now = shared.clock.now();
    let counts = matches!(lease.reason, Some(Reason::Refused | Reason::Unreachable | Reason::RateLimited));
    let failures = if counts { lease.attempts } else { 0 };
    let all = &shared.authorities;
    authority::choose(all, lease.directory.as_deref(), failures, now).ok_or_else(|| {
        let left = all.iter().map(|authority| authority.rest(|rest| rest.left(now))).min().unwrap_or_default();
        OrderError::Resting(Duration::from_secs(left.unsigned_abs()))
    })
}

/// The names of the certificate, all of which lead here, and the one that belongs to them and is left out this time.
async fn names(
    shared: &Shared,
    lease: &Lease,
    authority: &Authority,
) -> Result<(Vec<String>, Option<LeftOut>), OrderError> {
    let name = lease.name.as_str();
    if let Some(domain) = name.strip_prefix("*.") {
        return Ok((vec![name.to_owned(), domain.to_owned()], None));
    }
    let alone = vec![name.to_owned()];
    let Some(arrivals) = &shared.arrivals else { return Ok((alone, None)) };
    lead_here(shared, &**arrivals, name).await?.map_err(OrderError::Astray)?;
    let Some(beside) = shared.names.beside(name).await? else { return Ok((alone, None)) };
    let left_out = |beside: String, why| Some(LeftOut { name: beside, why });
    // An order that goes on is for certain names.
    if goes_on(lease, authority) {
        return Ok((alone, left_out(beside, Why::Unclear)));
    }
    if lease.reason == Some(Reason::Refused) {
        return Ok((alone, left_out(beside, Why::Refused)));
    }
    match lead_here(shared, &**arrivals, &beside).await? {
        Ok(()) => Ok((vec![name.to_owned(), beside], None)),
        Err(Astray::Elsewhere(_)) => Ok((alone, left_out(beside, Why::Elsewhere))),
        // Whoever has a certificate would lose it for that.
        Err(unknown)
            if lease.failures(Reason::Astray) <= VISITS_MAX && store::ends(shared, &beside).await?.is_some() =>
        {
            Err(unknown.into())
        }
        Err(Astray::Hidden(_) | Astray::Unknown(_)) => Ok((alone, left_out(beside, Why::Unclear))),
    }
}

/// Whether a CA that is asked for `name` arrives here. What is hidden is believed to lead where it led before: a customer's old shop
/// sends its visitors to https as well as a CDN in front of ours.
pub(super) async fn lead_here(
    shared: &Shared,
    arrivals: &dyn Arrivals,
    name: &str,
) -> Result<Result<(), Astray>, OrderError> {
    match arrivals.lead_here(name).await {
        Err(Astray::Hidden(_)) if store::was_issued(&shared.session, name).await? => Ok(Ok(())),
        led => Ok(led),
    }
}

/// Whether the limits allow another order. Renewals do not count against a domain's.
async fn afford(shared: &Shared, authority: &Authority, name: &str, is_renewal: bool) -> Result<(), OrderError> {
    let (session, budgets, limits) = (&shared.session, &shared.budgets, &shared.settings.limits);
    let directory = authority.directory();
    let failures = Budget::Failures(directory, name);
    if let Some(wait) = budgets.left(session, &failures, limits.failures).await? {
        return Err(OrderError::Postponed("acme.failures_max", wait));
    }
    // Looked at first: a domain's share must not be gone for an order that is not made.
    let orders = Budget::Orders(directory);
    if let Some(wait) = budgets.left(session, &orders, limits.orders).await? {
        return Err(OrderError::Postponed("acme.orders_max", wait));
    }
    if !is_renewal {
        budgets.take(session, &Budget::Domain(directory, registrable(name)), limits.domain_orders).await?;
    }
    budgets.take(session, &orders, limits.orders).await
}

/// What was taken for an order, unless it was made: the CA has counted nothing.
async fn give_back(shared: &Shared, authority: &Authority, lease: &Lease, is_renewal: bool) -> Result<(), OrderError> {
    let (session, budgets, limits) = (&shared.session, &shared.budgets, &shared.settings.limits);
    let directory = authority.directory();
    if shared.leases.has_order(session, lease, directory).await? {
        return Ok(());
    }
    if !is_renewal {
        budgets.give_back(session, &Budget::Domain(directory, registrable(&lease.name)), limits.domain_orders).await?;
    }
    Ok(budgets.give_back(session, &Budget::Orders(directory), limits.orders).await?)
}
