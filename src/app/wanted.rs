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
        let (schema, now) = match self.session.dialect() {
            Dialect::Postgres => ("usher.", "CAST(extract(epoch FROM now()) AS bigint)"),
            Dialect::Sqlite => ("usher_", "CAST(strftime('%s', 'now') AS INTEGER)"),
        };
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
        let rows = self.session.query(&sql, &[]).await?;
        Ok(rows.iter().filter_map(|row| row.first().and_then(Value::as_text).map(str::to_owned)).collect())
    }
}

impl Names for CustomDomains {
    fn due(&self, count: usize) -> BoxFuture<'_, Result<Vec<String>, session::Error>> {
        Box::pin(self.names(count))
    }
}
