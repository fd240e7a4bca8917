//! The certificates of `[tls]`: whether each can be shown, and for how long.

use std::time::{Duration, SystemTime};

use usher::{
    config::Problem,
    telemetry::causes::one_line,
    tls::{Certificate, CertificateFiles},
};

use super::Report;

/// Less than this leaves no weekend to do something.
const SOON: Duration = Duration::from_hours(7 * 24);

pub(super) fn check(files: &[CertificateFiles], place: &str, now: SystemTime) -> Report {
    let mut report = Report::default();
    for files in files {
        match files.read() {
            Ok(certificate) => add_good(&mut report, files, &certificate, place, now),
            Err(error) => {
                let remedy = "put a certificate and its own unencrypted key there, or correct the paths";
                report.errors.push(problem(files, place, one_line(&error), remedy));
            }
        }
    }
    report
}

fn add_good(report: &mut Report, files: &CertificateFiles, certificate: &Certificate, place: &str, now: SystemTime) {
    let until = jiff::Timestamp::try_from(certificate.expires()).unwrap_or(jiff::Timestamp::MAX);
    match certificate.remaining(now) {
        Duration::ZERO => report.warnings.push(problem(files, place, format!("has run out on {until:.0}"), "renew it")),
        left if left < SOON => {
            report.warnings.push(problem(files, place, format!("runs out on {until:.0}"), "renew it"))
        }
        _ => report.good.push(format!("tls.certificates: {} is good until {until:.0}", files.certificate.display())),
    }
}

fn problem(files: &CertificateFiles, place: &str, cause: String, remedy: &str) -> Problem {
    Problem {
        place: place.to_owned(),
        subject: "tls.certificates".into(),
        value: Some(files.certificate.display().to_string()),
        cause,
        accepted: "a certificate and its key, both as PEM".into(),
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_good_then_worth_a_warning() {
        let folder = tempfile::TempDir::new().unwrap();
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let [certificate, key] = ["c.pem", "k.pem"].map(|name| folder.path().join(name));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let files = [CertificateFiles { certificate, key, is_default: false }];
        let expires = files[0].read().unwrap().expires();
        let checked = |before: Duration| check(&files, "usher.toml", expires - before);
        let good = checked(2 * SOON);
        assert!(good.warnings.is_empty() && good.good[0].contains("is good until"), "{good:?}");
        assert!(checked(SOON / 2).warnings[0].cause.starts_with("runs out"));
        assert!(checked(Duration::ZERO).warnings[0].cause.starts_with("has run out"));
    }
}
