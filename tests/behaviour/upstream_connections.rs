//! Limits on connections to app servers: how many there are in the whole process, how many requests each serves, and for how long.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::support::{App, Backend, Binary, Ca, Fixture, Front, H2App, Speech, Tables, eventually};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n";

/// Connections that are open at an app, and the most that ever were.
#[derive(Clone, Default)]
struct Open(Arc<(AtomicUsize, AtomicUsize)>);

impl Open {
    /// An app that takes as long as this for each answer.
    fn app(&self, takes: Duration) -> App {
        let open = self.clone();
        App::scripted(move |mut conversation| {
            let now = open.0.0.fetch_add(1, SeqCst) + 1;
            open.0.1.fetch_max(now, SeqCst);
            while conversation.request().is_some() {
                thread::sleep(takes);
                if conversation.write(OK).is_err() {
                    break;
                }
            }
            open.0.0.fetch_sub(1, SeqCst);
        })
    }

    fn most(&self) -> usize {
        self.0.1.load(SeqCst)
    }
}

fn limits_reached(stage: &Fixture, limit: &str) -> f64 {
    stage.usher.metric("usher_upstream_connection_limits_total", &[&format!("limit=\"{limit}\"")])
}

#[test]
fn there_are_never_more_connections_than_may_be_in_the_whole_process() {
    let open = Open::default();
    let config = "[listen]\nworkers = 4\n[upstreams.default]\nconnections_max = 2\nqueue_timeout = '20s'";
    let stage = Fixture::configured(open.app(Duration::from_millis(2)), config);
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let mut client = stage.usher.connect();
                for number in 0..10 {
                    client.send(GET);
                    assert_eq!(client.response().status, 200, "request {number}");
                }
            });
        }
    });
    // An app notices the end of a connection a little later than it happens.
    assert!(open.most() <= 3, "{} connections", open.most());
    assert!(stage.usher.metric("usher_endpoint_connections", &[]) <= 2.0);
    assert_eq!(stage.app.requests().len(), 240);
}

/// Four workers race for three connections, which the app closes when it likes, and some clients do not wait for their answer.
#[test]
fn whoever_races_for_connections_gets_their_own_answer() {
    let answered = AtomicUsize::new(0);
    let app = App::scripted(move |mut conversation| {
        while let Some(request) = conversation.request() {
            let target = request.target();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len());
            let is_last = answered.fetch_add(1, SeqCst) % 7 == 6;
            if conversation.write(answer).is_err() || is_last {
                return;
            }
        }
    });
    let config =
        "[listen]\nworkers = 4\n[upstreams.default]\nconnections_max = 3\nqueue_timeout = '20s'\nqueue_max = 1000";
    let stage = Fixture::configured(app, config);
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n");
    thread::scope(|scope| {
        for number in 0..16 {
            let (stage, get) = (&stage, &get);
            scope.spawn(move || {
                let leaves = number % 4 == 3;
                let mut client = stage.usher.connect();
                for asked in 0..100 {
                    let target = format!("/{number}/{asked}");
                    client.send(get(&target));
                    if leaves {
                        client = stage.usher.connect();
                        continue;
                    }
                    assert_eq!(client.response().text(), target);
                }
            });
        }
    });
    eventually("nothing runs any more", || (stage.usher.metric("usher_endpoint_in_flight", &[]) == 0.0).then_some(()));
}

#[test]
fn a_worker_takes_over_a_connection_that_another_one_does_not_use() {
    let config = "[listen]\nworkers = 4\n[upstreams.default]\nconnections_max = 1";
    let stage = Fixture::configured(App::answering(OK), config);
    let mut asked = 0;
    while limits_reached(&stage, "connections") < 3.0 {
        assert_eq!(stage.get("customdomain1.com", "/").status, 200);
        asked += 1;
        assert!(asked < 500, "all requests went to one worker");
    }
    assert_eq!((stage.app.requests().len(), stage.app.connections()), (asked, 1));
}

