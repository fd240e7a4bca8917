//! The table of contents of usher: what happens to a request, one named step per line.

use http::{Request, Response};
use hyper::body::Incoming;

use super::{
    answer,
    body::Source,
    buffered,
    connection::Client,
    error::Failure,
    exchange::Exchange,
    facts::Facts,
    https,
    look_up::look_up,
    request,
    requester::Requester,
    response, retry, roles,
    upgrade::{self, Upgrade},
    well_known,
};
use crate::routing::{Decision, decide};

/// Takes a request to the app server of its tenant, or says why not.
pub(super) async fn forward(
    client: &Client,
    requester: &Requester,
    exchange: &mut Exchange,
    mut request: Request<Incoming>,
) -> Result<Response<Source>, Failure> {
    let worker = &client.worker;
    exchange.turn = client.take_turn(requester.address)?;
    let upgrade = Upgrade::take(&mut request, exchange.switches())?;
    request::name_host(&mut request)?;
    request::check_size(&request, &worker.settings)?;
    request::check(&request)?;
    let facts = Facts::read(&request, client, requester)?;
    exchange.remember_host(&facts);
    if let Some(answer) = well_known::answer(worker, &facts, exchange).await {
        return Ok(answer);
    }
    let route = worker.rules.route(&facts.routing())?;
    let subject = look_up(&worker.rules, &worker.directory, route, exchange.started()).await?;
    let subject = https::stay(client, subject);
    let destination = match https::prefer(worker, &facts, decide(&worker.rules, subject)) {
        Decision::Forward(destination) => destination,
        Decision::Redirect(to) => return answer::redirect(to, worker, &facts, &request, exchange),
        Decision::Close(closed) => return Err(Failure::Closed(closed)),
        Decision::Refuse(refusal) => return Err(Failure::Unknown(refusal)),
    };
    let position = roles::upstream_for(worker, &destination)?;
    let host = facts.forwarded();
    if request::ends_here(&request) {
        return Ok(answer::allowed(exchange));
    }
    let mut outgoing = request::prepare(request, host, &destination, position, client, requester, exchange)?;
    upgrade::ask(upgrade.as_ref(), &mut outgoing)?;
    buffered::fill(worker, position, &mut outgoing).await?;
    let answered = retry::send(worker, position, outgoing, exchange).await?;
    response::relay(worker, position, answered, upgrade, exchange)
}
