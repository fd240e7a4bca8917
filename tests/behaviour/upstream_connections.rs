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

use crate::support::{App, Backend, Binary, Ca, Client, Fixture, Front, H2App, Speech, Tables, Usher, eventually};

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

const RACE: &str = "[listen]\nworkers = 4\n[upstreams.default]\nconnections_max = 3\nconnect_timeout = '20s'\nqueue_timeout = '20s'\nqueue_max = 1000";

/// Four workers race for three connections, which the app closes when it likes, and some clients do not wait for their answer.
#[test]
fn whoever_races_for_connections_gets_their_own_answer() {
    let stage = Fixture::configured(closing(), RACE);
    race(&stage.usher);
}

#[test]
fn whoever_races_for_connections_with_tls_gets_their_own_answer() {
    let app = closing();
    let (usher, _front, _tables) = behind_tls(&app, RACE);
    race(&usher);
}

#[test]
fn whoever_races_for_streams_gets_their_own_answer() {
    let app = H2App::limited(4, |mut call| async move {
        let target = call.head.uri.path().to_owned();
        tokio::time::sleep(Duration::from_millis(call.number as u64 % 4)).await;
        // Its client may have gone.
        if let Ok(mut answer) = call.answer.send_response(http::Response::new(()), false) {
            let _ = answer.send_data(target.into(), true);
        }
    });
    let tables = Tables::example(Backend::Sqlite);
    let servers = format!("[upstreams.default]\nservers = ['{}']\n", app.url());
    let usher = Binary::over(&tables).config(&servers).config(RACE).start();
    let connections = || usher.metric("usher_endpoint_connections", &[]);
    thread::scope(|scope| {
        let racing = scope.spawn(|| race(&usher));
        while !racing.is_finished() {
            assert!(connections() <= 3.0, "{} connections", connections());
            thread::sleep(Duration::from_millis(20));
        }
    });
}

/// An app that says which target it was asked for, and closes its connections now and then.
fn closing() -> App {
    let answered = AtomicUsize::new(0);
    App::scripted(move |mut conversation| {
        while let Some(request) = conversation.request() {
            let target = request.target();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len());
            let is_last = answered.fetch_add(1, SeqCst) % 7 == 6;
            if conversation.write(answer).is_err() || is_last {
                return;
            }
        }
    })
}

/// The router in front of `app` over TLS.
fn behind_tls(app: &App, config: &str) -> (Usher, Front, Tables) {
    let (ca, folder, tables) = (Ca::new(), TempDir::new().unwrap(), Tables::example(Backend::Sqlite));
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, ca.pem()).unwrap();
    let front = Front::tls(Speech::of(&ca.issue(&["127.0.0.1"])), app.address());
    let servers = format!(
        "[upstreams.default]\nservers = ['https://{}']\nca_file = '{}'\n",
        front.address(),
        authority.display()
    );
    (Binary::over(&tables).config(&servers).config(config).start(), front, tables)
}

fn race(usher: &Usher) {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n");
    thread::scope(|scope| {
        for number in 0..16 {
            scope.spawn(move || {
                let leaves = number % 4 == 3;
                let mut client = usher.connect();
                for asked in 0..100 {
                    let target = format!("/{number}/{asked}");
                    client.send(get(&target));
                    if leaves {
                        client = usher.connect();
                        continue;
                    }
                    assert_eq!(client.response().text(), target);
                }
            });
        }
    });
    eventually("nothing runs any more", || (usher.metric("usher_endpoint_in_flight", &[]) == 0.0).then_some(()));
}

#[test]
fn a_worker_takes_over_a_connection_that_another_one_does_not_use() {
    let config = "[listen]\nworkers = 4\n[upstreams.default]\nconnections_max = 1";
    let stage = Fixture::configured(App::answering(OK), config);
    let asked = ask_all_workers(&stage.usher);
    assert_eq!((stage.app.requests().len(), stage.app.connections()), (asked, 1));
}

/// Asks until the one connection that there may be has gone from worker to worker; how often.
fn ask_all_workers(usher: &Usher) -> usize {
    let mut asked = 0;
    while usher.metric("usher_upstream_connection_limits_total", &["limit=\"connections\""]) < 3.0 {
        assert_eq!(usher.get("customdomain1.com", "/").status, 200);
        asked += 1;
        assert!(asked < 500, "all requests went to one worker");
    }
    asked
}

