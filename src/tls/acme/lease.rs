//! The right to work for a name. It runs out by the database's clock; whoever takes it next gets a higher number, and what is written
//! under a lower one is refused.

use std::time::Duration;

use super::{
    clock::Clock,
    failure::{OrderError, Reason},
    table,
};
use crate::{
    database::session::{self, Dialect, Row, Session, Value},
    telemetry::causes::one_line,
};

/// Longer than an order may take.
const LEASE_SECONDS: u32 = 240;

/// After so long a name that was nobody's is looked at again, where somebody is served under it by now.
const NOBODYS_SECONDS: u32 = 15 * 60;

/// So long after a visit a name that did not lead here is visited again, where a visitor comes by: somebody may have set its record since.
const ASTRAY_SECONDS: u32 = 30;

/// Who has led elsewhere so often in a row, or has had no certificate that holds for so long, comes last: most of them have left.
const ASTRAY_OFTEN: u32 = 10;
const ENDED_SECONDS: u32 = 7 * 24 * 60 * 60;

/// The table of leases, which also says what is to be done.
pub(super) struct Leases {
    clock: Clock,
    /// Of this instance, for people who read the table.
    holder: String,
}

/// A lease that was taken.
pub(super) struct Lease {
    pub(super) name: String,
    pub(super) fence: i64,
    /// The CA that the name was taken to, where it has been.
    pub(super) directory: Option<String>,
    /// The order that whoever had it before has left behind.
    pub(super) order_url: Option<String>,
    /// Failures in a row so far, all for this reason.
    pub(super) attempts: u32,
    pub(super) reason: Option<Reason>,
}

const COLUMNS: &str = "name, fence, directory, order_url, attempts, reason";

