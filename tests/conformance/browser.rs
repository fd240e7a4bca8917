//! Chromium, as a customer opens a shop in it.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    program::{program, ran},
    support::{TlsFixture, eventually},
};

/// A running `usher demo`, ended with the value.
struct Demo {
    child: Child,
    /// Open until the end: the demo goes on printing.
    output: BufReader<ChildStdout>,
}

impl Demo {
    fn start() -> Self {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_usher"));
        demo.args(["demo", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        let mut child = demo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// The URLs that it prints to be opened, up to the one of the administration.
    fn urls(&mut self) -> Vec<String> {
        let mut urls = Vec::new();
        while !urls.last().is_some_and(|url: &String| url.contains("//admin.")) {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the demo ended, having printed {urls:?}");
            urls.extend(line.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned));
        }
        urls
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The document at `url` when it has loaded, as the browser understood it.
fn document(url: &str, more: &[&str]) -> String {
    let profile = TempDir::with_prefix("usher-browser-").unwrap();
    let mut browser = program("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]);
    browser.arg(format!("--user-data-dir={}", profile.path().display()));
    ran(browser.args(more).arg(url))
}

/// With no name resolved by anybody: browsers take `*.localhost` for this machine (RFC 6761 §6.3).
#[test]
fn what_the_demo_prints_opens_as_it_is() {
    let mut demo = Demo::start();
    let urls = demo.urls();
    assert_eq!(urls.len(), 5, "{urls:?}");
    let shown: Vec<_> = urls.iter().map(|url| document(url, &[])).collect();
    let titles = shown.iter().map(|page| page.split(['<', '>']).skip_while(|part| *part != "title").nth(1).unwrap());
    for (title, expected) in titles.zip(["Shop Alpha", "Shop Beta", "Shop Alpha", "Platform", "Admin"]) {
        assert!(title.contains(expected), "{title} instead of {expected}");
    }
    let stranger = document(&urls[0].replace("//store1.", "//nobody."), &[]);
    assert!(stranger.contains("There is no shop at this address"), "{stranger}");
}

/// It offers HTTP/2 by ALPN and keys of post-quantum kind, in a greeting of more than one packet.
#[test]
fn it_takes_the_https_of_a_custom_domain() {
    let stage = TlsFixture::new();
    let address = stage.usher.https();
    let here = format!("--host-resolver-rules=MAP customdomain1.com {}", address.ip());
    let url = format!("https://customdomain1.com:{}/cups", address.port());
    document(&url, &[&here, "--ignore-certificate-errors"]);
    let request = stage.app.requests().into_iter().find(|request| request.target() == "/cups").unwrap();
    assert_eq!(request.folded("x-store-id"), ["1"]);
    assert_eq!(request.folded("x-forwarded-proto"), ["https"]);
    let line = eventually("the page has its line in the access log", || {
        stage.usher.access_log_so_far().lines().find(|line| line.contains(r#""target":"/cups""#)).map(str::to_owned)
    });
    assert!(line.contains(r#""version":"HTTP/2""#), "{line}");
}
