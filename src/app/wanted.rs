//! Which names are to have a certificate: custom domains that are served, as the tables have them.

use std::sync::Arc;

use crate::{
    database::session::{self, Dialect, Session, Value},
    directory::TenantSource,
    routing::{Host, Hostname, KeyRef, Path, RequestFacts, Route, Rules, Status, WwwPolicy},
    tls::{BoxFuture, Names, NamesError, Page},
};

/// Rows of `store_domains` read with one look. They are found by the index of the look-ups, in its order: five milliseconds.
const PAGE: usize = 2000;

/// Of the newest rows, read with each look beside that: a new customer in a long table need not wait until the pages come by.
const NEWEST: usize = 100;

/// Reads `stores` and `store_domains` beside usher's own tables, or asks what the user's own SQL says of a name.
pub(super) struct CustomDomains {
    session: Session,
    source: Arc<dyn TenantSource>,
    rules: Rules,
    /// Whether names can be listed. SQL of the user's own finds one name: those that lack a certificate are then asked for while their
    /// first visitor waits.
    can_list: bool,
}

impl CustomDomains {
    /// Those behind `session`, each as `source` finds it.
    pub(super) fn new(session: Session, source: Arc<dyn TenantSource>, rules: Rules, can_list: bool) -> Self {
        Self { session, source, rules, can_list }
    }

    async fn page(&self, after: &str) -> Result<Page, session::Error> {
        if !self.can_list {
            return Ok(Page::default());
        }
        let rows = self.session.query(&self.sql("d.id DESC", "TRUE", NEWEST), &[]).await?;
        let mut names: Vec<_> = rows.iter().filter_map(lacking).collect();
        let order = "lower(rtrim(d.domain, '.'))";
        let sql = self.sql(order, &format!("{order} > $1"), PAGE);
        let rows = self.session.query(&sql, &[Value::from(after)]).await?;
        names.extend(rows.iter().filter_map(lacking));
        // The last name of the page comes with it, whether it lacks anything or not.
        let last = rows.last().filter(|row| matches!(row.get(2), Some(Value::Int(count)) if *count == PAGE as i64));
        let next = last.and_then(|row| row.first()?.as_text().map(str::to_owned));
        names.retain(|name| self.is_custom_domain(name));
        Ok(Page { names, next })
    }

    /// Of `count` rows in this order those that lack a certificate that lasts and are not worked for, and the last one.
    fn sql(&self, order: &str, filter: &str, count: usize) -> String {
        let (schema, now) = match self.session.dialect() {
            Dialect::Postgres => ("usher.", "CAST(extract(epoch FROM now()) AS bigint)"),
            Dialect::Sqlite => ("usher_", "CAST(strftime('%s', 'now') AS INTEGER)"),
        };
        format!(
            "WITH page AS (SELECT lower(rtrim(d.domain, '.')) AS name, d.is_active AND d.is_verified AND s.is_active AS is_served \
             FROM store_domains d JOIN stores s ON s.id = d.store_id WHERE {filter} ORDER BY {order} LIMIT {count}), \
             found AS (SELECT p.name, p.is_served AND o.wanted_since IS NULL AND coalesce(o.due_at, 0) <= {now} \
             AND (c.name IS NULL OR coalesce(c.renew_at, c.expires_at - 86400) <= {now}) AS is_lacking FROM page p \
             LEFT JOIN {schema}certificates c ON c.name = p.name LEFT JOIN {schema}acme_orders o ON o.name = p.name) \
             SELECT f.name, f.is_lacking, (SELECT count(*) FROM page) FROM found f \
             WHERE f.is_lacking OR f.name = (SELECT max(name) FROM page) ORDER BY f.name"
        )
    }

    /// Whether requests for `name` could reach a customer's store under it: a row for an administration's host is nobody's.
    fn is_custom_domain(&self, name: &str) -> bool {
        let Ok(name) = Hostname::parse(name) else { return false };
        let (host, path) = (Host::Name(name.clone()), Path::read("/"));
        let facts = RequestFacts { host: &host, path: &path, peer_is_loopback: false };
        let key = KeyRef::CustomDomain(name.as_str());
        matches!(self.rules.route(&facts), Ok(Route::Tenant { key: found, .. }) if found == key)
    }

    async fn status(&self, name: &str) -> Result<Option<Status>, NamesError> {
        let key = KeyRef::CustomDomain(name).into();
        let found = self.source.load(&key).await.map_err(|error| NamesError(error.into()))?;
        Ok(found.map(|tenant| tenant.status))
    }
}

impl Names for CustomDomains {
    fn lacking<'a>(&'a self, after: &'a str) -> BoxFuture<'a, Result<Page, NamesError>> {
        Box::pin(async move { self.page(after).await.map_err(|error| NamesError(error.into())) })
    }

    fn is_served<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, NamesError>> {
        Box::pin(async move { Ok(self.is_custom_domain(name) && self.status(name).await? == Some(Status::Active)) })
    }

    fn beside<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>, NamesError>> {
        Box::pin(async move {
            let beside = format!("www.{name}");
            if self.rules.settings().www == WwwPolicy::Off
                || name.starts_with("www.")
                || !self.is_custom_domain(&beside)
            {
                return Ok(None);
            }
            Ok(self.status(&beside).await?.is_none().then_some(beside))
        })
    }
}

