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

    /// The one for `name`: of its own, else a wildcard; one that has ended only where there is no other.
    pub fn find(&self, name: &Hostname<'_>) -> Option<Arc<Certificate>> {
        self.held.load().find(name.as_str(), SystemTime::now()).cloned()
    }

    /// Whether there is one for `name` that has not ended, its own or a wildcard.
    pub fn has(&self, name: &Hostname<'_>) -> bool {
        let now = SystemTime::now();
        self.held.load().find(name.as_str(), now).is_some_and(|found| !found.has_ended(now))
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
    /// For each name the certificates in order of preference.
    names: HashMap<Box<str>, Vec<Arc<Certificate>>, RandomState>,
    /// By what stands behind `*.`.
    wildcards: HashMap<Box<str>, Vec<Arc<Certificate>>, RandomState>,
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

    fn add(&mut self, certificate: &Arc<Certificate>) {
        let (names, wildcards) = certificate.names();
        for (map, names) in [(&mut self.names, names), (&mut self.wildcards, wildcards)] {
            for name in names {
                map.entry(name.as_str().into()).or_default().push(Arc::clone(certificate));
            }
        }
    }

    /// Of two for the same name the first, unless it has ended.
    fn find(&self, name: &str, now: SystemTime) -> Option<&Arc<Certificate>> {
        let wildcards = name.split_once('.').and_then(|(_, parent)| self.wildcards.get(parent));
        let mut all = self.names.get(name).into_iter().chain(wildcards).flatten();
        all.clone().find(|certificate| !certificate.has_ended(now)).or_else(|| all.next())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::crypto::aws_lc_rs::default_provider;

    use super::*;

    fn certificate(names: &[&str]) -> Arc<Certificate> {
        certificate_until(names, SystemTime::now() + Duration::from_hours(1))
    }

    fn ended(names: &[&str]) -> Arc<Certificate> {
        certificate_until(names, SystemTime::now() - Duration::from_secs(1))
    }

    fn certificate_until(names: &[&str], end: SystemTime) -> Arc<Certificate> {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_after = end.into();
        let key = rcgen::KeyPair::generate().unwrap();
        let (chain, key) = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
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
    fn one_that_has_ended_is_found_only_where_there_is_no_other() {
        let name = ["store1.platform.com"];
        let (ended, second, wildcard) = (ended(&name), certificate(&name), certificate(&["*.platform.com"]));
        let with = |more: &[&Arc<Certificate>]| {
            let all: Vec<_> = [&ended].into_iter().chain(more.iter().copied()).cloned().collect();
            Certificates::new(&all, None)
        };
        assert!(is_found(&with(&[&wildcard, &second]), name[0], &second));
        assert!(is_found(&with(&[&wildcard]), name[0], &wildcard));
        let alone = with(&[]);
        assert!(is_found(&alone, name[0], &ended) && !alone.has(&Hostname::parse(name[0]).unwrap()));
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
