//! A sample app server: it believes `X-Store-Id`, as an app behind usher may, and shows what it was sent.

mod page;
mod shops;

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

/// How long accepting rests after an error: long enough for descriptors to come back, too short for a visitor to notice.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An app server with a page for each of the example stores.
pub(super) struct SampleApp {
    name: &'static str,
    listener: TcpListener,
    address: SocketAddr,
}

impl SampleApp {
    /// Listens on a free port of the loopback interface; `name` tells the servers apart on their pages.
    pub(super) async fn bind(name: &'static str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok(Self { name, listener, address })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the runtime ends.
    pub(super) async fn run(self) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(serve(stream, self.name))),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

async fn serve(stream: TcpStream, app: &'static str) {
    let service = service_fn(move |request| answer(app, request));
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    // A connection that breaks concerns its client alone, and the router in front has logged it already.
    let _ = connection.await;
}

async fn answer(app: &'static str, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    discard(body).await;
    let mut response = Response::new(Full::from(page::render(app, &head)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-sample-app", HeaderValue::from_static(app));
    Ok(response)
}

/// Reads an upload to its end, so that the connection can carry the next request.
async fn discard(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn exchange(address: SocketAddr, requests: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.unwrap();
        answers
    }

    #[tokio::test]
    async fn the_page_of_a_store_names_store_and_app_server() {
        let app = SampleApp::bind("app-7").await.unwrap();
        let address = app.address();
        tokio::spawn(app.run());
        let request = "GET / HTTP/1.1\r\nHost: store2.platform.localhost\r\nX-Store-Id: 2\r\n\
                       X-Store-Match: subdomain\r\nConnection: close\r\n\r\n";
        let answer = exchange(address, request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("x-sample-app: app-7\r\n"), "{answer}");
        assert!(answer.contains("<h1>Shop Beta</h1>"), "{answer}");
    }

    #[tokio::test]
    async fn an_upload_is_read_whole_and_the_connection_serves_the_next_request() {
        let app = SampleApp::bind("app-1").await.unwrap();
        let address = app.address();
        tokio::spawn(app.run());
        let upload = "x".repeat(300_000);
        let requests = format!(
            "POST /cart HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{upload}\
             GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            upload.len()
        );
        let answers = exchange(address, &requests).await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2);
    }
}
