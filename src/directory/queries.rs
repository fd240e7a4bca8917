//! What is asked of the tables, the same over PostgreSQL and SQLite: one row of id, store active, domain active, domain verified.
//!
//! People write names as they like; they are compared as the wire has them. The migrations make an index on each expression.

use super::{Blame, SourceError};
use crate::routing::{KeyRef, Status, Tenant, TenantId, TenantKey};

/// Where several rows come to the same name, the one spelled exactly so counts, else the oldest.
const CUSTOM_DOMAIN: &str = "\
SELECT CAST(s.id AS TEXT), s.is_active, d.is_active, d.is_verified
FROM store_domains d JOIN stores s ON s.id = d.store_id
WHERE lower(rtrim(d.domain, '.')) = $1
ORDER BY (d.domain = $1) DESC, d.id LIMIT 1";

/// A store's own label needs no proof of ownership.
const LABEL: &str = "\
SELECT CAST(id AS TEXT), is_active, TRUE, TRUE
FROM stores
WHERE lower(subdomain) = $1
ORDER BY (subdomain = $1) DESC, id LIMIT 1";

/// The statement that answers `key`, and its only value.
pub(super) fn statement(key: &TenantKey) -> (&'static str, &str) {
    match key.as_ref() {
        KeyRef::CustomDomain(domain) => (CUSTOM_DOMAIN, domain),
        KeyRef::Label { label, .. } => (LABEL, label),
    }
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

/// A row as read; NULL counts as false.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) store_active: bool,
    pub(super) domain_active: bool,
    pub(super) domain_verified: bool,
}

impl Row {
    /// What the row says; an id that no header can carry makes this one key fail.
    pub(super) fn tenant(&self) -> Result<Tenant, SourceError> {
        let id = TenantId::parse(&self.id).map_err(|error| SourceError {
            context: "the store's id cannot be sent",
            blame: Blame::Row,
            cause: error.into(),
        })?;
        Ok(Tenant { id, status: self.status() })
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
