//! App servers behind names in DNS: each address is a server, and changes are followed without dropping what runs.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{App, Backend, Binary, Ca, Front, NameServer, Speech, Tables, Usher, eventually};

const ZONE: &str = "app.test";

/// A name server, and the rows.
struct Stage {
    dns: NameServer,
    tables: Tables,
}

impl Stage {
    fn new(records: &str) -> Self {
        Self { dns: NameServer::start(&[(ZONE, records)]), tables: Tables::example(Backend::Sqlite) }
    }

    fn binary(&self, server: &str, keys: &str) -> Binary {
        let config =
            format!("[upstreams.default]\nservers = ['{server}']\nresolvers = ['{}']\n{keys}", self.dns.address());
        Binary::over(&self.tables).config(&config)
    }

    fn usher(&self, server: &str, keys: &str) -> Usher {
        self.binary(server, keys).start()
    }
}

/// Records of `shop` for 127.0.0.N, good for a second.
fn shop(numbers: &[u8]) -> String {
    numbers.iter().map(|number| format!("shop 1 A 127.0.0.{number}\n")).collect()
}

fn url(app: &App) -> String {
    format!("http://shop.{ZONE}:{}", app.address().port())
}

fn endpoints(usher: &Usher) -> Vec<Value> {
    let shown: Value = serde_json::from_str(&usher.admin_get("/api/v1/upstreams").text()).unwrap();
    shown[0]["endpoints"].as_array().unwrap().clone()
}

fn addresses(usher: &Usher) -> Vec<String> {
    let mut addresses: Vec<_> =
        endpoints(usher).iter().map(|one| one["endpoint"].as_str().unwrap().to_owned()).collect();
    addresses.sort();
    addresses
}

fn get(usher: &Usher) {
    assert_eq!(usher.get("customdomain1.com", "/").status, 200);
}

/// Asks until `app` was asked.
fn until_used(usher: &Usher, app: &App) {
    let before = app.requests().len();
    eventually("the server is used", || {
        get(usher);
        (app.requests().len() > before).then_some(())
    });
}

#[test]
fn each_address_of_a_name_is_a_server() {
    let apps = App::neighbours::<2>();
    let stage = Stage::new(&shop(&[1, 2]));
    let usher = stage.usher(&url(&apps[0]), "");
    apps.iter().for_each(|app| until_used(&usher, app));
    let shown = endpoints(&usher);
    assert_eq!(addresses(&usher), apps.each_ref().map(|app| app.address().to_string()));
    assert_eq!(shown[0]["name"], format!("shop.{ZONE}:{}", apps[0].address().port()));
    let labels = [format!("endpoint=\"{}\"", apps[1].address()), "outcome=\"answered\"".to_owned()];
    let labels = labels.each_ref().map(String::as_str);
    assert!(usher.metric("usher_upstream_attempts_total", &labels) >= 1.0);
}

#[test]
fn new_addresses_are_used_and_those_that_are_gone_finish_what_they_have() {
    let apps = App::neighbours::<3>();
    let stage = Stage::new(&shop(&[1, 2]));
    let usher = stage.usher(&url(&apps[0]), "balance = 'round_robin'");
    apps[..2].iter().for_each(|app| until_used(&usher, app));
    // Two uploads go on, one at each, while DNS drops one of them.
    let upload = || {
        let mut client = usher.connect();
        client.send("POST /upload HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 200000\r\n\r\n");
        client.send(vec![b'x'; 100_000]);
        client
    };
    let uploads = [upload(), upload()];
    let running = || endpoints(&usher).iter().filter(|one| one["in_flight"] == 1).count();
    eventually("both have an upload", || (running() == 2).then_some(()));
    stage.dns.rewrite(ZONE, &shop(&[2, 3]));
    until_used(&usher, &apps[2]);
    let state = |app: &App| {
        let label = app.address().to_string();
        let shown = endpoints(&usher);
        let found = shown.iter().find(|one| one["endpoint"] == label.as_str());
        found.map(|one| (one["state"].clone(), one["reason"].clone()))
    };
    assert_eq!(state(&apps[0]), Some(("draining".into(), "gone from DNS".into())));
    let before = apps[0].requests().len();
    (0..20).for_each(|_| get(&usher));
    assert_eq!(apps[0].requests().len(), before);
    for mut client in uploads {
        client.send(vec![b'x'; 100_000]);
        assert_eq!(client.response().status, 200);
    }
    eventually("the first one is let go", || state(&apps[0]).is_none().then_some(()));
    let gone = format!("endpoint=\"{}\"", apps[0].address());
    eventually("its series end", || (!usher.admin_get("/metrics").text().contains(&gone)).then_some(()));
}

#[test]
fn what_dns_cannot_be_asked_about_stays_as_it_was() {
    let apps = App::neighbours::<1>();
    let stage = Stage::new(&shop(&[1]));
    let usher = stage.usher(&url(&apps[0]), "");
    get(&usher);
    let failed = || usher.metric("usher_upstream_resolutions_total", &["outcome=\"failed\""]);
    stage.dns.rewrite(ZONE, "other A 127.0.0.9");
    eventually("the name has no address", || (failed() >= 1.0).then_some(()));
    get(&usher);
    eventually("the log says so", || usher.log().contains("what it led to is kept").then_some(()));
    stage.dns.rewrite(ZONE, &shop(&[1]));
    eventually("the name is back", || usher.log().contains("resolved again").then_some(()));
    let before = failed();
    drop(stage.dns);
    eventually("DNS is away", || (failed() > before).then_some(()));
    get(&usher);
    assert_eq!(addresses(&usher), [apps[0].address().to_string()]);
}

