//! What may be asked of a CA within a window of time, counted by all instances together.
//!
//! A budget is one number, the moment at which nothing of it is used any more: each order moves it by its share of the window, and
//! where it would come to lie further ahead than the window is long, there is nothing left. CAs count in the same way.

use std::time::Duration;

use super::{clock::Clock, failure::OrderError, settings::Quota, table};
use crate::database::session::{self, Session, Value};

/// Counts what is used.
pub(super) struct Budgets {
    clock: Clock,
}

impl Budgets {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock }
    }

    /// Takes one of `budget`; the error says how long to wait for one.
    pub(super) async fn take(&self, session: &Session, budget: &Budget<'_>, quota: Quota) -> Result<(), OrderError> {
        let dialect = session.dialect();
        let (table, now) = (table(dialect, "acme_budgets"), format!("{} * 1000", self.clock.sql(dialect)));
        let (share, window) = shares(quota);
        let begun = format!("CASE WHEN used.free_at > {now} THEN used.free_at ELSE {now} END");
        let sql = format!(
            "INSERT INTO {table} AS used (budget, free_at) VALUES ($1, {now} + {share}) \
             ON CONFLICT (budget) DO UPDATE SET free_at = {begun} + {share} WHERE {begun} + {share} <= {now} + {window} \
             RETURNING free_at"
        );
        let key = budget.key();
        if !session.query(&sql, &[Value::from(key.as_str())]).await?.is_empty() {
            return Ok(());
        }
        Err(OrderError::Postponed(budget.name(), self.left(session, budget, quota).await?.unwrap_or_default()))
    }

    /// Gives back one of `budget` that was taken.
    pub(super) async fn give_back(
        &self,
        session: &Session,
        budget: &Budget<'_>,
        quota: Quota,
    ) -> Result<(), session::Error> {
        let (share, _window) = shares(quota);
        let table = table(session.dialect(), "acme_budgets");
        let sql = format!("UPDATE {table} SET free_at = free_at - {share} WHERE budget = $1");
        session.query(&sql, &[Value::from(budget.key().as_str())]).await.map(drop)
    }

    /// How long to wait for one of `budget`; `None`: there is one.
    pub(super) async fn left(
        &self,
        session: &Session,
        budget: &Budget<'_>,
        quota: Quota,
    ) -> Result<Option<Duration>, session::Error> {
        let dialect = session.dialect();
        let (share, window) = shares(quota);
        let sql = format!(
            "SELECT free_at + {share} - ({} * 1000 + {window}) FROM {} WHERE budget = $1",
            self.clock.sql(dialect),
            table(dialect, "acme_budgets")
        );
        let rows = session.query(&sql, &[Value::from(budget.key().as_str())]).await?;
        Ok(match rows.first().and_then(|row| row.first()) {
            Some(Value::Int(wait)) => u64::try_from(*wait).ok().filter(|wait| *wait > 0).map(Duration::from_millis),
            _ => None,
        })
    }

    /// Tells all instances that `directory` wants to be left alone for so many `seconds`.
    pub(super) async fn note_rest(
        &self,
        session: &Session,
        directory: &str,
        seconds: i64,
    ) -> Result<(), session::Error> {
        let dialect = session.dialect();
        let (table, now) = (table(dialect, "acme_budgets"), self.clock.sql(dialect));
        let sql = format!(
            "INSERT INTO {table} AS noted (budget, free_at) VALUES ($1, ({now} + {seconds}) * 1000) ON CONFLICT (budget) DO UPDATE \
             SET free_at = CASE WHEN noted.free_at > excluded.free_at THEN noted.free_at ELSE excluded.free_at END"
        );
        session.query(&sql, &[Value::Text(rest_of(directory))]).await.map(drop)
    }

    /// For how many seconds `directory` wants to be left alone still, as any instance was told.
    pub(super) async fn rest(&self, session: &Session, directory: &str) -> Result<i64, session::Error> {
        let dialect = session.dialect();
        let (table, now) = (table(dialect, "acme_budgets"), self.clock.sql(dialect));
        let sql = format!("SELECT free_at / 1000 - {now} FROM {table} WHERE budget = $1");
        let rows = session.query(&sql, &[Value::Text(rest_of(directory))]).await?;
        Ok(match rows.first().and_then(|row| row.first()) {
            Some(Value::Int(seconds)) => *seconds.max(&0),
            _ => 0,
        })
    }

    /// How many of `budget` are left.
    pub(super) async fn room(
        &self,
        session: &Session,
        budget: &Budget<'_>,
        quota: Quota,
    ) -> Result<usize, session::Error> {
        let dialect = session.dialect();
        let (share, window) = shares(quota);
        let sql = format!(
            "SELECT ({} * 1000 + {window} - free_at) / {share} FROM {} WHERE budget = $1",
            self.clock.sql(dialect),
            table(dialect, "acme_budgets")
        );
        let rows = session.query(&sql, &[Value::from(budget.key().as_str())]).await?;
        Ok(match rows.first().and_then(|row| row.first()) {
            Some(Value::Int(room)) => usize::try_from(*room).unwrap_or_default(),
            _ => usize::try_from(quota.max).unwrap_or(usize::MAX),
        })
    }

    /// Removes what says nothing any more.
    pub(super) async fn sweep(&self, session: &Session) -> Result<(), session::Error> {
        let dialect = session.dialect();
        let (table, now) = (table(dialect, "acme_budgets"), self.clock.sql(dialect));
        session.query(&format!("DELETE FROM {table} WHERE free_at < {now} * 1000"), &[]).await.map(drop)
    }
}

