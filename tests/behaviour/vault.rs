//! Certificates in the database: imported once, shown by every instance, readable by nobody who has the database alone.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::HandshakeKind;
use tempfile::TempDir;

use crate::support::{App, Backend, Binary, Ca, Client, Output, Pair, Tables, Trust, Usher, eventually};

const HOST: &str = "customdomain1.com";

/// A database, a keyring, and what imports into it.
struct Stage {
    tables: Tables,
    folder: TempDir,
    app: App,
    ca: Ca,
}

impl Stage {
    fn new(backend: Backend) -> Self {
        let stage = Self {
            tables: Tables::example(backend),
            folder: TempDir::with_prefix("usher-vault-").unwrap(),
            app: App::echo(),
            ca: Ca::new(),
        };
        stage.keyring(&[("first", 1)]);
        stage
    }

    /// Puts these keys into the file.
    fn keyring(&self, keys: &[(&str, u8)]) {
        let lines = keys.iter().map(|(id, byte)| format!("{id}:{}\n", STANDARD.encode([*byte; 32])));
        fs::write(self.folder.path().join("keys"), lines.collect::<String>()).unwrap();
    }

    fn binary(&self) -> Binary {
        let keys = self.folder.path().join("keys");
        let config = format!("[listen]\nhttps = ['127.0.0.1:0']\n[tls]\nencryption_keys_file = {keys:?}");
        Binary::over(&self.tables).apps(&[&self.app]).config(&config)
    }

    fn cert(&self, arguments: &[&str]) -> Output {
        self.binary().run(&[&["cert"], arguments].concat())
    }

    fn import(&self, pair: &Pair) -> Output {
        pair.write(self.folder.path(), "import");
        let [certificate, key] = Pair::paths(self.folder.path(), "import").map(|path| path.display().to_string());
        let output = self.cert(&["import", "--certificate", &certificate, "--key", &key]);
        assert_eq!(output.code, 0, "{}", output.stderr);
        output
    }

    fn status(&self, usher: &Usher, host: &str) -> Result<u16, String> {
        let mut client =
            Client::connect_tls(usher.https(), &self.ca.trust(), host).map_err(|error| error.to_string())?;
        Ok(client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).response().status)
    }
}

#[test]
fn what_is_imported_is_shown_by_every_instance() {
    for backend in [Backend::Postgres, Backend::Sqlite] {
        let stage = Stage::new(backend);
        let listed = stage.import(&stage.ca.issue(&[HOST, "*.platform.com"]));
        assert!(listed.stdout.contains(HOST) && listed.stdout.contains("*.platform.com"), "{}", listed.stdout);
        let instances = [(); 2].map(|()| stage.binary().start());
        for usher in &instances {
            assert_eq!(stage.status(usher, HOST), Ok(200));
            assert_eq!(stage.status(usher, "store1.platform.com"), Ok(200));
            assert!(stage.status(usher, "nosuch.platform.com").unwrap_err().contains("UnrecognisedName"));
            assert!(stage.status(usher, "customdomain2.com").unwrap_err().contains("UnrecognisedName"));
        }
        // Imported while they run, and asked for before.
        stage.import(&stage.ca.issue(&["customdomain2.com"]));
        for usher in &instances {
            eventually("the new one is shown", || (stage.status(usher, "customdomain2.com") == Ok(200)).then_some(()));
        }
    }
}

/// They are read when somebody asks for them.
#[test]
fn a_hundred_thousand_certificates_do_not_slow_the_start() {
    for backend in [Backend::Postgres, Backend::Sqlite] {
        let stage = Stage::new(backend);
        stage.import(&stage.ca.issue(&[HOST]));
        let start = || {
            let begun = Instant::now();
            let usher = stage.binary().start();
            (begun.elapsed(), usher)
        };
        let (few, usher) = start();
        drop(usher);
        let (table, numbers) = match backend {
            Backend::Postgres => ("usher.certificates", "generate_series(1, 100000) AS n(number)"),
            Backend::Sqlite => (
                "usher_certificates",
                "(WITH RECURSIVE n(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM n WHERE number < 100000) SELECT number FROM n) AS n",
            ),
        };
        stage.tables.execute(&format!(
            "INSERT INTO {table} (name, certificate, key_id, sealed_key, expires_at) \
             SELECT 'shop' || n.number || '.example', c.certificate, c.key_id, c.sealed_key, c.expires_at \
             FROM {table} c CROSS JOIN {numbers} WHERE c.name = '{HOST}'"
        ));
        assert_eq!(stage.tables.count(&format!("SELECT 1 FROM {table} WHERE name = 'shop100000.example'")), 1);
        let (many, usher) = start();
        assert!(many < few + Duration::from_secs(1), "{backend:?}: {few:?} with one, {many:?} with a hundred thousand");
        assert_eq!(stage.status(&usher, HOST), Ok(200));
        assert_eq!(usher.metric("usher_tls_certificate_loads_total", &["outcome=\"answered\""]), 1.0);
    }
}

