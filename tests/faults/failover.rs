//! One of several app servers fails: who notices, and what it gets afterwards.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use crate::support::{App, Backend, Binary, Conversation, Response, Tables, Usher, eventually};

const GET: &str = "GET /p HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n";
const POST: &str = "POST /p HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 3\r\n\r\nabc";
const PUT: &str = "PUT /p HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 3\r\n\r\nabc";
const FAILED: &str = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 6\r\n\r\nbroken";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// One worker in front of a server that fails and one that does not.
struct Stage {
    usher: Usher,
    bad: App,
    good: App,
    is_bad: Arc<AtomicBool>,
    _tables: Tables,
}

impl Stage {
    /// The bad one follows `script` for as long as it is bad.
    fn new(script: Script, config: &str) -> Self {
        let is_bad = Arc::new(AtomicBool::new(true));
        let (good, tables) = (App::echo(), Tables::example(Backend::Sqlite));
        let fails = Arc::clone(&is_bad);
        let bad = App::scripted(move |mut conversation| {
            while conversation.request().is_some() {
                let goes_on =
                    if fails.load(SeqCst) { script(&mut conversation) } else { conversation.write(OK).is_ok() };
                if !goes_on {
                    return;
                }
            }
        });
        let usher = Binary::over(&tables).apps(&[&bad, &good]).config("[listen]\nworkers = 1").config(config).start();
        Self { usher, bad, good, is_bad, _tables: tables }
    }

    fn ask(&self, request: &str) -> Response {
        self.usher.raw(request)
    }

    /// Asks until the bad one has been asked too; that answer.
    fn ask_the_bad_one(&self, request: &str) -> Response {
        let before = self.bad.requests().len();
        for _ in 0..100 {
            let response = self.ask(request);
            if self.bad.requests().len() > before {
                return response;
            }
        }
        panic!("one of two servers is never asked");
    }

    /// The line of the last request.
    fn line(&self, requests: usize) -> serde_json::Value {
        self.usher.access_log(requests).pop().unwrap()
    }
}

/// What becomes of a request that was read; whether the connection goes on.
type Script = fn(&mut Conversation) -> bool;

const SCRIPTS: [Script; 3] = [fails, closes, talks_nonsense];

fn fails(conversation: &mut Conversation) -> bool {
    conversation.write(FAILED).is_ok()
}

/// Has read the request, and says nothing more.
fn closes(_: &mut Conversation) -> bool {
    false
}

fn talks_nonsense(conversation: &mut Conversation) -> bool {
    conversation.write("SMTP ready\r\n\r\n").is_ok()
}

fn is_silent(conversation: &mut Conversation) -> bool {
    conversation.closed_by_peer();
    false
}

#[test]
fn what_may_be_applied_twice_is_answered_by_another_server() {
    for (script, outcome) in SCRIPTS.into_iter().zip(["server_error", "broken", "broken"]) {
        for request in [GET, PUT] {
            let stage = Stage::new(script, "");
            assert_eq!(stage.ask_the_bad_one(request).status, 200);
            assert_eq!(stage.good.last().body.len(), if request == PUT { 3 } else { 0 });
            let line = stage.line(stage.good.requests().len());
            assert_eq!((&line["attempts"], &line["tries"][0]["outcome"]), (&2.into(), &outcome.into()), "{line}");
            assert_eq!(line["tries"][0]["endpoint"], stage.bad.address().to_string());
            assert_eq!(line["endpoint"], stage.good.address().to_string());
            assert_eq!(stage.usher.metric("usher_upstream_repeats_total", &["allowed=\"true\""]), 1.0);
        }
    }
}

#[test]
fn what_must_not_be_applied_twice_is_sent_once() {
    for (script, status) in SCRIPTS.into_iter().zip([500, 502, 502]) {
        let stage = Stage::new(script, "");
        assert_eq!(stage.ask_the_bad_one(POST).status, status);
        let good = stage.good.requests().len();
        assert_eq!(stage.bad.requests().len(), 1);
        assert_eq!(stage.usher.access_log(good + 1).len(), good + 1, "each request was sent to one server");
    }
}

/// And what can be repeated shows whether it is better by now.
#[test]
fn after_a_failure_orders_go_to_the_other_server_for_a_while() {
    let stage = Stage::new(fails, "[upstreams.default]\neject_after = 0\neject_percent = 0");
    stage.ask_the_bad_one(GET);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(700) {
        assert_eq!(stage.ask(POST).status, 200);
    }
}

