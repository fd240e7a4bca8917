//! `upstreams.NAME.ca_file`, `client_certificate`, `client_key` and `server_name`.

use std::{mem::take, net::IpAddr, ops::Range, path::PathBuf};

use toml::Spanned;

use super::{
    convert::hostname,
    file,
    problems::{Refusal, Report},
    written::Written,
};
use crate::upstream::{ClientFiles, TlsSettings};

/// The keys that say how TLS is spoken to app servers.
pub(super) struct Keys {
    ca_file: Written<String>,
    client_certificate: Written<String>,
    client_key: Written<String>,
    server_name: Written<String>,
}

impl Keys {
    /// Takes them out of what was written for one upstream.
    pub(super) fn take(written: &mut file::Upstream) -> Self {
        Self {
            ca_file: take(&mut written.ca_file),
            client_certificate: take(&mut written.client_certificate),
            client_key: take(&mut written.client_key),
            server_name: take(&mut written.server_name),
        }
    }

    /// What they mean for the upstream at `section`, whose servers speak TLS if `is_tls`. The files are read at start.
    pub(super) fn resolve(self, section: &str, is_tls: bool, report: &mut Report<'_>) -> Option<TlsSettings> {
        if !is_tls {
            self.refuse_idle(section, report);
            return None;
        }
        Some(TlsSettings {
            ca_file: self.ca_file.given().map(path),
            client: client(section, self.client_certificate, self.client_key, report),
            server_name: server_name(&format!("{section}.server_name"), self.server_name, report),
        })
    }

    fn refuse_idle(self, section: &str, report: &mut Report<'_>) {
        let Self { ca_file, client_certificate, client_key, server_name } = self;
        let keys = [
            ("ca_file", ca_file),
            ("client_certificate", client_certificate),
            ("client_key", client_key),
            ("server_name", server_name),
        ];
        for (key, span) in keys.iter().filter_map(|(key, written)| Some((key, written.span()?))) {
            let cause = "is without effect: these servers do not speak TLS";
            let refusal = Refusal::new(cause, "beside https:// or h2:// servers only", "remove it, or write https://");
            report.refuse(&format!("{section}.{key}"), span, refusal);
        }
    }
}

fn path(written: Spanned<String>) -> PathBuf {
    written.into_inner().into()
}

fn client(
    section: &str,
    certificate: Written<String>,
    key: Written<String>,
    report: &mut Report<'_>,
) -> Option<ClientFiles> {
    let mut lacks = |present: Range<usize>, key: &str| {
        let refusal = Refusal::new("has no counterpart", "client_certificate and client_key", format!("add {key}"));
        report.refuse(&format!("{section}.{key}"), present, refusal);
        None
    };
    match (certificate.given(), key.given()) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(ClientFiles { certificate: path(certificate), key: path(key) }),
        (Some(certificate), None) => lacks(certificate.span(), "client_key"),
        (None, Some(key)) => lacks(key.span(), "client_certificate"),
    }
}

fn server_name(path: &str, written: Written<String>, report: &mut Report<'_>) -> Option<String> {
    let written = written.given()?;
    if written.get_ref().parse::<IpAddr>().is_ok() {
        return Some(written.into_inner());
    }
    let name = hostname(written.get_ref()).map_err(|refusal| report.refuse(path, written.span(), refusal));
    name.ok().map(|name| name.as_str().to_owned())
}
