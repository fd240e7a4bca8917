//! Names that belong to another one and are not in its certificate, since they did not lead here: `www.` in front of it. They are
//! visited daily, and when one leads here the other one is renewed for it.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::sleep};

use super::{
    failure::OrderError,
    service::tell,
    shared::Shared,
    table,
    work::{is_wanted, lead_here},
};
use crate::database::session::{self, Dialect, Row, Value};

/// How often those are looked for that are due, and how many are visited together: two a second, so that a hundred thousand are
/// visited within a day. Most have no address, which costs a question to the DNS.
const LOOK: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 20;

/// Between two visits. Whoever sets the record sooner and visits it is not kept waiting: see [`hurry`].
const PAUSE_SECONDS: i64 = 24 * 60 * 60;

/// At most so much later, so that those that are noted together are not visited together.
const SPREAD_SECONDS: i64 = PAUSE_SECONDS / 10;

/// After a renewal for its sake nobody hurries for so long: where its DNS says now this and now that, the renewal may have been carried
/// out without it. CAs issue five for the same names in a week.
const RENEWED_SECONDS: i64 = 2 * 24 * 60 * 60;

/// A name that is missing beside another one.
#[derive(Clone, Debug)]
struct Missing {
    name: String,
    beside: String,
}

/// The statement that notes what is missing beside a name, or that nothing is; with the name, the fence of the lease, and what is missing.
pub(super) fn note(shared: &Shared, is_missing: bool) -> String {
    let (besides, orders, now) = place(shared);
    let next = PAUSE_SECONDS + fastrand::i64(0..SPREAD_SECONDS);
    let holds =
        format!("EXISTS (SELECT 1 FROM {orders} o WHERE o.name = CAST($1 AS text) AND o.fence = CAST($2 AS bigint))");
    match is_missing {
        false => format!("DELETE FROM {besides} WHERE name = CAST($1 AS text) AND {holds}"),
        true => format!(
            "INSERT INTO {besides} AS held (name, beside, visit_at) \
             SELECT CAST($1 AS text), CAST($3 AS text), {now} + {next} WHERE {holds} \
             ON CONFLICT (name) DO UPDATE SET beside = excluded.beside, \
             visit_at = CASE WHEN held.visit_at > excluded.visit_at THEN held.visit_at ELSE excluded.visit_at END"
        ),
    }
}

/// Somebody has asked for `beside`: it may lead here by now. What the other one has been renewed for a while ago has its next visit
/// further ahead than any other, and keeps it.
pub(super) async fn hurry(shared: &Shared, beside: &str) -> Result<(), session::Error> {
    let Some(name) = beside.strip_prefix("www.") else { return Ok(()) };
    let (besides, _orders, now) = place(shared);
    let sql = format!(
        "UPDATE {besides} SET visit_at = {now} WHERE name = $1 AND beside = $2 \
         AND visit_at > {now} AND visit_at <= {now} + {PAUSE_SECONDS} + {SPREAD_SECONDS}"
    );
    shared.session.query(&sql, &[name, beside].map(Value::from)).await.map(drop)
}

/// Visits them for as long as the process runs.
pub(super) async fn watch(shared: &Arc<Shared>) {
    loop {
        sleep(LOOK.mul_f32(fastrand::f32() + 0.5)).await;
        look(shared).await;
    }
}

/// Visits some of those that are due.
pub(super) async fn look(shared: &Arc<Shared>) {
    let mut visits = JoinSet::new();
    for missing in tell("which names are missing in certificates", claim(shared).await).unwrap_or_default() {
        let shared = Arc::clone(shared);
        visits.spawn(async move {
            tell("a name that is missing in a certificate", visit(&shared, &missing).await);
        });
    }
    visits.join_all().await;
}

/// Takes some, so that no other instance visits the same.
async fn claim(shared: &Shared) -> Result<Vec<Missing>, session::Error> {
    let (besides, _orders, now) = place(shared);
    let skip = if shared.session.dialect() == Dialect::Postgres { "FOR UPDATE SKIP LOCKED" } else { "" };
    let sql = format!(
        "WITH due AS MATERIALIZED (SELECT name AS due_name FROM {besides} WHERE visit_at <= {now} ORDER BY visit_at LIMIT {AT_ONCE} {skip}) \
         UPDATE {besides} SET visit_at = {now} + {PAUSE_SECONDS} WHERE name IN (SELECT due_name FROM due) RETURNING name, beside"
    );
    let missing = |row: &Row| {
        let text = |column: usize| row.get(column).and_then(Value::as_text).map(str::to_owned);
        Some(Missing { name: text(0)?, beside: text(1)? })
    };
    Ok(shared.session.query(&sql, &[]).await?.iter().filter_map(missing).collect())
}

async fn visit(shared: &Shared, Missing { name, beside }: &Missing) -> Result<(), OrderError> {
    let Some(arrivals) = &shared.arrivals else { return Ok(()) };
    // What is somebody's own by now, or belongs to a name that has left, is nothing to wait for.
    if !is_wanted(shared, name).await? || shared.names.beside(name).await?.as_ref() != Some(beside) {
        return forget(shared, name).await;
    }
    if lead_here(shared, &**arrivals, beside).await?.is_ok() {
        tracing::info!(name, beside, "a name leads here that is missing in a certificate, which is renewed");
        renew(shared, name).await?;
    }
    Ok(())
}

/// The CA knows nothing of that, and is not asked when to renew.
async fn renew(shared: &Shared, name: &str) -> Result<(), OrderError> {
    let (certificates, (besides, _orders, now)) = (table(shared.session.dialect(), "certificates"), place(shared));
    let next = PAUSE_SECONDS + SPREAD_SECONDS + RENEWED_SECONDS;
    let sql = format!("UPDATE {besides} SET visit_at = {now} + {next} WHERE name = $1");
    shared.session.query(&sql, &[Value::from(name)]).await?;
    let sql = format!("UPDATE {certificates} SET renew_at = {now}, ask_at = NULL WHERE name = $1 AND renew_at > {now}");
    shared.session.query(&sql, &[Value::from(name)]).await?;
    Ok(())
}

async fn forget(shared: &Shared, name: &str) -> Result<(), OrderError> {
    let (besides, ..) = place(shared);
    shared.session.query(&format!("DELETE FROM {besides} WHERE name = $1"), &[Value::from(name)]).await?;
    Ok(())
}

/// The tables, and the time.
fn place(shared: &Shared) -> (String, String, String) {
    let dialect = shared.session.dialect();
    (table(dialect, "acme_besides"), table(dialect, "acme_orders"), shared.clock.sql(dialect).into_owned())
}
