//! What the directory says of a route: found, absent, or an error where it could not be asked.

use std::time::Instant;

use super::{error::Failure, worker::Worker};
use crate::routing::{Inquiry, Route, Subject};

/// Asks the directory all that matters for `route`.
pub(super) async fn look_up<'a>(worker: &'a Worker, route: Route<'a>, now: Instant) -> Result<Subject<'a>, Failure> {
    let mut inquiry = Inquiry::new(&worker.rules, route);
    while let Some(key) = inquiry.question() {
        let answer = worker.directory.lookup(key, now).await;
        inquiry.answer(answer)?;
    }
    Ok(inquiry.subject())
}
