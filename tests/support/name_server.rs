//! A real authoritative name server (NSD) on a high port, over UDP and TCP.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use tempfile::TempDir;

use super::eventually;

/// Debian keeps it out of PATH.
const NSD: &str = "/usr/sbin/nsd";

/// NSD serving some zones, until dropped.
pub(crate) struct NameServer {
    process: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl NameServer {
    /// Serves `zones`: a name, and its records below SOA as a zone file has them.
    pub(crate) fn start(zones: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let path = folder.path().display();
        let mut conf = format!(
            "server:\n ip-address: 127.0.0.1@{}\n server-count: 1\n username: \"\"\n chroot: \"\"\n zonesdir: \"{path}\"\n \
             database: \"\"\n zonelistfile: \"{path}/zones\"\n xfrdfile: \"{path}/xfrd\"\n xfrdir: \"{path}\"\n \
             pidfile: \"\"\n logfile: \"{path}/log\"\nremote-control:\n control-enable: no\n",
            address.port()
        );
        for (name, records) in zones {
            fs::write(folder.path().join(name), zone(name, records)).unwrap();
            conf.push_str(&format!("zone:\n name: \"{name}\"\n zonefile: \"{name}\"\n"));
        }
        let file = folder.path().join("nsd.conf");
        fs::write(&file, conf).unwrap();
        let process = Command::new(NSD).arg("-d").arg("-c").arg(&file).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { process, address, folder };
        eventually("NSD answers", || TcpStream::connect(address).ok());
        server
    }

    /// Serves `records` in place of those that the zone had. Whoever asks may get the old ones for a moment longer.
    pub(crate) fn rewrite(&self, name: &str, records: &str) {
        fs::write(self.folder.path().join(name), zone(name, records)).unwrap();
        super::signal("HUP", self.process.id());
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // NSD's main process ends its children only when it is asked to.
        super::signal("TERM", self.process.id());
        let _ended = self.process.wait();
    }
}

/// The serial goes up with the time, since NSD looks whether it does.
fn zone(name: &str, records: &str) -> String {
    let serial = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() % 4_000_000_000;
    format!("$ORIGIN {name}.\n$TTL 60\n@ SOA ns hostmaster {serial} 60 60 60 60\n{records}\n")
}

/// A port that is free for both protocols.
pub(super) fn free_port() -> u16 {
    eventually("a port is free", || {
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        UdpSocket::bind(("127.0.0.1", port)).ok().map(|_free| port)
    })
}
