//! The whole product with nothing installed.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use crate::support::{Client, Response, eventually, signal};

/// A running `usher demo`, ended with the value.
struct Demo {
    child: Child,
    output: Arc<Mutex<String>>,
}

impl Demo {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_usher"))
            .args(["demo", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
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
        Self { child, output }
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
fn it_prints_what_to_click_and_what_to_paste_and_ends_with_ctrl_c() {
    let mut demo = Demo::start();
    let port = demo.address().port();
    let output = eventually("all is printed", || Some(demo.output()).filter(|output| output.contains("curl")));
    assert!(output.contains(&format!("http://store2.platform.localhost:{port}")), "{output}");
    assert!(output.contains("customdomain1.com"), "{output}");
    signal("INT", demo.child.id());
    let status = eventually("the demo ends", || demo.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}
