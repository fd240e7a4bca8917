//! A TCP connection to an app server.

use tokio::net::TcpStream;

use super::{ConnectError, Endpoint};

pub(super) async fn dial(endpoint: &Endpoint) -> Result<TcpStream, ConnectError> {
    let address = endpoint.address();
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(ConnectError::Refused)?;
    stream.set_nodelay(true).map_err(ConnectError::Refused)?;
    Ok(stream)
}