#[test]
fn a_name_that_leads_nowhere_yet_is_a_503_until_it_does() {
    let apps = App::neighbours::<1>();
    let stage = Stage::new("other A 127.0.0.9");
    let usher = stage.usher(&url(&apps[0]), "");
    let response = usher.get("customdomain1.com", "/");
    assert_eq!((response.status, response.header("retry-after")), (503, Some("5")));
    stage.dns.rewrite(ZONE, &shop(&[1]));
    eventually("the name leads somewhere", || (usher.get("customdomain1.com", "/").status == 200).then_some(()));
}

#[test]
fn ports_and_weights_may_be_in_dns() {
    let apps = [App::echo(), App::echo(), App::echo()];
    let record = |app: &App, priority, weight| {
        format!("_http._tcp.shop 1 SRV {priority} {weight} {} here\n", app.address().port())
    };
    let records = |spare: u8| {
        [record(&apps[0], 1, 30), record(&apps[1], 1, 10), record(&apps[2], spare, 10)].concat()
            + "here 1 A 127.0.0.1\n"
    };
    let stage = Stage::new(&records(9));
    let usher = stage.usher(&format!("srv+http://_http._tcp.shop.{ZONE}"), "balance = 'round_robin'");
    (0..200).for_each(|_| get(&usher));
    let served = apps.each_ref().map(|app| app.requests().len());
    assert!(served[0].abs_diff(150) <= 2 && served[2] == 0, "{served:?}");
    stage.dns.rewrite(ZONE, &records(1));
    until_used(&usher, &apps[2]);
}

/// Fails as long as it is told to.
fn failing(fails: &Arc<AtomicBool>) -> App {
    let fails = Arc::clone(fails);
    App::scripted(move |mut conversation| {
        while conversation.request().is_some() {
            let status = if fails.load(SeqCst) { "500 Internal Server Error" } else { "200 OK" };
            if conversation.write(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok")).is_err() {
                return;
            }
        }
    })
}

#[test]
fn servers_of_a_worse_priority_serve_while_the_others_are_out() {
    let fails = Arc::new(AtomicBool::new(false));
    let (best, spare) = ([failing(&fails), failing(&fails)], App::echo());
    let record = |app: &App, priority| format!("_http._tcp.shop 1 SRV {priority} 1 {} here\n", app.address().port());
    let records = [record(&spare, 20), record(&best[0], 10), record(&best[1], 10)].concat();
    let stage = Stage::new(&(records + "here 1 A 127.0.0.1\n"));
    let usher = stage.usher(&format!("srv+http://_http._tcp.shop.{ZONE}"), "eject_after = 2\neject_time = '500ms'");
    (0..50).for_each(|_| get(&usher));
    let asked = || best.iter().map(|app| app.requests().len()).sum::<usize>();
    assert_eq!((asked(), spare.requests().len()), (50, 0));
    fails.store(true, SeqCst);
    (0..20).for_each(|_| get(&usher));
    assert_eq!(spare.requests().len(), 20);
    let states = endpoints(&usher).iter().filter(|one| one["state"] == "healthy").count();
    assert_eq!(states, 1, "both are out, though that is more than half");
    fails.store(false, SeqCst);
    eventually("the best one is back", || {
        let before = spare.requests().len();
        (0..10).for_each(|_| get(&usher));
        (spare.requests().len() == before).then_some(())
    });
}

/// RFC 2782: priorities say which servers of one name stand by, and nothing of others.
#[test]
fn a_name_with_priorities_serves_beside_other_servers() {
    let apps = [App::echo(), App::echo()];
    let records = format!("_http._tcp.shop 1 SRV 10 1 {} here\nhere 1 A 127.0.0.1\n", apps[0].address().port());
    let stage = Stage::new(&records);
    let usher = stage.usher(&format!("srv+http://_http._tcp.shop.{ZONE}', 'http://{}", apps[1].address()), "");
    apps.iter().for_each(|app| until_used(&usher, app));
}

#[test]
fn certificates_are_for_the_name_and_not_for_the_address() {
    let (app, ca, folder) = (App::echo(), Ca::new(), TempDir::new().unwrap());
    let stage = Stage::new(&shop(&[1]));
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, ca.pem()).unwrap();
    let name = format!("shop.{ZONE}");
    let front = Front::tls(Speech::of(&ca.issue(&[&name])), app.address());
    let server = format!("https://{name}:{}", front.address().port());
    let usher = stage.usher(&server, &format!("ca_file = '{}'", authority.display()));
    get(&usher);
    assert_eq!(front.met()[0].name.as_deref(), Some(name.as_str()));
}

#[test]
fn check_follows_names_as_well() {
    let apps = App::neighbours::<2>();
    let stage = Stage::new(&shop(&[1, 2]));
    let output = stage.binary(&url(&apps[0]), "").run(&["check"]);
    assert_eq!(output.code, 0, "{output:?}");
    for app in &apps {
        assert!(output.stdout.contains(&format!("http://{} accepts connections", app.address())), "{}", output.stdout);
    }
    let output = stage.binary("http://nosuch.app.test:80", "").run(&["check"]);
    assert!(output.code == 1 && output.stderr.contains("the name has no address"), "{output:?}");
}
