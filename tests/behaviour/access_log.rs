//! One line per exchange, however it ends.

use serde_json::Value;

use crate::support::{App, Backend, Binary, Fixture, Tables, eventually};

fn one_line(stage: &Fixture) -> Value {
    stage.usher.access_log(1).remove(0)
}

#[test]
fn an_exchange_that_went_well_says_all_there_is_to_say() {
    let stage = Fixture::with_app(App::answering("HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello"));
    stage.usher.raw("POST /p?q=1 HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 3\r\n\r\nabc");
    let line = one_line(&stage);
    for (field, value) in [("method", "POST"), ("host", "customdomain1.com"), ("store", "1"), ("outcome", "ok")] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    assert_eq!(line["status"], 201);
    let text = line.to_string();
    assert!(text.contains("/p?q=1") && text.contains("custom_domain") && text.contains("127.0.0.1"), "{text}");
    assert!(text.contains(&stage.app.address().to_string()), "{text}");
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&3.into(), &5.into()), "{text}");
}

#[test]
fn the_line_has_the_id_that_the_app_saw() {
    let stage = Fixture::new();
    stage.get("customdomain1.com", "/");
    let id = stage.app.last().folded("x-request-id")[0].to_owned();
    assert!(one_line(&stage).to_string().contains(&id));
}

#[test]
fn refusals_are_lines_with_their_reason() {
    let stage = Fixture::new();
    stage.tables.execute("UPDATE store_domains SET is_verified = false WHERE domain = 'customdomain2.com'");
    let requests = [("unknown.com", "/", 404), ("customdomain2.com", "/", 404), ("customdomain1.com", "//admin", 400)];
    for (host, target, status) in requests {
        assert_eq!(stage.get(host, target).status, status);
    }
    let lines = stage.usher.access_log(3);
    let field = |host: &str, field: &str| lines.iter().find(|line| line["host"] == host).unwrap()[field].to_string();
    assert!(field("unknown.com", "outcome").contains("unknown_host"));
    assert!(field("customdomain2.com", "reason").contains("verified"), "{}", field("customdomain2.com", "reason"));
    assert!(field("customdomain1.com", "outcome").contains("bad_request"));
}

#[test]
fn the_line_says_whose_fault_it_was() {
    let stage = Fixture::new();
    for (host, target) in [("customdomain1.com", "/"), ("unknown.com", "/"), ("customdomain1.com", "//admin")] {
        stage.get(host, target);
    }
    let lines = stage.usher.access_log(3);
    let fault = |status: u16| lines.iter().find(|line| line["status"] == status).unwrap()["fault"].clone();
    assert_eq!((fault(200), fault(404), fault(400)), (Value::Null, "client".into(), "client".into()));
}

#[test]
fn a_database_that_cannot_be_asked_is_to_blame() {
    let url = "[directory]\nurl = 'postgres://usher@127.0.0.1:1/nothing'";
    let usher = Binary::new().config(url).start_unready();
    assert_eq!(usher.get("customdomain1.com", "/").status, 503);
    let line = &usher.access_log(1)[0];
    assert_eq!((&line["outcome"], &line["fault"]), (&"directory_unavailable".into(), &"database".into()), "{line}");
}

#[test]
fn a_failing_app_is_a_line_that_names_the_phase() {
    let tables = Tables::example(Backend::Sqlite);
    let usher =
        Binary::over(&tables).config(&format!("[upstreams.default]\nservers = ['{}']", App::refusing_url())).start();
    assert_eq!(usher.get("customdomain1.com", "/").status, 502);
    let line = &usher.access_log(1)[0];
    assert_eq!((line["outcome"].as_str(), line["status"].as_u64()), (Some("connect_failed"), Some(502)), "{line}");
    assert_eq!(line["fault"], "app", "{line}");
}

#[test]
fn a_client_that_goes_away_is_a_line() {
    let app = App::scripted(|mut conversation| {
        while conversation.head().is_some() {
            conversation.closed_by_peer();
        }
    });
    let stage = Fixture::with_app(app);
    let mut client = stage.usher.connect();
    client.send("GET /gone HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n");
    eventually("the request is at the app", || (stage.app.requests().len() == 1).then_some(()));
    client.reset();
    let line = one_line(&stage);
    assert_eq!(line["outcome"], "client_gone", "{line}");
}

#[test]
fn what_a_client_sends_cannot_forge_a_line() {
    let stage = Fixture::new();
    let targets = ["/%0a{\"outcome\":\"ok\"}", "/\"},{\"x\":\"", "/a\\\"b", "/\u{1b}[31m", "/é"];
    let mut answered = 0;
    for target in targets {
        let mut client = stage.usher.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n"));
        let status = client.try_response().ok().flatten().map(|response| response.status);
        answered += usize::from(status == Some(200));
    }
    assert!(answered >= 2, "some of these are valid targets");
    let lines = eventually("the lines of the valid targets", || {
        let lines = stage.usher.access_log_so_far();
        (lines.lines().count() >= answered).then_some(lines)
    });
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["status"].is_number() && line["outcome"].is_string(), "{line}");
    }
    assert!(!lines.contains('\u{1b}'), "{lines}");
}

#[test]
fn lines_reach_the_file_before_the_process_ends() {
    let mut stage = Fixture::new();
    for _ in 0..100 {
        stage.get("customdomain1.com", "/");
    }
    assert_eq!(stage.usher.stop().code(), Some(0));
    assert_eq!(stage.usher.access_log_so_far().lines().count(), 100);
}

#[test]
fn a_file_that_cannot_be_written_is_named_at_start() {
    let tables = Tables::example(Backend::Sqlite);
    let output = Binary::over(&tables).config("[log]\naccess = '/nonexistent/access.log'").run(&["serve"]);
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("/nonexistent/access.log"), "{}", output.stderr);
    assert!(output.stderr.contains("remedy: ") && output.stderr.contains("log.access"), "{}", output.stderr);
}
