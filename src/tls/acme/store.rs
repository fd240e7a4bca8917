//! Certificates of usher's own in the database: whether there is one, and writing what was issued.

use super::{
    beside,
    failure::OrderError,
    lease::Lease,
    order::Issued,
    order_key, renewal,
    shared::Shared,
    table,
    work::{LeftOut, is_wanted},
};
use crate::{
    database::session::{Dialect, Session, Value},
    tls::{Certificate, CertificateError, Sealed},
};

/// A certificate that somebody has imported is theirs to renew, until there is so little time left that nobody will.
pub(super) const LAST_DAY_SECONDS: u32 = 24 * 60 * 60;

/// So long after its end a certificate of ours is removed whose name is nobody's; and how many are looked at together.
const KEPT_SECONDS: u32 = 90 * 24 * 60 * 60;
const PAGE: u32 = 200;

/// Removes what ended long ago and nobody will renew.
pub(super) async fn sweep(shared: &Shared) -> Result<(), OrderError> {
    let (table, now) = (table(shared.session.dialect(), "certificates"), shared.clock.sql(shared.session.dialect()));
    let ended = format!("expires_at < {now} - {KEPT_SECONDS}");
    // What somebody has imported is theirs.
    let page = format!(
        "SELECT name FROM {table} WHERE {ended} AND (directory IS NOT NULL OR renew_at IS NOT NULL) AND name > $1 \
         ORDER BY name LIMIT {PAGE}"
    );
    let remove = format!("DELETE FROM {table} WHERE name = $1 AND {ended}");
    let mut after = String::new();
    loop {
        let rows = shared.session.query(&page, &[Value::from(after.as_str())]).await?;
        let names: Vec<_> = rows.iter().filter_map(|row| row.first()?.as_text()).collect();
        for name in &names {
            if !is_wanted(shared, name).await? {
                shared.session.query(&remove, &[Value::from(*name)]).await?;
            }
        }
        let Some(last) = names.last() else { return Ok(()) };
        (*last).clone_into(&mut after);
    }
}

/// Whether there is a certificate for `name` that nobody has to renew. Between plan and lease another instance may have been faster.
pub(super) async fn has_certificate(shared: &Shared, name: &str) -> Result<bool, OrderError> {
    let (table, now) = (table(shared.session.dialect(), "certificates"), shared.clock.sql(shared.session.dialect()));
    let sql = format!(
        "SELECT name FROM {table} WHERE name = $1 \
         AND (renew_at > {now} OR (renew_at IS NULL AND expires_at > {now} + {LAST_DAY_SECONDS}))"
    );
    Ok(!shared.session.query(&sql, &[Value::from(name)]).await?.is_empty())
}

/// The certificate for `name` that `directory` has issued, as PEM.
pub(super) async fn issued_by(session: &Session, name: &str, directory: &str) -> Result<Option<String>, OrderError> {
    let table = table(session.dialect(), "certificates");
    let sql = format!("SELECT certificate FROM {table} WHERE name = $1 AND directory = $2");
    let rows = session.query(&sql, &[name, directory].map(Value::from)).await?;
    Ok(rows.first().and_then(|row| row.first()?.as_text().map(str::to_owned)))
}

/// Whether a CA has issued one for `name` before, for which it came here.
pub(super) async fn was_issued(session: &Session, name: &str) -> Result<bool, OrderError> {
    let sql = format!(
        "SELECT name FROM {} WHERE name = $1 AND directory IS NOT NULL",
        table(session.dialect(), "certificates")
    );
    Ok(!session.query(&sql, &[Value::from(name)]).await?.is_empty())
}

/// When the certificate ends that `name` has of an order for another one; nothing where it has none, or that has ended.
pub(super) async fn ends(shared: &Shared, name: &str) -> Result<Option<i64>, OrderError> {
    let (table, now) = (table(shared.session.dialect(), "certificates"), shared.clock.sql(shared.session.dialect()));
    let sql = format!(
        "SELECT expires_at FROM {table} \
         WHERE name = $1 AND directory IS NOT NULL AND renew_at IS NULL AND expires_at > {now}"
    );
    let rows = shared.session.query(&sql, &[Value::from(name)]).await?;
    Ok(match rows.first().and_then(|row| row.first()) {
        Some(Value::Int(ends)) => Some(*ends),
        _ => None,
    })
}