impl Leases {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, holder: format!("{:x}-{}", fastrand::u32(..), std::process::id()) }
    }

    /// Takes the lease for `name`, unless somebody has it or it is not due. A visitor has come, so a name that did not lead here is due
    /// soon after it was visited last, which was when its last lease ended.
    pub(super) async fn take(&self, session: &Session, name: &str) -> Result<Option<Lease>, session::Error> {
        let (table, now) = self.place(session);
        let sql = format!(
            "INSERT INTO {table} AS orders (name, fence, holder, leased_until, due_at, attempts, wanted_since) \
             VALUES ($1, 1, $2, {now} + {LEASE_SECONDS}, 0, 0, {now}) \
             ON CONFLICT (name) DO UPDATE SET fence = orders.fence + 1, holder = excluded.holder, \
             leased_until = excluded.leased_until, wanted_since = coalesce(orders.wanted_since, excluded.wanted_since) \
             WHERE orders.leased_until < {now} AND (orders.due_at <= {now} \
             OR (orders.reason = 'astray' AND orders.leased_until < {now} - {ASTRAY_SECONDS})) RETURNING {COLUMNS}"
        );
        let rows = session.query(&sql, &[name, &self.holder].map(Value::from)).await?;
        Ok(rows.first().and_then(lease))
    }

    /// Whether somebody has the lease for `name`.
    pub(super) async fn is_taken(&self, session: &Session, name: &str) -> Result<bool, session::Error> {
        let (table, now) = self.place(session);
        let sql = format!("SELECT name FROM {table} WHERE name = $1 AND leased_until >= {now}");
        Ok(!session.query(&sql, &[Value::from(name)]).await?.is_empty())
    }

    /// A name that did not lead here is due: it leads here now.
    pub(super) async fn hurry(&self, session: &Session, name: &str) -> Result<(), session::Error> {
        let (table, now) = self.place(session);
        let sql = format!("UPDATE {table} SET due_at = {now} WHERE name = $1 AND reason = 'astray' AND due_at > {now}");
        session.query(&sql, &[Value::from(name)]).await.map(drop)
    }

    /// Takes up to `count` leases of those that are due: certificates that run out first, then names without one, those that came last
    /// in front, since somebody is waiting for them; then what is renewed in time; and then those who seem to have left.
    pub(super) async fn take_due(&self, session: &Session, count: usize) -> Result<Vec<Lease>, session::Error> {
        let (table, now) = self.place(session);
        let certificates = super::table(session.dialect(), "certificates");
        // Several instances ask at the same time, and each is to get others.
        let skip = if session.dialect() == Dialect::Postgres { "FOR UPDATE OF o SKIP LOCKED" } else { "" };
        // Read once and kept: looked at again for each row, it would find more.
        let sql = format!(
            "WITH due AS MATERIALIZED (SELECT o.name FROM {table} o LEFT JOIN {certificates} c ON c.name = o.name \
             WHERE o.wanted_since IS NOT NULL AND o.due_at <= {now} AND o.leased_until < {now} \
             ORDER BY CASE WHEN (o.reason = 'astray' AND o.attempts > {ASTRAY_OFTEN}) OR c.expires_at < {now} - {ENDED_SECONDS} THEN 3 \
             WHEN c.renew_at IS NULL THEN 1 WHEN c.expires_at - {now} < {now} - c.renew_at THEN 0 ELSE 2 END, \
             o.wanted_since DESC, o.name LIMIT {count} {skip}) \
             UPDATE {table} SET fence = fence + 1, holder = $1, leased_until = {now} + {LEASE_SECONDS} \
             WHERE name IN (SELECT name FROM due) RETURNING {COLUMNS}"
        );
        let rows = session.query(&sql, &[Value::from(self.holder.as_str())]).await?;
        Ok(rows.iter().filter_map(lease).collect())
    }

    /// Remembers the order, so that another can go on with it.
    pub(super) async fn remember(
        &self,
        session: &Session,
        lease: &Lease,
        directory: &str,
        order_url: &str,
    ) -> Result<(), OrderError> {
        let (table, _now) = self.place(session);
        let sql = format!(
            "UPDATE {table} SET directory = $3, order_url = $4 WHERE name = $1 AND fence = CAST($2 AS bigint) RETURNING fence"
        );
        let [name, directory, order_url] = [lease.name.as_str(), directory, order_url].map(Value::from);
        match session.query(&sql, &[name, Value::Int(lease.fence), directory, order_url]).await?.is_empty() {
            true => Err(OrderError::LeaseLost),
            false => Ok(()),
        }
    }

    /// Whether an order at `directory` is remembered for the name.
    pub(super) async fn has_order(
        &self,
        session: &Session,
        lease: &Lease,
        directory: &str,
    ) -> Result<bool, session::Error> {
        let (table, _now) = self.place(session);
        let sql = format!("SELECT name FROM {table} WHERE name = $1 AND directory = $2 AND order_url IS NOT NULL");
        let values = [lease.name.as_str(), directory].map(Value::from);
        Ok(!session.query(&sql, &values).await?.is_empty())
    }

    /// Gives it back as it was taken.
    pub(super) async fn leave(&self, session: &Session, lease: &Lease) -> Result<(), session::Error> {
        let set = format!("due_at = {}", self.clock.sql(session.dialect()));
        self.give_back(session, lease, &set, &[]).await
    }

    /// Gives it back with the work done.
    pub(super) async fn finish(&self, session: &Session, lease: &Lease) -> Result<(), session::Error> {
        let set = "order_url = NULL, directory = NULL, attempts = 0, reason = NULL, problem = NULL, due_at = 0, wanted_since = NULL";
        self.give_back(session, lease, set, &[]).await
    }

    /// Gives it back since the name is nobody's any more.
    pub(super) async fn let_go(&self, session: &Session, lease: &Lease) -> Result<(), session::Error> {
        let now = self.clock.sql(session.dialect());
        let set = format!(
            "order_url = NULL, directory = NULL, attempts = 0, reason = NULL, problem = NULL, \
             due_at = {now} + {NOBODYS_SECONDS}, wanted_since = NULL"
        );
        self.give_back(session, lease, &set, &[]).await
    }

    /// Gives it back until the name is to be tried again, with the CA it was taken to; how long that is.
    pub(super) async fn fail(
        &self,
        session: &Session,
        lease: &Lease,
        directory: Option<&str>,
        error: &OrderError,
    ) -> Result<Duration, session::Error> {
        let reason = error.reason();
        let failures = lease.failures(reason);
        let pause = error.pause(failures);
        let jitter = pause.mul_f32(fastrand::f32() / 10.0);
        let seconds = (pause + jitter).as_secs();
        // One of another CA is of no use to the one that the name is taken to.
        let kept = if error.keeps_order() { "CASE WHEN directory = $3 THEN order_url END" } else { "NULL" };
        // An order of no use says nothing new: what came before it goes on to be counted.
        let count = match error {
            OrderError::Lost => String::new(),
            _ => format!("attempts = {failures}, reason = '{}', ", reason.as_str()),
        };
        let set = format!(
            "order_url = {kept}, {count}directory = $3, problem = $4, due_at = {} + {seconds}",
            self.clock.sql(session.dialect())
        );
        let directory = directory.map_or(Value::Null, Value::from);
        let told = [directory, Value::Text(one_line(error))];
        self.give_back(session, lease, &set, &told).await?;
        Ok(pause)
    }

    async fn give_back(
        &self,
        session: &Session,
        lease: &Lease,
        set: &str,
        more: &[Value],
    ) -> Result<(), session::Error> {
        let (table, now) = self.place(session);
        let sql = format!(
            "UPDATE {table} SET {set}, leased_until = {now} - 1 WHERE name = $1 AND fence = CAST($2 AS bigint)"
        );
        let values = [&[Value::from(lease.name.as_str()), Value::Int(lease.fence)], more].concat();
        session.query(&sql, &values).await.map(drop)
    }

    fn place(&self, session: &Session) -> (String, String) {
        (table(session.dialect(), "acme_orders"), self.clock.sql(session.dialect()).into_owned())
    }
}

