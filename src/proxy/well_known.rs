//! What usher answers itself under `/.well-known/acme-challenge/`, on whichever host it is asked: tokens that nobody can guess.
//! All else that is asked for there is the app's.

use http::Response;

use super::{answer, body::Source, exchange::Exchange, facts::Facts, worker::Worker};
use crate::routing::Host;

/// The answer to a CA (RFC 8555 §8.3), or to an instance of ours that looks whether a name leads here.
pub(super) async fn answer(worker: &Worker, facts: &Facts<'_>, exchange: &mut Exchange) -> Option<Response<Source>> {
    let token = facts.challenge()?;
    let text = match to_self_check(worker, token, facts) {
        Some(text) => text,
        None => to_ca(worker, token, facts).await?,
    };
    Some(answer::text(text, exchange))
}

async fn to_ca(worker: &Worker, token: &str, facts: &Facts<'_>) -> Option<String> {
    let Host::Name(name) = &facts.authority.host else { return None };
    worker.https.as_ref()?.acceptor.issuer()?.answer(token, name.as_str()).await
}

fn to_self_check(worker: &Worker, token: &str, facts: &Facts<'_>) -> Option<String> {
    let Host::Name(name) = &facts.authority.host else { return None };
    worker.self_check.answer(token, name.as_str())
}