#[test]
fn a_session_goes_on_at_another_instance_and_after_a_restart() {
    for backend in [Backend::Postgres, Backend::Sqlite] {
        let stage = Stage::new(backend);
        stage.import(&stage.ca.issue(&[HOST]));
        let trust = stage.ca.trust().remembering();
        let kind = |usher: &Usher| {
            let mut client = Client::connect_tls(usher.https(), &trust, HOST).unwrap();
            client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).response();
            client.wire().session().handshake_kind().unwrap()
        };
        let [one, two] = [(); 2].map(|()| stage.binary().start());
        eventually("sessions go on", || (kind(&one) == HandshakeKind::Resumed).then_some(()));
        eventually("at the other instance too", || (kind(&two) == HandshakeKind::Resumed).then_some(()));
        drop((one, two));
        let restarted = stage.binary().start();
        eventually("after a restart", || (kind(&restarted) == HandshakeKind::Resumed).then_some(()));
    }
}

#[test]
fn requests_are_sent_to_https_as_soon_as_there_is_a_certificate() {
    let stage = Stage::new(Backend::Sqlite);
    let usher = stage.binary().start();
    assert_eq!(usher.get(HOST, "/").status, 200);
    stage.import(&stage.ca.issue(&[HOST]));
    eventually("the host is sent to https", || (usher.get(HOST, "/").status == 308).then_some(()));
}

#[test]
fn a_certificate_is_shown_while_the_database_is_away() {
    let stage = Stage::new(Backend::Sqlite);
    stage.import(&stage.ca.issue(&[HOST]));
    let usher = stage.binary().start();
    assert_eq!(stage.status(&usher, HOST), Ok(200));
    stage.tables.execute("ALTER TABLE usher_certificates RENAME TO elsewhere");
    assert_eq!(stage.status(&usher, HOST), Ok(200));
    // What was never loaded cannot be shown, and is not taken for unknown.
    assert!(stage.status(&usher, "customdomain2.com").is_err());
    // The client hears of it before it is counted.
    let failed = || usher.metric("usher_tls_handshake_failures_total", &["reason=\"not_loaded\""]);
    eventually("it is counted", || (failed() >= 1.0).then_some(()));
    eventually("the log says why", || usher.log().contains("cannot be loaded").then_some(()));
}

#[test]
fn a_certificate_in_a_file_that_has_ended_gives_way_to_one_in_the_database() {
    let stage = Stage::new(Backend::Sqlite);
    stage.import(&stage.ca.issue(&[HOST]));
    let ended = stage.ca.issue_ended(HOST).write(stage.folder.path(), "ended");
    for default in ["", ", default = true"] {
        let usher = stage.binary().config(&format!("[tls]\ncertificates = [{{ {ended}{default} }}]")).start();
        assert_eq!(stage.status(&usher, HOST), Ok(200), "{default}");
    }
}

#[test]
fn visitors_of_a_store_that_is_switched_off_are_told_so() {
    let stage = Stage::new(Backend::Sqlite);
    stage.import(&stage.ca.issue(&[HOST]));
    stage.tables.execute("UPDATE stores SET is_active = false");
    let closed = stage.binary().config("[routing]\ninactive_store = 'gone'").start();
    assert_eq!(stage.status(&closed, HOST), Ok(410));
    let unknown = stage.binary().start();
    assert!(stage.status(&unknown, HOST).unwrap_err().contains("UnrecognisedName"));
}