#[test]
fn a_silent_server_costs_the_time_of_one_attempt() {
    let stage = Stage::new(is_silent, "[upstreams.default]\nattempt_timeout = '300ms'");
    let begun = Instant::now();
    assert_eq!(stage.ask_the_bad_one(GET).status, 200);
    assert!((Duration::from_millis(300)..Duration::from_secs(3)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    let line = stage.line(stage.good.requests().len());
    assert_eq!(line["tries"][0]["outcome"], "timed_out", "{line}");
}

#[test]
fn an_order_at_a_silent_server_waits_for_its_answer() {
    let stage = Stage::new(is_silent, "[upstreams.default]\nattempt_timeout = '100ms'\nhead_timeout = '800ms'");
    let begun = Instant::now();
    assert_eq!(stage.ask_the_bad_one(POST).status, 504);
    assert!(begun.elapsed() >= Duration::from_millis(800), "{:?}", begun.elapsed());
    assert_eq!(stage.bad.requests().len(), 1);
}

#[test]
fn the_head_has_one_deadline_however_many_are_asked() {
    let apps = [App::scripted(never_answers), App::scripted(never_answers), App::scripted(never_answers)];
    let tables = Tables::example(Backend::Sqlite);
    let config = "[upstreams.default]\nattempt_timeout = '400ms'\nhead_timeout = '1s'";
    let usher = Binary::over(&tables).apps(&[&apps[0], &apps[1], &apps[2]]).config(config).start();
    let begun = Instant::now();
    assert_eq!(usher.get("customdomain1.com", "/").status, 504);
    assert!((Duration::from_secs(1)..Duration::from_millis(2500)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(usher.access_log(1)[0]["outcome"], "head_timeout");
}

fn never_answers(mut conversation: Conversation) {
    while conversation.request().is_some() {
        conversation.closed_by_peer();
    }
}

/// Its heads look well, and nobody gets a whole answer of it.
fn breaks_off(conversation: &mut Conversation) -> bool {
    let _ = conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    false
}

#[test]
fn a_server_that_breaks_its_answers_off_is_ejected() {
    for config in ["eject_after = 3\neject_percent = 0", "eject_after = 0\neject_percent = 50"] {
        let stage = Stage::new(breaks_off, &format!("[upstreams.default]\neject_time = '1m'\n{config}"));
        let ask = || {
            let mut client = stage.usher.connect();
            client.send(GET).try_response().ok().flatten().is_some_and(|response| response.complete)
        };
        let is_out = || stage.usher.metric("usher_endpoint_state", &["state=\"ejected\""]) >= 1.0;
        let asked = (0..200).take_while(|_| !is_out()).filter(|_| !ask()).count();
        assert!((3..=20).contains(&asked), "{asked} failures with {config}");
        assert!((0..30).all(|_| ask()), "{config}");
        let broken = stage.usher.metric("usher_upstream_attempts_total", &["outcome=\"body_broken\""]);
        assert_eq!(broken, f64::from(u32::try_from(asked).unwrap()));
    }
}

/// It says more than any page of usher's could.
#[test]
fn where_all_fail_the_answer_of_an_app_server_is_passed_on() {
    let apps: Vec<_> = (0..4).map(|_| App::answering(FAILED)).collect();
    let tables = Tables::example(Backend::Sqlite);
    let usher = Binary::over(&tables).apps(&apps.iter().collect::<Vec<_>>()).start();
    let response = usher.get("customdomain1.com", "/");
    assert_eq!((response.status, response.text().as_str()), (500, "broken"));
    let asked: Vec<_> = apps.iter().map(|app| app.requests().len()).filter(|requests| *requests > 0).collect();
    assert_eq!(asked, [1, 1, 1], "three of four servers, each once");
}

#[test]
fn where_the_other_server_is_gone_the_failure_that_was_told_is_passed_on() {
    let (app, tables) = (App::answering(FAILED), Tables::example(Backend::Sqlite));
    let servers = format!("[upstreams.default]\nservers = ['{}', '{}']", app.url(), App::refusing_url());
    let usher = Binary::over(&tables).config(&servers).start();
    for _ in 0..10 {
        assert_eq!(usher.get("customdomain1.com", "/").text(), "broken");
    }
    for line in usher.access_log(10) {
        assert_eq!((&line["endpoint"], &line["status"]), (&app.address().to_string().into(), &500.into()), "{line}");
    }
}

#[test]
fn the_budget_bounds_what_is_repeated() {
    let stage = Stage::new(fails, "[upstreams.default]\nrepeat_percent = 0\neject_after = 0\neject_percent = 0");
    assert_eq!(stage.ask_the_bad_one(GET).status, 500);
    assert!(stage.usher.metric("usher_upstream_repeats_total", &["allowed=\"false\""]) >= 1.0);
    assert_eq!(stage.usher.metric("usher_upstream_repeats_total", &["allowed=\"true\""]), 0.0);
}

#[test]
fn a_status_that_means_no_failure_is_an_answer() {
    let stage = Stage::new(fails, "[upstreams.default]\nfailure_status = [503]");
    assert_eq!(stage.ask_the_bad_one(GET).status, 500);
}

#[test]
fn a_server_that_goes_on_failing_is_left_out_and_comes_back_when_it_is_well() {
    let stage = Stage::new(fails, "[upstreams.default]\neject_time = '3s'\nslow_start = '0ms'");
    while stage.bad.requests().len() < 5 {
        assert_eq!(stage.ask(GET).status, 200);
    }
    let ejected = Instant::now();
    for _ in 0..50 {
        assert_eq!(stage.ask(POST).status, 200);
    }
    assert!(ejected.elapsed() < Duration::from_secs(3), "the machine is too slow for this test");
    assert_eq!(stage.bad.requests().len(), 5);
    assert!(stage.usher.log().contains("app server fails and gets no requests for a while"));
    stage.is_bad.store(false, SeqCst);
    eventually("it is tried again", || {
        assert_eq!(stage.ask(GET).status, 200);
        (stage.bad.requests().len() > 20).then_some(())
    });
}

#[test]
fn the_only_server_is_asked_whatever_it_does() {
    let (app, tables) = (App::answering(FAILED), Tables::example(Backend::Sqlite));
    let usher = Binary::over(&tables).apps(&[&app]).start();
    for _ in 0..50 {
        assert_eq!(usher.get("customdomain1.com", "/").status, 500);
    }
    assert_eq!(app.requests().len(), 50);
}
