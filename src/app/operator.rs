//! What the admin listener tells about.

use std::sync::Arc;

use super::rows::Rows;
use crate::{
    admin::{self, Addresses},
    config::Config,
    directory::{Directory, Reader},
    lifecycle::Readiness,
    proxy::explain::{Explainer, TlsOutlook},
    routing::Rules,
    telemetry::metrics::Metrics,
    tls::{Archive, Certificates, Vault},
    upstream::Upstream,
};

/// `tls` is what is shown to clients.
pub(super) fn parts(
    config: &Config,
    (readiness, metrics): (&Readiness, Metrics),
    upstreams: &[Arc<Upstream>],
    directory: &Directory,
    rows: &Rows,
    (addresses, tls): (&Addresses, Option<TlsOutlook>),
) -> admin::Parts {
    let admin::Settings { allow, token, .. } = config.admin.clone();
    let (rules, reader) = (Arc::new(Rules::new(config.routing.clone())), Arc::new(directory.reader()));
    admin::Parts {
        allow,
        readiness: readiness.clone(),
        metrics,
        token,
        upstreams: upstreams.to_vec(),
        rules: Arc::clone(&rules),
        directory: Arc::clone(&reader),
        domains: config.domains.are_verified.then(|| Arc::new(rows.session())),
        certificates: Arc::new(Archive::new(rows.session())),
        explainer: Arc::new(explainer(config, rules, reader, tls)),
        cache: directory.clone(),
        addresses: addresses.clone(),
    }
}

fn explainer(config: &Config, rules: Arc<Rules>, directory: Arc<Reader>, tls: Option<TlsOutlook>) -> Explainer {
    Explainer {
        rules,
        directory,
        has_own_queries: config.own_queries.is_some(),
        upstreams: config.upstreams.clone(),
        roles: config.roles(),
        tls,
    }
}

/// What TLS is spoken with, where it is.
pub(super) fn tls(
    config: &Config,
    addresses: &Addresses,
    certificates: &Arc<Certificates>,
    vault: Option<Vault>,
) -> Option<TlsOutlook> {
    let port = addresses.https.first()?.port();
    Some(TlsOutlook { certificates: Arc::clone(certificates), vault, policy: config.https, port })
}
