//! Which names are to have a certificate: custom domains that are served, as the tables have them.

use crate::{
    database::session::{self, Dialect, Session, Value},
    tls::{BoxFuture, Names},
};

/// Reads `stores` and `store_domains` beside usher's own tables.
pub(super) struct CustomDomains {
    session: Session,
}

impl CustomDomains {
    /// Those behind `session`.
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    async fn names(&self, count: usize) -> Result<Vec<String>, session::Error> {
        let (schema, now) = own_tables(&self.session);
        // Those that have none come first, the newest in front: somebody is waiting for it.
        let sql = format!(
            "SELECT lower(rtrim(d.domain, '.')) \
             FROM store_domains d JOIN stores s ON s.id = d.store_id \
             LEFT JOIN {schema}certificates c ON c.name = lower(rtrim(d.domain, '.')) \
             LEFT JOIN {schema}acme_orders o ON o.name = lower(rtrim(d.domain, '.')) \
             WHERE d.is_active AND d.is_verified AND s.is_active \
             AND (c.name IS NULL OR c.renew_at <= {now}) \
             AND (o.name IS NULL OR (o.leased_until < {now} AND o.due_at <= {now})) \
             ORDER BY (c.name IS NULL) DESC, d.id DESC LIMIT {count}"
        );
        names(&self.session, &sql).await
    }
}

impl Names for CustomDomains {
    fn due(&self, count: usize) -> BoxFuture<'_, Result<Vec<String>, session::Error>> {
        Box::pin(self.names(count))
    }
}

/// Names whose certificate runs out: SQL of the user's own finds one name and cannot list those that have none, which are asked for
/// while their first visitor waits.
pub(super) struct Renewals {
    session: Session,
}

impl Renewals {
    /// Those behind `session`.
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    async fn names(&self, count: usize) -> Result<Vec<String>, session::Error> {
        let (schema, now) = own_tables(&self.session);
        let sql = format!(
            "SELECT c.name FROM {schema}certificates c LEFT JOIN {schema}acme_orders o ON o.name = c.name \
             WHERE c.renew_at <= {now} AND (o.name IS NULL OR (o.leased_until < {now} AND o.due_at <= {now})) \
             ORDER BY c.expires_at LIMIT {count}"
        );
        names(&self.session, &sql).await
    }
}

impl Names for Renewals {
    fn due(&self, count: usize) -> BoxFuture<'_, Result<Vec<String>, session::Error>> {
        Box::pin(self.names(count))
    }
}

/// What stands in front of the names of usher's own tables, and the database's time in seconds.
fn own_tables(session: &Session) -> (&'static str, &'static str) {
    match session.dialect() {
        Dialect::Postgres => ("usher.", "CAST(extract(epoch FROM now()) AS bigint)"),
        Dialect::Sqlite => ("usher_", "CAST(strftime('%s', 'now') AS INTEGER)"),
    }
}

async fn names(session: &Session, sql: &str) -> Result<Vec<String>, session::Error> {
    let rows = session.query(sql, &[]).await?;
    Ok(rows.iter().filter_map(|row| row.first().and_then(Value::as_text).map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::{migrations, sqlite::Database};

    const ROWS: &str = "
        INSERT INTO stores (id, subdomain, name, is_active) VALUES (1, 'on', 'On', TRUE), (2, 'off', 'Off', FALSE);
        INSERT INTO store_domains (store_id, domain, is_active, is_verified) VALUES
            (1, 'old.example', TRUE, TRUE), (1, 'New.example.', TRUE, TRUE), (1, 'unproven.example', TRUE, FALSE),
            (1, 'off.example', FALSE, TRUE), (2, 'closed.example', TRUE, TRUE), (1, 'ending.example', TRUE, TRUE),
            (1, 'imported.example', TRUE, TRUE), (1, 'failed.example', TRUE, TRUE);
        INSERT INTO usher_certificates (name, certificate, key_id, sealed_key, expires_at, renew_at) VALUES
            ('ending.example', '', '', '', 2, 1), ('left.example', '', '', '', 2, 1), ('imported.example', '', '', '', 2, NULL),
            ('good.example', '', '', '', 99999999999, 99999999999);
        INSERT INTO usher_acme_orders (name, fence, holder, leased_until, due_at, attempts) VALUES
            ('failed.example', 1, '', 0, 99999999999, 1);";

    #[tokio::test]
    async fn names_that_lack_a_certificate_come_first_and_only_those_that_are_served() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::create(&folder.path().join("usher.db")).unwrap();
        let session = || Session::sqlite(&database);
        migrations::run(&session(), &migrations::Plan::default()).await.unwrap();
        session().batch(ROWS).await.unwrap();
        let due = CustomDomains::new(session()).due(10).await.unwrap();
        assert_eq!(due, ["new.example", "old.example", "ending.example"]);
        assert_eq!(CustomDomains::new(session()).due(1).await.unwrap(), ["new.example"]);
        let mut renewals = Renewals::new(session()).due(10).await.unwrap();
        renewals.sort_unstable();
        assert_eq!(renewals, ["ending.example", "left.example"]);
    }
}
