//! The certificate that shows a CA over TLS whose a name is (RFC 8737 §3): signed by itself, and of no use for anything else.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::{
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};

use crate::telemetry::causes::one_line;

/// What is shown for one name; made when it is first asked for.
pub(super) struct Proof {
    name: Box<str>,
    /// What the CA wants to hear, of which the certificate holds the SHA-256.
    answer: Box<str>,
    made: OnceLock<Option<Arc<CertifiedKey>>>,
}

impl Proof {
    pub(super) fn new(name: &str, answer: &str) -> Self {
        Self { name: name.into(), answer: answer.into(), made: OnceLock::new() }
    }

    pub(super) fn is_of(&self, answer: &str) -> bool {
        *self.answer == *answer
    }

    /// The certificate with its key.
    pub(super) fn key(&self) -> Option<Arc<CertifiedKey>> {
        self.made.get_or_init(|| self.make()).clone()
    }

    fn make(&self) -> Option<Arc<CertifiedKey>> {
        let made = make(&self.name, digest(&SHA256, self.answer.as_bytes()).as_ref());
        let told = |error: &dyn std::error::Error| {
            tracing::error!(name = &*self.name, error = one_line(error), "a CA's question cannot be answered");
        };
        let (certificate, key) = made.inspect_err(|error| told(error)).ok()?;
        let key = default_provider().key_provider.load_private_key(key).inspect_err(|error| told(error)).ok()?;
        // Unchecked: whoever checks stumbles over the extension, which is critical and known to CAs alone.
        Some(Arc::new(CertifiedKey::new(vec![certificate], key)))
    }
}

fn make(name: &str, digest: &[u8]) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?.der().clone();
    Ok((certificate, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
}

#[cfg(test)]
mod tests {
    use x509_cert::{
        der::{Decode, asn1::ObjectIdentifier},
        ext::pkix::{SubjectAltName, name::GeneralName},
    };

    use super::*;

    #[test]
    fn the_certificate_is_for_the_name_alone_and_says_what_the_ca_wants_to_hear() {
        let shown = Proof::new("shop.example", "answer").key().unwrap();
        let parsed = x509_cert::Certificate::from_der(&shown.cert[0]).unwrap().tbs_certificate;
        let acme_identifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.31");
        let extensions = parsed.extensions.as_ref().unwrap();
        let found = extensions.iter().find(|extension| extension.extn_id == acme_identifier).unwrap();
        assert!(found.critical);
        assert_eq!(found.extn_value.as_bytes(), [&[4, 32], digest(&SHA256, b"answer").as_ref()].concat());
        let (_critical, SubjectAltName(names)) = parsed.get().unwrap().unwrap();
        assert!(matches!(&names[..], [GeneralName::DnsName(name)] if name.as_str() == "shop.example"));
    }
}