fn lacking(row: &session::Row) -> Option<String> {
    let is_lacking = row.get(1).is_some_and(Value::is_true);
    is_lacking.then(|| row.first()?.as_text().map(str::to_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        database::{migrations, sqlite::Database},
        directory::{Queries, SqliteSource},
    };

    const CONFIG: &str = "[routing]\nplatform_domains = ['platform.com']\n[directory]\nurl = 'sqlite://u.db'\n\
                          [upstreams.default]\nservers = ['http://127.0.0.1:9']\n";

    const ROWS: &str = "
        INSERT INTO stores (id, subdomain, name, is_active) VALUES (1, 'on', 'On', TRUE), (2, 'off', 'Off', FALSE);
        INSERT INTO store_domains (store_id, domain, is_active, is_verified) VALUES
            (1, 'old.example', TRUE, TRUE), (1, 'New.example.', TRUE, TRUE), (1, 'unproven.example', TRUE, FALSE),
            (1, 'off.example', FALSE, TRUE), (2, 'closed.example', TRUE, TRUE), (1, 'ending.example', TRUE, TRUE),
            (1, 'imported.example', TRUE, TRUE), (1, 'over.example', TRUE, TRUE), (1, 'failed.example', TRUE, TRUE),
            (1, 'waiting.example', TRUE, TRUE), (1, 'store1.platform.com', TRUE, TRUE), (1, 'admin.brand.com', TRUE, TRUE),
            (1, 'no name', TRUE, TRUE), (1, 'www.both.example', FALSE, TRUE), (1, 'both.example', TRUE, TRUE);
        INSERT INTO usher_certificates (name, certificate, key_id, sealed_key, expires_at, renew_at) VALUES
            ('ending.example', '', '', '', 2, 1), ('imported.example', '', '', '', 99999999999, NULL),
            ('over.example', '', '', '', 2, NULL), ('both.example', '', '', '', 99999999999, 99999999999);
        INSERT INTO usher_acme_orders (name, fence, holder, leased_until, due_at, attempts, wanted_since) VALUES
            ('failed.example', 1, '', 0, 99999999999, 1, NULL), ('waiting.example', 1, '', 0, 0, 0, 1);";

    struct Fixture {
        domains: CustomDomains,
        session: Session,
        _folder: tempfile::TempDir,
    }

    async fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::create(&folder.path().join("usher.db")).unwrap();
        let session = Session::sqlite(&database);
        migrations::run(&session, &migrations::Plan::default()).await.unwrap();
        let config = Config::parse(CONFIG, "usher.toml", &|_| None).unwrap();
        let source = Arc::new(SqliteSource::new(database.clone(), Queries::default()));
        let domains = CustomDomains::new(Session::sqlite(&database), source, Rules::new(config.routing), true);
        Fixture { domains, session, _folder: folder }
    }

    #[tokio::test]
    async fn only_names_that_are_served_and_lack_a_certificate_are_found() {
        let Fixture { domains, session, _folder } = fixture().await;
        session.batch(ROWS).await.unwrap();
        let mut found = domains.lacking("").await.unwrap();
        found.names.sort_unstable();
        found.names.dedup();
        assert_eq!(
            found,
            Page {
                names: ["ending.example", "new.example", "old.example", "over.example"].map(str::to_owned).into(),
                next: None
            }
        );
    }

    #[tokio::test]
    async fn a_long_table_is_read_page_by_page_and_its_newest_rows_each_time() {
        let Fixture { domains, session, _folder } = fixture().await;
        let rows: Vec<_> = (0..5000).map(|number| format!("(1, 'd{number:04}.example', TRUE, TRUE)")).collect();
        let sql = format!(
            "INSERT INTO stores (id, subdomain, name) VALUES (1, 'on', 'On');
             INSERT INTO store_domains (store_id, domain, is_active, is_verified) VALUES {}",
            rows.join(", ")
        );
        session.batch(&sql).await.unwrap();
        let (mut after, mut pages) = (String::new(), Vec::new());
        loop {
            let page = domains.lacking(&after).await.unwrap();
            assert!(page.names.iter().any(|name| name == "d4999.example"));
            pages.push(page.names.len() - NEWEST);
            let Some(next) = page.next else { break };
            after = next;
        }
        assert_eq!(pages, [2000, 2000, 1000]);
        session.batch("UPDATE store_domains SET is_active = FALSE").await.unwrap();
        let page = domains.lacking("").await.unwrap();
        assert_eq!((page.names.len(), page.next.as_deref()), (0, Some("d1999.example")));
    }

    #[tokio::test]
    async fn www_comes_with_a_name_unless_it_is_somebodys_own() {
        let Fixture { domains, session, _folder } = fixture().await;
        session.batch(ROWS).await.unwrap();
        for (name, beside) in
            [("old.example", Some("www.old.example")), ("both.example", None), ("www.both.example", None)]
        {
            assert_eq!(domains.beside(name).await.unwrap().as_deref(), beside, "{name}");
        }
    }

    #[tokio::test]
    async fn a_name_is_served_as_a_request_for_it_would_be() {
        let Fixture { domains, session, _folder } = fixture().await;
        session.batch(ROWS).await.unwrap();
        for (name, expected) in [
            ("new.example", true),
            ("unproven.example", false),
            ("closed.example", false),
            ("nobody.example", false),
            ("store1.platform.com", false),
        ] {
            assert_eq!(domains.is_served(name).await.unwrap(), expected, "{name}");
        }
    }
}
