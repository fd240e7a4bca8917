//! What is kept of a request that shares a connection, until its answer begins: an app server may refuse it unprocessed,
//! and hyper does not give it back then.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri, Version};
use hyper::body::{Body, Frame, SizeHint};

use super::{
    body::{NextFrame, RequestBody},
    upload::{UploadError, longer},
};
use crate::upstream::StreamPermit;

/// Bytes of a body that are kept. A call of gRPC has less, and so has what is refused while a server is replaced; a
/// larger upload cannot be sent again once so much of it is on its way.
const KEPT_MAX: usize = 64 * 1024;

/// A request, ready to be sent once more.
pub(super) struct Replay {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Option<KeptBody>,
}

impl Replay {
    /// Keeps what is needed of `request`, whose body is read through this from now on and holds `permit`.
    pub(super) fn of(request: &mut Request<RequestBody>, permit: Arc<StreamPermit>) -> Self {
        let body = match std::mem::replace(request.body_mut(), RequestBody::Empty) {
            RequestBody::Empty => None,
            RequestBody::Kept(kept) => Some(kept),
            streaming => Some(KeptBody::new(streaming)),
        };
        if let Some(body) = &body {
            body.state().permit = Some(permit);
            *request.body_mut() = RequestBody::Kept(body.again());
        }
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Self { method, uri, headers: request.headers().clone(), body }
    }

    /// The request, unless more of its body was sent than is kept.
    pub(super) fn request(self) -> Option<Request<RequestBody>> {
        let body = match self.body {
            None => RequestBody::Empty,
            Some(body) if body.is_whole() => RequestBody::Kept(body.again()),
            Some(_) => return None,
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
        if let Some(body) = self.body {
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
    body: RequestBody,
    /// Of the stream that it is sent on.
    permit: Option<Arc<StreamPermit>>,
    sent: Vec<Bytes>,
    sent_bytes: usize,
    /// Whether `sent` is all that was sent.
    whole: bool,
    turn: u32,
    /// What of `sent` this turn has had.
    position: usize,
}

impl KeptBody {
    fn new(body: RequestBody) -> Self {
        let state = State { body, permit: None, sent: Vec::new(), sent_bytes: 0, whole: true, turn: 0, position: 0 };
        Self { state: Arc::new(Mutex::new(state)), turn: 0 }
    }

    /// The same body from its beginning. Earlier readings get nothing more: hyper may still ask for some.
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
        if let Some(part) = self.sent.get(self.position) {
            self.position += 1;
            return Poll::Ready(Some(Ok(Frame::data(part.clone()))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            self.keep(frame);
        }
        Poll::Ready(frame)
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        match frame.data_ref() {
            Some(part) if self.whole && self.sent_bytes + part.len() <= KEPT_MAX => {
                self.sent_bytes += part.len();
                self.sent.push(part.clone());
                self.position += 1;
            }
            _ => self.forget(),
        }
    }

    fn forget(&mut self) {
        self.whole = false;
        self.sent = Vec::new();
        self.position = 0;
    }
}