/// Writes what was issued, for every name it is good for, if the lease is still the last one. The name that was `left_out` is not to be
/// without a certificate for that, and not to be forgotten.
pub(super) async fn store(
    shared: &Shared,
    lease: &Lease,
    directory: &str,
    issued: &Issued,
    left_out: Option<&LeftOut>,
) -> Result<(), OrderError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certificate = Certificate::from_pem(issued.chain.as_bytes(), issued.key.as_bytes(), &provider)?;
    let names = certificate.printed_names();
    if !names.contains(&lease.name) {
        return Err(CertificateError::Nameless.into());
    }
    let (begins, expires) = certificate.validity();
    let now = shared.clock.now();
    let mut renew_at = renewal::at(begins, expires, now, fastrand::f64());
    let mut ask_at = Value::Int(now);
    let left_out = left_out.filter(|left_out| !names.contains(&left_out.name));
    if let Some(left_out) = left_out.filter(|left_out| left_out.keeps_its_certificate())
        && let Some(again) = ends(shared, &left_out.name).await?.map(|ends| renewal::again(ends, now))
        && again < renew_at
    {
        // The CA knows nothing of that.
        (renew_at, ask_at) = (again, Value::Null);
    }
    let sql = insert(shared.session.dialect());
    let mut statements = Vec::new();
    for name in &names {
        let Sealed { key_id, text } = shared.keys.seal(issued.key.as_bytes(), name)?;
        // Those beside the one that it was ordered for are renewed with that.
        let of_first = |time: &Value| if *name == lease.name { time.clone() } else { Value::Null };
        let values = vec![
            Value::from(name.as_str()),
            Value::from(issued.chain.as_str()),
            Value::Text(key_id),
            Value::Text(text),
            Value::Int(expires),
            of_first(&Value::Int(renew_at)),
            Value::from(directory),
            of_first(&ask_at),
            Value::from(lease.name.as_str()),
            Value::Int(lease.fence),
        ];
        statements.push((sql.as_str(), values));
    }
    let missing = left_out.filter(|left_out| left_out.is_visited_again());
    let note = beside::note(shared, missing.is_some());
    let fenced = vec![Value::from(lease.name.as_str()), Value::Int(lease.fence)];
    let missing = missing.map(|missing| Value::from(missing.name.as_str()));
    statements.push((note.as_str(), fenced.iter().cloned().chain(missing).collect()));
    let forget = order_key::forget(shared);
    statements.push((forget.as_str(), fenced));
    let written = shared.session.transaction(&statements).await?;
    match written.iter().all(Vec::is_empty) {
        true => Err(OrderError::LeaseLost),
        false => Ok(()),
    }
}

/// What somebody has imported for a name beside the first is left in place.
fn insert(dialect: Dialect) -> String {
    let (certificates, orders) = (table(dialect, "certificates"), table(dialect, "acme_orders"));
    format!(
        "INSERT INTO {certificates} AS held (name, certificate, key_id, sealed_key, expires_at, renew_at, directory, ask_at) \
         SELECT CAST($1 AS text), CAST($2 AS text), CAST($3 AS text), CAST($4 AS text), CAST($5 AS bigint), \
         CAST($6 AS bigint), CAST($7 AS text), CAST($8 AS bigint) \
         WHERE EXISTS (SELECT 1 FROM {orders} o WHERE o.name = CAST($9 AS text) AND o.fence = CAST($10 AS bigint)) \
         ON CONFLICT (name) DO UPDATE SET certificate = excluded.certificate, key_id = excluded.key_id, \
         sealed_key = excluded.sealed_key, expires_at = excluded.expires_at, renew_at = excluded.renew_at, \
         directory = excluded.directory, ask_at = excluded.ask_at, updated_at = CURRENT_TIMESTAMP \
         WHERE excluded.renew_at IS NOT NULL OR held.directory IS NOT NULL RETURNING name"
    )
}
