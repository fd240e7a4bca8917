//! One order for one name, from the question whether there is one to the certificate in the database.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, Challenge, ChallengeStatus, ChallengeType, Identifier, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use tokio::time::sleep;

use super::{Shared, challenges, lease::Lease, table};
use crate::{
    database::session::{self, Dialect, Session, Value},
    tls::{Certificate, CertificateError, Keyring, SealError, Sealed},
};

/// How long the CA is waited for in each step.
const RETRIES: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(45)).backoff(1.5);

/// Works for the name of `lease` until its certificate is in the database.
pub(super) async fn run(shared: &Shared, lease: &Lease) -> Result<(), OrderError> {
    let (session, keys) = (&shared.session, &shared.keys);
    if has_certificate(session, &lease.name).await? {
        return Ok(());
    }
    let account = shared.accounts.account(session, keys).await?;
    let mut order = resume_or_begin(&account, session, lease).await?;
    answer(&mut order, session, lease).await?;
    let ready = order.poll_ready(&RETRIES).await?;
    challenges::withdraw(session, &lease.name).await?;
    if ready != OrderStatus::Ready {
        return Err(OrderError::Invalid);
    }
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&RETRIES).await?;
    store(session, keys, lease, &chain, &key).await
}

/// Between the plan and the lease another instance may have been faster.
async fn has_certificate(session: &Session, name: &str) -> Result<bool, OrderError> {
    let (table, now) = (table(session.dialect(), "certificates"), super::now(session.dialect()));
    let sql = format!("SELECT name FROM {table} WHERE name = $1 AND (renew_at IS NULL OR renew_at > {now})");
    Ok(!session.query(&sql, &[Value::from(name)]).await?.is_empty())
}

/// An order that was left behind is gone on with, unless it is past the point at which its key was made: that key is lost.
async fn resume_or_begin(account: &Account, session: &Session, lease: &Lease) -> Result<Order, OrderError> {
    if let Some(url) = &lease.order_url
        && let Ok(mut order) = account.order(url.clone()).await
        && matches!(order.state().status, OrderStatus::Pending | OrderStatus::Ready)
    {
        return Ok(order);
    }
    let identifiers = [Identifier::Dns(lease.name.clone())];
    let order = account.new_order(&NewOrder::new(&identifiers)).await?;
    lease.remember(session, order.url()).await?;
    Ok(order)
}

/// Answers what the CA wants to know, by HTTP-01 (RFC 8555 §8.3).
async fn answer(order: &mut Order, session: &Session, lease: &Lease) -> Result<(), OrderError> {
    let mut refused = None;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let mut challenge = authorization.challenge(ChallengeType::Http01).ok_or(OrderError::NoChallenge)?;
        let token = challenge.token.clone();
        challenges::publish(session, &lease.name, &token, challenge.key_authorization().as_str()).await?;
        sleep(challenges::SPREAD).await;
        refused = challenge.set_ready().await.err().or(refused);
    }
    match refused {
        Some(error) if waits_for_us(order).await? => Err(error.into()),
        _ => Ok(()),
    }
}

/// Whether the CA has not been told to look. Of an order that another instance left behind it may have been, and have looked
/// since: then it does not want to be told again.
async fn waits_for_us(order: &mut Order) -> Result<bool, OrderError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let mut challenges = authorization.refresh().await?.challenges.iter();
        let is_pending = |challenge: &Challenge| challenge.status == ChallengeStatus::Pending;
        if challenges.any(|challenge| challenge.r#type == ChallengeType::Http01 && is_pending(challenge)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes what was issued, if the lease is still the last one.
async fn store(session: &Session, keys: &Keyring, lease: &Lease, chain: &str, key: &str) -> Result<(), OrderError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes(), &provider)?;
    let Sealed { key_id, text } = keys.seal(key.as_bytes(), &lease.name)?;
    let sql = insert(session.dialect());
    let (expires, renew_at) = certificate.renewal();
    let values = [
        Value::from(lease.name.as_str()),
        Value::from(chain),
        Value::Text(key_id),
        Value::Text(text),
        Value::Int(expires),
        Value::Int(renew_at),
        Value::Int(lease.fence),
    ];
    match session.query(&sql, &values).await?.is_empty() {
        true => Err(OrderError::LeaseLost),
        false => Ok(()),
    }
}

fn insert(dialect: Dialect) -> String {
    let (certificates, orders) = (table(dialect, "certificates"), table(dialect, "acme_orders"));
    format!(
        "INSERT INTO {certificates} (name, certificate, key_id, sealed_key, expires_at, renew_at) \
         SELECT CAST($1 AS text), CAST($2 AS text), CAST($3 AS text), CAST($4 AS text), CAST($5 AS bigint), CAST($6 AS bigint) \
         WHERE EXISTS (SELECT 1 FROM {orders} o WHERE o.name = CAST($1 AS text) AND o.fence = CAST($7 AS bigint)) \
         ON CONFLICT (name) DO UPDATE SET certificate = excluded.certificate, key_id = excluded.key_id, \
         sealed_key = excluded.sealed_key, expires_at = excluded.expires_at, renew_at = excluded.renew_at, \
         updated_at = CURRENT_TIMESTAMP RETURNING name"
    )
}

/// What a failure says about the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The CA could not be asked; the order goes on later.
    Unreachable,
    /// The CA wants fewer orders.
    RateLimited,
    /// The CA says no.
    Refused,
}

/// Why an order came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    #[error("the CA did not do what was asked")]
    Ca(#[from] instant_acme::Error),
    #[error("the CA finds the order invalid")]
    Invalid,
    #[error("the CA offers no challenge by HTTP")]
    NoChallenge,
    #[error("it took too long")]
    Late,
    #[error("another instance works for the name by now")]
    LeaseLost,
    #[error("the account at the CA is gone from the database")]
    NoAccount,
    #[error("the account at the CA cannot be read")]
    Credentials(#[source] serde_json::Error),
    #[error("a secret cannot be sealed or opened")]
    Sealed(#[from] SealError),
    #[error("what was issued cannot be shown")]
    Certificate(#[from] CertificateError),
    #[error("the database could not be asked")]
    Database(#[from] session::Error),
}

impl OrderError {
    pub(super) fn reason(&self) -> Reason {
        const RATE_LIMITED: &str = "urn:ietf:params:acme:error:rateLimited";
        match self {
            Self::Ca(instant_acme::Error::Api(problem)) if problem.r#type.as_deref() == Some(RATE_LIMITED) => {
                Reason::RateLimited
            }
            Self::Ca(instant_acme::Error::Api(_)) | Self::Invalid | Self::NoChallenge => Reason::Refused,
            _ => Reason::Unreachable,
        }
    }
}
