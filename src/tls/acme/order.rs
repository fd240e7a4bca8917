//! One order, from the question whether there is one to the certificate.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Error,
    Identifier, NewOrder, Order, OrderStatus, RetryPolicy,
};
use tokio::time::sleep;

use super::{
    authority::Authority,
    challenges,
    client::hearing,
    failure::{OrderError, Reason},
    hook::{Hook, Record},
    lease::Lease,
    order_key::OrderKey,
    settings::Challenge,
    shared::Shared,
    work::WITHIN,
};
use crate::tls::BoxFuture;

/// How long the CA is waited for in each step.
const RETRIES: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(45)).backoff(1.5);

/// The last step has all the time that is left: nothing more is to be done.
const PATIENT: RetryPolicy = RETRIES.timeout(WITHIN);

/// What is ordered.
pub(super) struct Wanted<'a> {
    /// The names of the certificate, the one that it is ordered for first.
    pub(super) names: &'a [String],
    /// What it takes the place of, where the CA has issued that.
    pub(super) replaces: Option<CertificateIdentifier<'static>>,
}

/// What a CA has issued, both as PEM.
pub(super) struct Issued {
    pub(super) chain: String,
    pub(super) key: String,
}

/// Gets certificates from CAs.
pub(super) trait Issue: Send + Sync {
    /// Orders what is `wanted` at `authority`, or goes on with the order in `lease`.
    fn issue<'a>(
        &'a self,
        shared: &'a Shared,
        lease: &'a Lease,
        authority: &'a Authority,
        wanted: Wanted<'a>,
    ) -> BoxFuture<'a, Result<Issued, OrderError>>;
}

/// By RFC 8555.
pub(super) struct Acme;

impl Issue for Acme {
    fn issue<'a>(
        &'a self,
        shared: &'a Shared,
        lease: &'a Lease,
        authority: &'a Authority,
        wanted: Wanted<'a>,
    ) -> BoxFuture<'a, Result<Issued, OrderError>> {
        Box::pin(hearing(async move {
            let account = authority.account(&shared.session, &shared.keys).await?;
            let (mut order, key) = match &lease.order_url {
                Some(url) if lease.directory.as_deref() == Some(authority.directory()) => {
                    resume(shared, lease, &account, url).await?
                }
                _ => (begin(shared, lease, authority, &account, &wanted).await?, None),
            };
            let key = match key {
                Some(key) if is_finalized(&mut order) => key,
                key => finalize(shared, lease, &mut order, key).await?,
            };
            let chain = order.poll_certificate(&PATIENT).await?;
            Ok(Issued { chain, key: key.into_pem() })
        }))
    }
}

/// An order that was left behind, and its key, if it has come so far; it is lost where the CA has a key that we have not.
async fn resume(
    shared: &Shared,
    lease: &Lease,
    account: &Account,
    url: &str,
) -> Result<(Order, Option<OrderKey>), OrderError> {
    let mut order = match account.order(url.to_owned()).await {
        Ok(order) => order,
        Err(error) => return Err(unfound(error.into())),
    };
    let key = OrderKey::find(shared, lease, url).await?;
    match order.state().status {
        OrderStatus::Pending | OrderStatus::Ready => Ok((order, key)),
        OrderStatus::Processing | OrderStatus::Valid if key.is_some() => Ok((order, key)),
        OrderStatus::Processing | OrderStatus::Valid | OrderStatus::Invalid => Err(OrderError::Lost),
    }
}

/// What it means that an order cannot be had: one that the CA does not know any more is lost; one that was not looked for goes on.
fn unfound(error: OrderError) -> OrderError {
    match error.reason() {
        Reason::Refused => OrderError::Lost,
        _ => error,
    }
}

/// Whether the CA has been told the key.
fn is_finalized(order: &mut Order) -> bool {
    matches!(order.state().status, OrderStatus::Processing | OrderStatus::Valid)
}

/// Shows that the names are ours, and tells the CA the key of the certificate: the one that was told before, or may have been, where there
/// is one.
async fn finalize(
    shared: &Shared,
    lease: &Lease,
    order: &mut Order,
    key: Option<OrderKey>,
) -> Result<OrderKey, OrderError> {
    prove(shared, lease, order).await?;
    let key = match key {
        Some(key) => key,
        None => OrderKey::make(shared, lease, order.url()).await?,
    };
    key.finalize(order).await?;
    Ok(key)
}

