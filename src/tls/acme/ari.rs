//! The times of renewal that CAs suggest (RFC 9773), asked for now and then for every certificate of theirs.

use std::time::Duration;

use instant_acme::{CertificateIdentifier, RenewalInfo};
use tokio::time::{sleep, timeout};

use super::{
    authority::Authority,
    client::hearing,
    failure::OrderError,
    renewal::{self, ASK_AGAIN},
    service::tell,
    shared::Shared,
    table,
    work::learn,
};
use crate::{
    database::session::{self, Dialect, Value},
    telemetry::causes::one_line,
};

/// How often certificates are looked for whose CA is to be asked, and how many at once: six a second for each instance, so that a
/// hundred thousand are asked for within five hours.
const LOOK: Duration = Duration::from_secs(5);
const AT_ONCE: usize = 32;

/// For one question; until then nobody else asks it.
const WITHIN: Duration = Duration::from_mins(1);
const CLAIM_SECONDS: u64 = 600;

/// A certificate whose CA is to be asked.
struct Asked {
    name: String,
    chain: String,
    directory: String,
    renew_at: i64,
}

/// Asks for as long as the process runs.
pub(super) async fn watch(shared: &Shared) {
    loop {
        sleep(LOOK.mul_f32(fastrand::f32() + 0.5)).await;
        for asked in tell("which CA is to be asked when to renew", claim(shared).await).unwrap_or_default() {
            let answer = ask(shared, &asked).await;
            let noted = note(shared, &asked, answer).await;
            tell("when to renew", noted);
        }
    }
}

/// What a CA suggests.
struct Suggestion {
    renew_at: i64,
    ask_again: Duration,
}

/// Takes some of those that are due, so that no other instance asks the same.
async fn claim(shared: &Shared) -> Result<Vec<Asked>, session::Error> {
    let dialect = shared.session.dialect();
    let (certificates, now) = (table(dialect, "certificates"), shared.clock.sql(dialect));
    let skip = if dialect == Dialect::Postgres { "FOR UPDATE SKIP LOCKED" } else { "" };
    let sql = format!(
        "WITH due AS MATERIALIZED (SELECT name FROM {certificates} WHERE ask_at <= {now} ORDER BY ask_at LIMIT {AT_ONCE} {skip}) \
         UPDATE {certificates} SET ask_at = {now} + {CLAIM_SECONDS} WHERE name IN (SELECT name FROM due) \
         RETURNING name, certificate, directory, renew_at"
    );
    let rows = shared.session.query(&sql, &[]).await?;
    let asked = |row: &session::Row| {
        let text = |column: usize| row.get(column).and_then(Value::as_text).map(str::to_owned);
        let Some(Value::Int(renew_at)) = row.get(3) else { return None };
        Some(Asked { name: text(0)?, chain: text(1)?, directory: text(2)?, renew_at: *renew_at })
    };
    Ok(rows.iter().filter_map(asked).collect())
}

/// What the CA suggests, unless it wants to be left alone; `None` where it suggests nothing.
async fn ask(shared: &Shared, asked: &Asked) -> Result<Option<Suggestion>, OrderError> {
    let authority = shared.authorities.iter().find(|authority| authority.directory() == asked.directory);
    let (Some(authority), Some(identifier)) = (authority, renewal::identifier(asked.chain.as_bytes())) else {
        return Ok(None);
    };
    let now = shared.clock.now();
    let left = authority.rest(|rest| rest.left(now));
    if left > 0 {
        return Err(OrderError::Resting(Duration::from_secs(left.unsigned_abs())));
    }
    let answer = timeout(WITHIN, hearing(suggested(shared, authority, &identifier))).await;
    let answer = answer.unwrap_or(Err(OrderError::Late));
    match &answer {
        // It has answered, if not as it should.
        Err(OrderError::Ca { cause: instant_acme::Error::Str(_), retry_after: None }) => {}
        answer => learn(shared, authority, &asked.name, answer.as_ref().err()).await,
    }
    let Some((info, told)) = answer? else { return Ok(None) };
    let [start, end] = [info.suggested_window.start, info.suggested_window.end].map(|time| time.unix_timestamp());
    let latest = renewal::latest(asked.chain.as_bytes()).unwrap_or(i64::MAX);
    let renew_at = renewal::within(start, end, asked.renew_at, fastrand::f64()).min(latest);
    if renew_at != asked.renew_at {
        let (name, because) = (&asked.name, info.explanation_url);
        tracing::info!(name, renew_at, because, "the CA suggests another time of renewal");
    }
    Ok(Some(Suggestion { renew_at, ask_again: renewal::ask_again(told) }))
}

async fn suggested(
    shared: &Shared,
    authority: &Authority,
    identifier: &CertificateIdentifier<'_>,
) -> Result<Option<(RenewalInfo, Duration)>, OrderError> {
    let account = authority.account(&shared.session, &shared.keys).await?;
    match account.renewal_info(identifier).await {
        Err(instant_acme::Error::Unsupported(_)) => Ok(None),
        told => Ok(Some(told?)),
    }
}

/// Writes it down, unless the certificate was replaced meanwhile.
async fn note(
    shared: &Shared,
    asked: &Asked,
    answer: Result<Option<Suggestion>, OrderError>,
) -> Result<(), session::Error> {
    let again = |pause: Duration| {
        let later = i64::try_from(pause.as_secs()).unwrap_or(i64::MAX);
        Value::Int(shared.clock.now().saturating_add(later))
    };
    let (renew_at, ask_at) = match answer {
        Ok(Some(Suggestion { renew_at, ask_again })) => (renew_at, again(ask_again)),
        Ok(None) => (asked.renew_at, Value::Null),
        Err(error) => {
            tracing::debug!(name = asked.name, error = one_line(&error), "the CA does not say when to renew");
            (asked.renew_at, again(renewal::ask_again(error.wait().unwrap_or(ASK_AGAIN))))
        }
    };
    let sql = format!(
        "UPDATE {} SET renew_at = CAST($1 AS bigint), ask_at = CAST($2 AS bigint) \
         WHERE name = $3 AND renew_at = CAST($4 AS bigint)",
        table(shared.session.dialect(), "certificates")
    );
    let values = [Value::Int(renew_at), ask_at, Value::from(asked.name.as_str()), Value::Int(asked.renew_at)];
    shared.session.query(&sql, &values).await.map(drop)
}
