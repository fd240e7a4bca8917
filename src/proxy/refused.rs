//! The answer to a head that nobody could read, written without hyper, which has given up on the connection.

use std::{fmt::Write, sync::Arc, time::SystemTime};

use http::Response;
use httpdate::fmt_http_date;
use tokio::io::AsyncWriteExt;

use super::{answer, body::Source, connection::Client, error::Failure, exchange::Exchange, stream::ClientStream};

/// Answers `failure` in the form of every other answer, with a record of its own, and ends the connection: where the next
/// request would begin, nobody can say (RFC 9112 §2.2, §9.3).
pub(super) async fn answer(client: &Arc<Client>, mut stream: Box<ClientStream>, failure: Failure) {
    let mut exchange = Exchange::without_head(client);
    let response = answer::to_failure(failure, &mut exchange);
    exchange.status = Some(response.status());
    let bytes = on_the_wire(response, &mut exchange);
    let write = stream.write_all(&bytes);
    let _gone = client.worker.clock.within(client.worker.settings.write_timeout, write).await;
    drop(exchange);
    stream.close().await;
}

fn on_the_wire(response: Response<Source>, exchange: &mut Exchange) -> Vec<u8> {
    let (head, body) = response.into_parts();
    let Source::Page(page) = body else { return Vec::new() };
    exchange.bytes_out = page.len() as u64;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(text, "HTTP/1.1 {}\r\n", head.status);
    for (name, value) in &head.headers {
        let _ = write!(text, "{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    let date = fmt_http_date(SystemTime::now());
    let _ = write!(text, "date: {date}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", page.len());
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(&page);
    bytes
}
