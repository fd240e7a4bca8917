//! The shell around one exchange: it cannot fail, whatever happens inside.

use std::{
    convert::Infallible,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;

use super::{
    answer,
    body::{ResponseBody, Source},
    connection::Client,
    error::Failure,
    exchange::Exchange,
    forward::forward,
    https,
    requester::Requester,
    scheme::Scheme,
};

/// Serves one request: opens its record, forwards it, and answers what went wrong.
pub(super) async fn handle(
    client: Arc<Client>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let requester = Requester::of(&client, request.headers());
    let mut exchange = Exchange::open(&client, &requester, &request);
    let forwarded = caught(pin!(forward(&client, &requester, &mut exchange, request))).await;
    let _turn = match &forwarded {
        Err(failure) if failure.is_a_strangers() => client.worker.strangers.turn().await,
        _ => None,
    };
    let mut response = forwarded.unwrap_or_else(|failure| answer::to_failure(failure, &mut exchange));
    if requester.scheme == Scheme::Https {
        https::keep(&client.worker, exchange.host_owner, response.headers_mut());
    }
    Ok(finish(&client, response, exchange))
}

fn finish(client: &Arc<Client>, mut response: Response<Source>, mut exchange: Box<Exchange>) -> Response<ResponseBody> {
    exchange.status = Some(response.status());
    if exchange.is_http2() {
        answer::spare_head(&mut response, &exchange);
    } else if (client.has_served_enough() || exchange.switches()) && !matches!(response.body(), Source::Tunnel(_)) {
        // Said with an answer: a connection that ends between two requests takes the next one with it.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|source| match source {
        Source::Tunnel(tunnel) => {
            tunnel.open(client, exchange);
            ResponseBody::none()
        }
        source => ResponseBody::new(source, exchange),
    })
}

/// A panic is a bug; it ends the exchange it happened in, and no other. Pinned by the caller, since an exchange is some
/// kilobytes that would be copied otherwise.
fn caught<T>(
    mut exchange: Pin<&mut impl Future<Output = Result<T, Failure>>>,
) -> impl Future<Output = Result<T, Failure>> {
    poll_fn(move |context| {
        catch_unwind(AssertUnwindSafe(|| exchange.as_mut().poll(context)))
            .unwrap_or_else(|_panic| Poll::Ready(Err(Failure::Panicked)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_failure_of_its_own_exchange() {
        #[allow(clippy::panic, reason = "the panic is what is tested")]
        let outcome = caught::<()>(pin!(async { panic!("a bug") })).await;
        assert!(matches!(outcome, Err(Failure::Panicked)));
    }
}