#[test]
fn one_with_tls_is_closed_for_the_sake_of_another_worker() {
    let (ca, folder, tables) = (Ca::new(), TempDir::new().unwrap(), Tables::example(Backend::Sqlite));
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, ca.pem()).unwrap();
    let app = App::answering(OK);
    let front = Front::tls(Speech::of(&ca.issue(&["127.0.0.1"])), app.address());
    let config = format!(
        "[listen]\nworkers = 4\n[upstreams.default]\nservers = ['https://{}']\nca_file = '{}'\nconnections_max = 1",
        front.address(),
        authority.display()
    );
    let usher = Binary::over(&tables).config(&config).start();
    (0..40).for_each(|_| assert_eq!(usher.get("customdomain1.com", "/").status, 200));
    assert!(usher.metric("usher_endpoint_connections", &[]) <= 1.0);
    assert!(front.met().len() > 1, "all requests went to one worker");
}

#[test]
fn a_connection_serves_so_many_requests() {
    let config = "[listen]\nworkers = 1\n[upstreams.default]\nconnection_requests_max = 3";
    let stage = Fixture::configured(App::answering(OK), config);
    let mut client = stage.usher.connect();
    for _ in 0..9 {
        client.send(GET);
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(stage.app.connections(), 3);
    eventually("the last one is closed", || (limits_reached(&stage, "requests") == 3.0).then_some(()));
    eventually("none is open", || (stage.usher.metric("usher_endpoint_connections", &[]) == 0.0).then_some(()));
}

#[test]
fn a_connection_serves_for_so_long() {
    let config = "[listen]\nworkers = 1\n[upstreams.default]\nconnection_lifetime = '300ms'";
    let stage = Fixture::configured(App::answering(OK), config);
    let mut client = stage.usher.connect();
    eventually("another connection is opened", || {
        client.send(GET);
        assert_eq!(client.response().status, 200);
        (stage.app.connections() > 2).then_some(())
    });
    assert!(stage.app.requests().len() > stage.app.connections() && limits_reached(&stage, "lifetime") >= 2.0);
}

#[test]
fn a_websocket_counts_for_as_long_as_it_is_open() {
    let app = App::scripted(|mut conversation| {
        while let Some(head) = conversation.head() {
            let agree = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            let upgrades = head.one("upgrade").is_some();
            conversation.write(if upgrades { agree } else { OK }).unwrap();
            if upgrades {
                let _ = std::io::copy(&mut conversation.sender(), &mut std::io::sink());
                return;
            }
        }
    });
    let config = "[upstreams.default]\nconnections_max = 1\nqueue_timeout = '100ms'";
    let stage = Fixture::configured(app, config);
    let mut client = stage.usher.connect();
    client.send(
        "GET /live HTTP/1.1\r\nHost: customdomain1.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert!(client.head().line.contains(" 101 "));
    assert_eq!(stage.get("customdomain1.com", "/").status, 503);
    assert_eq!(stage.usher.metric("usher_endpoint_connections", &[]), 1.0);
    drop(client);
    eventually("its place is free", || (stage.get("customdomain1.com", "/").status == 200).then_some(()));
}

#[test]
fn on_http2_requests_wait_for_room_on_the_connections_that_there_are() {
    let (tables, app) = (
        Tables::example(Backend::Sqlite),
        H2App::limited(1, |mut call| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            call.finish(200, "ok");
        }),
    );
    let config = |workers: usize| {
        format!(
            "[listen]\nworkers = {workers}\n[upstreams.default]\nservers = ['{}']\nconnections_max = 1\nconnect_timeout = '20s'",
            app.url()
        )
    };
    let usher = Binary::over(&tables).config(&config(1)).start();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| assert_eq!(usher.get("customdomain1.com", "/").status, 200));
        }
    });
    assert_eq!((app.calls().len(), app.connections()), (6, 1));
    let refused = Binary::over(&tables).config(&config(2)).run(&["check"]);
    assert!(refused.stderr.contains("is less than there are workers"), "{}", refused.stderr);
}
