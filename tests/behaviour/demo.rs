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
        Self::start_with(&[])
    }

    fn start_with(arguments: &[&str]) -> Self {
        let temporary = TempDir::with_prefix("usher-test-").unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_usher"))
            .args(["demo", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(arguments)
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
        self.get_page(host, "/")
    }

    fn get_page(&self, host: &str, path: &str) -> Response {
        let address = self.address();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}:{}\r\nAccept: text/html\r\n\r\n", address.port());
        Client::connect(address).send(request).response()
    }

    /// A page as soon as there are pages.
    fn page(&self, host: &str, path: &str) -> String {
        let page = eventually("the demo answers", || Some(self.get_page(host, path)).filter(|page| page.status != 503));
        assert_eq!(page.status, 200, "{host}{path}: {}", page.text());
        page.text()
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

/// A row of the tables that a page shows.
fn row(name: &str, value: &str) -> String {
    format!("<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>")
}

#[test]
fn a_path_names_a_store_and_the_app_sees_what_lies_behind_it() {
    let demo = Demo::start();
    let page = demo.page("localhost", "/store/store2/products/x?q=1");
    for part in [
        row("X-Store-Id", "2"),
        row("X-Store-Match", "path"),
        row("X-Forwarded-Prefix", "/store/store2"),
        row("Request", "GET /products/x?q=1"),
    ] {
        assert!(page.contains(&part), "{part} is not in {page}");
    }
    assert!(page.contains("Shop Beta") && page.contains("href=\"/store/store2/products/"), "{page}");
}

#[test]
fn the_administration_is_reached_by_its_host_and_by_its_path_without_a_store() {
    let demo = Demo::start();
    for (host, path) in [("admin.platform.localhost", "/"), ("store1.platform.localhost", "/admin")] {
        let page = demo.page(host, path);
        assert!(page.contains("<h1>Administration</h1>"), "{host}{path}: {page}");
        assert!(page.contains(&row("X-Store-Id", "none")), "{host}{path}: {page}");
    }
}

#[test]
fn a_page_says_which_app_server_it_is_from_and_which_headers_that_received() {
    let demo = Demo::start();
    let port = demo.address().port();
    let page = demo.page("shop.alpha.com", "/");
    assert!(["app-1", "app-2"].iter().any(|app| page.contains(&row("App server", app))), "{page}");
    let headers = page.split("Every header the app received").nth(1).expect("a table of headers");
    for part in [
        row("host", &format!("shop.alpha.com:{port}")),
        row("x-store-id", "1"),
        row("x-store-match", "custom_domain"),
        row("accept", "text/html"),
        row("x-forwarded-for", "127.0.0.1"),
    ] {
        assert!(headers.contains(&part), "{part} is not in {headers}");
    }
    eventually("both app servers have answered", || {
        let page = demo.page("shop.alpha.com", "/");
        page.contains(&row("App server", "app-2")).then_some(())
    });
}

#[test]
fn a_folder_that_is_given_keeps_the_rows_for_the_next_time() {
    let parent = TempDir::with_prefix("usher-test-").unwrap();
    let folder = parent.path().join("made/by/the/demo");
    let file = folder.join("usher-demo.db");
    let mut demo = Demo::start_with(&["--folder", folder.to_str().unwrap()]);
    assert!(demo.page("store1.platform.localhost", "/").contains("Shop Alpha"));
    assert_eq!(demo.left_behind(), 0, "no temporary folder is made");
    assert_eq!(demo.end_with("TERM").code(), Some(0));
    let rows = rusqlite::Connection::open(&file).unwrap();
    rows.execute("UPDATE store_domains SET store_id = 2 WHERE domain = 'shop.alpha.com'", []).unwrap();
    drop(rows);
    let again = Demo::start_with(&["--folder", folder.to_str().unwrap()]);
    assert!(again.page("shop.alpha.com", "/").contains("Shop Beta"), "the row is as it was left");
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
