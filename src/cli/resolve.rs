//! `usher resolve`: the way of a request, step by step, by the same rules and look-ups as the router's.

use std::{sync::Arc, time::Duration};

use clap::Args;
use tokio::runtime::Handle;
use usher::{
    app,
    config::Config,
    directory::{self, Directory, TenantSource},
    proxy::explain::{Explainer, Question, TlsOutlook},
    routing::Rules,
    tls::{Files, Vault},
};

use super::{ConfigFile, Failure, Outcome, database};

/// A command has nobody waiting who had rather be turned away: longer than the deadlines of connection and query together.
const PATIENCE: Duration = Duration::from_secs(30);

/// Explain where a request would go, and why
///
/// Reads the host and the path as the router does, asks the configured database for the store, and shows every step. A host
/// may be written in Unicode and with a port. Without http:// or https:// in front, https is meant where the host is shown a
/// certificate. localhost, 127.0.0.1 and [::1] are asked about as by a client on this machine.
///
/// Ends with 0 where the request would be forwarded or redirected, else with 1.
///
/// With --json: {"host": text, "path": text, "scheme": "http" or "https", "steps": [{"step": text, "result": text}], "decision":
/// "forward", "redirect" or "refuse", "status": number or null (what usher itself answers), "match": text or null, "store_id": text or
/// null, "location": text or null (the whole URL), "upstream": text or null, "servers": [text]}.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  usher resolve shop.example.com --config usher.toml
  usher resolve store1.platform.com/cart --json --config usher.toml
  usher resolve http://shop.example.com --config usher.toml      whether it is sent to https
  usher resolve localhost/store/store1/cart --config usher.toml")]
pub(crate) struct Resolve {
    /// The host, and perhaps a path, or a whole URL
    #[arg(value_name = "HOST[/PATH]")]
    request: String,
    #[command(flatten)]
    file: ConfigFile,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

impl Resolve {
    pub(super) async fn run(self) -> Result<Outcome, Failure> {
        let config = self.file.load()?;
        let question =
            Question::read(&self.request).map_err(|cause| Failure::Host { written: self.request.clone(), cause })?;
        let source = database::source(&config)?.into();
        let tls = tls(&config).await?;
        let explanation = explainer(&config, source, tls).explain(&question).await.map_err(Failure::Lookup)?;
        let outcome = if self.json { Outcome::json(&explanation)? } else { Outcome::answer(explanation.text()) };
        Ok(Outcome { is_negative: explanation.decision == "refuse", ..outcome })
    }
}

/// What `usher serve` would go by, with nothing remembered.
fn explainer(config: &Config, source: Arc<dyn TenantSource>, tls: Option<TlsOutlook>) -> Explainer {
    let settings = directory::Settings { lookup_timeout: PATIENCE, ..config.directory.clone() };
    Explainer {
        rules: Arc::new(Rules::new(config.routing.clone())),
        directory: Arc::new(Directory::new(settings, source, Handle::current()).reader()),
        has_own_queries: config.own_queries.is_some(),
        upstreams: config.upstreams.clone(),
        roles: config.roles(),
        tls,
    }
}

/// The certificates as they are now, where TLS is spoken at all.
async fn tls(config: &Config) -> Result<Option<TlsOutlook>, Failure> {
    let Some(first) = config.proxy.https.first() else { return Ok(None) };
    let files = Files::load(&config.tls.certificates).map_err(|error| Failure::Serve(app::Error::from(error)))?;
    let vault = match &config.tls.keys {
        Some(keys) => Some(Vault::new(database::session(config).await?, Arc::clone(keys), Handle::current())),
        None => None,
    };
    Ok(Some(TlsOutlook { certificates: files.certificates(), vault, policy: config.https, port: first.port() }))
}

#[cfg(test)]
mod tests {
    use usher::database::{migrations, session::Session, sqlite::Database};
    use usher::{
        directory::{Queries, SqliteSource},
        proxy::explain::Explanation,
    };

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
        let source = Arc::new(SqliteSource::new(database, Queries::default()));
        let tls = tls(&config).await.unwrap();
        explainer(&config, source, tls).explain(&Question::read(request).unwrap()).await.unwrap()
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

    /// The same, with TLS and a certificate for `brand.com`.
    async fn resolve_with_tls(keys: &str, request: &str) -> Explanation {
        let folder = tempfile::tempdir().unwrap();
        let names = ["brand.com", "store1.platform.com"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let [certificate, key] = ["c.pem", "k.pem"].map(|name| folder.path().join(name));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let (certificate, key) = (certificate.display(), key.display());
        let text = format!(
            "[listen]\nhttps = ['127.0.0.1:8443']\n\
             [tls]\ncertificates = [{{ certificate = '{certificate}', key = '{key}' }}]\n{keys}\n{CONFIG}"
        );
        resolve_with(&text, request).await
    }

    #[tokio::test]
    async fn a_redirect_is_told_with_the_whole_location() {
        let told = resolve("www.brand.com:8080/p?q=1").await;
        assert_eq!(told.location.as_deref(), Some("http://brand.com:8080/p?q=1"), "{}", told.text());
        let secure = resolve("https://www.brand.com/p?q=1").await;
        assert_eq!(secure.location.as_deref(), Some("https://brand.com/p?q=1"), "TLS of a proxy in front");
    }

    #[tokio::test]
    async fn where_there_is_a_certificate_http_is_sent_to_https() {
        for (request, location) in [
            ("http://brand.com/p?q=1", Some("https://brand.com/p?q=1")),
            ("http://brand.com:8080/", Some("https://brand.com:8443/")),
            ("http://www.brand.com/", Some("https://brand.com/")),
            ("http://brand.com/.well-known/acme-challenge/x", None),
            ("http://xn--bcher-kva.example/", None),
            ("brand.com", None),
            ("https://brand.com", None),
        ] {
            let told = resolve_with_tls("", request).await;
            assert_eq!(told.location.as_deref(), location, "{}", told.text());
            assert_eq!(told.decision, if location.is_some() { "redirect" } else { "forward" }, "{request}");
        }
        let off = resolve_with_tls("redirect = false", "http://brand.com/").await;
        assert_eq!((off.decision, off.location), ("forward", None));
    }

    #[tokio::test]
    async fn a_handshake_that_has_no_certificate_to_show_fails() {
        let told = resolve_with_tls("", "https://xn--bcher-kva.example/").await;
        assert_eq!((told.decision, told.status), ("refuse", None), "{}", told.text());
        let bare = resolve_with_tls("", "xn--bcher-kva.example").await;
        assert_eq!((bare.decision, bare.scheme), ("forward", "http"), "{}", bare.text());
    }
}