/// Milliseconds that one takes of the window, and the window.
fn shares(quota: Quota) -> (u64, u64) {
    let window = u64::try_from(quota.window.as_millis()).unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs() / 4);
    ((window / u64::from(quota.max.max(1))).max(1), window)
}

/// Among the budgets, as what has no room before then.
fn rest_of(directory: &str) -> String {
    format!("rest {directory}")
}

/// What is counted together.
pub(super) enum Budget<'a> {
    /// Orders at this CA.
    Orders(&'a str),
    /// Certificates of this CA below a registrable domain.
    Domain(&'a str, &'a str),
    /// Failed validations of a name at this CA.
    Failures(&'a str, &'a str),
}

impl Budget<'_> {
    fn key(&self) -> String {
        match self {
            Self::Orders(directory) => format!("orders {directory}"),
            Self::Domain(directory, domain) => format!("domain {domain} {directory}"),
            Self::Failures(directory, name) => format!("failures {name} {directory}"),
        }
    }

    /// The key of the configuration that limits it.
    fn name(&self) -> &'static str {
        match self {
            Self::Orders(_) => "acme.orders_max",
            Self::Domain(..) => "acme.domain_orders_max",
            Self::Failures(..) => "acme.failures_max",
        }
    }
}

/// The domain below which CAs count together what is issued for `name`: one label more than a public suffix.
pub(super) fn registrable(name: &str) -> &str {
    let name = name.strip_prefix("*.").unwrap_or(name);
    psl::domain_str(name).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicI64};

    use super::*;
    use crate::database::{migrations, sqlite::Database};

    const HOURLY: Quota = Quota { max: 4, window: Duration::from_hours(1) };

    #[tokio::test]
    async fn what_is_used_comes_back_evenly() {
        let folder = tempfile::tempdir().unwrap();
        let session = Session::sqlite(&Database::create(&folder.path().join("usher.db")).unwrap());
        migrations::run(&session, &migrations::Plan::default()).await.unwrap();
        let now = Arc::new(AtomicI64::new(1_000_000));
        let budgets = Budgets::new(Clock { set: Some(Arc::clone(&now)) });
        let take = || budgets.take(&session, &Budget::Orders("https://ca"), HOURLY);
        for left in (0..4).rev() {
            take().await.unwrap();
            assert_eq!(budgets.room(&session, &Budget::Orders("https://ca"), HOURLY).await.unwrap(), left);
        }
        let Err(OrderError::Postponed("acme.orders_max", wait)) = take().await else { panic!("a fifth was allowed") };
        assert_eq!(wait, Duration::from_mins(15));
        budgets.take(&session, &Budget::Orders("https://other"), HOURLY).await.unwrap();
        now.fetch_add(899, std::sync::atomic::Ordering::Relaxed);
        assert!(take().await.is_err());
        now.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        take().await.unwrap();
        assert!(take().await.is_err());
        budgets.sweep(&session).await.unwrap();
        assert!(take().await.is_err(), "a budget that is in use was forgotten");
        now.fetch_add(3601, std::sync::atomic::Ordering::Relaxed);
        budgets.sweep(&session).await.unwrap();
        assert_eq!(session.query("SELECT budget FROM usher_acme_budgets", &[]).await.unwrap().len(), 0);
    }

    #[test]
    fn names_are_counted_by_what_somebody_has_registered() {
        let counted = ["a.b.shop.co.uk", "shop.example", "*.platform.com", "com", "x.github.io"].map(registrable);
        assert_eq!(counted, ["shop.co.uk", "shop.example", "platform.com", "com", "x.github.io"]);
    }
}
