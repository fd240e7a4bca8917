//! A real pooler in transaction mode in front of a database: PgBouncer.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    process::{Child, Stdio},
};

use tempfile::TempDir;

use super::{cluster, eventually};

/// Debian keeps it out of PATH.
const PGBOUNCER: &str = "/usr/sbin/pgbouncer";

/// PgBouncer, until dropped.
pub(crate) struct Pooler {
    process: Child,
    url: String,
    _directory: TempDir,
}

impl Pooler {
    /// In front of the database of this URL. Connections of clients share five of the server.
    pub(crate) fn before(url: &str) -> Self {
        let directory = TempDir::with_prefix("usher-pooler-").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (server, database) = url.rsplit_once('/').unwrap();
        let server_port = server.rsplit_once(':').unwrap().1;
        let users = directory.path().join("users");
        fs::write(&users, "\"usher\" \"\"\n").unwrap();
        let settings = directory.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = transaction\ndefault_pool_size = 5\n",
            users.display()
        );
        fs::write(&settings, text).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = cluster::as_owner(PGBOUNCER.as_ref());
        let process = command.arg(&settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = process.spawn().unwrap_or_else(|error| panic!("{PGBOUNCER}: {error}"));
        eventually("PgBouncer listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        Self { process, url: format!("postgres://usher@127.0.0.1:{port}/{database}"), _directory: directory }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
