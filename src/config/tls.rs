//! `[tls]`.

use std::{ops::Range, path::PathBuf};

use toml::Spanned;

use super::{
    file::{self, MinimumVersion},
    problems::{Refusal, Report},
    written::{List, Section, Written},
};
use crate::{
    telemetry::outcome::TlsVersion,
    tls::{CertificateFiles, Settings},
};

const CERTIFICATES: &str = "tls.certificates";
const ACCEPTED: &str = "{ certificate = \"platform.pem\", key = \"platform.key\" }, both files as PEM";

/// `https` is the place of `listen.https`, where that has addresses.
pub(super) fn resolve(written: file::Tls, https: Option<Range<usize>>, report: &mut Report<'_>) -> Settings {
    if let Some(span) = https.filter(|_| written.certificates.is_empty()) {
        let remedy = format!("add certificates = [{ACCEPTED}] to [tls]");
        let refusal = Refusal::new("needs a certificate", "addresses, where [tls] has certificates", remedy);
        report.refuse("listen.https", span, refusal);
    }
    let minimum_version = match written.minimum_version.or(MinimumVersion::Tls12) {
        MinimumVersion::Tls12 => TlsVersion::Tls12,
        MinimumVersion::Tls13 => TlsVersion::Tls13,
    };
    Settings { certificates: certificates(written.certificates, report), minimum_version }
}

fn certificates(
    written: Written<List<Section<file::CertificateFiles>>>,
    report: &mut Report<'_>,
) -> Vec<CertificateFiles> {
    let Some(list) = written.given() else { return Vec::new() };
    let mut found: Vec<CertificateFiles> = Vec::new();
    for item in list.into_inner().0 {
        let span = item.span();
        let Some(files) = pair(item, report) else { continue };
        if files.is_default && found.iter().any(|earlier| earlier.is_default) {
            let refusal = Refusal::new("is a second default", "one default at most", "remove default = true from one");
            report.refuse(CERTIFICATES, span, refusal);
        }
        found.push(files);
    }
    found
}

fn pair(item: Spanned<Section<file::CertificateFiles>>, report: &mut Report<'_>) -> Option<CertificateFiles> {
    let span = item.span();
    let Section(written) = item.into_inner();
    let mut path = |name: &str, written: Written<String>| {
        let path = written.given().map(Spanned::into_inner).filter(|path| !path.is_empty());
        if path.is_none() {
            let refusal = Refusal::new(format!("names no {name}"), ACCEPTED, format!("add {name} = \"…\""));
            report.refuse(CERTIFICATES, span.clone(), refusal);
        }
        path.map(PathBuf::from)
    };
    let (certificate, key) = (path("certificate", written.certificate), path("key", written.key));
    Some(CertificateFiles { certificate: certificate?, key: key?, is_default: written.default.or(false) })
}
