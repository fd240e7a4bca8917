//! App servers as operators see and steer them: the admin API, `usher upstreams`, probes.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    time::Duration,
};

use serde_json::Value;

use crate::support::{App, Backend, Binary, Client, Fixture, H2App, Output, Response, Tables, Usher, eventually};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A router in front of two servers, with a token.
struct Stage {
    usher: Usher,
    apps: [App; 2],
    _tables: Tables,
}

impl Stage {
    fn new(config: &str) -> Self {
        let (apps, tables) = ([App::echo(), App::echo()], Tables::example(Backend::Sqlite));
        let binary = Binary::over(&tables).apps(&[&apps[0], &apps[1]]).config("[listen]\nworkers = 1");
        let usher = binary.config(config).env("USHER_ADMIN_TOKEN", TOKEN).start();
        Self { usher, apps, _tables: tables }
    }

    fn order(&self, app: usize, order: &str) {
        let path = format!("/api/v1/upstreams/default/endpoints/{}/{order}", self.apps[app].address());
        let response = post(&self.usher, &path, Some(TOKEN));
        assert_eq!(response.status, 204, "{}", response.text());
    }

    fn ask(&self) -> Response {
        self.usher.get("customdomain1.com", "/")
    }
}

fn post(usher: &Usher, path: &str, token: Option<&str>) -> Response {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!("POST {path} HTTP/1.1\r\nHost: {}\r\n{token}Connection: close\r\n\r\n", usher.admin());
    Client::connect(usher.admin()).send(request).response()
}

fn shown(usher: &Usher) -> Value {
    let response = usher.admin_get("/api/v1/upstreams");
    assert_eq!(response.status, 200);
    serde_json::from_str(&response.text()).unwrap()
}

#[test]
fn the_api_tells_how_app_servers_are() {
    let stage = Fixture::new();
    let mut client = stage.usher.connect();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n");
        assert_eq!(client.response().status, 200);
    }
    let upstreams = shown(&stage.usher);
    assert_eq!((&upstreams[0]["name"], &upstreams[0]["balance"]), (&"default".into(), &"least_loaded".into()));
    let endpoint = &upstreams[0]["endpoints"][0];
    assert_eq!(endpoint["endpoint"], stage.app.address().to_string());
    assert_eq!((&endpoint["state"], &endpoint["reason"]), (&"healthy".into(), &Value::Null));
    assert_eq!((&endpoint["attempts"]["answered"], &endpoint["attempts"]["broken"]), (&3.into(), &0.into()));
    assert_eq!((&endpoint["connections_opened"], &endpoint["connections_reused"]), (&1.into(), &2.into()));
    assert!(endpoint["latency_ms"].as_f64().unwrap() > 0.0 && endpoint["in_flight"] == 0, "{endpoint}");
}

#[test]
fn the_same_is_in_the_metrics() {
    let stage = Fixture::new();
    stage.get("customdomain1.com", "/");
    let endpoint = format!("endpoint=\"{}\"", stage.app.address());
    let metric = |name, label| stage.usher.metric(name, &["upstream=\"default\"", &endpoint, label]);
    assert_eq!(metric("usher_upstream_attempts_total", "outcome=\"answered\""), 1.0);
    assert_eq!(metric("usher_upstream_connections_total", "reused=\"false\""), 1.0);
    assert_eq!(metric("usher_endpoint_state", "state=\"healthy\",reason=\"none\""), 1.0);
    assert_eq!(metric("usher_endpoint_state", "state=\"ejected\""), 0.0);
    assert!(metric("usher_endpoint_latency_seconds", "") > 0.0);
}

#[test]
fn a_draining_server_gets_nothing_new_and_loses_its_idle_connections() {
    let stage = Stage::new("");
    while stage.apps.iter().any(|app| app.requests().is_empty()) {
        assert_eq!(stage.ask().status, 200);
    }
    stage.order(0, "drain");
    let before = stage.apps[0].requests().len();
    for _ in 0..30 {
        assert_eq!(stage.ask().status, 200);
    }
    assert_eq!(stage.apps[0].requests().len(), before);
    assert_eq!(shown(&stage.usher)[0]["endpoints"][0]["state"], "draining");
    assert_eq!(stage.usher.metric("usher_endpoint_state", &["state=\"draining\",reason=\"order\""]), 1.0);
    stage.order(0, "resume");
    eventually("it is used again", || {
        assert_eq!(stage.ask().status, 200);
        (stage.apps[0].requests().len() > before).then_some(())
    });
}

