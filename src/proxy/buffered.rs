//! The body of a request, read before an app server is chosen: a client on a slow line holds no worker of the app while it
//! sends, and a body that is held whole can be sent again.
//!
//! Not read ahead are bodies of which nobody can say that they come to an end without an answer: those of gRPC, those that go
//! from HTTP/2 to HTTP/2, and those that the app has to ask for. One whose length is unknown is waited for a second at most:
//! it may be a live stream.

use std::{future::poll_fn, sync::Arc, time::Duration, vec};

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use hyper::body::{Frame, SizeHint};

use super::{
    body::{NextFrame, RequestBody},
    buffers::{Room, weight},
    error::Failure,
    upload::{Upload, UploadError},
    worker::Worker,
};

/// How long a body of unknown length is waited for. Much longer than one takes that was ready when its client began to send.
const PATIENCE: Duration = Duration::from_secs(1);

/// Smaller bodies need no room of their own: hyper holds as much for any connection.
const SMALL: u64 = 8 * 1024;

/// Reads what `request` brings along, `limit` bytes of it at most; the rest follows as it comes.
pub(super) async fn fill(request: &mut Request<RequestBody>, limit: usize, worker: &Worker) -> Result<(), Failure> {
    if limit == 0 || !is_readable_ahead(request) {
        return Ok(());
    }
    let RequestBody::Streaming(mut upload) = std::mem::take(request.body_mut()) else { return Ok(()) };
    let length = upload.size_hint();
    let Some(room) = room(length.exact(), limit, worker) else {
        *request.body_mut() = RequestBody::Streaming(upload);
        return Ok(());
    };
    let mut beginning = Beginning::default();
    let is_whole = match length.exact() {
        Some(_) => beginning.read(&mut upload, limit).await?,
        None => worker.clock.within(PATIENCE, beginning.read(&mut upload, limit)).await.unwrap_or(Ok(false))?,
    };
    *request.body_mut() = beginning.into_body(is_whole, room, upload);
    Ok(())
}

/// Whether there is a body that will come to its end by itself.
fn is_readable_ahead(request: &Request<RequestBody>) -> bool {
    match request.body() {
        RequestBody::Streaming(upload) => upload.is_readable_ahead() && !is_grpc(request.headers()),
        _ => false,
    }
}

/// gRPC asks and answers in turns, within one body each way.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|media_type| starts_with(media_type, b"application/grpc"))
}

/// `Content-Type` as it stands.
pub(super) fn media_type(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes())
}

pub(super) fn starts_with(text: &[u8], beginning: &[u8]) -> bool {
    text.get(..beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(beginning))
}

/// Room for a body; `Some(None)` where it needs none.
#[expect(clippy::option_option, reason = "no room and none needed are two things")]
fn room(length: Option<u64>, limit: usize, worker: &Worker) -> Option<Option<Room>> {
    match length {
        Some(length) if length <= SMALL => Some(None),
        Some(length) => worker.buffers.room(usize::try_from(length).unwrap_or(limit).min(limit)).map(Some),
        None => worker.buffers.room(limit).map(Some),
    }
}

/// What was read so far.
#[derive(Default)]
struct Beginning {
    pieces: Vec<Bytes>,
    trailers: Option<Box<HeaderMap>>,
    weight: usize,
}

impl Beginning {
    /// Goes on to the end or to the limit; whether it was the end.
    async fn read(&mut self, upload: &mut Upload, limit: usize) -> Result<bool, UploadError> {
        while !upload.is_end_stream() {
            if self.weight >= limit {
                return Ok(false);
            }
            match poll_fn(|context| upload.poll_frame(context)).await.transpose()? {
                Some(frame) => self.add(frame),
                None => return Ok(true),
            }
        }
        Ok(true)
    }

    fn add(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(piece) => {
                self.weight += weight(piece.len());
                self.pieces.push(piece);
            }
            Err(frame) => self.trailers = frame.into_trailers().ok().map(Box::new),
        }
    }

    fn into_body(self, is_whole: bool, room: Option<Room>, mut upload: Box<Upload>) -> RequestBody {
        if is_whole {
            let Self { pieces, trailers, .. } = self;
            return RequestBody::Whole(Whole { pieces: pieces.into_iter(), trailers, room: room.map(Arc::new) });
        }
        upload.put_back(self.pieces, room);
        RequestBody::Streaming(upload)
    }
}

/// A body that is held whole.
pub(super) struct Whole {
    pieces: vec::IntoIter<Bytes>,
    trailers: Option<Box<HeaderMap>>,
    /// Given back with the last copy.
    room: Option<Arc<Room>>,
}

impl Whole {
    /// What has not been sent of it yet, once more: before any of it was sent, all of it. The bytes themselves are shared.
    pub(super) fn again(&self) -> Self {
        Self { pieces: self.pieces.clone(), trailers: self.trailers.clone(), room: self.room.clone() }
    }

    pub(super) fn next(&mut self) -> NextFrame<UploadError> {
        let piece = self.pieces.next().map(Frame::data);
        piece.or_else(|| self.trailers.take().map(|trailers| Frame::trailers(*trailers))).map(Ok)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.pieces.len() == 0 && self.trailers.is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.as_slice().iter().map(|piece| piece.len() as u64).sum())
    }
}
