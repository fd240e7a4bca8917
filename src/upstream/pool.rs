//! A worker's unused HTTP/1.1 connections to one endpoint, last in, first out: the ones used most stay warm, the rest grow old.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::http1::Line;

/// The unused connections to one endpoint. The lock is the worker's own and never contended.
pub(super) struct Pool<B> {
    idle: Mutex<Vec<Idle<B>>>,
    idle_timeout: Duration,
    idle_max: usize,
}

struct Idle<B> {
    line: Box<Line<B>>,
    since: Instant,
}

impl<B> Pool<B> {
    pub(super) fn new(idle_timeout: Duration, idle_max: usize) -> Self {
        Self { idle: Mutex::new(Vec::new()), idle_timeout, idle_max }
    }

    /// The connection that was used last, if it is still open and young enough; dead ones on top of it are let go.
    pub(super) fn take(&self, now: Instant) -> Option<Box<Line<B>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut last) = idle.pop() {
            if last.line.is_ready() && now.saturating_duration_since(last.since) < self.idle_timeout {
                return Some(last.line);
            }
        }
        None
    }

    /// Keeps a connection that is ready for another request; above the limit it is closed instead.
    pub(super) fn put(&self, line: Box<Line<B>>, now: Instant) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.idle_max {
            idle.push(Idle { line, since: now });
        }
    }

    /// Closes what has been unused for too long or was closed by the app.
    pub(super) fn sweep(&self, now: Instant) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain_mut(|kept| kept.line.is_ready() && now.saturating_duration_since(kept.since) < self.idle_timeout);
    }
}
