//! What operators read.

use std::path::Path;

use proptest::{prelude::*, sample::select};

use super::{Config, MINIMAL, parse, problems, with};
use crate::config::default_text;

fn rendered(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn a_wrong_word_is_shown_with_the_words_that_exist() {
    let text = "[routing]\nplatform_domains = [\"platform.com\"]\nwww = \"redirct\"\n[directory]\nurl = \"sqlite://u.db\"\n\
                [upstreams.default]\nservers = [\"http://127.0.0.1:8000\"]\n";
    let expected = r#"error: usher.toml:3:7: routing.www = "redirct": there is no such choice
       accepted: "redirect", "serve", "off"
       remedy:   did you mean "redirect"?"#;
    assert_eq!(rendered(text), expected);
}

#[test]
fn all_problems_come_in_one_run_in_the_order_of_the_file() {
    let text = r#"[listn]
http = ["127.0.0.1:80"]
[admin]
listen = 9900
allow = ["10.0.0.0/8", "10.0.0.0/33"]
[routing]
platform_domains = "platform.com"
www = "redirect"
paths = ["/store"]
[upstreams.default]
servers = ["127.0.0.1:8000"]
head_timeout = "1 minute"
"#;
    let expected = r#"error: usher.toml:1:2: listn: there is no such key
       accepted: listen, tls, acme, admin, routing, directory, upstreams, log, domains
       remedy:   did you mean listen?
error: usher.toml:4:10: admin.listen = 9900: this is of the wrong type
       accepted: text in quotes
       remedy:   write it as accepted; `usher config default` shows every key with its default
error: usher.toml:5:24: admin.allow = "10.0.0.0/33": is no network
       accepted: a network or an address: "10.0.0.0/8", "192.0.2.7", "fd00::/8"
       remedy:   correct the address or the length of the prefix
error: usher.toml:7:20: routing.platform_domains = "platform.com": this is of the wrong type
       accepted: a list: ["…", "…"]
       remedy:   write it as accepted; `usher config default` shows every key with its default
error: usher.toml:9:1: routing.paths: there is no such key
       accepted: platform_domains, admin_hosts, admin_paths, reserved_labels, www, path_prefix, path_hosts, unknown_host, inactive_store, secondary_domains, subdomains, admin_upstream, homepage_upstream, unknown_upstream
       remedy:   remove it; `usher config default` shows every key
error: usher.toml:11:12: upstreams.default.servers = "127.0.0.1:8000": is not an http:// URL
       accepted: "http://host:port", "https://", "h2c://" or "h2://" with host and port, or "unix:/path"
       remedy:   put http:// in front of host and port, or h2c:// for HTTP/2
error: usher.toml:12:16: upstreams.default.head_timeout = "1 minute": this value cannot be used
       accepted: a duration from 1ms to 365d: digits and one of ms, s, m, h, d, such as "30s"
       remedy:   write it as accepted; `usher config default` shows every key with its default
error: usher.toml: directory.url: the database is named nowhere
       accepted: postgres://user:password@host:5432/database, sqlite:///absolute/path or sqlite://relative/path
       remedy:   add one of directory.url, url_env and url_file, or set USHER_DATABASE_URL"#;
    assert_eq!(rendered(text), expected);
}

#[test]
fn an_empty_file_is_told_what_is_required() {
    let found = problems("");
    let subjects: Vec<_> = found.iter().map(|problem| problem.subject.as_str()).collect();
    assert_eq!(subjects, ["routing.platform_domains", "directory.url", "upstreams.default"]);
}

#[test]
fn broken_syntax_is_reported_with_its_place() {
    let found = problems("[listen]\nhttp = [\"127.0.0.1:80\"\n");
    assert_eq!(found[0].place, "usher.toml:2:23");
    assert!(found[0].cause.starts_with("this is not TOML: "), "{found:#?}");
}

#[test]
fn a_key_written_twice_is_reported() {
    let found = problems("[listen]\nworkers = 1\nworkers = 2\n");
    assert_eq!((found.len(), found[0].place.as_str()), (1, "usher.toml:3:1"));
    assert_eq!(found[0].cause, "this is not TOML: duplicate key");
}

#[test]
fn every_wrong_item_of_a_list_is_reported_at_its_own_place() {
    let found = problems(&with("listen", "http = [\n  1,\n  \"127.0.0.1:8080\",\n  \"nowhere\",\n  2,\n]"));
    let values: Vec<_> = found.iter().map(|problem| (problem.subject.as_str(), problem.value.as_deref())).collect();
    assert_eq!(values, ["1", "\"nowhere\"", "2"].map(|value| ("listen.http", Some(value))));
}

#[test]
fn a_section_of_the_wrong_type_is_one_problem() {
    let text = MINIMAL.replace("[routing]\nplatform_domains = [\"platform.com\"]", "routing = 5");
    let found = problems(&text);
    assert_eq!((found.len(), found[0].subject.as_str()), (1, "routing"), "{found:#?}");
    assert_eq!(found[0].accepted, "a table of keys");
}

#[test]
fn a_section_is_no_list() {
    for list in ["log = []", "log = [\"info\"]", "log = [{ filter = \"info\" }]"] {
        let found = problems(&format!("{list}\n{MINIMAL}"));
        assert_eq!((found.len(), found[0].subject.as_str()), (1, "log"), "{found:#?}");
    }
    let found = problems(&MINIMAL.replace("[upstreams.default]", "[[upstreams.default]]"));
    assert_eq!((found.len(), found[0].subject.as_str()), (1, "upstreams.default"), "{found:#?}");
}

#[test]
fn what_is_cut_out_does_not_hide_or_invent_other_problems() {
    let found =
        problems(&with("routing", "unknown_host = { redirct = \"https://platform.com\" }\npath_prefix = \"store\""));
    let subjects: Vec<_> = found.iter().map(|problem| (problem.subject.as_str(), problem.cause.as_str())).collect();
    let expected = [
        ("routing.unknown_host.redirect", "is missing"),
        ("routing.unknown_host.redirct", "there is no such key"),
        ("routing.path_prefix", "does not start with a slash"),
    ];
    assert_eq!(subjects, expected);
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_too() {
    let problems = Config::load(Path::new("/nonexistent/usher.toml")).unwrap_err().to_string();
    let first = "error: /nonexistent/usher.toml: cannot be read: No such file or directory (os error 2)\n";
    assert!(problems.starts_with(first), "{problems}");
}

proptest! {
    /// Whatever is cut out of the tree, reading comes to an end, and it never ends without a configuration or a problem.
    #[test]
    fn every_damaged_file_gets_an_answer(
        start in 0..default_text().len(),
        length in 0..80usize,
        patch in select(vec!["", "5", "[]", "{}", "\"", "\n", "=", "[[", "a.b = 1\n", "[log.filter]\n", "[[upstreams]]\n"]),
    ) {
        let mut bytes = default_text().as_bytes().to_vec();
        let end = (start + length).min(bytes.len());
        bytes.splice(start..end, patch.bytes());
        if let Err(problems) = parse(&String::from_utf8_lossy(&bytes)) {
            prop_assert!(problems.iter().count() > 0);
        }
    }
}
