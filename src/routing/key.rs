//! What a request says about its tenant.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use http::HeaderValue;

/// Position of a platform domain in [`Settings::platform_domains`](super::Settings::platform_domains).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlatformId(pub u16);

/// What a request says about its tenant, borrowed from the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRef<'a> {
    /// A host of the customer's own: `store_domains.domain`.
    CustomDomain(&'a str),
    /// A label: `stores.subdomain`. `platform` is the platform domain it stood under, if any (path mode on localhost has none).
    Label {
        /// The platform domain the label was found under.
        platform: Option<PlatformId>,
        /// The label itself.
        label: &'a str,
    },
}

impl Hash for KeyRef<'_> {
    /// In two steps, where a derived one takes four: this is done for every request. The name comes last, so nothing has to
    /// say where it ends.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (place, name) = match self {
            Self::CustomDomain(name) => (u32::MAX, name),
            Self::Label { platform: None, label } => (u32::MAX - 1, label),
            Self::Label { platform: Some(platform), label } => (platform.0.into(), label),
        };
        state.write_u32(place);
        state.write(name.as_bytes());
    }
}

impl fmt::Display for KeyRef<'_> {
    /// The domain or the label; which of the two it is, and where it stood, is said beside it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CustomDomain(name) | Self::Label { label: name, .. } => f.write_str(name),
        }
    }
}

/// An owned [`KeyRef`], for maps.
#[derive(Clone, Debug)]
pub struct TenantKey {
    name: Box<str>,
    kind: KeyKind,
}

#[derive(Clone, Copy, Debug)]
enum KeyKind {
    CustomDomain,
    Label { platform: Option<PlatformId> },
}

impl TenantKey {
    /// The borrowed form, by which maps are searched.
    pub fn as_ref(&self) -> KeyRef<'_> {
        match self.kind {
            KeyKind::CustomDomain => KeyRef::CustomDomain(&self.name),
            KeyKind::Label { platform } => KeyRef::Label { platform, label: &self.name },
        }
    }
}

impl From<KeyRef<'_>> for TenantKey {
    fn from(key: KeyRef<'_>) -> Self {
        match key {
            KeyRef::CustomDomain(name) => Self { name: name.into(), kind: KeyKind::CustomDomain },
            KeyRef::Label { platform, label } => Self { name: label.into(), kind: KeyKind::Label { platform } },
        }
    }
}

impl PartialEq for TenantKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for TenantKey {}

impl Hash for TenantKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
    }
}

impl equivalent::Equivalent<TenantKey> for KeyRef<'_> {
    fn equivalent(&self, key: &TenantKey) -> bool {
        *self == key.as_ref()
    }
}

/// How the tenant was recognised; the value of `X-Store-Match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// A row of `store_domains`.
    CustomDomain,
    /// A first-level label of a platform domain.
    Subdomain,
    /// The path prefix.
    Path,
    /// The SaaS's own administration; no tenant.
    Admin,
    /// The SaaS's own front page; no tenant.
    Homepage,
}

impl Match {
    /// The value of `X-Store-Match` as text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CustomDomain => "custom_domain",
            Self::Subdomain => "subdomain",
            Self::Path => "path",
            Self::Admin => "admin",
            Self::Homepage => "homepage",
        }
    }

    /// The value of `X-Store-Match`; static, so that neither making nor cloning it allocates.
    pub fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.as_str())
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use equivalent::Equivalent;

    use super::*;

    const KEYS: [KeyRef<'static>; 4] = [
        KeyRef::CustomDomain("store1"),
        KeyRef::Label { platform: None, label: "store1" },
        KeyRef::Label { platform: Some(PlatformId(0)), label: "store1" },
        KeyRef::Label { platform: Some(PlatformId(1)), label: "store1" },
    ];

    #[test]
    fn an_owned_key_is_found_by_its_borrowed_form_and_by_no_other() {
        let hasher = foldhash::fast::FixedState::default();
        for key in KEYS {
            let owned = TenantKey::from(key);
            assert_eq!(hasher.hash_one(key), hasher.hash_one(&owned));
            assert_eq!(KEYS.iter().filter(|other| KeyRef::equivalent(other, &owned)).count(), 1, "{key:?}");
            assert_eq!(KEYS.iter().filter(|other| TenantKey::from(**other) == owned).count(), 1, "{key:?}");
        }
    }

    #[test]
    fn a_match_is_sent_as_it_is_documented() {
        let all = [Match::CustomDomain, Match::Subdomain, Match::Path, Match::Admin, Match::Homepage];
        let sent = all.map(|matched| matched.header().to_str().unwrap().to_owned());
        assert_eq!(sent, ["custom_domain", "subdomain", "path", "admin", "homepage"]);
    }
}
