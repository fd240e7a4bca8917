//! `[acme]`.

use http::Uri;
use toml::Spanned;

use super::{
    convert::plain,
    file,
    problems::{Refusal, Report},
};
use crate::tls::AcmeSettings;

/// `has_keys` says whether private keys can be sealed.
pub(super) fn resolve(written: file::Acme, has_keys: bool, report: &mut Report<'_>) -> Option<AcmeSettings> {
    let span = written.directory.span()?;
    let directory = report.convert("acme.directory", written.directory, "", directory)?;
    if !has_keys {
        let cause = "needs a key for the private keys that it brings into the database";
        let refusal = Refusal::new(cause, "a directory, where [tls] has keys", "set tls.encryption_keys_file");
        report.refuse("acme.directory", span.clone(), refusal);
    }
    if !written.terms_agreed.or(false) {
        let cause = "is a CA whose terms nobody has agreed to";
        let refusal = Refusal::new(
            cause,
            "a directory beside terms_agreed = true",
            "read its terms, then add terms_agreed = true",
        );
        report.refuse("acme.directory", span, refusal);
    }
    let contacts = plain(report.convert_list("acme.contacts", written.contacts, &[], contact));
    let root = written.root_file.given().map(Spanned::into_inner).map(Into::into);
    Some(AcmeSettings { directory, contacts, root })
}

fn directory(text: &str) -> Result<String, Refusal> {
    let is_https = text.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("https") && uri.host().is_some());
    let accepted = "an https:// URL, such as \"https://acme-v02.api.letsencrypt.org/directory\"";
    match is_https {
        true => Ok(text.to_owned()),
        false => Err(Refusal::new("is no https:// URL", accepted, "write the directory URL that the CA names")),
    }
}

fn contact(text: &str) -> Result<String, Refusal> {
    match text.strip_prefix("mailto:").is_some_and(|address| address.contains('@')) {
        true => Ok(text.to_owned()),
        false => {
            Err(Refusal::new("is no contact", "\"mailto:somebody@example.com\"", "put mailto: in front of an address"))
        }
    }
}
