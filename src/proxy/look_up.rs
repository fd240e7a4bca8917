//! What the directory says of a route: found, absent, or an error where it could not be asked.

use std::time::Instant;

use crate::{
    directory::{CouldNotAsk, Reader},
    routing::{Inquiry, Route, Rules, Subject},
};

/// Asks the directory all that matters for `route`.
pub(super) async fn look_up<'a>(
    rules: &'a Rules,
    directory: &Reader,
    route: Route<'a>,
    now: Instant,
) -> Result<Subject<'a>, CouldNotAsk> {
    let mut inquiry = Inquiry::new(rules, route);
    while let Some(key) = inquiry.question() {
        let answer = directory.lookup(key, now).await;
        inquiry.answer(answer)?;
    }
    Ok(inquiry.subject())
}
