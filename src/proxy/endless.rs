//! Bodies without an end of their own: event streams and calls of gRPC. Both sides may be silent in them for as long as they please,
//! so that the limits on idleness and on rates leave them alone. Decided here and nowhere else.

use http::{HeaderMap, HeaderValue, header};

/// Whether the body behind `headers` is an event stream or of gRPC.
pub(super) fn is_stream(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|media_type| is_grpc(media_type) || starts_with(media_type, b"text/event-stream"))
}

/// Whether it is of gRPC, which asks and answers in turns, within one body each way.
pub(super) fn has_grpc(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(is_grpc)
}

fn media_type(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(header::CONTENT_TYPE)
}

fn is_grpc(media_type: &HeaderValue) -> bool {
    starts_with(media_type, b"application/grpc")
}

fn starts_with(text: &HeaderValue, beginning: &[u8]) -> bool {
    text.as_bytes().get(..beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(media_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(media_type))])
    }

    #[test]
    fn event_streams_and_grpc_have_no_end_of_their_own() {
        let events = ["text/event-stream", "Text/Event-Stream; charset=utf-8"];
        let calls = ["application/grpc", "application/grpc+proto"];
        assert!(events.into_iter().chain(calls).all(|media_type| is_stream(&of(media_type))));
        assert!(calls.into_iter().all(|media_type| has_grpc(&of(media_type))));
        assert!(!events.into_iter().any(|media_type| has_grpc(&of(media_type))));
        assert!(!is_stream(&of("text/html")) && !is_stream(&of("text/event")) && !is_stream(&HeaderMap::new()));
    }
}
