//! What is asked of the database: the default tables, the same over PostgreSQL and SQLite, or SQL of the user's own.
//!
//! A statement has one value, the name, and brings one row: store id, store active, domain active, domain verified, upstream,
//! primary domain. People write names as they like; they are compared as the wire has them. The migrations make an index on each
//! expression.
//!
//! `stores.upstream` need not exist. SQL looks for a bare name in the innermost query first: there it is the column where there is
//! one, else the NULL of `unnamed` outside.

use std::{borrow::Cow, sync::Arc};

use super::{Blame, OwnQueries, SourceError};
use crate::{
    database::session::Dialect,
    routing::{KeyRef, PlatformId, Redirects, Status, Tenant, TenantId, TenantKey, UpstreamName},
};

/// Where several rows come to the same name, those that are served count before others, so that nobody takes a name by writing it
/// down; then the one spelled exactly so, else the oldest.
fn custom_domain(primary: &str) -> String {
    format!(
        "SELECT CAST(s.id AS TEXT) AS store_id, s.is_active AS is_active, d.is_active AS domain_is_active, \
         d.is_verified AS is_verified, {UPSTREAM} AS upstream, {primary} AS primary_domain
         FROM store_domains d JOIN stores s ON s.id = d.store_id
         WHERE lower(rtrim(d.domain, '.')) = $1
         ORDER BY coalesce(d.is_active AND d.is_verified, FALSE) DESC, (d.domain = $1) DESC, d.id LIMIT 1"
    )
}

/// A store's own label needs no proof of ownership.
fn label(primary: &str) -> String {
    format!(
        "SELECT CAST(s.id AS TEXT) AS store_id, s.is_active AS is_active, TRUE, TRUE, {UPSTREAM} AS upstream, \
         {primary} AS primary_domain
         FROM stores s
         WHERE lower(s.subdomain) = $1
         ORDER BY (s.subdomain = $1) DESC, s.id LIMIT 1"
    )
}

/// The upstream that the store's row names.
const UPSTREAM: &str = "\
(SELECT (SELECT CAST(upstream AS TEXT) FROM stores AS named WHERE named.id = s.id)
 FROM (SELECT NULL AS upstream) AS unnamed)";

/// For hosts that do not stand back for a primary domain.
const NO_PRIMARY: &str = "CAST(NULL AS TEXT)";

/// The store's primary domain. Whether it is served, and for this store, is asked of the directory before anybody is sent there.
const PRIMARY: &str = "\
(SELECT p.domain FROM store_domains p
 WHERE p.store_id = s.id AND p.is_primary AND p.is_active AND p.is_verified ORDER BY p.id LIMIT 1)";

/// The statements that answer the keys; a cheap clone.
#[derive(Clone, Debug)]
pub struct Queries {
    custom_domain: Option<Arc<str>>,
    label: Option<Label>,
    are_own: bool,
}

#[derive(Clone, Debug)]
struct Label {
    sql: Arc<str>,
    /// Where the platform domain matters the value is `label.platform`, and the statement takes it apart.
    platforms: Option<Arc<[String]>>,
}

impl Default for Queries {
    fn default() -> Self {
        Self::redirecting(Redirects::default())
    }
}

impl Queries {
    /// Those of the default tables, where such hosts stand back for a store's primary domain.
    pub fn redirecting(redirects: Redirects) -> Self {
        let custom_domain = custom_domain(if redirects.secondary { PRIMARY } else { NO_PRIMARY });
        let label = label(if redirects.subdomains { PRIMARY } else { NO_PRIMARY });
        let label = Label { sql: label.into(), platforms: None };
        Self { custom_domain: Some(custom_domain.into()), label: Some(label), are_own: false }
    }

