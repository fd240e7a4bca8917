//! A real resolver that checks signatures (Unbound), in front of a name server.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{NameServer, eventually, name_server::free_port};

/// Debian keeps it out of PATH.
const UNBOUND: &str = "/usr/sbin/unbound";

/// Unbound, until dropped.
pub(crate) struct Resolver {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Resolver {
    /// Asks `server` for `zones`, and has been told that `signed` is signed with a key that nobody has.
    pub(crate) fn start(server: &NameServer, zones: &[&str], signed: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let at = server.address();
        let mut conf = format!(
            "server:\n interface: 127.0.0.1\n port: {}\n do-daemonize: no\n chroot: \"\"\n username: \"\"\n \
             directory: \"{}\"\n pidfile: \"\"\n use-syslog: no\n do-not-query-localhost: no\n do-ip6: no\n \
             module-config: \"validator iterator\"\n trust-anchor: \"{signed}. 3600 IN DS 1 8 2 {}\"\n\
             remote-control:\n control-enable: no\n",
            address.port(),
            folder.path().display(),
            "ab".repeat(32),
        );
        for zone in zones {
            conf.push_str(&format!("stub-zone:\n name: \"{zone}\"\n stub-addr: {}@{}\n", at.ip(), at.port()));
        }
        let file = folder.path().join("unbound.conf");
        fs::write(&file, conf).unwrap();
        let process = Command::new(UNBOUND).arg("-d").arg("-c").arg(&file).stderr(Stdio::null()).spawn().unwrap();
        let resolver = Self { process, address, _folder: folder };
        eventually("Unbound answers", || TcpStream::connect(address).ok());
        resolver
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
