//! `usher domain`.

use std::slice;

use clap::{Args, Subcommand};
use serde::Serialize;
use usher::{
    catalog::{self, Catalog, DnsRecord, DnsTargets, NewDomain, Purpose, dns_records},
    config::Config,
};

use super::{
    Failure, Outcome, database,
    outcome::{table, yes_no},
    store::Common,
};

/// Add, list, show, check, verify, enable, disable or remove custom domains, or choose the primary one
///
/// A custom domain is a row of the table `store_domains`. It is served once it is active and verified and its store is active.
/// DOMAIN may be written in Unicode and is stored as the wire has it (A-labels, lower case, no trailing dot).
///
/// With --json: {"id": text, "store_id": text, "store_subdomain": text or null, "domain": text, "is_primary": bool or null,
/// "is_active": bool, "is_verified": bool, "verification_token": text or null}; a list of these from `list`. `add` and `show`
/// also have "dns_records", a list of {"purpose": "ownership", "traffic", "traffic_at_zone_top" or "www", "name": text,
/// "type": text, "value": text}, and "token_page": the address of a page that may show the token instead of the TXT record, or null
/// (domains.http_token). is_primary and verification_token are null where the table has no such column.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  usher domain add shop.example.com --store store1 --config usher.toml
  usher domain check shop.example.com --config usher.toml
  usher domain verify shop.example.com --config usher.toml
  usher domain list --store store1 --json --config usher.toml")]
pub(crate) struct Domain {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a domain to a store and show the DNS records that the customer has to set
    ///
    /// Names under a platform domain, names that look like an administration and addresses are refused: no request for them
    /// would be looked up.
    Add {
        /// The name, as in shop.example.com
        domain: String,
        /// The id or subdomain of the store
        #[arg(long)]
        store: String,
        /// Take it as verified: you know that the name is the customer's
        #[arg(long)]
        verified: bool,
        #[command(flatten)]
        common: Common,
    },
    /// List domains
    List {
        /// Only those of this store (id or subdomain)
        #[arg(long)]
        store: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Show a domain and the DNS records that the customer has to set
    Show(One),
    /// Look at what the DNS says of a domain, and tell what its customer should do next
    ///
    /// Asks the DNS and visits the domain now: the TXT record, the way of its visitors (through CDNs too), CAA records that keep the
    /// CA from issuing, DNSSEC, the certificate in the database. The last line can be sent to the customer as it is. Ends with 0
    /// where nobody has to do anything, else with 1.
    ///
    /// With --json also: "store_is_active": bool, "dns_records" as `show` has them, "found": {"zone", "ownership", "misplaced",
    /// "aliases", "addresses", "traffic", "issuance"}, "earlier": what usher has noted before, or null, "certificate_expires":
    /// seconds since the Unix epoch or null, "certificate": as `usher cert list` has it, or null, "advice": {"who": "customer", "operator" or "nobody", "what": text}.
    Check(One),
    /// Mark a domain as verified, on your word
    Verify(One),
    /// Make a domain its store's primary one, and the store's others secondary
    Primary(One),
    /// Switch a domain on
    Enable(One),
    /// Switch a domain off: it becomes unknown
    Disable(One),
    /// Remove a domain from its store
    Remove(One),
}

#[derive(Debug, Args)]
struct One {
    /// The name, as in shop.example.com
    domain: String,
    #[command(flatten)]
    common: Common,
}

/// A domain with what the customer has to set for it.
#[derive(Serialize)]
struct WithRecords<'a> {
    #[serde(flatten)]
    domain: &'a catalog::Domain,
    dns_records: Vec<DnsRecord>,
    token_page: Option<String>,
}

impl Domain {
    pub(super) async fn run(self) -> Result<Outcome, Failure> {
        match self.action {
            Action::Add { domain, store, verified, common } => {
                let config = common.file.load()?;
                let new = NewDomain { name: &domain, store: &store, is_verified: verified };
                with_records(&database::catalog(&config).await?.add_domain(new).await?, &config, &common)
            }
            Action::Show(One { domain, common }) => {
                let config = common.file.load()?;
                with_records(&database::catalog(&config).await?.domain(&domain).await?, &config, &common)
            }
            Action::Check(One { domain, common }) => {
                super::domain_check::run(&common.file.load()?, &domain, common.json).await
            }
            Action::List { store, common } => {
                let catalog = database::catalog(&common.file.load()?).await?;
                list(&catalog.domains(store.as_deref()).await?, &common)
            }
            Action::Verify(one) => edit(one, async |catalog, name| catalog.verify_domain(name).await).await,
            Action::Primary(one) => make_primary(one).await,
            Action::Enable(one) => edit(one, async |catalog, name| catalog.set_domain_active(name, true).await).await,
            Action::Disable(one) => edit(one, async |catalog, name| catalog.set_domain_active(name, false).await).await,
            Action::Remove(one) => edit(one, async |catalog, name| catalog.remove_domain(name).await).await,
        }
    }
}

async fn edit<F>(One { domain, common }: One, work: F) -> Result<Outcome, Failure>
where
    F: AsyncFnOnce(&Catalog, &str) -> Result<catalog::Domain, catalog::Error>,
{
    let catalog = database::catalog(&common.file.load()?).await?;
    shown(&work(&catalog, &domain).await?, &common)
}

