//! The whole product with nothing installed.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use tempfile::TempDir;

use crate::support::{Binary, Client, Response, eventually, signal};

/// A running `usher demo`, ended with the value.
struct Demo {
    child: Child,
    output: Arc<Mutex<String>>,
    /// Where the demo makes its own temporary folder.
    temporary: TempDir,
}

impl Demo {
    fn start() -> Self {
        let temporary = TempDir::with_prefix("usher-test-").unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_usher"))
            .args(["demo", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        for pipe in [Box::new(stdout) as Box<dyn std::io::Read + Send>, Box::new(stderr)] {
            let output = Arc::clone(&output);
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    *output.lock().unwrap() += &(line + "\n");
                }
            });
        }
        Self { child, output, temporary }
    }

    fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Where the printed URL of store 1 leads.
    fn address(&self) -> SocketAddr {
        let port = eventually("the demo prints its URLs", || {
            let output = self.output();
            let rest = output.split("http://store1.platform.localhost:").nth(1)?;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u16>().ok()
        });
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Sends a signal and waits for the end.
    fn end_with(&mut self, name: &str) -> ExitStatus {
        signal(name, self.child.id());
        eventually("the demo ends", || self.child.try_wait().unwrap())
    }

    /// How many things it keeps in its temporary folder.
    fn left_behind(&self) -> usize {
        std::fs::read_dir(self.temporary.path()).unwrap().count()
    }

    fn get(&self, host: &str) -> Response {
        let address = self.address();
        let request = format!("GET / HTTP/1.1\r\nHost: {host}:{}\r\nAccept: text/html\r\n\r\n", address.port());
        Client::connect(address).send(request).response()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the demo said:\n{}\n---", self.output());
        }
    }
}

#[test]
fn its_pages_show_the_store_of_their_host() {
    let demo = Demo::start();
    let first = eventually("the demo answers", || {
        Some(demo.get("store1.platform.localhost")).filter(|page| page.status == 200)
    });
    assert!(first.text().contains("Shop Alpha"), "{}", first.text());
    for (host, name) in [
        ("store2.platform.localhost", "Shop Beta"),
        ("customdomain1.com", "Shop Alpha"),
        ("shop.alpha.com", "Shop Alpha"),
        ("customdomain2.com", "Shop Beta"),
    ] {
        let page = demo.get(host);
        assert_eq!(page.status, 200, "{host}");
        assert!(page.text().contains(name), "{host}: {}", page.text());
        assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    }
    assert_eq!(demo.get("platform.localhost").status, 200);
    assert_eq!(demo.get("unknown.example").status, 404);
}

#[test]
fn it_prints_what_to_click_and_what_to_paste() {
    let demo = Demo::start();
    let port = demo.address().port();
    let output = eventually("all is printed", || Some(demo.output()).filter(|output| output.contains("curl")));
    assert!(output.contains(&format!("http://store2.platform.localhost:{port}")), "{output}");
    assert!(output.contains("customdomain1.com"), "{output}");
}

#[test]
fn it_ends_with_ctrl_c_or_sigterm_and_leaves_nothing_behind() {
    for name in ["INT", "TERM"] {
        let mut demo = Demo::start();
        demo.address();
        assert_eq!(demo.left_behind(), 1, "the folder of the database");
        assert_eq!(demo.end_with(name).code(), Some(0), "{name}");
        assert_eq!(demo.left_behind(), 0, "{name}");
    }
}

#[test]
fn a_port_that_is_taken_is_named_with_the_way_around_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Binary::new().run_bare(&["demo", "--http", &address, "--admin", "127.0.0.1:0"]);
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains(&address) && output.stderr.contains("--http"), "{}", output.stderr);
}
