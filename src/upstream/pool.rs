//! A worker's unused HTTP/1.1 connections to one endpoint, last in, first out: the ones used most stay warm, the rest grow old.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    connections::{Lender, Lent},
    http1::Line,
};

/// The unused connections to one endpoint. The lock is the worker's own and not contended, but where another worker has to have one
/// of them since there may be no more.
pub(super) struct Pool<B> {
    idle: Mutex<Vec<Idle<B>>>,
    idle_timeout: Duration,
    idle_max: usize,
}

struct Idle<B> {
    line: Box<Line<B>>,
    since: Instant,
}

impl<B> Idle<B> {
    fn is_young(&self, idle_timeout: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < idle_timeout
    }
}

impl<B> Pool<B> {
    pub(super) fn new(idle_timeout: Duration, idle_max: usize) -> Self {
        Self { idle: Mutex::new(Vec::new()), idle_timeout, idle_max }
    }

    /// The connection that was used last, if it is still open and young enough; dead ones on top of it are let go.
    pub(super) fn take(&self, now: Instant) -> Option<Box<Line<B>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut last) = idle.pop() {
            if last.is_young(self.idle_timeout, now) && last.line.is_ready() && !last.line.life().is_over(now) {
                return Some(last.line);
            }
        }
        None
    }

    /// Keeps a connection that is ready for another request; above the limit, or at the end of its life, it is closed instead.
    pub(super) fn put(&self, line: Box<Line<B>>, now: Instant) {
        if line.life().is_over(now) {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.idle_max {
            line.life().rest();
            idle.push(Idle { line, since: now });
        }
    }

    /// Closes what has been unused for too long or was closed by the app.
    pub(super) fn sweep(&self, now: Instant) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain_mut(|kept| {
            kept.is_young(self.idle_timeout, now) && kept.line.is_ready() && !kept.line.life().is_over(now)
        });
    }
}

impl<B: Send> Lender for Pool<B> {
    /// The one that was unused for longest.
    fn lend(&self) -> Lent {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.is_empty() {
            return Lent::Nothing;
        }
        let mut oldest = idle.remove(0);
        drop(idle);
        if !oldest.line.is_ready() {
            return Lent::Closed;
        }
        let parts = oldest.line.into_parts();
        match parts.and_then(|(stream, life)| Some((stream.park()?, life))) {
            Some((socket, life)) => Lent::Connection(socket, life),
            None => Lent::Closed,
        }
    }
}
