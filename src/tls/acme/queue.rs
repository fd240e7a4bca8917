//! Names that are to have a certificate and have none that lasts, before anybody works for them.

use super::{clock::Clock, store::LAST_DAY_SECONDS, table};
use crate::database::session::{self, Session, Value};

/// Names written with one statement.
const NAMES_AT_ONCE: usize = 200;

/// Certificates that are due, noted with one look: many times as many as can be ordered before the next one.
const RENEWALS_AT_ONCE: usize = 500;

/// Certificates looked at together for another CA: some milliseconds of the database's time where few have to be written.
const STRANGERS_PAGE: u32 = 1000;

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

    /// Lets the time come for what another CA than one of `directories` has issued, a staging one for instance, on the page of
    /// certificates behind `after`; says where the next one begins.
    pub(super) async fn renew_strangers(
        &self,
        session: &Session,
        directories: &[&str],
        after: &str,
    ) -> Result<Option<String>, session::Error> {
        let (certificates, now) = (table(session.dialect(), "certificates"), self.clock.sql(session.dialect()));
        let page = format!(
            "SELECT max(name) FROM (SELECT name FROM {certificates} WHERE name > $1 ORDER BY name LIMIT {STRANGERS_PAGE}) AS page"
        );
        let rows = session.query(&page, &[Value::from(after)]).await?;
        let Some(last) = rows.first().and_then(|row| row.first()?.as_text()) else { return Ok(None) };
        let places: Vec<_> = (3..directories.len() + 3).map(|number| format!("${number}")).collect();
        let sql = format!(
            "UPDATE {certificates} SET renew_at = {now}, directory = NULL, ask_at = NULL \
             WHERE name > $1 AND name <= $2 AND renew_at IS NOT NULL AND directory NOT IN ({})",
            places.join(", ")
        );
        let values: Vec<_> = [after, last].iter().chain(directories).map(|text| Value::from(*text)).collect();
        session.query(&sql, &values).await?;
        Ok(Some(last.to_owned()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::{migrations, sqlite::Database};

    #[tokio::test]
    async fn certificates_of_another_ca_are_found_page_by_page_and_those_of_ours_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let session = Session::sqlite(&Database::create(&folder.path().join("usher.db")).unwrap());
        migrations::run(&session, &migrations::Plan::default()).await.unwrap();
        let row = |number: u32| {
            let directory = if number.is_multiple_of(5) { "ours" } else { "staging" };
            format!("('shop{number:04}', '', '', '', 99999999999, 99999999999, '{directory}')")
        };
        let rows: Vec<_> = (0..2 * STRANGERS_PAGE + 500).map(row).collect();
        let columns = "name, certificate, key_id, sealed_key, expires_at, renew_at, directory";
        session.batch(&format!("INSERT INTO usher_certificates ({columns}) VALUES {}", rows.join(", "))).await.unwrap();
        let due = "SELECT count(*) FROM usher_certificates WHERE renew_at < 99999999999";
        let (queue, mut after, mut counts) = (Queue::new(Clock::default()), String::new(), Vec::new());
        while let Some(next) = queue.renew_strangers(&session, &["ours", "another"], &after).await.unwrap() {
            after = next;
            counts.push(session.query(due, &[]).await.unwrap()[0][0].clone());
        }
        assert_eq!(counts, [800, 1600, 2000].map(Value::Int));
    }
}
