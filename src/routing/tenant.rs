//! The store that a request belongs to.

use std::fmt;

use http::HeaderValue;
use serde::{Deserialize, Serialize};

use super::UpstreamName;

/// The primary key of a store as text, whatever type its column has; kept ready to be sent as `X-Store-Id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TenantId(HeaderValue);

impl TenantId {
    /// Takes an id of 1 to 255 visible ASCII characters; anything else cannot stand in a header.
    pub fn parse(text: &str) -> Result<Self, TenantIdError> {
        let fits = (1..=255).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_graphic());
        if !fits {
            return Err(TenantIdError);
        }
        HeaderValue::from_str(text).map(Self::holding).map_err(|_| TenantIdError)
    }

    /// The bytes of a new value get their counter when they are first cloned, which allocates: let that be now.
    fn holding(value: HeaderValue) -> Self {
        drop(value.clone());
        Self(value)
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
        // What is a value already cannot fail to become one; the shared copy would only be slower.
        HeaderValue::from_bytes(self.0.as_bytes()).map_or_else(|_| self.clone(), Self::holding)
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An id that cannot be sent in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a store id must be 1 to 255 visible ASCII characters")]
pub struct TenantIdError;

/// Whether a tenant that was found may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
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

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::StoreInactive => "store is inactive",
            Self::DomainInactive => "domain is inactive",
            Self::DomainUnverified => "domain is not verified",
        })
    }
}

/// A store as the directory knows it. It goes from hand to hand in an `Arc`: one word in every look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Goes out as `X-Store-Id`.
    pub id: TenantId,
    /// Whether it may be served under the key that found it.
    pub status: Status,
    /// The upstream that its row names; `None`: the default one.
    pub upstream: Option<UpstreamName>,
    /// Its primary custom domain, canonical, where that is another host than the one asked for and hosts stand back for it.
    pub primary: Option<Box<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_visible_ascii() {
        for text in ["1", "018f6f5e-0000-7000-8000-000000000000", "shop_alpha!", &"x".repeat(255)] {
            assert_eq!(TenantId::parse(text).unwrap().as_str(), text);
        }
        for text in ["", " ", "a b", "a\r\nX-Store-Id: 2", "a\t", "ä", "\x7f", &"x".repeat(256)] {
            assert_eq!(TenantId::parse(text), Err(TenantIdError), "{text:?}");
        }
    }

    #[test]
    fn a_detached_id_is_equal_and_lies_elsewhere() {
        let id = TenantId::parse("shop-alpha").unwrap();
        let (shared, detached) = (id.clone(), id.detached());
        assert_eq!(detached, id);
        assert_eq!(shared.header().as_bytes().as_ptr(), id.header().as_bytes().as_ptr());
        assert_ne!(detached.header().as_bytes().as_ptr(), id.header().as_bytes().as_ptr());
    }
}
