//! The body of a request, read before an app server is chosen: a client on a slow line holds no worker of the app while it
//! sends, and a body that is held whole can be sent again.
//!
//! Not read ahead are bodies of which nobody can say that they come to an end without an answer: those of gRPC, and those that
//! the app has to ask for. One whose length is unknown is waited for a second at most:
//! it may be a live stream.

use std::{future::poll_fn, sync::Arc, time::Duration, vec};

use bytes::Bytes;
use http::{HeaderMap, Request};
use hyper::body::{Frame, SizeHint};

use super::{
    body::{NextFrame, RequestBody},
    buffers::{Room, alone, weight},
    endless::has_grpc,
    error::Failure,
    upload::{Upload, UploadError},
    worker::Worker,
};

/// How long a body of unknown length is waited for. Much longer than one takes that was ready when its client began to send.
const PATIENCE: Duration = Duration::from_secs(1);

/// Smaller bodies need no room of their own: hyper holds as much for any connection.
const SMALL: usize = 8 * 1024;

/// Reads what `request` brings along before a server of the upstream at `position` is chosen, as much as is to be held for it;
/// the rest follows as it comes.
pub(super) async fn fill(worker: &Worker, position: usize, request: &mut Request<RequestBody>) -> Result<(), Failure> {
    let limit = worker.upstreams[position].upstream().settings.buffer_request;
    if !is_wanted(request, limit) {
        return Ok(());
    }
    // Most requests have no body, and this would make the state of all of them larger.
    Box::pin(read(request, limit, worker)).await
}

/// Whether `request` has a body of which something is to be read first.
fn is_wanted(request: &Request<RequestBody>, limit: usize) -> bool {
    match request.body() {
        RequestBody::Streaming(upload) => limit > 0 && upload.is_readable_ahead() && !has_grpc(request.headers()),
        _ => false,
    }
}

async fn read(request: &mut Request<RequestBody>, limit: usize, worker: &Worker) -> Result<(), Failure> {
    let RequestBody::Streaming(mut upload) = std::mem::take(request.body_mut()) else { return Ok(()) };
    let length = upload.size_hint().exact();
    let allowance = allowance(length, limit);
    let Some(room) = room(length, allowance, worker) else {
        *request.body_mut() = RequestBody::Streaming(upload);
        return Ok(());
    };
    let mut beginning = Beginning::default();
    let reading = beginning.read(&mut upload, allowance);
    let is_whole = match length {
        Some(_) => reading.await?,
        None => worker.clock.within(PATIENCE, reading).await.unwrap_or(Ok(false))?,
    };
    *request.body_mut() = beginning.into_body(is_whole, room, upload);
    Ok(())
}

/// What a body of this `length` may weigh: one that comes in crumbs takes more than its bytes, and is passed on before it takes
/// more than it has room for. One above the length, since the end may come after the last byte.
fn allowance(length: Option<u64>, limit: usize) -> usize {
    let Some(length) = length.and_then(|length| usize::try_from(length).ok()) else { return limit };
    length.saturating_add(1).max(SMALL).min(limit)
}

/// Room for a body; `Some(None)` where it needs none.
#[expect(clippy::option_option, reason = "no room and none needed are two things")]
fn room(length: Option<u64>, allowance: usize, worker: &Worker) -> Option<Option<Room>> {
    match length {
        Some(length) if length <= SMALL as u64 => Some(None),
        _ => worker.buffers.room(allowance).map(Some),
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
                self.pieces.push(alone(piece));
            }
            Err(frame) => self.trailers = frame.into_trailers().ok().map(Box::new),
        }
    }

    fn into_body(self, is_whole: bool, room: Option<Room>, mut upload: Box<Upload>) -> RequestBody {
        if is_whole {
            let Self { pieces, trailers, .. } = self;
            let whole = Whole { pieces: pieces.into_iter(), trailers, room: room.map(Arc::new) };
            return RequestBody::Whole(Box::new(whole));
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
        let (pieces, trailers, room) = (self.pieces.clone(), self.trailers.clone(), self.room.clone());
        Self { pieces, trailers, room }
    }

    /// Puts what was read of it in front again.
    pub(super) fn put_back(&mut self, mut read: Vec<Bytes>) {
        read.extend(self.pieces.by_ref());
        self.pieces = read.into_iter();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(pieces: &[&'static str], trailers: Option<HeaderMap>) -> Whole {
        let pieces: Vec<_> = pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect();
        Whole { pieces: pieces.into_iter(), trailers: trailers.map(Box::new), room: None }
    }

    /// The text of it, and whether trailers follow.
    fn read(mut whole: Whole) -> (String, bool) {
        let mut text = String::new();
        while let Some(Ok(frame)) = whole.next() {
            match frame.into_data() {
                Ok(piece) => text.push_str(std::str::from_utf8(&piece).unwrap()),
                Err(_trailers) => return (text, true),
            }
        }
        (text, false)
    }

    #[test]
    fn a_whole_body_can_be_read_again_with_its_trailers() {
        for trailers in [None, Some(HeaderMap::new())] {
            let body = whole(&["ab", "c"], trailers.clone());
            assert_eq!(body.size_hint().exact(), Some(3));
            let again = body.again();
            for reading in [body, again] {
                assert_eq!(read(reading), ("abc".to_owned(), trailers.is_some()));
            }
        }
    }

    #[test]
    fn what_was_read_of_a_whole_body_can_be_put_back() {
        let mut body = whole(&["a", "b", "c"], None);
        let first = body.next().unwrap().unwrap().into_data().unwrap();
        body.put_back(vec![first]);
        assert_eq!((body.size_hint().exact(), read(body).0.as_str()), (Some(3), "abc"));
    }

    #[test]
    fn a_body_is_at_its_end_when_nothing_is_left() {
        let mut body = whole(&["ab"], Some(HeaderMap::new()));
        assert!(!body.is_end_stream());
        body.next();
        assert!(!body.is_end_stream());
        body.next();
        assert!(body.is_end_stream() && body.next().is_none() && whole(&[], None).is_end_stream());
    }

    #[test]
    fn a_body_may_weigh_what_it_has_room_for() {
        let limit = 64 * 1024;
        assert_eq!([None, Some(0), Some(200)].map(|length| allowance(length, limit)), [limit, SMALL, SMALL]);
        assert_eq!([20_000, 65_536, u64::MAX].map(|length| allowance(Some(length), limit)), [20_001, limit, limit]);
        assert_eq!(allowance(Some(200), 100), 100);
    }

    #[test]
    fn pieces_of_a_byte_do_not_make_a_body_small() {
        let mut beginning = Beginning::default();
        (0..100).for_each(|_| beginning.add(Frame::data(Bytes::from_static(b"x"))));
        assert!(beginning.weight > 100 * size_of::<Bytes>());
    }
}
