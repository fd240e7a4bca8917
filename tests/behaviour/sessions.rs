//! Connections of the control plane: as many as the pool may have, whatever runs on them.

use std::{collections::BTreeSet, time::Duration};

use usher::database::{
    postgres::{Pool, Settings},
    session::{Error, Session, Value},
};

use crate::support::{Backend, Tables};

/// Of the pool.
const CONNECTIONS: usize = 2;

/// What `ask` makes of a session over a pool.
fn asked<T>(ask: impl AsyncFnOnce(Session) -> T) -> T {
    let tables = Tables::example(Backend::Postgres);
    let mut settings = Settings::parse(tables.url()).unwrap();
    (settings.connections_max, settings.wait_timeout) = (CONNECTIONS, Duration::from_secs(20));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { ask(Session::pooled(&Pool::new(settings).unwrap())).await })
}

/// Which server process has run a transaction that begins with `before`.
async fn process(session: &Session, before: &str) -> Result<i64, Error> {
    let pid = "SELECT CAST(pg_backend_pid() AS bigint)";
    let answers = session.transaction(&[(before, Vec::new()), (pid, Vec::new())]).await?;
    let Value::Int(pid) = answers[1][0][0] else { panic!("{answers:?}") };
    Ok(pid)
}

#[test]
fn transactions_take_no_more_connections_than_the_pool_has_and_leave_them_to_the_next() {
    let processes = asked(async |session| {
        let mut processes = BTreeSet::new();
        for _ in 0..10 {
            let [one, two, three] = [(); 3].map(|()| process(&session, "SELECT true"));
            let (one, two, three) = tokio::join!(one, two, three);
            processes.extend([one, two, three].map(Result::unwrap));
            // One that the database refuses is over as well.
            assert!(process(&session, "SELECT 1 / 0").await.is_err());
        }
        processes
    });
    assert!(processes.len() <= CONNECTIONS, "{processes:?}");
}

#[test]
fn a_transaction_that_is_broken_off_takes_its_connection_with_it() {
    let left = asked(async |session| {
        let mark = "SELECT set_config('usher.mark', 'left', true) FROM (SELECT pg_sleep(0)) AS now";
        let long = "SELECT true FROM (SELECT pg_sleep(20)) AS long";
        for _ in 0..2 * CONNECTIONS {
            let statements = [(mark, Vec::new()), (long, Vec::new())];
            let broken_off = session.transaction(&statements);
            assert!(tokio::time::timeout(Duration::from_millis(200), broken_off).await.is_err());
        }
        // Whoever got one of these would wait for its end, and be in the midst of it.
        let rows = session.query("SELECT coalesce(current_setting('usher.mark', true), '')", &[]).await.unwrap();
        process(&session, "SELECT true").await.unwrap();
        rows
    });
    assert_eq!(left, [[Value::from("")]]);
}
