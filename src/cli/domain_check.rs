//! `usher domain check`: what is set for a domain, what should be, and what the customer should do next.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use usher::{
    catalog::{self, Catalog, DnsRecord},
    config::Config,
    database::session::Session,
    domains::{
        SelfCheck,
        doctor::{Advice, Certificate, Doctor, Findings, Issuance, Outlook, Who, advise},
        register::{self, Entry},
    },
    tls::Archive,
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
    let authorities = authorities(config);
    let doctor = Doctor::new(config.domains.checks.clone(), self_check, authorities.clone()).map_err(Failure::Dns)?;
    let found = doctor.examine(name, token).await;
    let earlier = register::find(&session, name, token.unwrap_or_default()).await.map_err(catalog::Error::from)?;
    let (certificate, certificate_expires) = certificate(config, session, name).await?;
    let store_is_active = catalog.store(&format!("id:{}", domain.store_id)).await.is_ok_and(|store| store.is_active);
    let prefix = config.domains.checks.prefixes.first().map_or("", String::as_str);
    let advice = advise(&Outlook {
        name,
        findings: &found,
        record: &format!("{prefix}.{name}"),
        token,
        is_active: domain.is_active && store_is_active,
        is_verified: domain.is_verified,
        are_verified: config.domains.are_verified,
        addresses: &config.domains.addresses,
        cname: config.domains.cname.as_ref().map(|name| name.as_str()),
        authority: authorities.first().map(|host| usher::domains::doctor::identity(host)),
        certificate,
    });
    let dns_records = records(domain, config);
    Ok(Examination { domain, store_is_active, dns_records, found, earlier, certificate_expires, advice })
}

/// The hosts of the CAs that are asked for certificates.
fn authorities(config: &Config) -> Vec<String> {
    let authorities = config.acme.iter().flat_map(|settings| &settings.authorities);
    authorities.filter_map(|ca| ca.directory.parse::<http::Uri>().ok()?.host().map(str::to_owned)).collect()
}

async fn certificate(config: &Config, session: Session, name: &str) -> Result<(Certificate, Option<i64>), Failure> {
    if config.tls.keys.is_none() {
        return Ok((Certificate::Unmanaged, None));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let expires = Archive::new(session).show(name).await?.and_then(|(entry, _pem)| entry.expires);
    let state = match expires {
        None if config.acme.is_none() => Certificate::Unmanaged,
        None => Certificate::Missing,
        Some(expires) if u64::try_from(expires).unwrap_or_default() > now => Certificate::Good,
        Some(_) => Certificate::Expired,
    };
    Ok((state, expires))
}

fn text(examination: &Examination<'_>) -> String {
    let Examination { domain, store_is_active, dns_records, found, earlier, certificate_expires, advice } = examination;
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
    match &found.issuance {
        None => {}
        Some(Issuance::Allowed) => line("CAA", "the CA may issue".into()),
        Some(Issuance::Forbidden { at, records }) => {
            line("CAA", format!("{at} lets others issue: {}", records.join(", ")))
        }
        Some(Issuance::Unknown { reason }) => line("CAA", format!("could not be asked for: {reason}")),
    }
    line("zone", found.zone.to_string());
    if let Some(expires) = certificate_expires {
        line("certificate", format!("good until {}", moment(*expires)));
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