/// Who makes a domain the primary one means visitors to come to it.
async fn make_primary(One { domain, common }: One) -> Result<Outcome, Failure> {
    let catalog = database::catalog(&common.file.load()?).await?;
    let domain = catalog.make_primary(&domain).await?;
    let store_is_active = catalog.store(&format!("id:{}", domain.store_id)).await.is_ok_and(|store| store.is_active);
    let outcome = shown(&domain, &common)?;
    Ok(Outcome { complaints: unserved(&domain, store_is_active), ..outcome })
}

/// A warning, where `domain` is not served.
fn unserved(domain: &catalog::Domain, store_is_active: bool) -> String {
    let lacks = [
        (!domain.is_verified, "it is not verified"),
        (!domain.is_active, "it is switched off"),
        (!store_is_active, "its store is switched off"),
    ];
    let lacks: Vec<_> = lacks.into_iter().filter_map(|(is_so, lack)| is_so.then_some(lack)).collect();
    match lacks.as_slice() {
        [] => String::new(),
        lacks => format!(
            "warning: {} is not served, since {}; until it is, the store's other hosts do not stand back for it\n",
            domain.domain,
            lacks.join(" and ")
        ),
    }
}

fn shown(domain: &catalog::Domain, common: &Common) -> Result<Outcome, Failure> {
    if common.json { Outcome::json(domain) } else { Ok(Outcome::answer(text(slice::from_ref(domain)))) }
}

fn list(domains: &[catalog::Domain], common: &Common) -> Result<Outcome, Failure> {
    if common.json { Outcome::json(&domains) } else { Ok(Outcome::answer(text(domains))) }
}

fn with_records(domain: &catalog::Domain, config: &Config, common: &Common) -> Result<Outcome, Failure> {
    let records = records(domain, config);
    let token_page = token_page(domain, config);
    if common.json {
        return Outcome::json(&WithRecords { domain, dns_records: records, token_page });
    }
    let cname = config.domains.cname.as_ref().map(|name| name.as_str());
    let page = token_page.map(|page| {
        format!(
            "\nInstead of the TXT record the web server of the name may show the token, and nothing else, at {page}\n"
        )
    });
    let shown = [text(slice::from_ref(domain)), records_text(&records, cname) + &page.unwrap_or_default()];
    Ok(Outcome::answer(shown.join("\n")))
}

/// The page on which the token counts as well.
fn token_page(domain: &catalog::Domain, config: &Config) -> Option<String> {
    domain.verification_token.as_ref()?;
    config.domains.checks.token_page(domain.hostname().ok()?.as_str())
}

/// What the customer has to set.
pub(super) fn records(domain: &catalog::Domain, config: &Config) -> Vec<DnsRecord> {
    let targets = DnsTargets {
        verification_prefix: config.domains.checks.prefixes.first().map_or("", String::as_str),
        addresses: &config.domains.addresses,
        cname: config.domains.cname.as_ref().map(|name| name.as_str()),
    };
    let token = domain.verification_token.as_deref();
    // A row that is no host name can have no DNS records either; `usher check` lists such rows.
    domain.hostname().map(|name| dns_records(&name, token, targets)).unwrap_or_default()
}

fn text(domains: &[catalog::Domain]) -> String {
    let row = |domain: &catalog::Domain| {
        let store = domain.store_subdomain.as_ref().map(|subdomain| format!("{} ({subdomain})", domain.store_id));
        [
            domain.domain.clone(),
            store.unwrap_or_else(|| domain.store_id.clone()),
            yes_no(domain.is_active),
            yes_no(domain.is_verified),
            domain.is_primary.map(yes_no).unwrap_or_default(),
        ]
    };
    table(["DOMAIN", "STORE", "ACTIVE", "VERIFIED", "PRIMARY"], domains.iter().map(row))
}

fn records_text(records: &[DnsRecord], cname: Option<&str>) -> String {
    let row = |record: &DnsRecord| {
        [record.name.clone(), record.kind.to_owned(), record.value.clone(), purpose(record.purpose).to_owned()]
    };
    let mut text = String::from("DNS records for the customer to set:\n");
    text += &table(["NAME", "TYPE", "VALUE", "PURPOSE"], records.iter().map(row));
    if !records.iter().any(|record| record.purpose == Purpose::Traffic) {
        text += &unknown_way(cname);
    }
    text
}

/// Why no record is shown that leads visitors here.
fn unknown_way(cname: Option<&str>) -> String {
    match cname {
        None => {
            "\nand one that leads visitors here; to have it shown, set addresses or cname in the [domains] section\n"
                .into()
        }
        Some(cname) => format!(
            "\nand address records (A, AAAA) that lead visitors here, since the top of a DNS zone can have no CNAME; to have them \
             shown, set addresses in the [domains] section. Where the customer's DNS has ALIAS or ANAME records, one to {cname} does\n"
        ),
    }
}

fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Ownership => "proves that the name is the customer's",
        Purpose::Traffic => "leads visitors here",
        Purpose::TrafficAtZoneTop => "instead of the CNAME, where the name is the top of its DNS zone",
        Purpose::Www => "optional: leads visitors who write www. here",
    }
}
