//! Sending a request until one app server answers it, or until it must not be sent again.

use std::time::Instant;

use super::{
    again::is_repeatable,
    attempt::{Attempted, Outgoing, attempt},
    error::Failure,
    exchange::Exchange,
    response::Answered,
    search::Search,
    upload::Fault,
    worker::Worker,
};

/// Sends `request` to the upstream at `position` and waits for the head of the answer.
pub(super) async fn send(
    worker: &Worker,
    position: usize,
    mut request: Outgoing,
    exchange: &mut Exchange,
) -> Result<Answered, Failure> {
    let share = worker.upstreams[position].upstream().share(exchange.store_id())?;
    let mut search = Search::new(worker, position, is_repeatable(&request));
    let (mut now, mut doubted) = (search.began, None);
    let sent = loop {
        let mut found = match search.find(now, exchange).await {
            Ok(found) => found,
            Err(failure) => break Err(failure),
        };
        match attempt(&mut search, &mut found, request, exchange).await {
            Attempted::Answered(head) => break Ok(found.answered(head)),
            Attempted::Failed(failure) => break Err(refine(failure, exchange)),
            Attempted::Again(again) => {
                search.give_up(found, Instant::now());
                request = *again;
            }
            Attempted::Doubted(head, again) => {
                doubted = Some(Box::new(found.answered(head)));
                request = *again;
            }
        }
        now = Instant::now();
    };
    let mut answered = sent.or_else(|failure| fall_back(doubted, failure, exchange))?;
    answered.in_flight.keep(share);
    worker.metrics.upstream_head(position, exchange.upstream_wait);
    Ok(answered)
}

/// What an app server has said of its failure tells the client more than that another one could not be asked.
fn fall_back(doubted: Option<Box<Answered>>, failure: Failure, exchange: &mut Exchange) -> Result<Answered, Failure> {
    let answered = *doubted.ok_or(failure)?;
    exchange.endpoint = Some(answered.in_flight.endpoint().clone());
    Ok(answered)
}

/// An attempt fails alike when the app and when the client breaks off; the request body knows which it was.
fn refine(failure: Failure, exchange: &Exchange) -> Failure {
    match (failure, exchange.upload_fault()) {
        (Failure::HeadBroken(error), Some(Fault::Broken)) => Failure::RequestBroken(error.into()),
        (Failure::HeadBroken(_), Some(Fault::Limit(limit))) => Failure::BodyLimit(limit),
        (other, _) => other,
    }
}
