//! From COMMIT to the first request that is answered by the new row: two instances over one PostgreSQL, 1,000 changes, each a
//! domain that moves to the other store. Expected: half of them within 3 ms, 99 of 100 within 25 ms, and none lost.
//!
//! The time begins when the client of the database hears of its COMMIT; each instance is asked by a client of its own, again and
//! again. Not a bench of criterion: what matters is the slowest, and that there is an end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench may fail loudly")]
#![expect(clippy::print_stdout, reason = "a bench tells its figures")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use support::{App, Backend, Binary, Client, Tables, Usher, eventually};

const CHANGES: usize = 1000;
const INSTANCES: usize = 2;
const HOST: &str = "shop.alpha.com";

/// Whoever has not shown a change by then has lost it.
const LOST: Duration = Duration::from_secs(5);

/// A change, and when it was committed.
struct Change {
    store: &'static str,
    committed_at: Instant,
}

fn main() {
    let tables = Tables::example(Backend::Postgres);
    let app = App::telling("x-store-id");
    let instances: Vec<Usher> = (0..INSTANCES).map(|_| start(&tables, &app)).collect();
    let (answers, delays) = channel();
    let changes: Vec<Sender<Change>> = instances.iter().map(|usher| watch(usher, answers.clone())).collect();
    let mut editor = Editor::new(tables.url());
    let mut all: Vec<Duration> = Vec::with_capacity(CHANGES * INSTANCES);
    for number in 0..CHANGES {
        let store = ["2", "1"][number % 2];
        editor.move_to(store);
        let committed_at = Instant::now();
        changes.iter().for_each(|instance| instance.send(Change { store, committed_at }).unwrap());
        all.extend((0..INSTANCES).map(|_| delays.recv().expect("a change was lost")));
    }
    tell(all);
}

fn start(tables: &Tables, app: &App) -> Usher {
    let usher = Binary::over(tables).apps(&[app]).config("[listen]\nworkers = 1").start();
    eventually("edits are followed", || (usher.metric("usher_directory_following", &[]) == 1.0).then_some(()));
    usher
}

/// A client that asks this instance after each change until it shows.
fn watch(usher: &Usher, answers: Sender<Duration>) -> Sender<Change> {
    let (sender, changes): (_, Receiver<Change>) = channel();
    let mut client = usher.connect();
    ask(&mut client);
    thread::spawn(move || {
        for Change { store, committed_at } in changes {
            while ask(&mut client) != store {
                assert!(committed_at.elapsed() < LOST, "the move to store {store} was lost");
            }
            answers.send(committed_at.elapsed()).unwrap();
        }
    });
    sender
}

fn ask(client: &mut Client) -> String {
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).response().text()
}

/// Edits the row on a connection that is kept.
struct Editor {
    runtime: tokio::runtime::Runtime,
    client: tokio_postgres::Client,
}

impl Editor {
    fn new(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            client
        });
        Self { runtime, client }
    }

    fn move_to(&mut self, store: &str) {
        let edit = format!("UPDATE store_domains SET store_id = {store} WHERE domain = '{HOST}'");
        self.runtime.block_on(self.client.batch_execute(&edit)).unwrap();
    }
}

fn tell(mut delays: Vec<Duration>) {
    delays.sort();
    let [half, most] = [50, 99].map(|percent| delays[delays.len() * percent / 100]);
    let slowest = delays.last().unwrap();
    println!(
        "{CHANGES} changes on {INSTANCES} instances, none lost: p50 {half:.2?}, p99 {most:.2?}, slowest {slowest:.2?}"
    );
    assert!(half < Duration::from_millis(3) && most < Duration::from_millis(25), "slower than expected");
}
