//! The answer by which an instance of ours knows this one behind a customer's name.

use http::Response;

use super::{answer, body::Source, exchange::Exchange, facts::Facts, worker::Worker};
use crate::routing::Host;

/// The answer to a question of ours, on whichever host it is asked; it stands where CAs ask theirs. Others are not ours to answer.
pub(super) fn respond(worker: &Worker, facts: &Facts<'_>, exchange: &mut Exchange) -> Option<Response<Source>> {
    let token = facts.challenge()?;
    let Host::Name(name) = &facts.authority.host else { return None };
    let answer = worker.self_check.answer(token, name.as_str())?;
    Some(answer::text(answer, exchange))
}
