//! `usher domain check`: what is set for a domain, what should be, and what the customer should do next.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use usher::{
    catalog::{self, Catalog, DnsRecord},
    config::Config,
    database::session::Session,
    domains::{
        SelfCheck, State,
        doctor::{Advice, Asked, Certificate, Doctor, Findings, Issuance, Outlook, Permission, Who, advise},
        register::{self, Entry},
    },
    tls::{self, Archive, Challenge},
};

use super::{Failure, Outcome, database, domain::records, outcome::yes_no};

/// All that is told.
#[derive(Serialize)]
struct Examination<'a> {
    #[serde(flatten)]
    domain: &'a catalog::Domain,
    store_is_active: bool,
    dns_records: Vec<DnsRecord>,
    found: Findings,
    earlier: Option<Entry>,
    /// When the certificate in the database ends to be valid, in seconds since the Unix epoch.
    certificate_expires: Option<i64>,
    /// How it stands with it, and what stands in the way of a new one.
    certificate: Option<tls::Entry>,
    advice: Advice,
}

/// Looks at the domain `written`. Ends with 0 where nobody has to do anything.
pub(super) async fn run(config: &Config, written: &str, json: bool) -> Result<Outcome, Failure> {
    let catalog = database::catalog(config).await?;
    let domain = catalog.domain(written).await?;
    let examination = examine(config, &catalog, &domain).await?;
    let is_negative = examination.advice.who != Who::Nobody;
    let outcome = match json {
        true => Outcome::json(&examination)?,
        false => Outcome::answer(text(&examination)),
    };
    Ok(Outcome { is_negative, ..outcome })
}

async fn examine<'a>(
    config: &Config,
    catalog: &Catalog,
    domain: &'a catalog::Domain,
) -> Result<Examination<'a>, Failure> {
    let session = database::session(config).await?;
    let name = domain.hostname().map_err(|cause| Failure::Host { written: domain.domain.clone(), cause })?;
    let name = name.as_str();
    let token = domain.verification_token.as_deref();
    let self_check = SelfCheck::default();
    // Without the secret no instance is known, and visitors seem to arrive elsewhere; so that is an error.
    self_check.load(&session).await.map_err(Failure::SelfCheck)?;
    let authorities = authorities(config, &session).await;
    let doctor = Doctor::new(config.domains.checks.clone(), self_check, authorities).map_err(Failure::Dns)?;
    let found = doctor.examine(name, token).await;
    let earlier = register::find(&session, name, token.unwrap_or_default()).await.map_err(catalog::Error::from)?;
    let entry = match config.tls.keys {
        Some(_) => Archive::new(session).entry(name).await?,
        None => None,
    };
    let again = entry.as_ref().and_then(|entry| entry.due).map_or_else(String::new, moment);
    let store_is_active = catalog.store(&format!("id:{}", domain.store_id)).await.is_ok_and(|store| store.is_active);
    let prefix = config.domains.checks.prefixes.first().map_or("", String::as_str);
    let page = config.domains.checks.token_page(name);
    let advice = advise(&Outlook {
        name,
        findings: &found,
        record: &format!("{prefix}.{name}"),
        page: page.as_deref(),
        token,
        is_active: domain.is_active && store_is_active,
        is_verified: domain.is_verified,
        are_verified: config.domains.are_verified,
        is_live: earlier.as_ref().is_some_and(|earlier| earlier.state == State::Live.as_str()),
        addresses: &config.domains.addresses,
        cname: config.domains.cname.as_ref().map(|name| name.as_str()),
        certificate: certificate(config, entry.as_ref(), &again),
    });
    let dns_records = records(domain, config);
    let certificate_expires = entry.as_ref().and_then(|entry| entry.expires);
    Ok(Examination {
        domain,
        store_is_active,
        dns_records,
        found,
        earlier,
        certificate_expires,
        certificate: entry,
        advice,
    })
}

