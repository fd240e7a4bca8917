//! A real authoritative name server (NSD) on a high port, over UDP and TCP.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::eventually;

/// Debian keeps it out of PATH.
const NSD: &str = "/usr/sbin/nsd";

/// NSD serving some zones, until dropped.
pub(crate) struct NameServer {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
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
            let soa = format!("$ORIGIN {name}.\n$TTL 60\n@ SOA ns hostmaster 1 60 60 60 60\n");
            fs::write(folder.path().join(name), format!("{soa}{records}\n")).unwrap();
            conf.push_str(&format!("zone:\n name: \"{name}\"\n zonefile: \"{name}\"\n"));
        }
        let file = folder.path().join("nsd.conf");
        fs::write(&file, conf).unwrap();
        let process = Command::new(NSD).arg("-d").arg("-c").arg(&file).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { process, address, _folder: folder };
        eventually("NSD answers", || TcpStream::connect(address).ok());
        server
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

/// A port that is free for both protocols.
pub(super) fn free_port() -> u16 {
    eventually("a port is free", || {
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        UdpSocket::bind(("127.0.0.1", port)).ok().map(|_free| port)
    })
}
