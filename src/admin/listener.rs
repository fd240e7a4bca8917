//! Serves the admin pages on a socket that is bound already.
//!
//! The peers may be strangers who found the port, so every wait has an end and connections have a ceiling.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Extension, Router, extract::ConnectInfo};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};

use super::{Parts, router};
use crate::lifecycle::DrainWatch;

/// Connections at once: some scrapers and probes, each with a few. Beyond it new ones wait in the kernel.
const CONNECTIONS_MAX: usize = 128;

/// For a whole request head, and for an idle connection; above the usual scrape interval of 15 s, so that it is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Then a connection ends after its current response: a peer that does not read cannot hold one for ever.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(600);

/// For the current response when the connection is to end.
const LAST_RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a request head at most; nothing here takes a body. The least that hyper accepts.
const BUFFER_BYTES: usize = 8 * 1024;

/// After a failed `accept`, which mostly means that descriptors are exhausted: some must be closed first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Answers until the drain is announced; connections then end after their current response, each with a watch of its own.
pub async fn serve(listener: TcpListener, parts: Parts, drain: DrainWatch) {
    let router = router(parts);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            () = drain.draining() => return,
        };
        let Some((stream, peer, permit)) = accepted else { return };
        let (router, drain) = (router.clone(), drain.clone());
        tokio::spawn(async move {
            serve_connection(stream, peer, router, drain).await;
            drop(permit);
        });
    }
}