#[test]
fn private_keys_cannot_be_read_from_the_database_or_from_what_is_told() {
    let stage = Stage::new(Backend::Sqlite);
    let pair = stage.ca.issue(&[HOST]);
    let said = stage.import(&pair);
    let secret = pair.key.lines().nth(1).unwrap().to_owned();
    let told = [said, stage.cert(&["list"]), stage.cert(&["show", HOST]), stage.cert(&["list", "--json"])];
    for output in &told {
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert!(!output.stdout.contains(&secret) && !output.stdout.contains("PRIVATE"), "{}", output.stdout);
    }
    assert!(told[2].stdout.contains("BEGIN CERTIFICATE"), "{}", told[2].stdout);
    let database = fs::read(stage.tables.path()).unwrap();
    assert!(!database.windows(secret.len()).any(|window| window == secret.as_bytes()));
    assert_eq!(stage.cert(&["show", "nosuch.example"]).code, 1);
}

#[test]
fn a_new_key_takes_the_place_of_the_old_one_without_a_gap() {
    let stage = Stage::new(Backend::Sqlite);
    stage.import(&stage.ca.issue(&[HOST]));
    stage.keyring(&[("second", 2), ("first", 1)]);
    let usher = stage.binary().start();
    assert_eq!(stage.status(&usher, HOST), Ok(200));
    let rekeyed = stage.cert(&["rekey"]);
    assert_eq!((rekeyed.code, rekeyed.stdout.as_str()), (0, "1 sealed by second now\n"), "{}", rekeyed.stderr);
    stage.keyring(&[("second", 2)]);
    let fresh = stage.binary().start();
    assert_eq!(stage.status(&fresh, HOST), Ok(200));

    stage.keyring(&[("third", 3)]);
    let lost = stage.cert(&["rekey"]);
    assert_eq!(lost.code, 1);
    assert!(lost.stderr.contains("sealed by the key second"), "{}", lost.stderr);
    let without = stage.binary().start();
    assert!(stage.status(&without, HOST).is_err());
    eventually("the reason is told", || without.log().contains("sealed by the key second").then_some(()));
    assert_eq!(stage.status(&usher, HOST), Ok(200), "the others do not suffer");
}

/// Handshakes for some names at some instances, over and over.
struct Load {
    at: Arc<Mutex<Vec<SocketAddr>>>,
    names: Arc<Mutex<Vec<&'static str>>>,
    failures: Arc<Mutex<Vec<String>>>,
    done: Arc<AtomicUsize>,
}

