//! A CA, a database and an app: what it takes to have certificates issued, and a balancer in front of several instances.

use std::{
    collections::VecDeque,
    fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{A_MOMENT, App, Backend, Binary, Client, Pebble, Tables, Trust, Usher};

/// A CA, and what usher needs to ask it.
pub(crate) struct AcmeStage {
    pub(crate) tables: Tables,
    pub(crate) app: App,
    pub(crate) pebble: Pebble,
}

impl AcmeStage {
    pub(crate) fn with(backend: Backend, pebble: Pebble) -> Self {
        let stage = Self { tables: Tables::example(backend), app: App::echo(), pebble };
        // The domains of the example would be ordered first.
        stage.tables.execute("UPDATE store_domains SET is_verified = false");
        fs::write(stage.pebble.folder().join("keys"), format!("k:{}", STANDARD.encode([1; 32]))).unwrap();
        stage
    }

    /// With a CA that asks at `port` of this machine.
    pub(crate) fn asking_at(backend: Backend, port: u16) -> Self {
        Self::with(backend, Pebble::asking_at(port))
    }

    /// An instance at these addresses, with `more` in its configuration.
    pub(crate) fn binary(&self, http: SocketAddr, https: SocketAddr, more: &str) -> Binary {
        let keys = self.pebble.folder().join("keys");
        let config = format!(
            "[listen]\nhttp = ['{http}']\nhttps = ['{https}']\n[tls]\nencryption_keys_file = {keys:?}\n{}",
            self.pebble.config()
        );
        Binary::over(&self.tables).apps(&[&self.app]).config(&config).config(more)
    }

    /// A running instance that takes plain HTTP there.
    pub(crate) fn start(&self, http: SocketAddr) -> Usher {
        self.start_with(http, "")
    }

    pub(crate) fn start_with(&self, http: SocketAddr, more: &str) -> Usher {
        self.binary(http, ([127, 0, 0, 1], 0).into(), more).start()
    }

    pub(crate) fn add(&self, domain: &str) {
        let columns = "store_id, domain, is_active, is_verified";
        self.tables.execute(&format!("INSERT INTO store_domains ({columns}) VALUES (1, '{domain}', true, true)"));
    }

    /// Lets everything that has failed be tried again now.
    pub(crate) fn try_again(&self) {
        let table = if self.tables.url().starts_with("sqlite") { "usher_acme_orders" } else { "usher.acme_orders" };
        self.tables.execute(&format!("UPDATE {table} SET due_at = 0"));
    }
}

/// The answer that a client gets for `host` that trusts the CA.
pub(crate) fn answered(usher: &Usher, trust: &Trust, host: &str) -> Option<String> {
    let mut client = Client::connect_tls(usher.https(), trust, host).ok()?;
    let response = client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).response();
    (response.status == 200).then(|| response.text())
}

/// Waits longer than [`super::eventually`]: an order takes some seconds.
pub(crate) fn within_a_minute<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    within(Duration::from_mins(1), what, probe)
}

/// Asks `probe` until it has an answer, and fails the test where that takes longer.
pub(crate) fn within<T>(time: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + time;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "did not happen within {time:?}: {what}");
        thread::sleep(A_MOMENT);
    }
}

/// Waits until `usher` has logged `what` so often.
pub(crate) fn logged(usher: &Usher, what: &str, times: usize) {
    within_a_minute(what, || (usher.log().matches(what).count() >= times).then_some(()));
}

/// Sends each connection to the next of several addresses.
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    spread: Arc<Mutex<Spread>>,
}

#[derive(Default)]
struct Spread {
    /// The next one first.
    targets: VecDeque<SocketAddr>,
    /// Those of open connections.
    carried: Vec<SocketAddr>,
}

impl Spread {
    fn next(&mut self) -> Option<SocketAddr> {
        self.targets.rotate_left(1.min(self.targets.len()));
        let target = *self.targets.back()?;
        self.carried.push(target);
        Some(target)
    }

    fn is_over(&mut self, target: SocketAddr) {
        let found = self.carried.iter().position(|carried| *carried == target).unwrap();
        self.carried.swap_remove(found);
    }
}

impl Balancer {
    pub(crate) fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, spread) = (listener.local_addr().unwrap(), Arc::<Mutex<Spread>>::default());
        let shared = Arc::clone(&spread);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Some(target) = shared.lock().unwrap().next() else { continue };
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    carry(client, target);
                    shared.lock().unwrap().is_over(target);
                });
            }
        });
        Self { address, spread }
    }

    pub(crate) fn spread_over(&self, targets: Vec<SocketAddr>) {
        self.spread.lock().unwrap().targets = targets.into();
    }

    /// Whether `target` has an open connection from here.
    pub(crate) fn carries_to(&self, target: SocketAddr) -> bool {
        self.spread.lock().unwrap().carried.contains(&target)
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
