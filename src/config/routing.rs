//! `[routing]`.

use std::{net::IpAddr, ops::Range};

use http::{HeaderValue, Uri};
use toml::Spanned;

use super::{
    convert::{hostname, plain, refused_by, url_path},
    file::{self, StandBack, UnknownHost, Www},
    problems::{Refusal, Report},
    written::{List, Written},
};
use crate::{
    directory::OwnQueries,
    routing::{self, Closed, Host, Hostname, InactiveStore, Label, PathHosts, Redirects, Settings, WwwPolicy},
};

pub(super) fn resolve(written: file::Routing, report: &mut Report<'_>) -> Settings {
    let redirects = Redirects {
        secondary: written.secondary_domains.or(StandBack::Serve) == StandBack::Redirect,
        subdomains: written.subdomains.or(StandBack::Serve) == StandBack::Redirect,
    };
    let platform_domains = platform_domains(written.platform_domains, report);
    let admin_hosts = report.convert_list("routing.admin_hosts", written.admin_hosts, &["admin.*"], AdminHost::parse);
    refuse_two_meanings(&admin_hosts, &platform_domains, report);
    let (admin_hosts, admin_labels) = expand(&plain(admin_hosts), &platform_domains, report);
    let (admin_paths, path_prefix) = paths(written.admin_paths, written.path_prefix, report);
    let reserved =
        report.convert_list("routing.reserved_labels", written.reserved_labels, &["www", "admin", "api"], label);
    Settings {
        platform_domains,
        admin_hosts,
        admin_labels,
        admin_paths,
        reserved_labels: plain(reserved),
        www: written.www.or(WwwPolicy::Redirect),
        path_prefix,
        path_hosts: path_hosts(written.path_hosts, report),
        unknown_host: unknown_host(written.unknown_host, report),
        inactive_store: written.inactive_store.or(InactiveStore::Unknown),
        redirects,
    }
}

/// Where hosts stand back for a primary domain, SQL of the user's own has to bring it along.
pub(super) fn refuse_unknown_primary(
    redirects: Redirects,
    own: &OwnQueries,
    spans: [Option<Range<usize>>; 2],
    report: &mut Report<'_>,
) {
    let keys = [
        ("routing.secondary_domains", redirects.secondary, "custom_domain", &own.custom_domain),
        ("routing.subdomains", redirects.subdomains, "label", &own.label),
    ];
    for ((path, stands_back, query, sql), span) in keys.into_iter().zip(spans) {
        let brings_it = sql.as_ref().is_some_and(|sql| sql.contains("primary_domain"));
        if let Some(span) = span.filter(|_| stands_back && !brings_it) {
            let cause = format!("needs a column primary_domain in the rows of directory.queries.{query}");
            report.refuse(path, span, Refusal::new(cause, "\"serve\", or such a column", "add it to the statement"));
        }
    }
}

fn platform_domains(written: Written<List<String>>, report: &mut Report<'_>) -> Vec<Hostname<'static>> {
    if written.is_empty() {
        let accepted = "the domains of the SaaS itself, such as [\"platform.com\"]";
        let refusal = Refusal::new("names no domain", accepted, "add the domain under which stores have subdomains");
        report.refuse_absence("routing.platform_domains", written.span(), refusal);
    }
    plain(report.convert_list("routing.platform_domains", written, &[], platform_domain))
}

fn platform_domain(text: &str) -> Result<Hostname<'static>, Refusal> {
    match text.starts_with("*.") {
        true => {
            let remedy = "remove the star and its dot; the subdomains are meant anyway";
            Err(Refusal::new("has a star", "a domain, such as \"platform.com\"", remedy))
        }
        false => hostname(text),
    }
}

