//! What everything that works for certificates has in common.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    arrival::Arrivals,
    authority::Authority,
    budget::Budgets,
    challenges::Challenges,
    clock::Clock,
    counts::Counts,
    demand::Waiter,
    hook::Hook,
    lease::Leases,
    names::Names,
    order::{Acme, Issue},
    queue::Queue,
    settings::Settings,
};
use crate::{
    database::session::{self, Session},
    tls::Keyring,
};

/// Shared by the services and the work on each name.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) session: Session,
    pub(super) keys: Arc<Keyring>,
    pub(super) clock: Clock,
    pub(super) leases: Leases,
    pub(super) queue: Queue,
    pub(super) budgets: Budgets,
    pub(super) authorities: Vec<Authority>,
    pub(super) issue: Box<dyn Issue>,
    pub(super) names: Arc<dyn Names>,
    pub(super) arrivals: Option<Arc<dyn Arrivals>>,
    pub(super) hook: Option<Hook>,
    pub(super) challenges: Arc<Challenges>,
    pub(super) counts: Arc<Counts>,
    /// Names that this instance works for, and who waits for each.
    pub(super) under_way: Mutex<HashMap<String, Vec<Waiter>>>,
}

impl Shared {
    pub(super) fn new(
        settings: Settings,
        session: Session,
        keys: Arc<Keyring>,
        names: Arc<dyn Names>,
        arrivals: Option<Arc<dyn Arrivals>>,
    ) -> Self {
        let clock = Clock::default();
        Self {
            leases: Leases::new(clock.clone()),
            queue: Queue::new(clock.clone()),
            budgets: Budgets::new(clock.clone()),
            authorities: settings.authorities.iter().cloned().map(Authority::new).collect(),
            issue: Box::new(Acme),
            hook: settings.hook.clone().map(Hook::new),
            challenges: Arc::default(),
            counts: Arc::default(),
            under_way: Mutex::default(),
            settings,
            session,
            keys,
            clock,
            names,
            arrivals,
        }
    }

    pub(super) fn under_way(&self) -> MutexGuard<'_, HashMap<String, Vec<Waiter>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What other instances were told by CAs that want to be left alone.
    pub(super) async fn hear_rests(&self) -> Result<(), session::Error> {
        for authority in &self.authorities {
            let seconds = self.budgets.rest(&self.session, authority.directory()).await?;
            if seconds > 0 {
                let now = self.clock.now();
                authority.rest(|rest| rest.told(now, seconds));
            }
        }
        Ok(())
    }

    /// The directories of all CAs.
    pub(super) fn directories(&self) -> Vec<&str> {
        self.authorities.iter().map(Authority::directory).collect()
    }

    /// The names of the wildcards of platform domains.
    pub(super) fn wildcards(&self) -> Vec<String> {
        let domains = self.hook.iter().flat_map(|hook| &hook.settings().domains);
        domains.map(|domain| format!("*.{domain}")).collect()
    }
}
