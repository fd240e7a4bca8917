//! From a row in `store_domains` to a request under TLS that a stranger's client trusts, with nobody doing anything in between.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::support::{
    A_MOMENT, App, Backend, Binary, Client, Pebble, Tables, Trust, Usher, eventually, free_address, signal,
};

/// A CA, and what usher needs to ask it.
struct Stage {
    tables: Tables,
    app: App,
    pebble: Pebble,
}

impl Stage {
    fn asking_at(backend: Backend, port: u16) -> Self {
        let stage = Self { tables: Tables::example(backend), app: App::echo(), pebble: Pebble::asking_at(port) };
        // The domains of the example would be ordered first.
        stage.tables.execute("UPDATE store_domains SET is_verified = false");
        fs::write(stage.pebble.folder().join("keys"), format!("k:{}", STANDARD.encode([1; 32]))).unwrap();
        stage
    }

    fn start(&self, http: SocketAddr) -> Usher {
        let keys = self.pebble.folder().join("keys");
        let config = format!(
            "[listen]\nhttp = ['{http}']\nhttps = ['127.0.0.1:0']\n[tls]\nencryption_keys_file = {keys:?}\n{}",
            self.pebble.config()
        );
        Binary::over(&self.tables).apps(&[&self.app]).config(&config).start()
    }

    fn add(&self, domain: &str) {
        let columns = "store_id, domain, is_active, is_verified";
        self.tables.execute(&format!("INSERT INTO store_domains ({columns}) VALUES (1, '{domain}', true, true)"));
    }
}

/// The store that a request for `host` by a client that trusts the CA reaches.
fn store(usher: &Usher, trust: &Trust, host: &str) -> Option<String> {
    let mut client = Client::connect_tls(usher.https(), trust, host).ok()?;
    let response = client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).response();
    (response.status == 200).then(|| response.text())
}

/// Waits longer than [`eventually`]: an order takes some seconds.
fn within_a_minute<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "did not happen within a minute: {what}");
        thread::sleep(A_MOMENT);
    }
}

#[test]
fn a_row_is_all_that_a_domain_needs() {
    for backend in [Backend::Postgres, Backend::Sqlite] {
        let http = free_address();
        let stage = Stage::asking_at(backend, http.port());
        let usher = stage.start(http);
        stage.add("new.example");
        // Without the first visitor: nobody asks for the name until its certificate is there.
        let is_there = || usher.log().contains("certificate issued").then_some(());
        within_a_minute("the certificate is issued", is_there);
        let trust = stage.pebble.trust();
        assert!(store(&usher, &trust, "new.example").is_some());
        assert_eq!(stage.app.last().folded("x-store-id"), ["1"]);
        eventually("http is sent to https", || (usher.get("new.example", "/").status == 308).then_some(()));
        // Nobody has proven that these are theirs.
        assert!(store(&usher, &trust, "customdomain1.com").is_none());
        assert!(store(&usher, &trust, "stranger.example").is_none());
    }
}

#[test]
fn the_first_visitor_waits_for_a_certificate_that_is_not_there_yet() {
    let http = free_address();
    let stage = Stage::asking_at(Backend::Sqlite, http.port());
    let usher = stage.start(http);
    let trust = stage.pebble.trust();
    stage.add("asked.example");
    eventually("the row is known", || (usher.get("asked.example", "/").status == 200).then_some(()));
    let visitors: Vec<_> = (0..5)
        .map(|_| {
            let (address, trust) = (usher.https(), trust.clone());
            thread::spawn(move || Client::connect_tls(address, &trust, "asked.example").is_ok())
        })
        .collect();
    assert!(visitors.into_iter().all(|visitor| visitor.join().unwrap()));
    assert_eq!(usher.log().matches("certificate issued").count(), 1, "{}", usher.log());
}

/// The CA meets another instance than the one that ordered, and one of them dies in the middle.
#[test]
fn three_instances_share_the_work_and_finish_what_a_dead_one_has_begun() {
    const NAMES: usize = 12;
    let balancer = Balancer::listen();
    let stage = Stage::asking_at(Backend::Postgres, balancer.address.port());
    let mut instances: Vec<_> = (0..3).map(|_| stage.start(([127, 0, 0, 1], 0).into())).collect();
    balancer.spread_over(instances.iter().map(Usher::http).collect());
    (0..NAMES).for_each(|number| stage.add(&format!("shop{number}.example")));
    let issued = || instances_log(&instances).matches("certificate issued").count();
    within_a_minute("some are issued", || (issued() >= 2).then_some(()));
    let dead = instances.remove(0);
    signal("KILL", dead.process());
    balancer.spread_over(instances.iter().map(Usher::http).collect());
    // What it was working for is free when its leases have run out: let that be now.
    thread::sleep(A_MOMENT);
    stage.tables.execute("UPDATE usher.acme_orders SET leased_until = 0 WHERE leased_until > 0");
    let trust = stage.pebble.trust();
    for number in 0..NAMES {
        let name = format!("shop{number}.example");
        for usher in &instances {
            within_a_minute(&name, || store(usher, &trust, &name));
        }
    }
    drop(dead);
}

fn instances_log(instances: &[Usher]) -> String {
    instances.iter().map(Usher::log).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_name_that_the_ca_refuses_is_tried_again_later_and_the_reason_is_kept() {
    let stage = Stage::asking_at(Backend::Postgres, free_address().port());
    let usher = stage.start(free_address());
    stage.add("unreachable.example");
    within_a_minute("the order fails", || usher.log().contains("no certificate was issued").then_some(()));
    let failed = || {
        stage.tables.query_with_value(
        "SELECT name FROM usher.acme_orders WHERE name = $1 AND attempts = 1 AND problem IS NOT NULL AND due_at > 300",
        "unreachable.example",
    )
    };
    eventually("the reason is kept", || (failed() == 1).then_some(()));
    // It would be looked at again in between.
    thread::sleep(Duration::from_secs(8));
    assert_eq!(usher.log().matches("no certificate was issued").count(), 1, "{}", usher.log());
}

/// Sends each connection to the next of several addresses.
struct Balancer {
    address: SocketAddr,
    targets: Arc<std::sync::Mutex<Vec<SocketAddr>>>,
}

impl Balancer {
    fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, targets) = (listener.local_addr().unwrap(), Arc::<std::sync::Mutex<Vec<SocketAddr>>>::default());
        let (shared, next) = (Arc::clone(&targets), AtomicUsize::new(0));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let targets = shared.lock().unwrap().clone();
                let target = targets[next.fetch_add(1, Ordering::Relaxed) % targets.len()];
                thread::spawn(move || carry(client, target));
            }
        });
        Self { address, targets }
    }

    fn spread_over(&self, targets: Vec<SocketAddr>) {
        *self.targets.lock().unwrap() = targets;
    }
}

fn carry(client: TcpStream, target: SocketAddr) {
    let Ok(server) = TcpStream::connect(target) else { return };
    let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || {
        let _ = io::copy(&mut up, &mut down);
        let _ = down.shutdown(std::net::Shutdown::Write);
    });
    let (mut server, mut client) = (server, client);
    let _ = io::copy(&mut server, &mut client);
    let _ = client.shutdown(std::net::Shutdown::Both);
}
