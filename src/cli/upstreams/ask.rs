//! One question to the admin listener of the running router.

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tokio_util::task::AbortOnDropHandle;
use usher::admin;

use crate::cli::Failure;

/// For the whole answer; the listener is on this machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The content of the answer.
pub(super) async fn ask(settings: &admin::Settings, method: Method, path: &str) -> Result<Bytes, Failure> {
    let address = reachable(settings.listen);
    let asked = timeout(ANSWER_TIMEOUT, exchange(address, settings, method, path)).await;
    let (status, body) = asked
        .unwrap_or_else(|_elapsed| Err("no answer in time".into()))
        .map_err(|source| Failure::NoAdmin { address, source })?;
    if status.is_success() { Ok(body) } else { Err(Failure::Refused { status, detail: detail(&body) }) }
}

/// Where a listener on all addresses is found.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn exchange(
    address: SocketAddr,
    settings: &admin::Settings,
    method: Method,
    path: &str,
) -> Result<(StatusCode, Bytes), Box<dyn Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, address.to_string());
    if let Some(token) = &settings.token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
    }
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    Ok((response.status(), response.into_body().collect().await?.to_bytes()))
}

/// What a problem says of itself (RFC 9457).
fn detail(body: &[u8]) -> String {
    let problem = serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
    problem["detail"].as_str().unwrap_or("it says no more").to_owned()
}
