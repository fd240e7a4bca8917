//! `usher resolve`: the way of a request, step by step, by the same rules and look-ups as the router's.

use clap::Args;
use serde::Serialize;
use usher::{
    config::Config,
    directory::TenantSource,
    proxy::UnknownUpstream,
    routing::{
        AmbiguousPath, Authority, Closed, Decision, Destination, Host, HostnameError, Inquiry, KeyRef, Match, Path,
        Place, PlatformId, RedirectTarget, RequestFacts, Rules, Subject, Tenant, UpstreamName, decide,
    },
};

use super::{ConfigFile, Failure, Outcome, database};

/// Explain where a request would go, and why
///
/// Reads the host and the path as the router does, asks the configured database for the store, and shows every step. A host
/// may be written in Unicode and with a port. localhost, 127.0.0.1 and [::1] are asked about as by a client on this machine.
///
/// Ends with 0 where the request would be forwarded or redirected, else with 1.
///
/// With --json: {"host": text, "path": text, "steps": [{"step": text, "result": text}], "decision": "forward", "redirect" or
/// "refuse", "status": number or null (what usher itself answers), "match": text or null, "store_id": text or null,
/// "location": text or null, "upstream": text or null, "servers": [text]}.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  usher resolve shop.example.com --config usher.toml
  usher resolve store1.platform.com/cart --json --config usher.toml
  usher resolve localhost/store/store1/cart --config usher.toml")]
pub(crate) struct Resolve {
    /// The host, and perhaps a path
    #[arg(value_name = "HOST[/PATH]")]
    request: String,
    #[command(flatten)]
    file: ConfigFile,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// What is told in the end.
#[derive(Debug, Default, Serialize)]
struct Explanation {
    host: String,
    path: String,
    steps: Vec<Step>,
    decision: &'static str,
    status: Option<u16>,
    #[serde(rename = "match")]
    matched: Option<&'static str>,
    store_id: Option<String>,
    location: Option<String>,
    upstream: Option<String>,
    servers: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Step {
    step: &'static str,
    result: String,
}

impl Resolve {
    pub(super) async fn run(self) -> Result<Outcome, Failure> {
        let config = self.file.load()?;
        let (host, path) = read(&self.request)?;
        let source = database::source(&config)?;
        let explanation = explain(&config, &*source, &host, &path).await?;
        let outcome = if self.json { Outcome::json(&explanation)? } else { Outcome::answer(explanation.text()) };
        Ok(Outcome { is_negative: explanation.decision == "refuse", ..outcome })
    }
}

impl Explanation {
    fn step(&mut self, step: &'static str, result: impl ToString) {
        self.steps.push(Step { step, result: result.to_string() });
    }

    fn text(&self) -> String {
        let head = format!("{}{}\n", self.host, self.path);
        self.steps.iter().fold(head, |text, Step { step, result }| format!("{text}  {step:8}  {result}\n"))
    }
}

async fn explain(
    config: &Config,
    source: &dyn TenantSource,
    host: &Host<'_>,
    path: &str,
) -> Result<Explanation, Failure> {
    let rules = Rules::new(config.routing.clone());
    let read_path = Path::read(path);
    let facts = RequestFacts { host, path: &read_path, peer_is_loopback: is_this_machine(host) };
    let mut told = Explanation { host: host.to_string(), path: path.to_owned(), ..Explanation::default() };
    told.step("host", standing(config, rules.place(&facts)));
    let route = match rules.route(&facts) {
        Ok(route) => route,
        Err(ambiguous) => return Ok(refuse_ambiguous(told, ambiguous)),
    };
    told.step("route", &route);
    let inquiry = Inquiry::new(&rules, route);
    let subject = look_up(source, inquiry, config.own_queries.is_some(), &mut told).await?;
    conclude(config, decide(&rules, subject), &mut told);
    Ok(told)
}

/// Where the host stands, with platform domains by their names.
fn standing(config: &Config, place: Place<'_>) -> String {
    let name = |PlatformId(position)| &config.routing.platform_domains[usize::from(position)];
    match place {
        Place::Platform(platform) => format!("platform domain {} itself", name(platform)),
        Place::Subdomain { platform, label } => format!("subdomain {label} of platform domain {}", name(platform)),
        other => other.to_string(),
    }
}

/// Asks as the router does.
async fn look_up<'a>(
    source: &dyn TenantSource,
    mut inquiry: Inquiry<'a>,
    is_own: bool,
    told: &mut Explanation,
) -> Result<Subject<'a>, Failure> {
    while let Some(key) = inquiry.question() {
        let answer = load(source, key, is_own, told).await;
        inquiry.answer(answer)?;
    }
    Ok(inquiry.subject())
}

