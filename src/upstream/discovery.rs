//! Follows where the names of app servers lead: asks again whenever an answer has run out, and applies what has changed.
//!
//! What DNS cannot be asked about stays as it was. So does a name that has no address any more: that all are gone at once is a
//! mistake more often than a wish.

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use super::{
    ResolveError, Upstream,
    resolver::{Answer, Resolver},
};
use crate::{lifecycle::ReadinessGuard, telemetry::causes::one_line};

/// How long an answer is believed at least: records with a TTL of 0 are not worth a question per request.
const BELIEVED_MIN: Duration = Duration::from_secs(1);

/// How long at most, so that a mistake in DNS is not kept for a day.
const BELIEVED_MAX: Duration = Duration::from_secs(5 * 60);

/// After a failure, before DNS is asked again.
const RETRY: Duration = Duration::from_secs(2);

/// How often endpoints that are gone are looked at.
const RETIRE_INTERVAL: Duration = Duration::from_secs(1);

/// Follows the names of all upstreams, for ever. `waiting` ends once each was asked for.
pub async fn discover(upstreams: Vec<Arc<Upstream>>, waiting: ReadinessGuard) {
    let mut running = JoinSet::new();
    let waiting = Arc::new(waiting);
    for upstream in &upstreams {
        for origin in upstream.named_origins() {
            running.spawn(follow(Arc::clone(upstream), origin, Arc::clone(&waiting)));
        }
    }
    drop(waiting);
    running.spawn(retire(upstreams));
    // Each goes on until the process ends.
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a name of app servers is not followed any more");
        }
    }
    pending().await
}

/// Asks once for all names of `upstream`, in the order of the configuration; those that led nowhere, and why.
pub async fn resolve(upstream: &Upstream) -> Vec<(String, ResolveError)> {
    let mut failures = Vec::new();
    for origin in upstream.named_origins() {
        if let Err(error) = ask(upstream, origin).await {
            failures.push((upstream.settings.url(&upstream.settings.servers[origin].address), error));
        }
    }
    failures
}

async fn follow(upstream: Arc<Upstream>, origin: usize, waiting: Arc<ReadinessGuard>) {
    let (mut waiting, mut fails) = (Some(waiting), false);
    loop {
        let outcome = ask(&upstream, origin).await;
        drop(waiting.take());
        tell(&upstream, origin, &outcome, fails);
        fails = outcome.is_err();
        sleep(outcome.unwrap_or(RETRY)).await;
    }
}

/// Asks, and applies the answer; for how long it is believed.
async fn ask(upstream: &Upstream, origin: usize) -> Result<Duration, ResolveError> {
    let server = &upstream.settings.servers[origin];
    let answer = match Resolver::new(&upstream.settings.resolvers) {
        Ok(resolver) => resolver.ask(&server.address, server.weight).await,
        Err(error) => Err(error),
    };
    upstream.count_resolution(answer.is_ok());
    let Answer { found, until } = answer?;
    let now = Instant::now();
    upstream.lead_to(origin, &found, now);
    Ok(until.saturating_duration_since(now).clamp(BELIEVED_MIN, BELIEVED_MAX))
}

/// The log says when it begins to fail, and when that ends.
fn tell(upstream: &Upstream, origin: usize, outcome: &Result<Duration, ResolveError>, failed: bool) {
    let (name, server) = (&upstream.settings.name, &upstream.settings.servers[origin].address);
    match outcome {
        Err(error) if !failed => {
            let error = one_line(error);
            tracing::warn!(upstream = name, %server, error, "a name cannot be resolved; what it led to is kept");
        }
        Ok(_) if failed => tracing::info!(upstream = name, %server, "the name is resolved again"),
        _ => {}
    }
}

async fn retire(upstreams: Vec<Arc<Upstream>>) {
    loop {
        sleep(RETIRE_INTERVAL).await;
        upstreams.iter().for_each(|upstream| upstream.retire());
    }
}
