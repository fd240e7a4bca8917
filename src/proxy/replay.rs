//! What is kept of a request that shares a connection, until its answer begins: an app server may refuse it unprocessed, when some of
//! it is on its way.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri, Version};
use hyper::body::{Frame, SizeHint};

use super::{
    body::{NextFrame, RequestBody},
    buffered::Whole,
    buffers::{Buffers, Room, alone, weight},
    upload::{Upload, UploadError, longer},
};

/// Bytes of a body that are kept. A call of gRPC has less, and so has what is refused while a server is replaced; a
/// larger upload cannot be sent again once so much of it is on its way.
const KEPT_MAX: usize = 64 * 1024;

/// A request, ready to be sent once more.
pub(super) struct Replay {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Spare,
}

/// What is kept of a body.
enum Spare {
    None,
    /// All of it: it is held anyway.
    Whole(Box<Whole>),
    /// What was sent, as long as there is room for it.
    Sent(KeptBody),
}

impl Replay {
    /// Keeps what is needed of `request`, in the memory of `buffers`.
    pub(super) fn of(request: &mut Request<RequestBody>, buffers: &Arc<Buffers>) -> Self {
        let (body, spare) = match std::mem::take(request.body_mut()) {
            RequestBody::Empty => (RequestBody::Empty, Spare::None),
            RequestBody::Whole(whole) => {
                let spare = Spare::Whole(Box::new(whole.again()));
                (RequestBody::Whole(whole), spare)
            }
            RequestBody::Kept(kept) => kept.shared(),
            RequestBody::Streaming(upload) => KeptBody::new(upload, Room::none(buffers)).shared(),
        };
        *request.body_mut() = body;
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Self { method, uri, headers: request.headers().clone(), body: spare }
    }

    /// The request, unless more of its body was sent than is kept.
    pub(super) fn request(self) -> Option<Request<RequestBody>> {
        let body = match self.body {
            Spare::None => RequestBody::Empty,
            Spare::Whole(whole) => RequestBody::Whole(whole),
            Spare::Sent(body) if body.is_whole() => RequestBody::Kept(body.again()),
            Spare::Sent(_) => return None,
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        *request.version_mut() = Version::HTTP_2;
        Some(request)
    }

    /// The answer has begun: nothing needs to be kept any more.
    pub(super) fn forget(self) {
        if let Spare::Sent(body) = self.body {
            body.state().forget();
        }
    }
}

/// A body that can be read from its beginning again, by whoever asked for it last.
pub(super) struct KeptBody {
    state: Arc<Mutex<State>>,
    /// Which reading this is.
    turn: u32,
}

struct State {
    body: Box<Upload>,
    sent: Vec<Bytes>,
    sent_bytes: usize,
    /// For what was sent.
    room: Room,
    /// Whether `sent` is all that was sent.
    whole: bool,
    turn: u32,
    /// What of `sent` this turn has had.
    position: usize,
}

impl KeptBody {
    fn new(body: Box<Upload>, room: Room) -> Self {
        let state = State { body, sent: Vec::new(), sent_bytes: 0, room, whole: true, turn: 0, position: 0 };
        Self { state: Arc::new(Mutex::new(state)), turn: 0 }
    }

    /// The body to be sent, and what is kept of it.
    fn shared(self) -> (RequestBody, Spare) {
        (RequestBody::Kept(self.again()), Spare::Sent(self))
    }

    /// The same body from its beginning. Earlier readings get nothing more.
    fn again(&self) -> Self {
        let mut state = self.state();
        state.turn += 1;
        state.position = 0;
        Self { state: Arc::clone(&self.state), turn: state.turn }
    }

    fn is_whole(&self) -> bool {
        self.state().whole
    }

    /// Locked by one worker's tasks only, and never across a wait.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn poll_frame(&self, context: &mut Context<'_>) -> Poll<NextFrame<UploadError>> {
        let mut state = self.state();
        if state.turn != self.turn {
            return Poll::Pending;
        }
        state.poll(context)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let state = self.state();
        state.position >= state.sent.len() && state.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let state = self.state();
        let again: u64 = state.sent.iter().skip(state.position).map(|part| part.len() as u64).sum();
        longer(&state.body.size_hint(), again)
    }
}

impl State {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<NextFrame<UploadError>> {
        if let Some(part) = self.sent.get(self.position).cloned() {
            self.position += 1;
            if !self.whole {
                self.forget();
            }
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        let frame = ready!(self.body.poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            self.keep(frame);
        }
        Poll::Ready(frame)
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        match frame.data_ref() {
            Some(part) if self.has_room(part.len()) => {
                self.sent_bytes += part.len();
                self.sent.push(alone(part.clone()));
                self.position += 1;
            }
            _ => self.forget(),
        }
    }

    /// Whether further `bytes` can be kept; their room is taken then.
    fn has_room(&mut self, bytes: usize) -> bool {
        if !self.whole || self.sent_bytes + bytes > KEPT_MAX {
            return false;
        }
        let has_room = self.room.grow(weight(bytes));
        if !has_room {
            self.room.refuse();
        }
        has_room
    }

    /// What this turn has had is not needed any more. It goes on with the rest.
    fn forget(&mut self) {
        self.whole = false;
        self.sent.drain(..self.position).for_each(|part| self.room.shrink(weight(part.len())));
        self.position = 0;
    }
}