    /// The user's own SQL, under these platform domains in their order.
    pub fn own(own: &OwnQueries, dialect: Dialect, platforms: &[String]) -> Self {
        let label = |sql: &String| match sql.contains("$2") {
            false => Label { sql: read_by_name(sql, dialect).into(), platforms: None },
            true => Label {
                sql: read_by_name(&taking_apart(sql, dialect), dialect).into(),
                platforms: Some(platforms.into()),
            },
        };
        Self {
            custom_domain: own.custom_domain.as_ref().map(|sql| read_by_name(sql, dialect).into()),
            label: own.label.as_ref().map(label),
            are_own: true,
        }
    }

    /// Whether they read other tables than the default ones.
    pub(super) fn are_own(&self) -> bool {
        self.are_own
    }

    /// The statement that answers `key`, and its only value; nothing where no key of its kind exists.
    pub(super) fn statement<'a>(&'a self, key: &'a TenantKey) -> Option<(&'a str, Cow<'a, str>)> {
        match key.as_ref() {
            KeyRef::CustomDomain(domain) => Some((self.custom_domain.as_deref()?, domain.into())),
            KeyRef::Label { label, platform } => {
                let query = self.label.as_ref()?;
                Some((&*query.sql, query.value(label, platform)))
            }
        }
    }
}

impl Label {
    fn value<'a>(&self, label: &'a str, platform: Option<PlatformId>) -> Cow<'a, str> {
        let Some(platforms) = &self.platforms else { return label.into() };
        let platform = platform.and_then(|PlatformId(position)| platforms.get(usize::from(position)));
        format!("{label}.{}", platform.map_or("", String::as_str)).into()
    }
}

/// The user's own statement with its columns in the order of a [`Row`]. A column that it has not got stands for true; PostgreSQL
/// finds them by name in the row as JSON, for SQLite they are found when the row is read.
fn read_by_name(sql: &str, dialect: Dialect) -> String {
    let sql = sql.trim().trim_end_matches(';');
    let flag = |name| {
        format!("CASE WHEN r ? '{name}' THEN coalesce(CAST(r ->> '{name}' AS boolean), FALSE) ELSE TRUE END AS {name}")
    };
    match dialect {
        Dialect::Sqlite => format!("SELECT * FROM (\n{sql}\n) AS own WHERE store_id IS NOT NULL LIMIT 1"),
        Dialect::Postgres => format!(
            "SELECT r ->> 'store_id' AS store_id, {}, TRUE, {}, r ->> 'upstream' AS upstream, \
             r ->> 'primary_domain' AS primary_domain FROM (SELECT to_jsonb(own) AS r FROM (\n{sql}\n) AS own) AS own
             WHERE r ->> 'store_id' IS NOT NULL LIMIT 1",
            flag("is_active"),
            flag("is_verified")
        ),
    }
}

/// The statement with label and platform domain cut out of its one value; labels have no dots.
fn taking_apart(sql: &str, dialect: Dialect) -> String {
    let (label, platform) = match dialect {
        Dialect::Postgres => ("split_part($1, '.', 1)", "nullif(substr($1, strpos($1, '.') + 1), '')"),
        Dialect::Sqlite => ("substr($1, 1, instr($1, '.') - 1)", "nullif(substr($1, instr($1, '.') + 1), '')"),
    };
    // The second name first: the other one stands in what takes its place.
    sql.replace("$2", "$platform").replace("$1", label).replace("$platform", platform)
}

/// The statement that answers many names at once, those in the array that is its only value: each of them by the index, as
/// `statement` would. The name comes first in the rows.
pub(super) fn of_many(statement: &str) -> String {
    format!(
        "SELECT wanted.name, found.* FROM unnest($1) AS wanted(name) CROSS JOIN LATERAL ({}) AS found",
        statement.replace("$1", "wanted.name")
    )
}

/// All names by which `statement` finds something, in the form in which they are asked for.
pub(super) const DOMAINS: &str = "SELECT lower(rtrim(domain, '.')) FROM store_domains WHERE domain IS NOT NULL";
pub(super) const LABELS: &str = "SELECT lower(subdomain) FROM stores WHERE subdomain IS NOT NULL";

