//! Metrics count what happened, and no client can invent a series.

use crate::support::{App, Fixture, Usher, eventually};

fn series(usher: &Usher) -> usize {
    usher.admin_get("/metrics").text().lines().filter(|line| !line.starts_with('#')).count()
}

#[test]
fn requests_are_counted_by_outcome_and_status_class() {
    let stage = Fixture::new();
    for _ in 0..7 {
        stage.get("customdomain1.com", "/");
    }
    for _ in 0..3 {
        stage.get("unknown.com", "/");
    }
    let count = |label: &str| stage.usher.metric("usher_requests_total", &[label]);
    eventually("seven requests are counted", || (count("outcome=\"ok\"") == 7.0).then_some(()));
    eventually("three refusals are counted", || (count("outcome=\"unknown_host\"") == 3.0).then_some(()));
    assert_eq!((count("2xx"), count("4xx")), (7.0, 3.0), "{}", stage.usher.admin_get("/metrics").text());
}

#[test]
fn every_metric_is_ours_by_name_and_has_a_help_text() {
    let stage = Fixture::new();
    stage.get("customdomain1.com", "/");
    let response = stage.usher.admin_get("/metrics");
    assert_eq!(response.status, 200);
    assert!(response.header("content-type").is_some_and(|kind| kind.contains("text")), "{:?}", response.head);
    let text = response.text();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("usher_") || line.starts_with("process_"), "{line}");
    }
    for part in ["build_info", "requests", "connections", "directory", "upstream", "duration", "_bucket"] {
        assert!(text.contains(part), "nothing about {part} in {text}");
    }
    let types = text.lines().filter(|line| line.starts_with("# TYPE")).count();
    assert_eq!(types, text.lines().filter(|line| line.starts_with("# HELP")).count());
}

#[test]
fn no_client_can_invent_a_series() {
    let stage = Fixture::with_app(App::echo());
    let ask = |number: usize| {
        stage.get(&format!("host{number}.example"), &format!("/path{number}"));
        let request = format!("METHOD{number} / HTTP/1.1\r\nHost: customdomain1.com\r\nX-Store-Id: {number}\r\n\r\n");
        stage.usher.raw(request);
    };
    ask(0);
    let before = series(&stage.usher);
    (1..50).for_each(ask);
    assert_eq!(series(&stage.usher), before);
}

#[test]
fn the_admin_listener_answers_a_strange_path_with_404() {
    let stage = Fixture::new();
    assert_eq!(stage.usher.admin_get("/nosuch").status, 404);
    assert_eq!(stage.usher.admin_get("/live").status, 200);
}
