//! A CA: Debian's `pebble`, with its DNS server that sends every name to 127.0.0.1.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    ops::Range,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Ca, Client, Trust, eventually};

/// The key of the customer that a CA wants to know, and its name there.
const CUSTOMER: (&str, &str) = ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");

/// Lines of its log that are told where a test fails.
const TOLD: usize = 300;

/// A running CA, ended with the value.
pub(crate) struct Pebble {
    programs: [Child; 2],
    folder: TempDir,
    ports: Ports,
    directory: SocketAddr,
    management: SocketAddr,
    /// Who is asked where names lead.
    dns: SocketAddr,
    dns_management: SocketAddr,
    /// Who vouches for the CA's own server.
    own: Ca,
    knows_customers: bool,
    log: Arc<Mutex<Vec<String>>>,
}

/// Where the CA asks its questions.
#[derive(Clone, Copy)]
struct Ports {
    http: u16,
    tls: u16,
}

impl Pebble {
    /// A CA that asks its questions at `http_port` of 127.0.0.1.
    pub(crate) fn asking_at(http_port: u16) -> Self {
        Self::start(Ports { http: http_port, tls: free_address().port() }, false, None)
    }

    /// A CA that asks the name server at `dns` where names lead, as usher does.
    pub(crate) fn resolving_at(http_port: u16, dns: SocketAddr) -> Self {
        Self::start(Ports { http: http_port, tls: free_address().port() }, false, Some(dns))
    }

    /// A CA that asks over TLS too, at `tls_port`.
    pub(crate) fn asking_at_both(http_port: u16, tls_port: u16) -> Self {
        Self::start(Ports { http: http_port, tls: tls_port }, false, None)
    }

    /// A CA that serves its customers only.
    pub(crate) fn for_customers(http_port: u16) -> Self {
        Self::start(Ports { http: http_port, tls: free_address().port() }, true, None)
    }

    fn start(ports: Ports, knows_customers: bool, resolver: Option<SocketAddr>) -> Self {
        let (folder, own) = (TempDir::with_prefix("usher-pebble-").unwrap(), Ca::new());
        let [directory, management, dns, dns_management] = [(); 4].map(|()| free_address());
        own.issue(&["localhost", "127.0.0.1"]).write(folder.path(), "pebble");
        std::fs::write(folder.path().join("root.pem"), own.pem()).unwrap();
        std::fs::write(folder.path().join("customer"), CUSTOMER.1).unwrap();
        let config = json!({"pebble": {
            "listenAddress": directory, "managementListenAddress": management, "httpPort": ports.http,
            "tlsPort": ports.tls, "ocspResponderURL": "", "externalAccountBindingRequired": knows_customers,
            "externalAccountMACKeys": {CUSTOMER.0: CUSTOMER.1},
            "certificate": folder.path().join("pebble.pem"), "privateKey": folder.path().join("pebble.key"),
        }});
        let file = folder.path().join("pebble.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let names = Command::new("pebble-challtestsrv")
            .args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""])
            .args(["-dns01", &dns.to_string(), "-management", &dns_management.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pebble-challtestsrv, which tests/install.sh installs");
        let resolver = resolver.unwrap_or(dns);
        let mut ca = Command::new("pebble")
            .args(["-dnsserver", &resolver.to_string(), "-config"])
            .arg(&file)
            .env("PEBBLE_VA_NOSLEEP", "1")
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join("pebble.err")).unwrap())
            .spawn()
            .expect("pebble, which tests/install.sh installs");
        let log = Arc::default();
        collect(ca.stdout.take().unwrap(), Arc::clone(&log));
        let pebble = Self {
            programs: [ca, names],
            folder,
            ports,
            directory,
            management,
            dns: resolver,
            dns_management,
            own,
            knows_customers,
            log,
        };
        for address in [directory, management, dns_management] {
            eventually("pebble listens", || TcpStream::connect(address).ok());
        }
        pebble
    }

    /// The section of the configuration that names it, and lets names lead to this machine.
    pub(crate) fn config(&self) -> String {
        let (dns, port) = (self.dns, self.ports.http);
        format!(
            "[acme]\n{}\n[domains]\nresolvers = ['{dns}']\nself_check_port = {port}\nallow_private = true\n",
            self.keys().join("\n")
        )
    }

    /// The same as an item of `acme.fallbacks`.
    pub(crate) fn fallback(&self) -> String {
        format!("{{ {} }}", self.keys().join(", "))
    }

    fn keys(&self) -> Vec<String> {
        let [root, customer] = ["root.pem", "customer"].map(|file| self.folder.path().join(file));
        let mut keys = vec![
            format!("directory = '{}'", self.directory_url()),
            "terms_agreed = true".to_owned(),
            format!("root_file = {root:?}"),
        ];
        if self.knows_customers {
            keys.push(format!("external_account_id = '{}'", CUSTOMER.0));
            keys.push(format!("external_account_key_file = {customer:?}"));
        }
        keys
    }

    /// By which it is known.
    pub(crate) fn directory_url(&self) -> String {
        format!("https://{}/dir", self.directory)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.directory
    }

    /// What a client goes by that trusts the CA's own server.
    pub(crate) fn own_trust(&self) -> Trust {
        self.own.trust()
    }

    /// What a client goes by that trusts what the CA issues.
    pub(crate) fn trust(&self) -> Trust {
        let mut client = Client::connect_tls(self.management, &self.own.trust(), "localhost").unwrap();
        let request = format!("GET /roots/0 HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.management);
        Trust::of(&client.send(request).response().text())
    }

    /// Lets all names lead to `address`.
    pub(crate) fn lead_to(&self, address: &str) {
        self.manage_dns("set-default-ipv4", &json!({"ip": address}));
    }

    fn manage_dns(&self, order: &str, what: &Value) {
        let body = what.to_string();
        let request = format!(
            "POST /{order} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.dns_management,
            body.len()
        );
        assert_eq!(Client::connect(self.dns_management).send(request).response().status, 200);
    }

    /// Where records can be put into its DNS: `POST /set-txt`, `POST /clear-txt`.
    pub(crate) fn dns_management(&self) -> SocketAddr {
        self.dns_management
    }

    /// How many orders it was given.
    pub(crate) fn orders(&self) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.contains("Added order")).count()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends the CA, as if it were down.
    pub(crate) fn stop(&mut self) {
        let _ = self.programs[0].kill();
        let _ = self.programs[0].wait();
    }
}

/// What a CA has said last is told where a test fails, and what each of its threads does, which it tells when it is asked to quit.
impl Drop for Pebble {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = Command::new("kill").args(["-QUIT", &self.programs[0].id().to_string()]).status();
            let _ = self.programs[0].wait();
            let log = self.log.lock().unwrap();
            let stacks = std::fs::read_to_string(self.folder.path().join("pebble.err")).unwrap_or_default();
            eprintln!("--- pebble said:\n{}\n{stacks}\n---", log[log.len().saturating_sub(TOLD)..].join("\n"));
        }
        for program in &mut self.programs {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

fn collect(stdout: ChildStdout, log: Arc<Mutex<Vec<String>>>) {
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            log.lock().unwrap().push(line);
        }
    });
}

/// An address that nobody listens on at the moment, outside of those that the system gives away. Nobody else here is given it: who has
/// it need not listen yet.
pub(crate) fn free_address() -> SocketAddr {
    const PORTS: Range<u16> = 10_000..32_000;
    static GIVEN: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..)));
    loop {
        let number = GIVEN.fetch_add(1, Relaxed) % (PORTS.end - PORTS.start);
        let address = SocketAddr::from(([127, 0, 0, 1], PORTS.start + number));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