/// The next connection, whatever goes wrong with others; none where the permits are gone for good.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Some((stream, peer, permit)),
            Err(error) => {
                tracing::warn!(%error, "admin connection not accepted");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, peer: SocketAddr, router: Router, drain: DrainWatch) {
    let service = TowerToHyperService::new(router.layer(Extension(ConnectInfo(peer))));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // An error is the peer's affair: it sent no HTTP, was too slow, or has gone.
        _ = connection.as_mut() => return,
        () = drain.draining() => {}
        () = time::sleep(CONNECTION_AGE_MAX) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = time::timeout(LAST_RESPONSE_TIMEOUT, connection).await;
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        runtime::Handle,
    };

    use super::*;
    use crate::{
        admin::{Addresses, Token},
        database::{session::Session, sqlite::Database},
        directory::{self, Answer, BoxFuture, Directory, TenantSource},
        lifecycle::{Drain, Drained, Readiness},
        proxy::{Roles, UnknownUpstream, explain::Explainer},
        routing::{
            Hostname, InactiveStore, KeyRef, PathHosts, Redirects, Rules, Settings, Status, Tenant, TenantId,
            TenantKey, UnknownHost, WwwPolicy,
        },
        telemetry::metrics::Metrics,
        tls::Archive,
        upstream,
    };

    /// Knows one domain.
    struct OneDomain;

    impl TenantSource for OneDomain {
        fn load<'a>(&'a self, key: &'a TenantKey) -> BoxFuture<'a, Answer> {
            let is_known = matches!(key.as_ref(), KeyRef::CustomDomain("shop.example"));
            let tenant = || {
                Arc::new(Tenant {
                    id: TenantId::parse("1").unwrap(),
                    status: Status::Active,
                    upstream: None,
                    primary: None,
                })
            };
            Box::pin(async move { Ok(is_known.then(tenant)) })
        }
    }

    fn rules() -> Rules {
        let name = |text| Hostname::parse_human(text).unwrap();
        Rules::new(Settings {
            platform_domains: vec![name("platform.com")],
            admin_hosts: vec![name("admin.platform.com")],
            admin_labels: vec!["admin".into()],
            admin_paths: vec!["/admin".into()],
            reserved_labels: vec!["www".into()],
            www: WwwPolicy::Redirect,
            path_prefix: "/store".into(),
            path_hosts: PathHosts::Loopback,
            unknown_host: UnknownHost::Homepage,
            inactive_store: InactiveStore::Unknown,
            redirects: Redirects::default(),
        })
    }

    #[tokio::test]
    async fn a_certificate_may_be_asked_for_where_somebody_is_served() {
        let drain = Drain::new();
        let address = start("127.0.0.0/8", Readiness::default(), &drain).await;
        for served in ["shop.example", "www.shop.example", "Shop.Example.", "platform.com", "admin.platform.com"] {
            assert_status(&ask(address, &format!("GET /ask?domain={served}"), "localhost").await, 200);
        }
        for unknown in
            ["stranger.example", "x.platform.com", "a.b.platform.com", "admin.brand.example", "192.0.2.1", "", "a%20b"]
        {
            assert_status(&ask(address, &format!("GET /ask?domain={unknown}"), "localhost").await, 404);
        }
        assert_status(&ask(address, "GET /ask", "localhost").await, 400);
        let refused = start("10.0.0.0/8", Readiness::default(), &drain).await;
        assert_status(&ask(refused, "GET /ask?domain=shop.example", "localhost").await, 403);
        assert_status(&ask(address, "GET /api/v1/domains", "localhost").await, 404);
    }

    /// The body of the answer to a GET, as JSON.
    async fn json(address: SocketAddr, target: &str) -> serde_json::Value {
        let answer = ask(address, &format!("GET {target}"), "localhost").await;
        assert_status(&answer, 200);
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    #[tokio::test]
    async fn the_api_explains_a_request_and_tells_what_is_remembered() {
        let drain = Drain::new();
        let address = start("127.0.0.0/8", Readiness::default(), &drain).await;
        let told = json(address, "/api/v1/resolve?url=http://www.shop.example/p?q=1").await;
        assert_eq!((&told["decision"], &told["location"]), (&"redirect".into(), &"http://shop.example/p?q=1".into()));
        let told = json(address, "/api/v1/resolve?url=shop.example").await;
        assert_eq!((&told["store_id"], &told["upstream"]), (&"1".into(), &"default".into()), "{told}");
        assert_status(&ask(address, "GET /api/v1/resolve?url=a%20b", "localhost").await, 400);
        assert_status(&ask(address, "GET /api/v1/resolve", "localhost").await, 400);

        let cache = json(address, "/api/v1/cache").await;
        let count = |name: &str| cache["lookups"][name].as_u64().unwrap();
        assert_eq!((count("loaded"), count("absent")), (1, 1), "{cache}");
        assert_eq!((&cache["queries"], &cache["database_away"]), (&2.into(), &false.into()));
        assert_eq!(json(address, "/api/v1/listeners").await["http"], serde_json::json!(["127.0.0.1:8080"]));
        assert_eq!(json(address, "/api/v1/openapi.json").await["openapi"], "3.1.0");
    }

    /// A database without any tables.
    fn nothing() -> Archive {
        let folder = tempfile::tempdir().unwrap();
        Archive::new(Session::sqlite(&Database::create(&folder.path().join("usher.db")).unwrap()))
    }

    /// Starts the listener; whoever may read the metrics is given in `allow`.
    async fn start(allow: &str, readiness: Readiness, drain: &Drain) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, parts(allow, readiness), drain.watch()));
        address
    }

    fn parts(allow: &str, readiness: Readiness) -> Parts {
        let (allow, metrics) = (vec![allow.parse().unwrap()], Metrics::new(vec![]));
        let directory = Directory::new(directory::Settings::default(), Arc::new(OneDomain), Handle::current());
        let (rules, cache, directory) = (Arc::new(rules()), directory.clone(), Arc::new(directory.reader()));
        let (upstreams, certificates) = (Vec::new(), Arc::new(nothing()));
        let explainer = Arc::new(Explainer {
            rules: Arc::clone(&rules),
            directory: Arc::clone(&directory),
            has_own_queries: false,
            upstreams: vec![upstream::Settings { name: "default".into(), ..upstream::Settings::default() }],
            roles: Roles { tenant: 0, admin: 0, homepage: 0, unknown: UnknownUpstream::Default },
            tls: None,
        });
        let addresses = Addresses {
            http: vec![([127, 0, 0, 1], 8080).into()],
            https: vec![],
            admin: ([127, 0, 0, 1], 9900).into(),
        };
        Parts {
            allow,
            readiness,
            metrics,
            token: None,
            upstreams,
            rules,
            directory,
            domains: None,
            certificates,
            explainer,
            cache,
            addresses,
        }
    }

    /// The answer to one request that a peer far away makes, where the API has a token.
    async fn answer_to_a_stranger(readiness: Readiness, header: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let parts = Parts { token: Token::new("0123456789abcdef"), ..parts("127.0.0.0/8", readiness) };
        let drain = Drain::new().watch();
        tokio::spawn(async move {
            let (stream, _here) = listener.accept().await.unwrap();
            serve_connection(stream, ([203, 0, 113, 7], 4321).into(), router(parts), drain).await;
        });
        ask(address, "GET /ready", &format!("127.0.0.1\r\n{header}X-Odd: 1")).await
    }

    /// Sends `request`, which asks for the end of the connection, and returns the whole answer.
    async fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn ask(address: SocketAddr, request_line: &str, host: &str) -> String {
        exchange(address, &format!("{request_line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
    }

    fn assert_status(answer: &str, status: u16) {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }

    #[tokio::test]
    async fn live_is_always_ok_and_ready_follows_the_reasons() {
        let (drain, readiness) = (Drain::new(), Readiness::default());
        let guard = readiness.hold("database");
        let address = start("127.0.0.0/8", readiness, &drain).await;
        assert_status(&ask(address, "GET /live", "localhost").await, 200);
        let answer = ask(address, "GET /ready", "localhost").await;
        assert_status(&answer, 503);
        assert!(answer.contains(r#""reasons":["database"]"#), "{answer}");
        drop(guard);
        assert_status(&ask(address, "GET /ready", "localhost").await, 200);
    }

    #[tokio::test]
    async fn a_stranger_is_told_the_reasons_for_the_token_only() {
        for (header, is_told) in [
            ("", false),
            ("Authorization: Bearer 0123456789abcdeF\r\n", false),
            ("Authorization: Bearer 0123456789abcdef\r\n", true),
        ] {
            let readiness = Readiness::default();
            let _guard = readiness.hold("database");
            let answer = answer_to_a_stranger(readiness, header).await;
            assert_status(&answer, 503);
            assert_eq!(answer.contains(r#""reasons":["database"]"#), is_told, "{answer}");
        }
    }

    #[tokio::test]
    async fn metrics_are_for_the_networks_allowed() {
        let drain = Drain::new();
        let allowed = start("127.0.0.0/8", Readiness::default(), &drain).await;
        let answer = ask(allowed, "GET /metrics", "127.0.0.1").await;
        assert_status(&answer, 200);
        assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"));
        assert!(answer.contains("\nusher_connections 0\n") && answer.ends_with("# EOF\n"), "{answer}");

        let refused = start("10.0.0.0/8", Readiness::default(), &drain).await;
        let answer = ask(refused, "GET /metrics", "127.0.0.1").await;
        assert_status(&answer, 403);
        assert!(answer.contains("admin.allow") && !answer.contains("usher_"), "{answer}");
        assert_status(&ask(refused, "GET /ready", "127.0.0.1").await, 200);
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_problems() {
        let drain = Drain::new();
        let address = start("127.0.0.0/8", Readiness::default(), &drain).await;
        let not_found = ask(address, "GET /nothing", "localhost").await;
        assert_status(&not_found, 404);
        let refused = ask(address, "POST /ready", "localhost").await;
        assert_status(&refused, 405);
        assert!(refused.contains("allow: GET,HEAD\r\n"), "{refused}");
        for answer in [not_found, refused] {
            assert!(answer.contains("content-type: application/problem+json\r\n"), "{answer}");
            assert!(!answer.contains("access-control-"), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_here_is_refused_on_every_page() {
        let drain = Drain::new();
        let address = start("127.0.0.0/8", Readiness::default(), &drain).await;
        for page in ["/live", "/ready", "/metrics", "/nothing"] {
            assert_status(&ask(address, &format!("GET {page}"), "evil.example").await, 421);
        }
        assert_status(&ask(address, "POST /ready", "evil.example").await, 421);
        assert_status(&ask(address, "GET http://evil.example/live", "localhost").await, 421);
    }

    #[tokio::test]
    async fn a_request_has_one_host_unless_it_is_of_http_1_0() {
        let drain = Drain::new();
        let address = start("127.0.0.0/8", Readiness::default(), &drain).await;
        assert_status(&ask(address, "GET /live", "localhost\r\nHost: localhost").await, 400);
        assert_status(&exchange(address, "GET /live HTTP/1.1\r\nConnection: close\r\n\r\n").await, 400);
        assert!(exchange(address, "GET /live HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200 "));
    }

    #[tokio::test]
    async fn a_drain_ends_idle_connections_and_the_listener() {
        let drain = Drain::new();
        let address = start("127.0.0.0/8", Readiness::default(), &drain).await;
        let mut kept = TcpStream::connect(address).await.unwrap();
        kept.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        assert!(kept.read(&mut [0; 512]).await.unwrap() > 0);
        assert_eq!(drain.run(Duration::from_secs(20)).await, Drained { left: 0 });
        assert_eq!(kept.read(&mut [0; 512]).await.unwrap(), 0);
        assert!(TcpStream::connect(address).await.is_err());
    }
}
