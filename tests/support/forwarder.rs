//! An address that leads elsewhere from one moment to the next, as a name in DNS does: connections stay where they are.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// Passes bytes on; ends with the test's process.
pub(crate) struct Forwarder {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
}

impl Forwarder {
    pub(crate) fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let target = Arc::new(Mutex::new(target));
        let aim = Arc::clone(&target);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let target = *aim.lock().unwrap();
                // A client of a server that is down is closed, as one that is refused.
                if let Ok(server) = TcpStream::connect(target) {
                    join(&client, &server);
                }
            }
        });
        Self { address, target }
    }

    /// From the next connection on.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap() = target;
    }

    /// `url` with this address in place of its server's.
    pub(crate) fn url_of(&self, url: &str) -> String {
        format!("postgres://usher@{}/{}", self.address, url.rsplit_once('/').unwrap().1)
    }
}

fn join(client: &TcpStream, server: &TcpStream) {
    for (from, to) in [(client, server), (server, client)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
    }
}