async fn begin(
    shared: &Shared,
    lease: &Lease,
    authority: &Authority,
    account: &Account,
    wanted: &Wanted<'_>,
) -> Result<Order, OrderError> {
    let identifiers: Vec<_> = wanted.names.iter().map(|name| Identifier::Dns(name.clone())).collect();
    let profile = authority.settings.profile.as_deref();
    if let Some(profile) = profile.filter(|profile| !account.profiles().any(|offered| offered.name == *profile)) {
        return Err(OrderError::NoProfile(profile.to_owned()));
    }
    let new = || match profile {
        Some(profile) => NewOrder::new(&identifiers).profile(profile),
        None => NewOrder::new(&identifiers),
    };
    let order = place(account, new, wanted.replaces.as_ref()).await?;
    shared.leases.remember(&shared.session, lease, authority.directory(), order.url()).await?;
    Ok(order)
}

/// CAs hold less against those who say what they replace (RFC 9773 §5). A CA that knows nothing of that, or has had it replaced already,
/// is asked without.
async fn place<'a>(
    account: &Account,
    new: impl Fn() -> NewOrder<'a>,
    replaces: Option<&CertificateIdentifier<'static>>,
) -> Result<Order, OrderError> {
    const ALREADY_REPLACED: &str = "urn:ietf:params:acme:error:alreadyReplaced";
    if let Some(replaces) = replaces {
        match account.new_order(&new().replaces(replaces.clone())).await {
            Err(Error::Unsupported(_)) => {}
            Err(Error::Api(problem)) if problem.r#type.as_deref() == Some(ALREADY_REPLACED) => {}
            placed => return Ok(placed?),
        }
    }
    Ok(account.new_order(&new()).await?)
}

/// Shows the CA that the names are ours.
async fn prove(shared: &Shared, lease: &Lease, order: &mut Order) -> Result<(), OrderError> {
    let publication = shared.challenges.publication();
    let proofs = put(shared, lease, order).await?;
    sleep(proofs.wait).await;
    if !proofs.published.is_empty() {
        publication.spread().await;
    }
    let proven = have_looked_at(order, &proofs).await;
    for token in &proofs.published {
        challenges::withdraw(&shared.session, lease, token).await?;
    }
    proven
}

async fn have_looked_at(order: &mut Order, proofs: &Proofs) -> Result<(), OrderError> {
    if let Some(refused) = have_told(order, proofs).await?
        && waits_for_us(order, proofs).await?
    {
        return Err(refused.into());
    }
    match order.poll_ready(&RETRIES).await {
        Ok(OrderStatus::Ready) => Ok(()),
        Ok(_) => Err(complaint(order).await?.unwrap_or(OrderError::Invalid)),
        // Said of the order, or of the question after it, which is no word on the name.
        Err(error @ Error::Api(_)) => Err(complaint(order).await?.unwrap_or(error.into())),
        Err(error) => Err(error.into()),
    }
}

/// Tells the CA to look; what it has against that, if anything.
async fn have_told(order: &mut Order, proofs: &Proofs) -> Result<Option<Error>, OrderError> {
    let (mut refused, mut authorizations) = (None, order.authorizations());
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if let Some(kind) = proofs.kind_for(&authorization) {
            let mut challenge = authorization.challenge(kind).ok_or(OrderError::NoChallenge)?;
            refused = challenge.set_ready().await.err().or(refused);
        }
    }
    Ok(refused)
}

/// Whether the CA has not been told to look. Of an order that another instance left behind it may have been, and have looked
/// since: then it does not want to be told again.
async fn waits_for_us(order: &mut Order, proofs: &Proofs) -> Result<bool, OrderError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let state = authorization.refresh().await?;
        let mut ours = state.challenges.iter().filter(|challenge| proofs.kinds.contains(&challenge.r#type));
        if ours.any(|challenge| challenge.status == ChallengeStatus::Pending) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the CA says of the proof that it did not accept, where there is one.
async fn complaint(order: &mut Order) -> Result<Option<OrderError>, OrderError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let state = authorization.refresh().await?;
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.clone()) {
            return Ok(Some(OrderError::NotProven(problem)));
        }
    }
    Ok(None)
}