async fn load(
    source: &dyn TenantSource,
    key: KeyRef<'_>,
    is_own: bool,
    told: &mut Explanation,
) -> Result<Option<Tenant>, Failure> {
    let tenant = source.load(&key.into()).await.map_err(Failure::Lookup)?;
    let asked = asked(key, is_own);
    let answer = match &tenant {
        None => "no row".to_owned(),
        Some(Tenant { id, status, upstream, primary }) => {
            let upstream = upstream.as_ref().map(|name| format!(", upstream {name}")).unwrap_or_default();
            let primary = primary.as_ref().map(|host| format!(", primary domain {host}")).unwrap_or_default();
            format!("store {id}, {status}{upstream}{primary}")
        }
    };
    told.step("look-up", format!("{asked}: {answer}"));
    Ok(tenant)
}

/// What the database was asked: our tables, or the queries in their place.
fn asked(key: KeyRef<'_>, is_own: bool) -> String {
    match key {
        KeyRef::CustomDomain(domain) if is_own => format!("directory.queries.custom_domain with '{domain}'"),
        KeyRef::CustomDomain(domain) => format!("store_domains.domain = '{domain}'"),
        KeyRef::Label { label, .. } if is_own => format!("directory.queries.label with '{label}'"),
        KeyRef::Label { label, .. } => format!("stores.subdomain = '{label}'"),
    }
}

fn refuse_ambiguous(mut told: Explanation, ambiguous: AmbiguousPath) -> Explanation {
    told.step("decision", format!("400: {ambiguous}"));
    Explanation { decision: "refuse", status: Some(400), ..told }
}

fn conclude(config: &Config, decision: Decision<'_>, told: &mut Explanation) {
    let shown = decision.to_string();
    match decision {
        Decision::Forward(Destination { matched, tenant, prefix, upstream, .. }) => {
            told.decision = "forward";
            told.matched = Some(matched.as_str());
            told.store_id = tenant.map(|id| id.as_str().to_owned());
            let stripped = prefix.and_then(|prefix| prefix.split(&told.path)).map(|(prefix, rest)| {
                format!(", the app sees {} and X-Forwarded-Prefix: {prefix}", if rest.is_empty() { "/" } else { rest })
            });
            told.step("decision", shown + &stripped.unwrap_or_default());
            tell_upstream(config, matched, upstream.as_ref(), told);
        }
        Decision::Redirect(RedirectTarget::Host(host)) => redirect(format!("//{host}{}", told.path), shown, told),
        Decision::Redirect(RedirectTarget::Url(url)) => {
            redirect(String::from_utf8_lossy(url.as_bytes()).into_owned(), shown, told)
        }
        Decision::Close(Closed::Gone) => refuse(410, &shown, told),
        Decision::Close(Closed::Unavailable) => refuse(503, &shown, told),
        Decision::Refuse(_) => refuse(404, &shown, told),
    }
}

fn refuse(status: u16, shown: &str, told: &mut Explanation) {
    told.decision = "refuse";
    told.status = Some(status);
    told.step("decision", format!("{status}: {shown}"));
}

fn redirect(location: String, shown: String, told: &mut Explanation) {
    told.decision = "redirect";
    told.status = Some(308);
    told.location = Some(location);
    told.step("decision", format!("308: {shown}"));
}

/// As the router chooses it.
fn tell_upstream(config: &Config, matched: Match, named: Option<&UpstreamName>, told: &mut Explanation) {
    let roles = config.roles();
    let (mut index, mut note) = (roles.upstream_for(matched), String::new());
    if let Some(name) = named {
        match config.upstreams.iter().position(|upstream| upstream.name == name.as_str()) {
            Some(position) => index = position,
            None if roles.unknown == UnknownUpstream::Unavailable => {
                return refuse(503, &format!("there is no upstream {name}"), told);
            }
            None => note = format!(", since there is no upstream {name}"),
        }
    }
    if let Some(upstream) = config.upstreams.get(index) {
        told.servers = upstream.servers.iter().map(|server| upstream.url(&server.address)).collect();
        told.step("upstream", format!("{}: {}{note}", upstream.name, told.servers.join(", ")));
        told.upstream = Some(upstream.name.clone());
    }
}

/// The host, and the path as a browser would send it.
fn read(request: &str) -> Result<(Host<'static>, String), Failure> {
    let rest = request.strip_prefix("http://").or_else(|| request.strip_prefix("https://")).unwrap_or(request);
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = read_host(host).map_err(|cause| Failure::Host { written: host.to_owned(), cause })?;
    let path = path.split(['?', '#']).next().unwrap_or_default();
    Ok((host, if path.is_empty() { "/".to_owned() } else { encode(path) }))
}

/// What the wire can carry is read as on the wire.
fn read_host(written: &str) -> Result<Host<'static>, HostnameError> {
    match Authority::parse(written) {
        Ok(Authority { host, .. }) => Ok(host.into_owned()),
        Err(HostnameError::NotAscii) => {
            let (name, port) = written.rsplit_once(':').unwrap_or((written, ""));
            let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
            Host::parse_human(if is_port { name } else { written })
        }
        Err(error) => Err(error),
    }
}

/// Browsers percent-encode what cannot stand in a request target.
fn encode(path: &str) -> String {
    let octet = |octet: u8| match octet {
        b'!'..=b'~' => char::from(octet).to_string(),
        _ => format!("%{octet:02X}"),
    };
    path.bytes().map(octet).collect()
}

