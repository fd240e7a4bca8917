//! Redirects to primary domains end, whatever stands in the tables.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{Queries, SqliteSource, TenantSource};
use crate::{
    database::{migrations, session::Session, sqlite::Database},
    routing::{
        Decision, Destination, Host, Hostname, InactiveStore, Inquiry, Path, PathHosts, RedirectTarget, Redirects,
        RequestFacts, Rules, Settings, UnknownHost, WwwPolicy, decide,
    },
};

/// Names that come to the same, that are never looked up, and that are each other's `www.`.
const NAMES: [&str; 10] = [
    "a.com",
    "A.com",
    "a.com.",
    "b.com",
    "B.com",
    "www.a.com",
    "www.b.com",
    "s1.platform.com",
    "admin.b.com",
    "c.b.com",
];

/// A redirect that leads to another one leads no further than this: `www.` to the name without, and that to the primary one.
const HOPS_MAX: usize = 2;

/// Store, name, and whether it is primary, active, verified.
type Row = (u8, &'static str, bool, bool, bool);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let usually = || prop::bool::weighted(0.8);
    vec((1_u8..4, select(&NAMES[..]), any::<bool>(), usually(), usually()), 0..8)
}

fn settings() -> impl Strategy<Value = Settings> {
    let www = select(&[WwwPolicy::Redirect, WwwPolicy::Serve, WwwPolicy::Off][..]);
    (www, any::<bool>(), any::<bool>()).prop_map(|(www, secondary, subdomains)| Settings {
        platform_domains: vec![Hostname::parse("platform.com").unwrap()],
        admin_hosts: Vec::new(),
        admin_labels: vec!["admin".into()],
        admin_paths: vec!["/admin".into()],
        reserved_labels: vec!["www".into()],
        www,
        path_prefix: "/store".into(),
        path_hosts: PathHosts::Loopback,
        unknown_host: UnknownHost::NotFound,
        inactive_store: InactiveStore::Unknown,
        redirects: Redirects { secondary, subdomains },
    })
}

async fn source(rows: &[Row], redirects: Redirects) -> (tempfile::TempDir, SqliteSource) {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::create(&folder.path().join("usher.db")).unwrap();
    let session = Session::sqlite(&database);
    migrations::run(&session, &migrations::Plan::default()).await.unwrap();
    session
        .batch("INSERT INTO stores (id, subdomain, name) VALUES (1, 's1', ''), (2, 's2', ''), (3, 's3', '')")
        .await
        .unwrap();
    for (store, name, is_primary, is_active, is_verified) in rows {
        // Of two rows of the same name the first stays.
        let insert = format!(
            "INSERT OR IGNORE INTO store_domains (store_id, domain, is_primary, is_active, is_verified) \
             VALUES ({store}, '{name}', {is_primary}, {is_active}, {is_verified})"
        );
        session.batch(&insert).await.unwrap();
    }
    (folder, SqliteSource::new(database, Queries::redirecting(redirects)))
}

/// What becomes of a request.
#[derive(Debug, PartialEq)]
enum Way {
    On(String),
    Served,
    Refused,
}

async fn way(rules: &Rules, source: &SqliteSource, host: &str) -> Way {
    let (host, path) = (Host::parse(host).unwrap(), Path::read("/p"));
    let route = rules.route(&RequestFacts { host: &host, path: &path, peer_is_loopback: false }).unwrap();
    let mut inquiry = Inquiry::new(rules, route);
    while let Some(key) = inquiry.question() {
        let answer = source.load(&key.into()).await;
        inquiry.answer(answer).unwrap();
    }
    match decide(rules, inquiry.subject()) {
        Decision::Redirect(RedirectTarget::Host(host)) => Way::On(host.into_owned()),
        Decision::Forward(Destination { tenant: Some(_), .. }) => Way::Served,
        _ => Way::Refused,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_redirect_ends_at_a_host_that_is_served(rows in rows(), settings in settings()) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let (_folder, source) = source(&rows, settings.redirects).await;
            let rules = Rules::new(settings);
            for start in ["a.com", "b.com", "www.a.com", "www.b.com", "c.b.com", "s1.platform.com", "s2.platform.com"] {
                let (mut host, mut hops) = (start.to_owned(), Vec::new());
                let end = loop {
                    match way(&rules, &source, &host).await {
                        Way::On(to) => host = to,
                        end => break end,
                    }
                    hops.push(host.clone());
                    prop_assert!(hops.len() <= HOPS_MAX, "{start} goes {hops:?} with {rows:?}");
                };
                prop_assert!(end == Way::Served || hops.is_empty(), "{start} goes {hops:?} with {rows:?}");
            }
            Ok(())
        })?;
    }
}