#[test]
fn one_with_tls_is_taken_over_with_its_session() {
    let app = App::answering(OK);
    let (usher, front, _tables) = behind_tls(&app, "[listen]\nworkers = 4\n[upstreams.default]\nconnections_max = 1");
    let asked = ask_all_workers(&usher);
    assert_eq!((app.requests().len(), front.met().len()), (asked, 1));
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

/// An app that speaks HTTP/2 and answers after as many milliseconds as the path says, and the router in front of it.
fn on_http2(streams_max: u32, config: &str) -> (H2App, Usher, Tables) {
    let app = H2App::limited(streams_max, |mut call| async move {
        let millis = call.head.uri.path()[1..].parse().unwrap_or(50);
        tokio::time::sleep(Duration::from_millis(millis)).await;
        call.finish(200, "ok");
    });
    let tables = Tables::example(Backend::Sqlite);
    let servers = format!("[upstreams.default]\nservers = ['{}']\n", app.url());
    let usher = Binary::over(&tables).config(&servers).config(config).start();
    (app, usher, tables)
}

#[test]
fn on_http2_all_workers_share_the_connections_that_there_are() {
    let config = "[listen]\nworkers = 4\n[upstreams.default]\nconnections_max = 2";
    let (app, usher, _tables) = on_http2(1000, config);
    let mut clients: Vec<Client> = (0..150).map(|_| usher.connect()).collect();
    for _ in 0..3 {
        for client in &mut clients {
            client.send(GET);
        }
        assert!(clients.iter_mut().all(|client| client.response().status == 200));
    }
    assert_eq!((app.calls().len(), app.connections()), (450, 2), "150 need two");
    assert_eq!(usher.metric("usher_endpoint_connections", &[]), 2.0);
    let uses = |reused: &str| usher.metric("usher_upstream_connections_total", &[reused]);
    let (opened, reused) = (uses("reused=\"false\""), uses("reused=\"true\""));
    assert_eq!((opened, reused), (2.0, 448.0));
}

#[test]
fn on_http2_requests_wait_in_the_queue_while_no_stream_is_free() {
    let config =
        "[listen]\nworkers = 2\n[upstreams.default]\nconnections_max = 1\nqueue_max = 3\nqueue_timeout = '20s'";
    let (app, usher, _tables) = on_http2(2, config);
    assert_eq!(
        usher.get("customdomain1.com", "/0").status,
        200,
        "from now on it is known how many streams there may be"
    );
    let mut clients: Vec<Client> = (0..6).map(|_| usher.connect()).collect();
    for client in &mut clients {
        client.send(GET.replace("/ ", "/300 "));
    }
    let answers: Vec<_> = clients.iter_mut().map(Client::response).collect();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert_eq!((refused.len(), answers.iter().filter(|answer| answer.status == 200).count()), (1, 5));
    assert!(refused[0].header("retry-after").is_some());
    assert_eq!((app.calls().len(), app.connections()), (6, 1));
}

/// A rush at the first connection, of which nobody knows yet that it is for one request only.
#[test]
fn on_http2_who_found_no_stream_in_time_is_told_so_and_the_server_is_not_to_blame() {
    let config = "[listen]\nworkers = 1\n[upstreams.default]\nconnections_max = 1\nconnect_timeout = '500ms'";
    let (app, usher, _tables) = on_http2(1, config);
    let mut clients = [usher.connect(), usher.connect()];
    clients.iter_mut().for_each(|client| _ = client.send(GET.replace("/ ", "/2000 ")));
    let mut statuses = clients.each_mut().map(|client| client.response().status);
    statuses.sort_unstable();
    assert_eq!((statuses, app.calls().len()), ([200, 503], 1));
    assert!(usher.access_log(2).iter().any(|line| line["outcome"] == "connections_full"));
    assert_eq!(usher.metric("usher_endpoint_state", &["state=\"healthy\""]), 1.0);
    assert_eq!(usher.metric("usher_upstream_connection_limits_total", &["limit=\"connections\""]), 1.0);
}

/// Each worker has some of the clients, and the connection is one worker's.
#[test]
fn on_http2_a_worker_that_has_drained_keeps_its_connection_for_the_others() {
    let config = "[listen]\nworkers = 8\n[upstreams.default]\nconnections_max = 1";
    let (app, mut usher, _tables) = on_http2(1000, config);
    let mut clients: Vec<Client> = (0..40).map(|_| usher.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(GET.replace("/ ", &format!("/{} ", 500 + 50 * number)));
    }
    eventually("all are at the app", || (app.calls().len() == 40).then_some(()));
    usher.terminate();
    // Each goes once it has its answer, so that its worker is done.
    assert!(clients.into_iter().all(|mut client| client.response().status == 200));
    assert!(usher.wait().success());
    assert_eq!(app.connections(), 1);
}