/// These names lead to the machine of whoever writes them.
fn is_this_machine(host: &Host<'_>) -> bool {
    match host {
        Host::Name(name) => name.as_str() == "localhost",
        Host::Ip(address) => address.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use usher::database::{migrations, session::Session, sqlite::Database};
    use usher::directory::{Queries, SqliteSource};

    use super::*;

    const CONFIG: &str = "[routing]\nplatform_domains = ['platform.com']\n[directory]\nurl = 'sqlite://unused.db'\n\
                          [upstreams.default]\nservers = ['http://127.0.0.1:8000']\n";

    async fn resolve(request: &str) -> Explanation {
        resolve_with(CONFIG, request).await
    }

    async fn resolve_with(config: &str, request: &str) -> Explanation {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::create(&folder.path().join("usher.db")).unwrap();
        let session = Session::sqlite(&database);
        migrations::run(&session, &migrations::Plan::default()).await.unwrap();
        session
            .batch(
                "INSERT INTO stores (subdomain, name) VALUES ('store1', 'Shop Alpha');
                 INSERT INTO store_domains (store_id, domain, is_verified)
                 VALUES (1, 'bücher.example', 1), (1, 'brand.com', 1), (1, 'new.com', 0), (1, 'xn--bcher-kva.example', 1);
                 ALTER TABLE stores ADD COLUMN upstream TEXT;
                 INSERT INTO stores (subdomain, name, upstream) VALUES ('pinned', 'Shop Beta', 'cell'), ('lost', 'C', 'nosuch')",
            )
            .await
            .unwrap();
        let config = Config::parse(config, "test", &|_| None).unwrap();
        let (host, path) = read(request).unwrap();
        explain(&config, &SqliteSource::new(database, Queries::default()), &host, &path).await.unwrap()
    }

    #[tokio::test]
    async fn every_step_of_a_custom_domain_is_told() {
        let told = resolve("brand.com/p").await;
        assert_eq!(
            (told.decision, told.matched, told.store_id.as_deref()),
            ("forward", Some("custom_domain"), Some("1"))
        );
        assert_eq!(told.servers, ["http://127.0.0.1:8000"]);
        let steps: Vec<_> = told.steps.iter().map(|step| step.step).collect();
        assert_eq!(steps, ["host", "route", "look-up", "decision", "upstream"]);
        assert!(told.text().contains("store_domains.domain = 'brand.com': store 1, active"), "{}", told.text());
    }

    #[tokio::test]
    async fn outcomes_are_those_of_the_router() {
        for (request, decision, status) in [
            ("https://Bücher.example:8443/p?q=/", "forward", None),
            ("store1.platform.com", "forward", None),
            ("localhost:8080/store/store1/p", "forward", None),
            ("platform.com", "forward", None),
            ("www.brand.com", "redirect", Some(308)),
            ("new.com", "refuse", Some(404)),
            ("unknown.example", "refuse", Some(404)),
            ("brand.com//admin", "refuse", Some(400)),
        ] {
            let told = resolve(request).await;
            assert_eq!((told.decision, told.status), (decision, status), "{request}: {}", told.text());
        }
    }

    #[tokio::test]
    async fn path_mode_tells_what_the_app_sees() {
        let text = resolve("localhost/store/store1/ä b").await.text();
        assert!(text.contains("the app sees /%C3%A4%20b and X-Forwarded-Prefix: /store/store1"), "{text}");
    }

    #[tokio::test]
    async fn the_upstream_that_a_row_names_is_told() {
        let text = CONFIG.to_owned() + "[upstreams.cell]\nservers = ['http://127.0.0.1:9000']\n";
        let pinned = resolve_with(&text, "pinned.platform.com").await;
        assert_eq!((pinned.upstream.as_deref(), &*pinned.servers[0]), (Some("cell"), "http://127.0.0.1:9000"));
        let lost = resolve_with(&text, "lost.platform.com").await;
        assert_eq!(lost.upstream.as_deref(), Some("default"));
        assert!(lost.text().contains("since there is no upstream nosuch"), "{}", lost.text());
        let strict = text.replace("[directory]", "unknown_upstream = 'unavailable'\n[directory]");
        let refused = resolve_with(&strict, "lost.platform.com").await;
        assert_eq!((refused.decision, refused.status, refused.upstream), ("refuse", Some(503), None));
    }

    #[tokio::test]
    async fn a_platform_domain_is_told_by_its_name() {
        let text = resolve("store1.platform.com").await.text();
        assert!(text.contains("subdomain store1 of platform domain platform.com"), "{text}");
        assert!(text.contains("tenant by subdomain: store1\n"), "{text}");
    }

    #[test]
    fn what_names_no_host_is_refused() {
        for request in ["", "/p", "a b", "user@brand.com", "brand.com:99999", "bücher.example:x"] {
            assert!(matches!(read(request), Err(Failure::Host { .. })), "{request}");
        }
    }
}
