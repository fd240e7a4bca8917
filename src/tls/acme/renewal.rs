//! When a certificate is renewed: when the CA says so (RFC 9773), else with a third of its time left.

use std::time::Duration;

use instant_acme::CertificateIdentifier;
use rustls::pki_types::{CertificateDer, Der, pem::PemObject};
use x509_cert::{
    der::{Decode, Encode},
    ext::pkix::AuthorityKeyIdentifier,
};

/// Part of the lifetime by which some are renewed earlier than others, so that what was issued together is not due together.
const JITTER: f64 = 1.0 / 20.0;

/// A certificate that comes with little time left is not asked for again at once.
const SOONEST: i64 = 60 * 60;

const DAY: i64 = 24 * 60 * 60;

/// Between two questions when to renew, whatever the CA says: it may want certificates replaced within a day, and need not be asked
/// every minute (RFC 9773 §4.3.2).
const ASK_AGAIN_MIN: Duration = Duration::from_hours(1);
const ASK_AGAIN_MAX: Duration = Duration::from_hours(24);

/// How soon a CA is asked again that did not answer, or did not say when to come back.
pub(super) const ASK_AGAIN: Duration = Duration::from_hours(6);

/// When to renew what is good from `issued` to `expires`, in seconds; `chance` is in 0..1.
pub(super) fn at(issued: i64, expires: i64, now: i64, chance: f64) -> i64 {
    let lifetime = seconds(expires.saturating_sub(issued));
    let left = whole(lifetime / 3.0 + lifetime * JITTER * chance);
    let soonest = now.saturating_add(SOONEST.min(expires.saturating_sub(now) / 2));
    expires.saturating_sub(left).max(soonest)
}

/// When to try again for the sake of a name that was left out, and has a certificate of its own until `ends`: with half of that time
/// left, and not before a day has passed.
pub(super) fn again(ends: i64, now: i64) -> i64 {
    now.saturating_add((ends.saturating_sub(now) / 2).max(DAY))
}

/// When to renew within the window that the CA suggests: at a moment that was chosen before if it still lies within, else at one by
/// `chance` (RFC 9773 §4.2). A window that is past means now.
pub(super) fn within(start: i64, end: i64, chosen: i64, chance: f64) -> i64 {
    if (start..=end).contains(&chosen) {
        return chosen;
    }
    start.saturating_add(whole(seconds(end.saturating_sub(start).max(0)) * chance))
}

/// The last moment at which to renew what `chain` begins with, whatever the CA suggests: with a tenth of its time left.
pub(super) fn latest(chain: &[u8]) -> Option<i64> {
    let validity = leaf(chain)?.tbs_certificate.validity;
    let [begins, expires] = [validity.not_before, validity.not_after]
        .map(|time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX));
    Some(expires.saturating_sub(expires.saturating_sub(begins) / 10))
}

/// When to ask again, after the CA has named a time.
pub(super) fn ask_again(told: Duration) -> Duration {
    told.clamp(ASK_AGAIN_MIN, ASK_AGAIN_MAX)
}

/// What a CA knows the first certificate of `chain` by (RFC 9773 §4.1); nothing where it has no such name.
pub(super) fn identifier(chain: &[u8]) -> Option<CertificateIdentifier<'static>> {
    let parsed = leaf(chain)?;
    let (_critical, issuer) = parsed.tbs_certificate.get::<AuthorityKeyIdentifier>().ok()??;
    let serial = parsed.tbs_certificate.serial_number.to_der().ok()?;
    // Behind the tag and a length of one octet (RFC 5280 §4.1.2.2: 20 octets at most).
    let serial = serial.get(2..)?;
    let key = issuer.key_identifier?;
    Some(CertificateIdentifier::new(Der::from_slice(key.as_bytes()), Der::from_slice(serial)).into_owned())
}

fn leaf(chain: &[u8]) -> Option<x509_cert::Certificate> {
    x509_cert::Certificate::from_der(&CertificateDer::from_pem_slice(chain).ok()?).ok()
}

#[expect(clippy::cast_precision_loss, reason = "a second more or less in thousands of years")]
fn seconds(whole: i64) -> f64 {
    whole as f64
}

#[expect(clippy::cast_possible_truncation, reason = "a part of what was a whole number of seconds")]
fn whole(seconds: f64) -> i64 {
    seconds as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_of_the_time_is_left_and_some_come_earlier() {
        assert_eq!(at(0, 90 * DAY, 0, 0.0), 60 * DAY);
        assert_eq!(at(0, 90 * DAY, 0, 1.0), 55 * DAY + DAY / 2);
        assert_eq!(at(0, 6 * DAY, 0, 0.0), 4 * DAY);
    }

    #[test]
    fn what_comes_with_little_time_left_is_not_asked_for_at_once() {
        assert_eq!(at(0, 90 * DAY, 80 * DAY, 0.0), 80 * DAY + 3600);
        assert_eq!(at(0, 90 * DAY, 90 * DAY - 60, 0.0), 90 * DAY - 30);
    }

    #[test]
    fn what_was_left_out_is_tried_again_ever_sooner_before_it_ends() {
        assert_eq!([30, 4, 1, 0].map(|days| again(100 + days * DAY, 100) - 100), [15, 2, 1, 1].map(|days| days * DAY));
    }

    #[test]
    fn a_moment_within_the_window_stays_and_a_window_that_is_past_means_now() {
        assert_eq!(within(100, 200, 150, 0.9), 150);
        assert_eq!(within(100, 200, 250, 0.5), 150);
        assert_eq!(within(10, 20, 250, 0.99), 19);
        assert_eq!(within(20, 10, 250, 0.5), 20);
        assert_eq!([0, 2, 48].map(|hours| ask_again(Duration::from_hours(hours)).as_secs() / 3600), [1, 2, 24]);
    }

    #[test]
    fn no_certificate_is_kept_for_the_last_tenth_of_its_time() {
        let mut params = rcgen::CertificateParams::new(["shop.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(1970, 1, 1), rcgen::date_time_ymd(1970, 4, 11));
        let pem = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
        assert_eq!((latest(pem.as_bytes()), latest(b"nothing")), (Some(90 * DAY), None));
    }

    #[test]
    fn certificates_are_named_by_issuer_and_serial_number() {
        let mut ca = rcgen::CertificateParams::default();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        ca.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(vec![0xC0, 0xFF, 0xEE]);
        let issuer = rcgen::Issuer::new(ca, rcgen::KeyPair::generate().unwrap());
        let mut params = rcgen::CertificateParams::new(["shop.example".to_owned()]).unwrap();
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0xCA, 0xFE]));
        params.use_authority_key_identifier_extension = true;
        let pem = params.signed_by(&rcgen::KeyPair::generate().unwrap(), &issuer).unwrap().pem();
        assert_eq!(identifier(pem.as_bytes()).unwrap().to_string(), "wP_u.AMr-");
        let plain = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
        assert!(identifier(plain.cert.pem().as_bytes()).is_none() && identifier(b"nothing").is_none());
    }
}
