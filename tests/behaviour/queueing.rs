//! App servers that take so many requests and no more: who waits, for how long, and what the others are told.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use crate::support::{App, Backend, Binary, Client, Conversation, Tables, Usher, eventually};

const GET: &str = "GET / HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Lets an app server answer as often as it is told to.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<Passage>, Condvar)>);

#[derive(Default)]
struct Passage {
    permits: usize,
    running: usize,
    most: usize,
}

impl Gate {
    fn open(&self, permits: usize) {
        self.0.0.lock().unwrap().permits += permits;
        self.0.1.notify_all();
    }

    fn running(&self) -> usize {
        self.0.0.lock().unwrap().running
    }

    fn most(&self) -> usize {
        self.0.0.lock().unwrap().most
    }

    fn pass(&self) {
        let mut passage = self.0.0.lock().unwrap();
        passage.running += 1;
        passage.most = passage.most.max(passage.running);
        passage = self.0.1.wait_while(passage, |passage| passage.permits == 0).unwrap();
        passage.permits -= 1;
        passage.running -= 1;
    }

    fn app(&self) -> App {
        let gate = self.clone();
        App::scripted(move |mut conversation: Conversation| {
            while conversation.request().is_some() {
                gate.pass();
                if conversation.write(OK).is_err() {
                    return;
                }
            }
        })
    }
}

fn usher(app: &App, config: &str) -> (Usher, Tables) {
    let tables = Tables::example(Backend::Sqlite);
    let config = format!("[upstreams.default]\nrequests_max = 1\n{config}");
    (Binary::over(&tables).apps(&[app]).config(&config).start(), tables)
}

fn asking(usher: &Usher) -> Client {
    let mut client = usher.connect();
    client.send(GET);
    client
}

#[test]
fn who_comes_while_all_places_are_taken_waits_for_one() {
    let gate = Gate::default();
    let app = gate.app();
    let (usher, _tables) = usher(&app, "queue_timeout = '30s'");
    let mut clients: Vec<_> = (0..12).map(|_| asking(&usher)).collect();
    gate.open(12);
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!((app.requests().len(), gate.most()), (12, 1), "two workers, and one request at a time");
    assert!(usher.metric("usher_upstream_queued_total", &["outcome=\"served\""]) >= 1.0);
}

#[test]
fn who_finds_the_queue_full_is_told_at_once() {
    let gate = Gate::default();
    let app = gate.app();
    let (usher, _tables) = usher(&app, "queue_max = 0\nqueue_timeout = '30s'");
    let mut first = asking(&usher);
    eventually("it is at the app", || (gate.running() == 1).then_some(()));
    let response = usher.raw(GET);
    assert_eq!((response.status, response.header("retry-after")), (503, Some("5")));
    assert_eq!(usher.access_log(1)[0]["outcome"], "queue_full");
    assert_eq!(usher.metric("usher_upstream_queued_total", &["outcome=\"full\""]), 1.0);
    gate.open(1);
    assert_eq!(first.response().status, 200);
}

#[test]
fn nobody_waits_for_longer_than_the_time_for_it() {
    let gate = Gate::default();
    let app = gate.app();
    let (usher, _tables) = usher(&app, "queue_timeout = '300ms'");
    let mut first = asking(&usher);
    eventually("it is at the app", || (gate.running() == 1).then_some(()));
    let begun = Instant::now();
    assert_eq!(usher.raw(GET).status, 503);
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    assert_eq!(usher.metric("usher_upstream_queued_total", &["outcome=\"timed_out\""]), 1.0);
    assert_eq!(usher.access_log(1)[0]["outcome"], "queue_timeout");
    gate.open(1);
    assert_eq!(first.response().status, 200);
}

#[test]
fn all_waiting_counts_towards_the_time_for_an_answer() {
    let gate = Gate::default();
    let app = gate.app();
    let (usher, _tables) = usher(&app, "queue_timeout = '30s'\nhead_timeout = '600ms'");
    let begun = Instant::now();
    let mut clients = [asking(&usher), asking(&usher)];
    assert_eq!(clients.each_mut().map(|client| client.response().status), [504, 504]);
    assert!(begun.elapsed() < Duration::from_millis(1100), "{:?}", begun.elapsed());
}

#[test]
fn who_waits_for_longer_than_an_answer_may_take_is_told_so() {
    let app = App::scripted(|mut conversation| {
        conversation.request();
        let _ = conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
        conversation.closed_by_peer();
    });
    let (usher, _tables) = usher(&app, "queue_timeout = '30s'\nhead_timeout = '500ms'");
    let mut held = asking(&usher);
    held.head();
    let begun = Instant::now();
    assert_eq!(usher.raw(GET).status, 504);
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
    assert_eq!(usher.access_log(1)[0]["outcome"], "send_timeout");
}

#[test]
fn the_rush_of_one_store_leaves_places_to_the_others() {
    let gate = Gate::default();
    let app = gate.app();
    let tables = Tables::example(Backend::Sqlite);
    let usher = Binary::over(&tables).apps(&[&app]).config("[upstreams.default]\nstore_requests_max = 2").start();
    let mut clients = vec![asking(&usher), asking(&usher)];
    eventually("both are at the app", || (gate.running() == 2).then_some(()));
    let response = usher.get("store1.platform.com", "/");
    assert_eq!((response.status, response.header("retry-after")), (503, Some("5")));
    assert_eq!(usher.metric("usher_limits_total", &["limit=\"store_requests\""]), 1.0);
    let refused = &usher.access_log(1)[0];
    assert_eq!((&refused["outcome"], &refused["fault"]), (&"store_full".into(), &"app".into()), "{refused}");
    clients.push(usher.connect());
    clients[2].send("GET / HTTP/1.1\r\nHost: customdomain2.com\r\n\r\n");
    gate.open(3);
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    gate.open(1);
    assert_eq!(usher.get("store1.platform.com", "/").status, 200);
}