/// The CAs that are asked for certificates, with our accounts there as far as they can be read.
async fn authorities(config: &Config, session: &Session) -> Vec<Asked> {
    let (Some(settings), Some(keys)) = (&config.acme, &config.tls.keys) else { return Vec::new() };
    let method = |challenge: &Challenge| match challenge {
        Challenge::Http01 => "http-01",
        Challenge::TlsAlpn01 => "tls-alpn-01",
    };
    let methods: Vec<_> = settings.challenges.iter().map(method).collect();
    let mut asked = Vec::new();
    for ca in &settings.authorities {
        let uri = ca.directory.parse::<http::Uri>().ok();
        let Some(host) = uri.as_ref().and_then(http::Uri::host).map(str::to_owned) else { continue };
        let account = tls::account_uri(session, keys, &ca.directory).await;
        asked.push(Asked { host, account, methods: methods.clone() });
    }
    asked
}

fn certificate<'a>(config: &Config, entry: Option<&'a tls::Entry>, again: &'a str) -> Certificate<'a> {
    if config.tls.keys.is_none() {
        return Certificate::Unmanaged;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let expires = entry.and_then(|entry| entry.expires);
    let is_good = expires.is_some_and(|expires| u64::try_from(expires).unwrap_or_default() > now);
    match entry {
        _ if is_good => Certificate::Good,
        Some(tls::Entry { state: tls::State::Failing, reason: Some(reason), problem, .. }) => {
            Certificate::Failing { reason, problem: problem.as_deref().unwrap_or(reason), again }
        }
        _ if expires.is_some() => Certificate::Expired,
        _ if config.acme.is_none() => Certificate::Unmanaged,
        _ => Certificate::Missing,
    }
}

fn text(examination: &Examination<'_>) -> String {
    let Examination { domain, store_is_active, dns_records, found, earlier, certificate, advice, .. } = examination;
    let mut lines = Vec::new();
    let mut line = |label: &str, value: String| lines.push(format!("{label:<14}{value}\n"));
    let store = domain.store_subdomain.as_deref().unwrap_or("which does not exist");
    line("domain", domain.domain.clone());
    line("store", format!("{} ({store}), active: {}", domain.store_id, yes_no(*store_is_active)));
    line("in the table", format!("active: {}, verified: {}", yes_no(domain.is_active), yes_no(domain.is_verified)));
    match &found.ownership {
        Some(ownership) => line("ownership", ownership.to_string()),
        None => line("ownership", "the row has no verification_token".into()),
    }
    if let Some(place) = &found.misplaced {
        line("", format!("the token stands at {place}"));
    }
    if !found.aliases.is_empty() {
        line("alias of", found.aliases.join(", "));
    }
    line("visitors", found.traffic.to_string());
    for Permission { authority, issuance } in &found.issuance {
        match issuance {
            Issuance::Allowed => line("CAA", format!("{authority} may issue")),
            Issuance::Forbidden { at, records } => {
                line("CAA", format!("{authority} may not: {at} lets others issue: {}", records.join(", ")))
            }
            Issuance::Unknown { reason } => line("CAA", format!("could not be asked for: {reason}")),
        }
    }
    line("zone", found.zone.to_string());
    if let Some(certificate) = certificate {
        let until = certificate.expires.map(|expires| format!("good until {}", moment(expires)));
        let problem = certificate.problem.as_ref().filter(|_| certificate.state == tls::State::Failing);
        let told = [until, Some(certificate.state.as_str().to_owned()), problem.cloned()];
        line("certificate", told.into_iter().flatten().collect::<Vec<_>>().join(", "));
    }
    if let Some(earlier) = earlier {
        let looked = earlier.looked_at.map_or("not looked at yet".to_owned(), |at| format!("looked at {}", moment(at)));
        line(
            "state",
            format!("{} since {}, {looked}, next {}", earlier.state, moment(earlier.since), moment(earlier.due_at)),
        );
    }
    for record in dns_records {
        line("should be", format!("{} {} {}", record.name, record.kind, record.value));
    }
    let who = match advice.who {
        Who::Customer => "customer",
        Who::Operator => "operator",
        Who::Nobody => "to do",
    };
    line(who, advice.what.clone());
    lines.concat()
}

fn moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_string()
}
