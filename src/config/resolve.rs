//! What the file means, section by section.

use std::mem;

use super::{
    Config, Env, acme, admin, database::Located, directory, domains, file::File, listen, log, problems::Report,
    routing, tls, upstreams,
};
use crate::{database::migrations::Plan, directory::Queries, proxy::UnknownUpstream, routing::Redirects};

/// What `file` means; `None` where the database is not known. It counts only where `report` has found nothing.
pub(super) fn resolve(mut file: File, env: Env<'_>, report: &mut Report<'_>) -> Option<Config> {
    let admin_upstream = mem::take(&mut file.routing.0.admin_upstream);
    let homepage_upstream = mem::take(&mut file.routing.0.homepage_upstream);
    let unknown_upstream = mem::take(&mut file.routing.0.unknown_upstream).or(UnknownUpstream::Default);
    let https = file.listen.0.https.span();
    let proxy = listen::resolve(file.listen.0, report);
    let (tls, https) = tls::resolve(file.tls.0, https.filter(|_| !proxy.https.is_empty()), env, report);
    let admin = admin::resolve(file.admin.0, &[&proxy.http[..], &proxy.https].concat(), env, report);
    let standing_back = [file.routing.0.secondary_domains.span(), file.routing.0.subdomains.span()];
    let routing = routing::resolve(file.routing.0, report);
    let beside = acme::Beside {
        has_keys: tls.keys.is_some(),
        has_https: !proxy.https.is_empty(),
        platform_domains: &routing.platform_domains,
    };
    let (acme, acme_self_check) = acme::resolve(file.acme.0, &beside, env, report);
    let platforms: Vec<_> = routing.platform_domains.iter().map(ToString::to_string).collect();
    let snapshot = directory::snapshot(mem::take(&mut file.directory.0.snapshot), "directory.snapshot", env);
    let directory::Resolved { settings: directory, located, listen, follow, look_ups } =
        directory::resolve(file.directory.0, &platforms, env, report);
    let upstreams = upstreams::resolve(file.upstreams, report);
    let (log, access_log) = log::resolve(file.log.0, report);
    let domains = domains::resolve(file.domains.0, look_ups.own.is_some(), report);
    let queries = match &look_ups.own {
        Some(own) => {
            routing::refuse_unknown_primary(routing.redirects, own, standing_back, report);
            look_ups.queries
        }
        None => Queries::redirecting(routing.redirects),
    };
    let plan = match domains.are_verified {
        true => look_ups.plan.with_tokens(),
        false => look_ups.plan,
    };
    let plan = Plan { finds_primary: routing.redirects != Redirects::default(), ..plan };
    let mut serving = |path, name| upstreams::named(path, name, &upstreams, report);
    let [admin_upstream, homepage_upstream] =
        [serving("routing.admin_upstream", admin_upstream), serving("routing.homepage_upstream", homepage_upstream)];
    let tenant_upstream = upstreams::position(upstreams::DEFAULT, &upstreams).unwrap_or_default();
    let Located { database, origin: database_origin } = located?;
    Some(Config {
        proxy,
        tls,
        acme,
        acme_self_check,
        https,
        admin,
        routing,
        directory,
        snapshot,
        database,
        database_origin,
        listen,
        queries,
        own_queries: look_ups.own,
        plan,
        follow,
        upstreams,
        admin_upstream,
        homepage_upstream,
        tenant_upstream,
        unknown_upstream,
        log,
        access_log,
        domains,
        warnings: Vec::new(),
    })
}
