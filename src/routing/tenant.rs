//! The store that a request belongs to.

use http::HeaderValue;

/// The primary key of a store as text, whatever type its column has; kept ready to be sent as `X-Store-Id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantId(HeaderValue);

impl TenantId {
    /// Takes an id of 1 to 255 visible ASCII characters; anything else cannot stand in a header.
    pub fn parse(text: &str) -> Result<Self, TenantIdError> {
        let _ = text;
        todo!()
    }

    /// The id as the value of a header; cloning it allocates nothing.
    pub fn header(&self) -> &HeaderValue {
        &self.0
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The same id in memory of its own, so that a worker's copy shares no counter with another core.
    pub fn detached(&self) -> Self {
        todo!()
    }
}

/// An id that cannot be sent in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a store id must be 1 to 255 visible ASCII characters")]
pub struct TenantIdError;

/// Whether a tenant that was found may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Store and domain are switched on and the domain is verified.
    Active,
    /// `stores.is_active` is false.
    StoreInactive,
    /// `store_domains.is_active` is false.
    DomainInactive,
    /// `store_domains.is_verified` is false.
    DomainUnverified,
}

/// A store as the directory knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Goes out as `X-Store-Id`.
    pub id: TenantId,
    /// Whether it may be served under the key that found it.
    pub status: Status,
}
