//! A CA: Debian's `pebble`, with its DNS server that sends every name to 127.0.0.1.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::json;
use tempfile::TempDir;

use super::{Ca, Client, Trust, eventually};

/// A running CA, ended with the value.
pub(crate) struct Pebble {
    programs: [Child; 2],
    folder: TempDir,
    directory: SocketAddr,
    management: SocketAddr,
    /// Who vouches for the CA's own server.
    own: Ca,
}

impl Pebble {
    /// A CA that asks its questions at `http_port` of 127.0.0.1.
    pub(crate) fn asking_at(http_port: u16) -> Self {
        let (folder, own) = (TempDir::with_prefix("usher-pebble-").unwrap(), Ca::new());
        let [directory, management, dns, dns_management, unused] = [(); 5].map(|()| free_address());
        own.issue(&["localhost", "127.0.0.1"]).write(folder.path(), "pebble");
        std::fs::write(folder.path().join("root.pem"), own.pem()).unwrap();
        let config = json!({"pebble": {
            "listenAddress": directory, "managementListenAddress": management, "httpPort": http_port,
            "tlsPort": unused.port(), "ocspResponderURL": "", "externalAccountBindingRequired": false,
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
        let ca = Command::new("pebble")
            .args(["-dnsserver", &dns.to_string(), "-config"])
            .arg(&file)
            .env("PEBBLE_VA_NOSLEEP", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pebble, which tests/install.sh installs");
        let pebble = Self { programs: [ca, names], folder, directory, management, own };
        for address in [directory, management] {
            eventually("pebble listens", || TcpStream::connect(address).ok());
        }
        pebble
    }

    /// The section of the configuration that names it.
    pub(crate) fn config(&self) -> String {
        let root = self.folder.path().join("root.pem");
        format!("[acme]\ndirectory = 'https://{}/dir'\nterms_agreed = true\nroot_file = {root:?}", self.directory)
    }

    /// What a client goes by that trusts what the CA issues.
    pub(crate) fn trust(&self) -> Trust {
        let mut client = Client::connect_tls(self.management, &self.own.trust(), "localhost").unwrap();
        let request = format!("GET /roots/0 HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.management);
        Trust::of(&client.send(request).response().text())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for program in &mut self.programs {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

/// An address that nobody listens on at the moment.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