impl Load {
    fn begin(trust: Trust) -> Self {
        let load = Self { at: Arc::default(), names: Arc::default(), failures: Arc::default(), done: Arc::default() };
        let (at, names) = (Arc::clone(&load.at), Arc::clone(&load.names));
        let (failures, done) = (Arc::downgrade(&load.failures), Arc::clone(&load.done));
        thread::spawn(move || {
            // Until the test ends.
            while let Some(failures) = failures.upgrade() {
                let names = names.lock().unwrap().clone();
                // Held, so that no instance goes away meanwhile.
                let at = at.lock().unwrap();
                for (address, name) in at.iter().flat_map(|address| names.iter().map(move |name| (address, name))) {
                    if let Err(error) = trust.connect(*address, name) {
                        failures.lock().unwrap().push(format!("{name}: {error}"));
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
                drop(at);
                thread::sleep(Duration::from_millis(2));
            }
        });
        load
    }

    /// Each instance is asked some times more.
    fn goes_on(&self) {
        let before = self.done.load(Ordering::Relaxed);
        eventually("the load goes on", || (self.done.load(Ordering::Relaxed) > before + 20).then_some(()));
        assert_eq!(*self.failures.lock().unwrap(), Vec::<String>::new());
    }
}

/// As `config/usher.toml` has it: behind the others, restart, in front, restart, rekey, the old one away, restart.
#[test]
fn a_key_rotation_under_load_fails_no_handshake() {
    let stage = Stage::new(Backend::Postgres);
    stage.import(&stage.ca.issue(&[HOST]));
    let load = Load::begin(stage.ca.trust());
    load.names.lock().unwrap().push(HOST);
    let mut instances: Vec<_> = (0..2).map(|_| stage.binary().start()).collect();
    load.at.lock().unwrap().extend(instances.iter().map(Usher::https));
    load.goes_on();
    let steps: [(&[(&str, u8)], _); 3] = [
        (&[("first", 1), ("second", 2)], "customdomain2.com"),
        (&[("second", 2), ("first", 1)], "store1.platform.com"),
        (&[("second", 2)], "store2.platform.com"),
    ];
    for (keys, name) in steps {
        stage.keyring(keys);
        for (position, instance) in instances.iter_mut().enumerate() {
            let new = stage.binary().start();
            load.at.lock().unwrap()[position] = new.https();
            drop(std::mem::replace(instance, new));
            if position == 0 {
                // Sealed by the new configuration, shown by instances of both.
                stage.import(&stage.ca.issue(&[name]));
                load.names.lock().unwrap().push(name);
            }
            load.goes_on();
        }
        if keys.len() == 2 && keys[0].0 == "second" {
            assert_eq!(stage.cert(&["rekey"]).code, 0);
            load.goes_on();
        }
    }
    assert!(!stage.cert(&["list"]).stdout.contains("first"));
}

#[test]
fn keys_are_refused_where_they_are_none() {
    let stage = Stage::new(Backend::Sqlite);
    for (text, cause) in
        [("nonsense\n", "a line without an id"), ("a:c2hvcnQ=\n", "no 32 bytes"), ("", "has no key in it")]
    {
        fs::write(stage.folder.path().join("keys"), text).unwrap();
        let output = stage.cert(&["list"]);
        assert_eq!(output.code, 1);
        assert!(output.stderr.contains(cause) && !output.stderr.contains("c2hvcnQ"), "{}", output.stderr);
    }
    let without = Binary::over(&stage.tables).run(&["cert", "rekey"]);
    assert!(without.stderr.contains("no key is configured"), "{}", without.stderr);
}

/// What `usher serve` and `usher resolve` say of the way of `https://host/`: what is decided, and what of TLS.
fn explained(stage: &Stage, usher: &Usher, config: &str, host: &str) -> [(String, String); 2] {
    let url = format!("https://{host}/");
    let served: serde_json::Value = usher.admin_get(&format!("/api/v1/resolve?url={url}")).json();
    let asked = stage.binary().config(config).run(&["resolve", &url, "--json"]);
    let asked: serde_json::Value = serde_json::from_str(&asked.stdout).unwrap();
    [served, asked].map(|told| {
        let tls = told["steps"].as_array().unwrap().iter().find(|step| step["step"] == "tls").unwrap();
        (told["decision"].as_str().unwrap().to_owned(), tls["result"].as_str().unwrap().to_owned())
    })
}

#[test]
fn a_certificate_in_the_database_is_explained_as_it_is_shown() {
    for backend in [Backend::Postgres, Backend::Sqlite] {
        let stage = Stage::new(backend);
        stage.import(&stage.ca.issue_ended(HOST));
        stage.import(&stage.ca.issue(&["unknown.example"]));
        let homepage = "[routing]\nunknown_host = 'homepage'";
        let usher = stage.binary().config(homepage).start();
        // An ended one is shown, and it is the client that minds.
        assert!(stage.status(&usher, HOST).unwrap_err().contains("xpired"));
        for (decision, tls) in explained(&stage, &usher, homepage, HOST) {
            assert!(decision == "forward" && tls.contains("has ended"), "{decision}: {tls}");
        }
        // Strangers' names cost no query of their own, whatever lies in the database.
        assert!(stage.status(&usher, "unknown.example").unwrap_err().contains("UnrecognisedName"));
        for (decision, tls) in explained(&stage, &usher, homepage, "unknown.example") {
            assert!(decision == "refuse" && tls.contains("no certificate for this host"), "{decision}: {tls}");
        }
        let table = if backend == Backend::Postgres { "usher.certificates" } else { "usher_certificates" };
        stage.tables.execute(&format!("ALTER TABLE {table} RENAME TO certificates_away"));
        assert!(stage.status(&usher, "customdomain2.com").is_err());
        for (decision, tls) in explained(&stage, &usher, homepage, "customdomain2.com") {
            assert!(decision == "refuse" && tls.contains("cannot be loaded"), "{decision}: {tls}");
        }
    }
}
