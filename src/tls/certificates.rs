//! All certificates that can be shown, by the names they are good for. Replaced as a whole, read without a lock.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

use super::Certificate;
use crate::routing::Hostname;

/// The certificates that are shown at the moment.
#[derive(Debug)]
pub struct Certificates {
    held: ArcSwap<Index>,
    failures: AtomicU64,
}

impl Certificates {
    /// These, in order of preference, the default among them.
    pub fn new(certificates: &[Arc<Certificate>], default: Option<Arc<Certificate>>) -> Arc<Self> {
        Arc::new(Self { held: ArcSwap::from_pointee(Index::new(certificates, default)), failures: AtomicU64::new(0) })
    }

    /// Shows these from now on. Connections that are open keep what they were shown.
    pub(super) fn replace(&self, certificates: &[Arc<Certificate>], default: Option<Arc<Certificate>>) {
        self.held.store(Arc::new(Index::new(certificates, default)));
    }

    /// The one for `name`: of its own, else a wildcard.
    pub fn find(&self, name: &Hostname<'_>) -> Option<Arc<Certificate>> {
        self.held.load().find(name.as_str()).cloned()
    }

    /// Whether there is one for `name`, its own or a wildcard.
    pub fn has(&self, name: &Hostname<'_>) -> bool {
        self.held.load().find(name.as_str()).is_some()
    }

    /// The one for those who ask for no name, or for one that has no other.
    pub fn default(&self) -> Option<Arc<Certificate>> {
        self.held.load().default.clone()
    }

    /// A change could not be followed.
    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    /// How it stands with them.
    pub fn counts(&self) -> Counts {
        let held = self.held.load();
        Counts { held: held.count, earliest_expiry: held.earliest_expiry, failures: self.failures.load(Relaxed) }
    }
}

/// How it stands with the certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Certificates held.
    pub held: usize,
    /// When the first of them ends to be valid.
    pub earliest_expiry: Option<SystemTime>,
    /// Changed files that could not be followed, since the start.
    pub failures: u64,
}

#[derive(Debug)]
struct Index {
    names: HashMap<Box<str>, Arc<Certificate>, RandomState>,
    /// By what stands behind `*.`.
    wildcards: HashMap<Box<str>, Arc<Certificate>, RandomState>,
    default: Option<Arc<Certificate>>,
    count: usize,
    earliest_expiry: Option<SystemTime>,
}

impl Index {
    fn new(certificates: &[Arc<Certificate>], default: Option<Arc<Certificate>>) -> Self {
        let mut index = Self {
            names: HashMap::default(),
            wildcards: HashMap::default(),
            default,
            count: certificates.len(),
            earliest_expiry: certificates.iter().map(|certificate| certificate.expires()).min(),
        };
        certificates.iter().for_each(|certificate| index.add(certificate));
        index
    }

    /// Of two for the same name the first is kept.
    fn add(&mut self, certificate: &Arc<Certificate>) {
        let (names, wildcards) = certificate.names();
        for (map, names) in [(&mut self.names, names), (&mut self.wildcards, wildcards)] {
            for name in names {
                map.entry(name.as_str().into()).or_insert_with(|| Arc::clone(certificate));
            }
        }
    }

    fn find(&self, name: &str) -> Option<&Arc<Certificate>> {
        let wildcard = || self.wildcards.get(name.split_once('.')?.1);
        self.names.get(name).or_else(wildcard)
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::default_provider;

    use super::*;

    fn certificate(names: &[&str]) -> Arc<Certificate> {
        let made =
            rcgen::generate_simple_self_signed(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        Arc::new(Certificate::from_pem(chain.as_bytes(), key.as_bytes(), &default_provider()).unwrap())
    }

    fn is_found(certificates: &Certificates, name: &str, expected: &Arc<Certificate>) -> bool {
        certificates.find(&Hostname::parse(name).unwrap()).is_some_and(|found| Arc::ptr_eq(&found, expected))
    }

    #[test]
    fn a_name_of_its_own_comes_before_a_wildcard_and_the_first_before_the_second() {
        let [wildcard, exact, second] =
            [&["*.platform.com"][..], &["store1.platform.com"], &["*.platform.com"]].map(certificate);
        let all = Certificates::new(&[Arc::clone(&wildcard), Arc::clone(&exact), second], None);
        assert!(is_found(&all, "store1.platform.com", &exact));
        assert!(is_found(&all, "store2.platform.com", &wildcard));
        for name in ["platform.com", "a.b.platform.com", "com"] {
            assert!(all.find(&Hostname::parse(name).unwrap()).is_none(), "{name}");
        }
    }

    #[test]
    fn what_is_replaced_is_not_found_any_more() {
        let [old, new] = [&["old.example"][..], &["new.example"]].map(certificate);
        let all = Certificates::new(&[Arc::clone(&old)], Some(old));
        all.replace(&[Arc::clone(&new)], None);
        assert!(all.default().is_none() && all.find(&Hostname::parse("old.example").unwrap()).is_none());
        assert!(is_found(&all, "new.example", &new));
        assert_eq!(all.counts(), Counts { held: 1, earliest_expiry: Some(new.expires()), failures: 0 });
    }
}