/// Proofs that stand where the CA will look for them; DNS records go with the value.
struct Proofs {
    kinds: Vec<ChallengeType>,
    /// Tokens.
    published: Vec<String>,
    _records: Vec<Record>,
    /// Until all name servers have the records.
    wait: Duration,
}

impl Proofs {
    /// By what `authorization` is shown, where it has not been.
    fn kind_for(&self, authorization: &AuthorizationHandle<'_>) -> Option<ChallengeType> {
        let is_offered =
            |kind: &&ChallengeType| authorization.challenges.iter().any(|offered| offered.r#type == **kind);
        let is_pending = authorization.status == AuthorizationStatus::Pending;
        is_pending.then(|| self.kinds.iter().find(is_offered).cloned())?
    }
}

/// Puts all proofs where the CA will look for them.
async fn put(shared: &Shared, lease: &Lease, order: &mut Order) -> Result<Proofs, OrderError> {
    let hook = shared.hook.as_ref().filter(|_| lease.name.starts_with("*."));
    let kinds =
        if hook.is_some() { vec![ChallengeType::Dns01] } else { kinds(&shared.settings.challenges, lease.refusals()) };
    let mut proofs = Proofs { kinds, published: Vec::new(), _records: Vec::new(), wait: Duration::ZERO };
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let Some(kind) = proofs.kind_for(&authorization) else {
            if authorization.status == AuthorizationStatus::Pending {
                return Err(OrderError::NoChallenge);
            }
            continue;
        };
        let challenge = authorization.challenge(kind).ok_or(OrderError::NoChallenge)?;
        let (answer, identifier) = (challenge.key_authorization(), challenge.identifier().to_string());
        let name = identifier.strip_prefix("*.").unwrap_or(&identifier);
        match hook {
            Some(hook) => {
                proofs._records.push(Hook::add(hook, name, &answer.dns_value()).await?);
                proofs.wait = hook.settings().wait;
            }
            None => {
                let (session, clock, token) = (&shared.session, &shared.clock, challenge.token.as_str());
                challenges::publish(session, clock, lease, name, token, answer.as_str()).await?;
                proofs.published.push(token.to_owned());
            }
        }
    }
    Ok(proofs)
}

/// The challenges in the order in which they are tried: after each refusal another one.
fn kinds(configured: &[Challenge], refusals: u32) -> Vec<ChallengeType> {
    let mut kinds: Vec<_> = configured.to_vec();
    let shift = usize::try_from(refusals).unwrap_or_default() % kinds.len().max(1);
    kinds.rotate_left(shift);
    let kind = |challenge: &Challenge| match challenge {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    };
    kinds.iter().map(kind).collect()
}

#[cfg(test)]
mod tests {
    use instant_acme::Problem;

    use super::*;

    #[test]
    fn an_order_is_lost_where_the_ca_does_not_know_it_and_not_where_it_did_not_look() {
        for (kind, status, is_lost) in [
            ("malformed", 404, true),
            ("unauthorized", 403, true),
            ("badNonce", 400, false),
            ("rateLimited", 429, false),
            ("rateLimited", 403, false),
            ("serverInternal", 500, false),
        ] {
            let (r#type, status) = (Some(format!("urn:ietf:params:acme:error:{kind}")), Some(status));
            let error = unfound(Error::Api(Problem { r#type, detail: None, status, subproblems: Vec::new() }).into());
            assert_eq!((matches!(error, OrderError::Lost), error.keeps_order()), (is_lost, !is_lost), "{kind}");
        }
    }

    #[test]
    fn after_a_refusal_another_challenge_is_tried() {
        let tried = |configured: &[Challenge]| {
            (0..3).map(|refusals| kinds(configured, refusals)[0].clone()).collect::<Vec<_>>()
        };
        let both = [Challenge::TlsAlpn01, Challenge::Http01];
        assert_eq!(tried(&both), [ChallengeType::TlsAlpn01, ChallengeType::Http01, ChallengeType::TlsAlpn01]);
        assert_eq!(tried(&both[1..]), [const { ChallengeType::Http01 }; 3]);
    }
}
