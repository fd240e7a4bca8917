//! Who names the database, and what is never shown.

use std::path::Path;

use super::{Config, MINIMAL, Problems, accepted, problem, with};
use crate::config::Database;

const POSTGRES: &str = "postgres://app:hunter2@db.internal:6432/shops";

/// The minimal file with `lines` in place of its database.
fn located(lines: &str) -> String {
    MINIMAL.replace("url = \"sqlite://usher.db\"", lines)
}

fn parse_in(text: &str, variables: &[(&str, &str)]) -> Result<Config, Problems> {
    let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Config::parse(text, "usher.toml", &find)
}

fn origin(text: &str, variables: &[(&str, &str)]) -> String {
    parse_in(text, variables).unwrap().database_origin
}

#[test]
fn sqlite_paths_are_absolute_or_relative() {
    let path = |url: &str| match parse_in(&located(&format!("url = \"{url}\"")), &[]).unwrap().database {
        Database::Sqlite(path) => path,
        Database::Postgres(_) => panic!("{url}"),
    };
    assert_eq!(path("sqlite:///var/lib/usher/usher.db"), Path::new("/var/lib/usher/usher.db"));
    assert_eq!(path("sqlite://usher.db"), Path::new("usher.db"));
    assert_eq!(path("sqlite://./data/usher.db"), Path::new("./data/usher.db"));
}

#[test]
fn urls_that_name_no_database_are_refused() {
    let urls = [
        "sqlite://",
        "sqlite:///",
        "sqlite://:memory:",
        "sqlite://u.db?mode=ro",
        "sqlite+aiosqlite:///u.db",
        "mysql://h/d",
        "",
        "usher.db",
    ];
    for url in urls {
        let problems = parse_in(&located(&format!("url = \"{url}\"")), &[]).unwrap_err();
        let subjects: Vec<_> = problems.iter().map(|problem| problem.subject.as_str()).collect();
        assert_eq!(subjects, ["directory.url"], "{url}");
    }
}

#[test]
fn the_override_beats_every_key_and_the_fallback_counts_last() {
    let [own, fallback] = [("USHER_DATABASE_URL", "sqlite://own.db"), ("DATABASE_URL", "sqlite://app.db")];
    assert_eq!(origin(MINIMAL, &[]), "directory.url");
    assert_eq!(origin(MINIMAL, &[fallback]), "directory.url");
    assert_eq!(origin(MINIMAL, &[own, fallback]), "USHER_DATABASE_URL");
    assert_eq!(origin(&located(""), &[fallback]), "DATABASE_URL");
    assert_eq!(origin(&located("url_file = \"/nonexistent\""), &[own]), "USHER_DATABASE_URL");
}

#[test]
fn a_variable_set_to_nothing_counts_as_unset() {
    assert_eq!(origin(MINIMAL, &[("USHER_DATABASE_URL", " ")]), "directory.url");
    assert!(parse_in(&located(""), &[("DATABASE_URL", "")]).is_err());
}

#[test]
fn the_url_may_stand_in_a_variable_of_any_name() {
    let text = located("url_env = \"SHOP_DB\"");
    assert_eq!(origin(&text, &[("SHOP_DB", POSTGRES)]), "directory.url_env SHOP_DB");
    let unset = parse_in(&text, &[]).unwrap_err().to_string();
    assert!(unset.contains("directory.url_env = \"SHOP_DB\": this variable is not set, or empty"), "{unset}");
}

#[test]
fn the_url_may_stand_in_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{POSTGRES}\n")).unwrap();
    let text = located(&format!("url_file = \"{}\"", file.path().display()));
    assert_eq!(origin(&text, &[]), format!("directory.url_file {}", file.path().display()));

    std::fs::write(file.path(), "\n").unwrap();
    assert!(parse_in(&text, &[]).unwrap_err().to_string().contains("the file is empty"));
    let missing = parse_in(&located("url_file = \"/nonexistent/url\""), &[]).unwrap_err().to_string();
    assert!(missing.contains("cannot be read: No such file"), "{missing}");
}

#[test]
fn the_database_is_named_once() {
    let problem = problem("directory", "url_env = \"SHOP_DB\"");
    assert_eq!(
        (problem.subject.as_str(), problem.cause.as_str()),
        ("directory.url_env", "the database is named twice")
    );
}

#[test]
fn postgres_gets_the_deadlines_of_the_file() {
    let lines = format!("url = \"{POSTGRES}\"\nconnections_max = 3\nquery_timeout = \"250ms\"");
    let Database::Postgres(server) = parse_in(&located(&lines), &[]).unwrap().database else { panic!("{lines}") };
    assert_eq!((server.connections_max, server.query_timeout.as_millis()), (3, 250));
    assert_eq!((server.server.get_ports(), server.server.get_dbname()), (&[6432][..], Some("shops")));
}

#[test]
fn a_look_up_that_outwaits_its_query_is_warned_of() {
    let lines = format!("url = \"{POSTGRES}\"\nlookup_timeout = \"30s\"");
    let warnings = parse_in(&located(&lines), &[]).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert_eq!(
        (warnings[0].subject.as_str(), warnings[0].value.as_deref()),
        ("directory.lookup_timeout", Some("\"30s\""))
    );
    assert!(accepted("directory", "lookup_timeout = \"2s\"").warnings.is_empty());
}

#[test]
fn debug_shows_no_password() {
    let config = parse_in(&located(&format!("url = \"{POSTGRES}\"")), &[]).unwrap();
    let shown = format!("{config:?} {config:#?}");
    assert!(shown.contains("db.internal") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn problems_show_no_password() {
    let misplaced = [
        located("url = \"postgresql://app:hunter2@db:port/shops\""),
        located("url = [\"postgres://app:hunter2@db/shops\"]"),
        located("url = \"mysql://app:hunter2@db/shops\""),
        located("url = \"host=db password=hunter2\""),
        located("url_env = \"postgres://app:hunter2@db/shops\""),
        located("url_env = \"host=db password=hunter2\""),
        located("url_file = \"postgres://app:hunter2@db/shops\""),
        located("ulr = \"postgres://app:hunter2@db/shops\""),
        located("url = \"postgres://app:hunter2@db/shops\"\nurl_env = \"X\""),
        located("url = \"postgres://app:hunter2@db/shops"),
        located("url = postgres://app:hunter2@db/shops"),
        with("log", "format = \"postgres://app:hunter2@db/shops\""),
        with("listen", "http = \"postgres://app:hunter2@db/shops\""),
        with("log", "format = \"`, expected `postgres://app:hunter2@db/shops\""),
        with("routing", "admin_upstream = \"postgres://app:hunter2@db/shops\""),
        with("routing", "admin_hosts = [\"postgres://app:hunter2@db/shops\"]"),
        with("routing", "path_prefix = \"postgres://app:hunter2@db/shops\""),
        with("upstreams.'postgres://app:hunter2@db/shops'", ""),
        with("listen", "'postgres://app:hunter2@db/shops' = 1"),
        format!("directory = \"postgres://app:hunter2@db/shops\"\n{}", located("").replace("[directory]", "")),
    ];
    for text in misplaced {
        let problems = parse_in(&text, &[]).unwrap_err().to_string();
        assert!(!problems.contains("hunter2"), "{problems}");
    }
    let variable = [("USHER_DATABASE_URL", "mysql://app:hunter2@db/shops")];
    let problems = parse_in(MINIMAL, &variable).unwrap_err().to_string();
    assert!(problems.starts_with("error: environment: USHER_DATABASE_URL = ***: "), "{problems}");
    assert!(!problems.contains("hunter2"), "{problems}");
}