/// An item of `routing.admin_hosts`.
#[derive(PartialEq)]
enum AdminHost {
    /// `admin.*`: this label in front of each platform domain.
    Everywhere(String),
    /// A host in full.
    Listed(Hostname<'static>),
}

impl AdminHost {
    fn parse(text: &str) -> Result<Self, Refusal> {
        match text.strip_suffix(".*") {
            Some(first) => label(first).map(Self::Everywhere),
            None if text.contains('*') => {
                let accepted = "\"admin.*\", where the star stands for the platform domains, or a host in full";
                Err(Refusal::new("has a star in another place than the end", accepted, "write the host in full"))
            }
            None => hostname(text).map(Self::Listed),
        }
    }
}

/// A host cannot be homepage and administration at once.
fn refuse_two_meanings(hosts: &[Spanned<AdminHost>], platforms: &[Hostname<'_>], report: &mut Report<'_>) {
    for host in hosts {
        let twice = platforms.iter().find(|platform| match host.get_ref() {
            AdminHost::Everywhere(label) => below(label, platforms).any(|name| name == platform.as_str()),
            AdminHost::Listed(name) => name == *platform,
        });
        if let Some(platform) = twice {
            let cause = format!("makes {} the administration, which is a platform domain", platform.as_str());
            let refusal =
                Refusal::new(cause, "hosts that are no platform domain", "remove it from one of the two lists");
            report.refuse("routing.admin_hosts", host.span(), refusal);
        }
    }
}

/// `label` in front of each platform domain.
fn below(label: &str, platforms: &[Hostname<'_>]) -> impl Iterator<Item = String> {
    platforms.iter().map(move |platform| format!("{label}.{}", platform.as_str()))
}

/// All hosts of the administration in full, and the labels that had a star.
fn expand(
    hosts: &[AdminHost],
    platforms: &[Hostname<'_>],
    report: &mut Report<'_>,
) -> (Vec<Hostname<'static>>, Vec<String>) {
    let (mut names, mut labels) = (Vec::new(), Vec::new());
    for host in hosts {
        match host {
            AdminHost::Listed(name) => names.push(name.clone()),
            AdminHost::Everywhere(label) => {
                labels.push(label.clone());
                names.extend(below(label, platforms).filter_map(|name| in_full(&name, report)));
            }
        }
    }
    (names, labels)
}

/// A platform domain may be so long that no label fits in front of it.
fn in_full(name: &str, report: &mut Report<'_>) -> Option<Hostname<'static>> {
    let refuse = |refusal| report.refuse_absence("routing.admin_hosts", None, refusal);
    hostname(name).map_err(refuse).ok()
}

/// Paths of the administration come first, so a prefix at or below one of them would never be reached.
fn paths(admin: Written<List<String>>, prefix: Written<String>, report: &mut Report<'_>) -> (Vec<String>, String) {
    let admin = plain(report.convert_list("routing.admin_paths", admin, &["/admin"], url_path));
    let span = prefix.span().unwrap_or_default();
    let prefix = report.convert("routing.path_prefix", prefix, "/store", url_path).unwrap_or_default();
    let hides = |path: &&String| {
        prefix.strip_prefix(path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if let Some(path) = admin.iter().find(hides) {
        let cause = format!("is never reached: routing.admin_paths has \"{path}\"");
        let refusal = Refusal::new(cause, "a path that is not below an admin path", "choose another prefix");
        report.refuse("routing.path_prefix", span, refusal);
    }
    (admin, prefix)
}

fn label(text: &str) -> Result<String, Refusal> {
    let refused = |error| refused_by(error, "one label of a host name, such as \"www\"", "correct the label");
    Label::parse_human(text).map(|label| label.as_str().to_owned()).map_err(refused)
}

fn path_hosts(written: Written<List<String>>, report: &mut Report<'_>) -> PathHosts {
    match written.span() {
        Some(_) => PathHosts::Listed(plain(report.convert_list("routing.path_hosts", written, &[], path_host))),
        None => PathHosts::Loopback,
    }
}

fn path_host(text: &str) -> Result<Host<'static>, Refusal> {
    let unbracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match unbracketed.parse::<IpAddr>() {
        Ok(address) => Ok(Host::Ip(address)),
        Err(_) => hostname(text).map(Host::Name),
    }
}

fn unknown_host(written: Written<UnknownHost>, report: &mut Report<'_>) -> routing::UnknownHost {
    let span = written.span();
    match written.given().map(Spanned::into_inner) {
        None | Some(UnknownHost::NotFound) => routing::UnknownHost::NotFound,
        Some(UnknownHost::Homepage) => routing::UnknownHost::Homepage,
        Some(UnknownHost::Redirect(url)) => redirect(url, span, report).unwrap_or(routing::UnknownHost::NotFound),
    }
}

fn redirect(
    url: Option<Spanned<String>>,
    table: Option<Range<usize>>,
    report: &mut Report<'_>,
) -> Option<routing::UnknownHost> {
    let path = "routing.unknown_host.redirect";
    let Some(url) = url else {
        let refusal = Refusal::new("is missing", "{ redirect = \"https://platform.com/\" }", "add the URL");
        report.refuse_absence(path, table, refusal);
        return None;
    };
    let target = redirect_target(url.get_ref()).map_err(|refusal| report.refuse(path, url.span(), refusal));
    target.ok().map(routing::UnknownHost::Redirect)
}

fn redirect_target(text: &str) -> Result<HeaderValue, Refusal> {
    let refusal = |cause| Refusal::new(cause, "an absolute URL, such as \"https://platform.com/\"", "correct the URL");
    let url: Uri = text.parse().map_err(|_| refusal("is no URL"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(refusal("is not an absolute http:// or https:// URL"));
    }
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(refusal("has a user name or password, which every visitor would see"));
    }
    HeaderValue::from_str(text).map_err(|_| refusal("cannot stand in a header"))
}

impl From<file::InactiveStore> for InactiveStore {
    fn from(written: file::InactiveStore) -> Self {
        match written {
            file::InactiveStore::NotFound => Self::Unknown,
            file::InactiveStore::Gone => Self::Closed(Closed::Gone),
            file::InactiveStore::Unavailable => Self::Closed(Closed::Unavailable),
        }
    }
}

impl From<Www> for WwwPolicy {
    fn from(www: Www) -> Self {
        match www {
            Www::Redirect => Self::Redirect,
            Www::Serve => Self::Serve,
            Www::Off => Self::Off,
        }
    }
}
