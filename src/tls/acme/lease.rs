//! The right to work for a name. It runs out by the database's clock; whoever takes it next gets a higher number, and what is written
//! under a lower one is refused.

use super::{
    now,
    order::{OrderError, Reason},
    table,
};
use crate::database::session::{self, Row, Session, Value};

/// Longer than an order may take.
const LEASE_SECONDS: u32 = 180;

/// Between two tries of a name, after the first failure, growing threefold up to a day: CAs allow five failed validations of a name
/// in an hour.
const PAUSE_SECONDS: u32 = 5 * 60;
const PAUSE_MAX_SECONDS: u32 = 24 * 60 * 60;

/// Where the CA did not answer or wants fewer orders, nothing is wrong with the name.
const PAUSE_UNREACHABLE_SECONDS: u32 = 60;
const PAUSE_RATE_LIMITED_SECONDS: u32 = 60 * 60;

/// A lease that was taken.
pub(super) struct Lease {
    pub(super) name: String,
    pub(super) fence: i64,
    /// The order that whoever had it before has left behind.
    pub(super) order_url: Option<String>,
    /// Failures in a row so far.
    pub(super) attempts: i64,
}

impl Lease {
    /// Takes the lease for `name`, unless somebody has it or it is not due.
    pub(super) async fn take(session: &Session, name: &str, holder: &str) -> Result<Option<Self>, session::Error> {
        let (table, now) = (table(session.dialect(), "acme_orders"), now(session.dialect()));
        let sql = format!(
            "INSERT INTO {table} AS orders (name, fence, holder, leased_until, due_at, attempts) \
             VALUES ($1, 1, $2, {now} + {LEASE_SECONDS}, 0, 0) \
             ON CONFLICT (name) DO UPDATE SET fence = orders.fence + 1, holder = excluded.holder, \
             leased_until = excluded.leased_until WHERE orders.leased_until < {now} AND orders.due_at <= {now} \
             RETURNING fence, order_url, attempts"
        );
        let rows = session.query(&sql, &[name, holder].map(Value::from)).await?;
        Ok(rows.first().map(|row| Self {
            name: name.to_owned(),
            fence: int(row, 0),
            order_url: row.get(1).and_then(Value::as_text).map(str::to_owned),
            attempts: int(row, 2),
        }))
    }

    /// Remembers the order, so that another can go on with it.
    pub(super) async fn remember(&self, session: &Session, order_url: &str) -> Result<(), OrderError> {
        let sql = format!(
            "UPDATE {} SET order_url = $3 WHERE name = $1 AND fence = CAST($2 AS bigint) RETURNING fence",
            table(session.dialect(), "acme_orders")
        );
        let values = [Value::from(self.name.as_str()), Value::Int(self.fence), Value::from(order_url)];
        match session.query(&sql, &values).await?.is_empty() {
            true => Err(OrderError::LeaseLost),
            false => Ok(()),
        }
    }

    /// Gives it back with the work done.
    pub(super) async fn finish(&self, session: &Session) -> Result<(), session::Error> {
        self.give_back(session, "order_url = NULL, attempts = 0, problem = NULL, due_at = 0", &[]).await
    }

    /// Gives it back until the name is to be tried again.
    pub(super) async fn fail(&self, session: &Session, error: &OrderError) -> Result<(), session::Error> {
        let pause = pause(self.attempts, error.reason());
        let jitter = fastrand::u32(0..=pause / 10);
        let forget = if error.reason() == Reason::Unreachable { "" } else { "order_url = NULL, " };
        let now = now(session.dialect());
        let set = format!("{forget}attempts = attempts + 1, problem = $3, due_at = {now} + {}", pause + jitter);
        self.give_back(session, &set, &[Value::Text(crate::telemetry::causes::one_line(error))]).await
    }

    async fn give_back(&self, session: &Session, set: &str, more: &[Value]) -> Result<(), session::Error> {
        let table = table(session.dialect(), "acme_orders");
        let sql = format!("UPDATE {table} SET {set}, leased_until = 0 WHERE name = $1 AND fence = CAST($2 AS bigint)");
        let values = [&[Value::from(self.name.as_str()), Value::Int(self.fence)], more].concat();
        session.query(&sql, &values).await.map(drop)
    }
}

fn pause(attempts: i64, reason: Reason) -> u32 {
    match reason {
        Reason::Unreachable => PAUSE_UNREACHABLE_SECONDS,
        Reason::RateLimited => PAUSE_RATE_LIMITED_SECONDS,
        Reason::Refused => {
            let times = u32::try_from(attempts).unwrap_or(u32::MAX).min(10);
            PAUSE_SECONDS.saturating_mul(3_u32.saturating_pow(times)).min(PAUSE_MAX_SECONDS)
        }
    }
}

fn int(row: &Row, column: usize) -> i64 {
    match row.get(column) {
        Some(Value::Int(number)) => *number,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::{migrations, sqlite::Database};

    async fn session() -> (tempfile::TempDir, Session) {
        let folder = tempfile::tempdir().unwrap();
        let session = Session::sqlite(&Database::create(&folder.path().join("usher.db")).unwrap());
        migrations::run(&session, &migrations::Plan::default()).await.unwrap();
        (folder, session)
    }

    async fn run_out(session: &Session) {
        session.batch("UPDATE usher_acme_orders SET leased_until = 1").await.unwrap();
    }

    #[tokio::test]
    async fn one_at_a_time_has_the_lease_and_the_next_goes_on_with_its_order() {
        let (_folder, session) = session().await;
        let first = Lease::take(&session, "a.example", "one").await.unwrap().unwrap();
        assert!(Lease::take(&session, "a.example", "two").await.unwrap().is_none());
        assert!(Lease::take(&session, "b.example", "two").await.unwrap().is_some());
        first.remember(&session, "https://ca/order/1").await.unwrap();
        run_out(&session).await;
        let second = Lease::take(&session, "a.example", "two").await.unwrap().unwrap();
        assert_eq!((second.fence, second.order_url.as_deref()), (2, Some("https://ca/order/1")));
        // What the first still writes is refused.
        assert!(matches!(first.remember(&session, "https://ca/order/2").await, Err(OrderError::LeaseLost)));
        first.finish(&session).await.unwrap();
        assert!(Lease::take(&session, "a.example", "three").await.unwrap().is_none());
        second.finish(&session).await.unwrap();
        let third = Lease::take(&session, "a.example", "three").await.unwrap().unwrap();
        assert_eq!((third.fence, third.order_url), (3, None));
    }

    #[tokio::test]
    async fn a_name_that_failed_is_not_due_for_a_while() {
        let (_folder, session) = session().await;
        let lease = Lease::take(&session, "a.example", "one").await.unwrap().unwrap();
        lease.fail(&session, &OrderError::NoChallenge).await.unwrap();
        assert!(Lease::take(&session, "a.example", "one").await.unwrap().is_none());
        session.batch("UPDATE usher_acme_orders SET due_at = 0").await.unwrap();
        let again = Lease::take(&session, "a.example", "one").await.unwrap().unwrap();
        assert_eq!(again.attempts, 1);
    }

    #[test]
    fn pauses_grow_up_to_a_day() {
        let grown: Vec<_> = (0..8).map(|attempts| pause(attempts, Reason::Refused) / 60).collect();
        assert_eq!(grown, [5, 15, 45, 135, 405, 1215, 1440, 1440]);
        assert_eq!((pause(9, Reason::Unreachable), pause(9, Reason::RateLimited)), (60, 3600));
    }
}
