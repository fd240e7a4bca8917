//! Names that are to have a certificate and have none that lasts, before anybody works for them.

use super::{clock::Clock, store::LAST_DAY_SECONDS, table};
use crate::database::session::{self, Session, Value};

/// Names written with one statement.
const NAMES_AT_ONCE: usize = 200;

/// Certificates that are due, noted with one look: many times as many as can be ordered before the next one.
const RENEWALS_AT_ONCE: usize = 500;

/// After so long a name that was let go is looked at again because its certificate runs out: most of them stay nobody's.
const LET_GO_SECONDS: u32 = 24 * 60 * 60;

/// Notes who is wanted.
pub(super) struct Queue {
    clock: Clock,
}

impl Queue {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock }
    }

    /// Notes that these are wanted, as far as they have no certificate that lasts; those that are already stay where they were.
    pub(super) async fn want(&self, session: &Session, names: &[String]) -> Result<(), session::Error> {
        let (certificates, now) = (table(session.dialect(), "certificates"), self.clock.sql(session.dialect()));
        for names in names.chunks(NAMES_AT_ONCE) {
            let rows: Vec<_> = (1..=names.len()).map(|number| format!("(CAST(${number} AS text))")).collect();
            let select = format!(
                "SELECT DISTINCT w.column1, 0, '', 0, 0, 0, {now} FROM (VALUES {}) AS w WHERE NOT EXISTS (SELECT 1 FROM {certificates} c \
                 WHERE c.name = w.column1 AND coalesce(c.renew_at, c.expires_at - {LAST_DAY_SECONDS}) > {now})",
                rows.join(", ")
            );
            let values: Vec<_> = names.iter().map(|name| Value::from(name.as_str())).collect();
            self.insert(session, &select, &values).await?;
        }
        Ok(())
    }

    /// Notes certificates whose time has come.
    pub(super) async fn want_renewals(&self, session: &Session) -> Result<(), session::Error> {
        let (certificates, now) = (table(session.dialect(), "certificates"), self.clock.sql(session.dialect()));
        let orders = table(session.dialect(), "acme_orders");
        let select = format!(
            "SELECT c.name, 0, '', 0, 0, 0, {now} FROM {certificates} c LEFT JOIN {orders} o ON o.name = c.name \
             WHERE c.renew_at <= {now} AND (o.name IS NULL OR (o.wanted_since IS NULL AND o.due_at <= {now} - {LET_GO_SECONDS})) \
             ORDER BY c.renew_at LIMIT {RENEWALS_AT_ONCE}"
        );
        self.insert(session, &select, &[]).await
    }

    /// Lets the time come for what another CA than one of `directories` has issued, a staging one for instance. Looks at every
    /// certificate: for the start.
    pub(super) async fn renew_strangers(&self, session: &Session, directories: &[&str]) -> Result<(), session::Error> {
        let (certificates, now) = (table(session.dialect(), "certificates"), self.clock.sql(session.dialect()));
        let places: Vec<_> = (1..=directories.len()).map(|number| format!("${number}")).collect();
        let sql = format!(
            "UPDATE {certificates} SET renew_at = {now}, directory = NULL, ask_at = NULL \
             WHERE renew_at IS NOT NULL AND directory NOT IN ({})",
            places.join(", ")
        );
        let values: Vec<_> = directories.iter().map(|directory| Value::from(*directory)).collect();
        session.query(&sql, &values).await.map(drop)
    }

    async fn insert(&self, session: &Session, rows: &str, values: &[Value]) -> Result<(), session::Error> {
        let (orders, now) = (table(session.dialect(), "acme_orders"), self.clock.sql(session.dialect()));
        let sql = format!(
            "INSERT INTO {orders} AS orders (name, fence, holder, leased_until, due_at, attempts, wanted_since) {rows} \
             ON CONFLICT (name) DO UPDATE SET wanted_since = excluded.wanted_since \
             WHERE orders.wanted_since IS NULL AND orders.due_at <= {now}"
        );
        session.query(&sql, values).await.map(drop)
    }
}