#[test]
fn an_ordered_drain_closes_idle_connections_and_lets_what_runs_finish() {
    let (go_on, told) = mpsc::channel::<()>();
    let (told, closed) = (Mutex::new(told), Arc::new(AtomicUsize::new(0)));
    let counts = Arc::clone(&closed);
    let app = App::scripted(move |mut conversation| {
        while let Some(request) = conversation.request() {
            if request.target() == "/held" {
                told.lock().unwrap().recv().unwrap();
            }
            conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        }
        counts.fetch_add(1, SeqCst);
    });
    let tables = Tables::example(Backend::Sqlite);
    let config = "[listen]\nworkers = 1\n[upstreams.default]\nidle_timeout = '1h'";
    let usher = Binary::over(&tables).apps(&[&app]).config(config).env("USHER_ADMIN_TOKEN", TOKEN).start();
    let mut held = usher.connect();
    held.send("GET /held HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n");
    eventually("it is at the app", || (app.requests().len() == 1).then_some(()));
    assert_eq!(usher.get("customdomain1.com", "/").status, 200);
    // For longer than usher needs to look after what is idle.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!((app.connections(), closed.load(SeqCst)), (2, 0));

    let path = format!("/api/v1/upstreams/default/endpoints/{}/drain", app.address());
    assert_eq!(post(&usher, &path, Some(TOKEN)).status, 204);
    eventually("the idle one is closed", || (closed.load(SeqCst) == 1).then_some(()));
    assert_eq!(usher.metric("usher_endpoint_in_flight", &[]), 1.0);
    go_on.send(()).unwrap();
    assert_eq!(held.response().text(), "ok");
    eventually("the other one is closed when it is idle", || (closed.load(SeqCst) == 2).then_some(()));
    assert_eq!(app.requests().len(), 2);
}

#[test]
fn where_all_drain_the_client_is_told_to_come_back() {
    let stage = Stage::new("");
    stage.order(0, "drain");
    stage.order(1, "drain");
    let response = stage.ask();
    assert_eq!((response.status, response.header("retry-after")), (503, Some("5")));
    stage.order(1, "resume");
    assert_eq!(stage.ask().status, 200);
}

#[test]
fn orders_need_the_token() {
    let stage = Stage::new("");
    let path = format!("/api/v1/upstreams/default/endpoints/{}/drain", stage.apps[0].address());
    for token in [None, Some("0123456789abcdef0123456789abcdeF"), Some("")] {
        assert_eq!(post(&stage.usher, &path, token).status, 401, "{token:?}");
    }
    assert_eq!(shown(&stage.usher)[0]["endpoints"][0]["state"], "healthy");
    for wrong in ["/api/v1/upstreams/nosuch/endpoints/a:1/drain", "/api/v1/upstreams/default/endpoints/a:1/drain"] {
        assert_eq!(post(&stage.usher, wrong, Some(TOKEN)).status, 404, "{wrong}");
    }
    let without = Fixture::new();
    assert_eq!(post(&without.usher, &path, Some(TOKEN)).status, 403);
}

#[test]
fn the_command_shows_a_table_and_gives_orders() {
    let stage = Stage::new("");
    assert_eq!(stage.ask().status, 200);
    let address = stage.apps[1].address().to_string();
    let run = |arguments: &[&str]| -> Output {
        let token = stage.usher.folder().join("token");
        fs::write(&token, format!("{TOKEN}\n")).unwrap();
        let config = format!("[admin]\nlisten = '{}'\ntoken_file = '{}'", stage.usher.admin(), token.display());
        Binary::new()
            .config("[directory]\nurl = 'sqlite://u.db'")
            .config(&config)
            .run(&[&["upstreams"], arguments].concat())
    };
    let listed = run(&[]);
    assert_eq!((listed.code, listed.stderr.as_str()), (0, ""));
    assert!(listed.stdout.starts_with("UPSTREAM  SERVER"), "{}", listed.stdout);
    assert!(listed.stdout.contains(&address), "{}", listed.stdout);
    let json: Value = serde_json::from_str(&run(&["--json"]).stdout).unwrap();
    assert_eq!(json[0]["endpoints"][1]["endpoint"], address.as_str());
    let drained = run(&["drain", "default", &address]);
    assert!(drained.stdout.contains("draining (by order)"), "{drained:?}");
    assert!(!run(&["resume", "default", &address]).stdout.contains("draining"));
    let refused = run(&["drain", "default", "nosuch:1"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("there is no app server nosuch:1"), "{}", refused.stderr);
}

#[test]
fn without_a_router_the_command_says_so() {
    let config = "[directory]\nurl = 'sqlite://u.db'\n[admin]\nlisten = '127.0.0.1:9'";
    let output = Binary::new().config(config).run(&["upstreams"]);
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("no router answers at 127.0.0.1:9"), "{}", output.stderr);
}

