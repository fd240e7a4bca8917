//! `[tls]`.

use std::{fs, ops::Range, path::PathBuf, sync::Arc, time::Duration};

use toml::Spanned;

use super::{
    Env, directory,
    file::{self, MinimumVersion},
    problems::{Refusal, Report},
    written::{List, Section, Written},
};
use crate::{
    proxy::HttpsPolicy,
    telemetry::outcome::TlsVersion,
    tls::{CertificateFiles, Keyring, Settings},
};

const CERTIFICATES: &str = "tls.certificates";
const KEYS_FILE: &str = "tls.encryption_keys_file";
const KEYS_ENV: &str = "tls.encryption_keys_env";
const ACCEPTED: &str = "{ certificate = \"platform.pem\", key = \"platform.key\" }, both files as PEM";

/// `https` is the place of `listen.https`, where that has addresses.
pub(super) fn resolve(
    written: file::Tls,
    https: Option<Range<usize>>,
    env: Env<'_>,
    report: &mut Report<'_>,
) -> (Settings, HttpsPolicy) {
    let has_keys = written.encryption_keys_file.span().or(written.encryption_keys_env.span()).is_some();
    let keys = keys(written.encryption_keys_file, written.encryption_keys_env, env, report);
    if let Some(span) = https.filter(|_| written.certificates.is_empty() && !has_keys) {
        let remedy =
            format!("add certificates = [{ACCEPTED}] to [tls], or encryption_keys_file for those in the database");
        let refusal = Refusal::new("needs a certificate", "addresses, where [tls] has certificates", remedy);
        report.refuse("listen.https", span, refusal);
    }
    let minimum_version = match written.minimum_version.or(MinimumVersion::Tls12) {
        MinimumVersion::Tls12 => TlsVersion::Tls12,
        MinimumVersion::Tls13 => TlsVersion::Tls13,
    };
    let policy = HttpsPolicy {
        redirect: written.redirect.or(true),
        hsts_platform: written.hsts_platform.or(Duration::ZERO),
        hsts_custom: written.hsts_custom.or(Duration::ZERO),
    };
    let snapshot = directory::snapshot(written.snapshot, "certificates.snapshot", env).filter(|_| keys.is_some());
    (Settings { certificates: certificates(written.certificates, report), keys, snapshot, minimum_version }, policy)
}

/// Read with the rest of the configuration, so that a wrong one keeps nothing from running that runs.
fn keys(
    file: Written<String>,
    variable: Written<String>,
    env: Env<'_>,
    report: &mut Report<'_>,
) -> Option<Arc<Keyring>> {
    let (path, named, text) = match (file.given(), variable.given()) {
        (Some(_), Some(second)) => {
            let refusal = Refusal::new("is named twice", "a file or a variable with the keys", "remove one of the two");
            report.refuse(KEYS_ENV, second.span(), refusal);
            return None;
        }
        (Some(file), None) => {
            let text = fs::read_to_string(file.get_ref()).map_err(|error| format!("cannot be read: {error}"));
            (KEYS_FILE, file, text)
        }
        (None, Some(variable)) => {
            let text = env(variable.get_ref()).ok_or_else(|| "is not set in the environment".to_owned());
            (KEYS_ENV, variable, text)
        }
        (None, None) => return None,
    };
    match text.and_then(|text| Keyring::parse(&text).map_err(|error| error.to_string())) {
        Ok(keys) => Some(Arc::new(keys)),
        Err(cause) => {
            let remedy = "make one: echo \"2026:$(openssl rand -base64 32)\"";
            report.refuse_secret(
                path,
                named.span(),
                Refusal::new(cause, "lines of an id, a colon and 32 bytes in base64", remedy),
            );
            None
        }
    }
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