/// The same for SQLite, a page at a time in the order of the index: those behind `$1`, `$2` of them at most.
pub(super) const PAGE_OF_DOMAINS: &str = "SELECT lower(rtrim(domain, '.')) FROM store_domains \
     WHERE lower(rtrim(domain, '.')) > $1 ORDER BY lower(rtrim(domain, '.')) LIMIT $2";
pub(super) const PAGE_OF_LABELS: &str =
    "SELECT lower(subdomain) FROM stores WHERE lower(subdomain) > $1 ORDER BY lower(subdomain) LIMIT $2";

/// A row as read; NULL counts as false.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) store_active: bool,
    pub(super) domain_active: bool,
    pub(super) domain_verified: bool,
    pub(super) upstream: Option<String>,
    pub(super) primary: Option<String>,
}

impl Row {
    /// What the row says to whom asks for `name`; an id that no header can carry makes this one key fail.
    pub(super) fn tenant(&self, name: &str) -> Result<Arc<Tenant>, SourceError> {
        let id = TenantId::parse(&self.id).map_err(|error| SourceError {
            context: "the store's id cannot be sent",
            blame: Blame::Row,
            cause: error.into(),
        })?;
        let upstream = self.upstream.as_deref().and_then(UpstreamName::new);
        Ok(Arc::new(Tenant { id, status: self.status(), upstream, primary: self.primary_for(name) }))
    }

    /// The primary domain as the wire has it; none for its own name.
    fn primary_for(&self, name: &str) -> Option<Box<str>> {
        let primary = self.primary.as_deref()?.trim_end_matches('.').to_ascii_lowercase();
        (!primary.is_empty() && primary != name).then(|| primary.into())
    }

    fn status(&self) -> Status {
        match (self.store_active, self.domain_active, self.domain_verified) {
            (false, _, _) => Status::StoreInactive,
            (true, false, _) => Status::DomainInactive,
            (true, true, false) => Status::DomainUnverified,
            (true, true, true) => Status::Active,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLATFORM: KeyRef<'static> = KeyRef::Label { platform: Some(PlatformId(1)), label: "shop" };

    fn own(custom_domain: Option<&str>, label: Option<&str>) -> Queries {
        let own = OwnQueries { custom_domain: custom_domain.map(str::to_owned), label: label.map(str::to_owned) };
        Queries::own(&own, Dialect::Postgres, &["a.com".into(), "b.com".into()])
    }

    #[test]
    fn what_is_left_out_finds_nobody() {
        let queries = own(Some("SELECT store_id FROM t WHERE domain = $1;"), None);
        assert!(queries.statement(&PLATFORM.into()).is_none());
        let key = KeyRef::CustomDomain("x.com").into();
        let (sql, value) = queries.statement(&key).unwrap();
        assert!(sql.contains("\nSELECT store_id FROM t WHERE domain = $1\n"), "{sql}");
        assert_eq!(value, "x.com");
    }

    #[test]
    fn a_label_brings_its_platform_domain_where_that_is_asked_for() {
        let plain = own(None, Some("SELECT 1 AS store_id WHERE 'shop' = $1"));
        assert_eq!(plain.statement(&PLATFORM.into()).unwrap().1, "shop");
        let both = own(None, Some("SELECT 1 AS store_id WHERE 'shop' = $1 AND 'b.com' = $2"));
        let key = PLATFORM.into();
        let (sql, value) = both.statement(&key).unwrap();
        assert_eq!(value, "shop.b.com");
        assert!(sql.contains("'shop' = split_part($1, '.', 1)") && !sql.contains("$2"), "{sql}");
        let nowhere = KeyRef::Label { platform: None, label: "shop" }.into();
        assert_eq!(both.statement(&nowhere).unwrap().1, "shop.");
    }
}
