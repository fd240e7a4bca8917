//! How it stands with all names: counted now and then for metrics, listed for people.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::sleep;

use super::{failure::Reason, service::tell, shared::Shared, table};
use crate::database::session::{self, Value};

/// How often it is counted: by indexes on what is amiss, not by reading every certificate.
const LOOK: Duration = Duration::from_secs(30);

/// Whose name was nobody's when it was last looked at, in an order `o`.
pub(in crate::tls) const LET_GO: &str = "o.wanted_since IS NULL AND o.due_at > 0";

/// How many names there are of each kind, in the whole database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandingCounts {
    /// Names that are to have a certificate, or a new one, and are waited for by nobody's fault.
    pub waiting: u64,
    /// Names that failed, by the reason of the last time.
    pub failing: Vec<(&'static str, u64)>,
    /// When the first certificate in the database ends to be valid that is still renewed, in seconds since the Unix epoch.
    pub earliest_expiry: Option<i64>,
    /// Whether all orders that the limits allow have been made.
    pub is_limited: bool,
}

/// The counts, kept up to date.
#[derive(Default)]
pub(super) struct Counted {
    counts: Mutex<StandingCounts>,
    is_limited: AtomicBool,
}

impl Counted {
    pub(super) fn get(&self) -> StandingCounts {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        StandingCounts { is_limited: self.is_limited.load(Relaxed), ..counts }
    }

    pub(super) fn note_limit(&self, is_limited: bool) {
        self.is_limited.store(is_limited, Relaxed);
    }

    /// Counts for as long as the process runs.
    pub(super) async fn watch(&self, shared: &Shared) {
        loop {
            if let Some(counts) = tell("how it stands with certificates", count(shared).await) {
                *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
            }
            sleep(LOOK).await;
        }
    }
}

pub(super) async fn count(shared: &Shared) -> Result<StandingCounts, session::Error> {
    let dialect = shared.session.dialect();
    let (orders, certificates) = (table(dialect, "acme_orders"), table(dialect, "certificates"));
    let by_reason = format!("SELECT reason, count(*) FROM {orders} WHERE wanted_since IS NOT NULL GROUP BY reason");
    let earliest = format!(
        "SELECT c.expires_at FROM {certificates} c WHERE c.renew_at IS NOT NULL AND NOT EXISTS \
         (SELECT 1 FROM {orders} o WHERE o.name = c.name AND {LET_GO}) ORDER BY c.expires_at LIMIT 1"
    );
    let mut counts = StandingCounts::default();
    for row in shared.session.query(&by_reason, &[]).await? {
        let Some(Value::Int(count)) = row.get(1) else { continue };
        let count = count.unsigned_abs();
        match row.first().and_then(Value::as_text).map(Reason::parse) {
            Some(Some(reason)) => counts.failing.push((reason.as_str(), count)),
            _ => counts.waiting += count,
        }
    }
    let rows = shared.session.query(&earliest, &[]).await?;
    counts.earliest_expiry = match rows.first().and_then(|row| row.first()) {
        Some(Value::Int(expiry)) => Some(*expiry),
        _ => None,
    };
    Ok(counts)
}