impl Lease {
    /// Failures in a row for `reason`, with one more.
    pub(super) fn failures(&self, reason: Reason) -> u32 {
        if self.reason == Some(reason) { self.attempts.saturating_add(1) } else { 1 }
    }

    /// How often in a row the CA has said no. One that did not answer has nothing against the way it was shown whose the name is.
    pub(super) fn refusals(&self) -> u32 {
        if self.reason == Some(Reason::Refused) { self.attempts } else { 0 }
    }
}

fn lease(row: &Row) -> Option<Lease> {
    let text = |column: usize| row.get(column).and_then(Value::as_text);
    let int = |column: usize| match row.get(column) {
        Some(Value::Int(number)) => *number,
        _ => 0,
    };
    Some(Lease {
        name: text(0)?.to_owned(),
        fence: int(1),
        directory: text(2).map(str::to_owned),
        order_url: text(3).map(str::to_owned),
        attempts: u32::try_from(int(4)).unwrap_or(u32::MAX),
        reason: text(5).and_then(Reason::parse),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::Astray, *};
    use crate::database::{migrations, sqlite::Database};

    async fn session() -> (tempfile::TempDir, Session) {
        let folder = tempfile::tempdir().unwrap();
        let session = Session::sqlite(&Database::create(&folder.path().join("usher.db")).unwrap());
        migrations::run(&session, &migrations::Plan::default()).await.unwrap();
        (folder, session)
    }

    fn leases() -> Leases {
        Leases::new(Clock::default())
    }

    async fn run_out(session: &Session) {
        session.batch("UPDATE usher_acme_orders SET leased_until = 1").await.unwrap();
    }

    #[tokio::test]
    async fn one_at_a_time_has_the_lease_and_the_next_goes_on_with_its_order() {
        let (_folder, session) = session().await;
        let [one, two] = [leases(), leases()];
        let first = one.take(&session, "a.example").await.unwrap().unwrap();
        assert!(two.take(&session, "a.example").await.unwrap().is_none());
        assert!(two.take(&session, "b.example").await.unwrap().is_some());
        one.remember(&session, &first, "https://ca", "https://ca/order/1").await.unwrap();
        run_out(&session).await;
        let second = two.take(&session, "a.example").await.unwrap().unwrap();
        assert_eq!((second.fence, second.order_url.as_deref()), (2, Some("https://ca/order/1")));
        // What the first still writes is refused.
        let late = one.remember(&session, &first, "https://ca", "https://ca/order/2").await;
        assert!(matches!(late, Err(OrderError::LeaseLost)));
        one.finish(&session, &first).await.unwrap();
        assert!(one.take(&session, "a.example").await.unwrap().is_none());
        two.finish(&session, &second).await.unwrap();
        let third = one.take(&session, "a.example").await.unwrap().unwrap();
        assert_eq!((third.fence, third.order_url), (3, None));
    }

    #[tokio::test]
    async fn a_name_that_led_elsewhere_is_due_for_visitors_half_a_minute_after_its_last_visit() {
        let (_folder, session) = session().await;
        let (leases, sql) = (leases(), "UPDATE usher_acme_orders SET leased_until = strftime('%s', 'now')");
        for (error, is_astray) in
            [(OrderError::Astray(Astray::Elsewhere(String::new())), true), (OrderError::Invalid, false)]
        {
            let lease = leases.take(&session, "a.example").await.unwrap().unwrap();
            leases.fail(&session, &lease, None, &error).await.unwrap();
            session.batch(&format!("{sql} - {ASTRAY_SECONDS}")).await.unwrap();
            assert!(leases.take(&session, "a.example").await.unwrap().is_none(), "{error}");
            session.batch(&format!("{sql} - {ASTRAY_SECONDS} - 10")).await.unwrap();
            assert_eq!(leases.take(&session, "a.example").await.unwrap().is_some(), is_astray, "{error}");
            session.batch("UPDATE usher_acme_orders SET leased_until = 0, due_at = 0").await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_leads_here_now_is_due_and_nothing_else() {
        let (_folder, session) = session().await;
        let leases = leases();
        for (error, is_due) in [(OrderError::Astray(Astray::Elsewhere(String::new())), 1), (OrderError::Invalid, 0)] {
            let lease = leases.take(&session, "a.example").await.unwrap().unwrap();
            leases.fail(&session, &lease, None, &error).await.unwrap();
            assert!(leases.take_due(&session, 1).await.unwrap().is_empty());
            leases.hurry(&session, "a.example").await.unwrap();
            assert_eq!(leases.take_due(&session, 1).await.unwrap().len(), is_due, "{error}");
            session.batch("UPDATE usher_acme_orders SET leased_until = 0, due_at = 0").await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_given_back_can_be_taken_at_once() {
        let (_folder, session) = session().await;
        let leases = leases();
        let lease = leases.take(&session, "a.example").await.unwrap().unwrap();
        assert!(leases.take_due(&session, 1).await.unwrap().is_empty());
        leases.leave(&session, &lease).await.unwrap();
        assert_eq!(leases.take_due(&session, 1).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn failures_are_counted_by_reason_and_what_failed_is_not_due_for_a_while() {
        let (_folder, session) = session().await;
        let leases = leases();
        for (error, attempts) in [
            (OrderError::NoChallenge, 1),
            (OrderError::Invalid, 2),
            (OrderError::Astray(Astray::Elsewhere(String::new())), 1),
            (OrderError::Astray(Astray::Elsewhere(String::new())), 2),
        ] {
            let lease = leases.take(&session, "a.example").await.unwrap().unwrap();
            leases.fail(&session, &lease, Some("https://ca"), &error).await.unwrap();
            assert!(leases.take(&session, "a.example").await.unwrap().is_none());
            session.batch("UPDATE usher_acme_orders SET due_at = 0").await.unwrap();
            let rows = session.query("SELECT attempts FROM usher_acme_orders", &[]).await.unwrap();
            assert_eq!(rows, [[Value::Int(attempts)]], "{error}");
            let lease = leases.take(&session, "a.example").await.unwrap().unwrap();
            let refusals = if error.reason() == Reason::Refused { attempts } else { 0 };
            assert_eq!(i64::from(lease.refusals()), refusals, "{error}");
            leases.leave(&session, &lease).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_ca_that_is_slow_is_met_with_patience_although_its_orders_are_lost() {
        let (_folder, session) = session().await;
        let leases = leases();
        for (error, attempts, is_due) in [
            (OrderError::Late, 1, false),
            (OrderError::Lost, 1, true),
            (OrderError::Late, 2, false),
            (OrderError::Lost, 2, true),
            (OrderError::Late, 3, false),
        ] {
            let lease = leases.take(&session, "a.example").await.unwrap().unwrap();
            leases.remember(&session, &lease, "https://ca", "https://ca/order/1").await.unwrap();
            leases.fail(&session, &lease, Some("https://ca"), &error).await.unwrap();
            let sql =
                "SELECT attempts, reason, order_url IS NULL, due_at <= strftime('%s', 'now') FROM usher_acme_orders";
            let rows = session.query(sql, &[]).await.unwrap();
            assert_eq!((&rows[0][0], rows[0][1].as_text()), (&Value::Int(attempts), Some("unreachable")), "{error}");
            assert_eq!((rows[0][2].is_true(), rows[0][3].is_true()), (is_due, is_due), "{error}");
            session.batch("UPDATE usher_acme_orders SET due_at = 0").await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_runs_out_comes_first_then_who_came_last() {
        let (_folder, session) = session().await;
        let rows =
            "INSERT INTO usher_acme_orders (name, fence, holder, leased_until, due_at, attempts, wanted_since) VALUES
                ('older', 0, '', 0, 0, 0, 10), ('newer', 0, '', 0, 0, 0, 20), ('later', 0, '', 0, 99999999999, 0, 30),
                ('taken', 0, '', 99999999999, 0, 0, 30), ('renewed', 0, '', 0, 0, 0, 40), ('ending', 0, '', 0, 0, 0, 1),
                ('done', 0, '', 0, 0, 0, NULL), ('ended', 0, '', 0, 0, 0, 50), ('left', 0, '', 0, 0, 11, 60);
            UPDATE usher_acme_orders SET reason = 'astray' WHERE name = 'left';
            INSERT INTO usher_certificates (name, certificate, key_id, sealed_key, expires_at, renew_at) VALUES
                ('renewed', '', '', '', 99999999999, strftime('%s', 'now') - 10), ('ended', '', '', '', 2, 1),
                ('ending', '', '', '', strftime('%s', 'now') + 10, strftime('%s', 'now') - 100)";
        session.batch(rows).await.unwrap();
        let leases = leases();
        let mut taken = Vec::new();
        for _ in 0..7 {
            let due = leases.take_due(&session, 1).await.unwrap();
            taken.extend(due.into_iter().map(|lease| lease.name));
        }
        assert_eq!(taken, ["ending", "newer", "older", "renewed", "left", "ended"]);
    }
}