const PROBED: &str = "[upstreams.default]\nprobe_path = '/health?deep'\nprobe_host = 'probe.example'\n\
                      probe_interval = '100ms'\nprobe_rise = 2\nprobe_fall = 2\nslow_start = '0ms'";

/// Answers everything well except probes, as long as it is told that it is ill.
fn honest(ill: &Arc<AtomicBool>) -> App {
    let ill = Arc::clone(ill);
    App::scripted(move |mut conversation| {
        while let Some(request) = conversation.request() {
            let fails = request.target().starts_with("/health") && ill.load(SeqCst);
            let status = if fails { "503 Service Unavailable" } else { "200 OK" };
            if conversation.write(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok")).is_err() {
                return;
            }
        }
    })
}

#[test]
fn probes_take_a_server_out_and_bring_it_back() {
    let ill = Arc::new(AtomicBool::new(false));
    let (probed, other, tables) = (honest(&ill), App::echo(), Tables::example(Backend::Sqlite));
    let usher = Binary::over(&tables).apps(&[&probed, &other]).config(PROBED).start();
    let state = || shown(&usher)[0]["endpoints"][0]["state"].as_str().unwrap().to_owned();
    let probe = eventually("a probe", || probed.requests().into_iter().next());
    assert_eq!((probe.method(), probe.target()), ("GET", "/health?deep"));
    assert_eq!((probe.folded("host"), probe.folded("user-agent")), (vec!["probe.example"], vec!["usher-probe"]));
    ill.store(true, SeqCst);
    eventually("the server is out", || (state() == "ejected").then_some(()));
    assert_eq!(shown(&usher)[0]["endpoints"][0]["reason"], "failed probes");
    let requests = || probed.requests().iter().filter(|request| request.target() == "/").count();
    let before = requests();
    for _ in 0..30 {
        assert_eq!(usher.get("customdomain1.com", "/").status, 200);
    }
    assert_eq!(requests(), before);
    ill.store(false, SeqCst);
    eventually("the server is back", || (state() == "healthy").then_some(()));
    eventually("it is used", || {
        assert_eq!(usher.get("customdomain1.com", "/").status, 200);
        (requests() > before).then_some(())
    });
}

#[test]
fn a_probe_that_is_not_answered_in_time_has_failed() {
    let silent = App::scripted(|mut conversation| {
        while let Some(request) = conversation.request() {
            if request.target().starts_with("/health") {
                let _given_up = conversation.closed_by_peer();
                return;
            }
            conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        }
    });
    let (other, tables) = (App::echo(), Tables::example(Backend::Sqlite));
    let config = format!("{PROBED}\nprobe_timeout = '200ms'");
    let usher = Binary::over(&tables).apps(&[&silent, &other]).config(&config).start();
    eventually("the server is out", || (shown(&usher)[0]["endpoints"][0]["state"] == "ejected").then_some(()));
    assert_eq!(shown(&usher)[0]["endpoints"][0]["reason"], "failed probes");
    assert_eq!(shown(&usher)[0]["endpoints"][1]["state"], "healthy");
}

#[test]
fn a_probe_may_ask_for_another_status_and_speaks_what_the_server_does() {
    let statuses = [204, 200].map(|status| {
        H2App::scripted(move |mut call| async move {
            let is_probe = call.head.uri.path() == "/health" && call.head.headers["user-agent"] == "usher-probe";
            call.finish(if is_probe { status } else { 200 }, "");
        })
    });
    let tables = Tables::example(Backend::Sqlite);
    let servers = statuses.each_ref().map(H2App::url);
    let config = format!("{PROBED}\nservers = {servers:?}\nprobe_status = 204");
    let usher = Binary::over(&tables).config(&config).start();
    eventually("the second one is out", || (shown(&usher)[0]["endpoints"][1]["state"] == "ejected").then_some(()));
    assert_eq!(shown(&usher)[0]["endpoints"][0]["state"], "healthy");
    assert!((0..10).all(|_| usher.get("customdomain1.com", "/").status == 200));
}

#[test]
fn where_all_probes_fail_the_servers_are_used_all_the_same() {
    let ill = Arc::new(AtomicBool::new(true));
    let (apps, tables) = ([honest(&ill), honest(&ill)], Tables::example(Backend::Sqlite));
    let usher = Binary::over(&tables).apps(&[&apps[0], &apps[1]]).config(PROBED).start();
    eventually("one is out", || usher.metric("usher_endpoint_state", &["state=\"ejected\""]).ge(&1.0).then_some(()));
    for _ in 0..10 {
        assert_eq!(usher.get("customdomain1.com", "/").status, 200);
    }
    assert_eq!(usher.metric("usher_endpoint_state", &["state=\"ejected\""]), 1.0);
}
