//! Asks app servers whether they are well, from outside of all requests: one prober for the process, on the control runtime.

use std::{error::Error, future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, Version, header, uri::Scheme};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{Endpoint, Protocol, ProxyProtocol, Settings, Upstream, dial::dial, proxy_header, stream::Stream};

/// What the probes of an upstream ask, how often, and what the answers mean.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The path and query that is asked for.
    pub target: Uri,
    /// The `Host` that is asked for; that of the app server where it is unset.
    pub host: Option<HeaderValue>,
    /// Between two probes of one app server, give or take a tenth.
    pub interval: Duration,
    /// For an answer. Then the probe has failed.
    pub timeout: Duration,
    /// The status of an app server that is well.
    pub status: StatusCode,
    /// So many good probes in a row bring an app server back.
    pub rise: usize,
    /// So many bad ones take it out.
    pub fall: usize,
}

/// How often new endpoints are looked for, and such that are gone.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

/// Probes all upstreams that ask for it, for ever.
pub async fn probe(upstreams: Vec<Arc<Upstream>>) {
    let mut running = JoinSet::new();
    for upstream in upstreams.into_iter().filter(|upstream| upstream.settings.probe.is_some()) {
        running.spawn(follow(upstream));
    }
    // Each goes on until the process ends, and there may be none.
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "the prober of an upstream has ended");
        }
    }
    pending().await
}

/// Runs a prober for each endpoint as long as there is that endpoint.
async fn follow(upstream: Arc<Upstream>) {
    let mut running: Vec<(Arc<Endpoint>, AbortOnDropHandle<()>)> = Vec::new();
    loop {
        let members = upstream.members();
        running.retain(|(probed, _)| members.endpoints().iter().any(|endpoint| Arc::ptr_eq(endpoint, probed)));
        for endpoint in members.endpoints() {
            if !running.iter().any(|(probed, _)| Arc::ptr_eq(endpoint, probed)) {
                let prober = Prober { upstream: Arc::clone(&upstream), endpoint: Arc::clone(endpoint) };
                running.push((Arc::clone(endpoint), AbortOnDropHandle::new(tokio::spawn(prober.run()))));
            }
        }
        sleep(FOLLOW_INTERVAL).await;
    }
}

/// What asks one app server.
struct Prober {
    upstream: Arc<Upstream>,
    endpoint: Arc<Endpoint>,
}

impl Prober {
    async fn run(self) {
        let Some(probe) = &self.upstream.settings.probe else { return };
        // All begin with the process, and should not ask at the same moment.
        sleep(probe.interval.mul_f32(fastrand::f32())).await;
        let mut streak = Streak::default();
        loop {
            let passed = self.passes(probe).await;
            let streak = streak.with(passed);
            if streak >= if passed { probe.rise } else { probe.fall } {
                self.endpoint.probed(passed, Instant::now().into_std());
            }
            sleep(probe.interval.mul_f32(0.9 + 0.2 * fastrand::f32())).await;
        }
    }

    async fn passes(&self, probe: &Probe) -> bool {
        let reason = match timeout(probe.timeout, ask(&self.endpoint, &self.upstream.settings, probe)).await {
            Ok(Ok(status)) if status == probe.status => return true,
            Ok(Ok(status)) => format!("status {status}"),
            Ok(Err(error)) => crate::telemetry::causes::one_line(&*error),
            Err(_elapsed) => "no answer in time".to_owned(),
        };
        tracing::debug!(endpoint = %self.endpoint.label(), reason, "probe failed");
        false
    }
}

/// How often the same came of a probe, one after the other.
#[derive(Default)]
struct Streak {
    passed: bool,
    length: usize,
}

impl Streak {
    fn with(&mut self, passed: bool) -> usize {
        let goes_on = self.length > 0 && self.passed == passed;
        *self = Self { passed, length: if goes_on { self.length.saturating_add(1) } else { 1 } };
        self.length
    }
}

/// The status of the answer; nothing else of it is read.
async fn ask(
    endpoint: &Endpoint,
    settings: &Settings,
    probe: &Probe,
) -> Result<StatusCode, Box<dyn Error + Send + Sync>> {
    let first: &[u8] = match settings.proxy_protocol {
        ProxyProtocol::V2 => &proxy_header::LOCAL,
        ProxyProtocol::Off => b"",
    };
    let stream = dial(endpoint, first, Instant::now() + probe.timeout).await?;
    let host = match (&probe.host, endpoint.address().host()) {
        (Some(host), _) => host.clone(),
        (None, Some(_)) => HeaderValue::from_str(endpoint.origin())?,
        (None, None) => HeaderValue::from_static("localhost"),
    };
    match settings.protocol {
        Protocol::Http1 => ask_http1(stream, request(host, probe)).await,
        Protocol::Http2 => ask_http2(stream, request(host, probe), settings.scheme()).await,
    }
}

fn request(host: HeaderValue, probe: &Probe) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = probe.target.clone();
    request.headers_mut().insert(header::HOST, host);
    request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("usher-probe"));
    request
}

async fn ask_http1(
    stream: Stream,
    mut request: Request<Empty<Bytes>>,
) -> Result<StatusCode, Box<dyn Error + Send + Sync>> {
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    Ok(sender.send_request(request).await?.status())
}

async fn ask_http2(
    stream: Stream,
    mut request: Request<Empty<Bytes>>,
    scheme: Scheme,
) -> Result<StatusCode, Box<dyn Error + Send + Sync>> {
    let host = request.headers_mut().remove(header::HOST).unwrap_or(HeaderValue::from_static("localhost"));
    *request.uri_mut() = Uri::builder()
        .scheme(scheme)
        .authority(host.as_bytes())
        .path_and_query(request.uri().path_and_query().map_or("/", |target| target.as_str()))
        .build()?;
    *request.version_mut() = Version::HTTP_2;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    Ok(sender.send_request(request).await?.status())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_streak_is_as_long_as_the_same_comes_of_it() {
        let mut streak = Streak::default();
        let lengths = [true, true, false, false, false, true].map(|passed| streak.with(passed));
        assert_eq!(lengths, [1, 2, 1, 2, 3, 1]);
    }
}
