//! How many connections to one endpoint the whole process may have open, and how a worker that has none comes to one.
//!
//! A worker that finds them all taken takes over one that another worker keeps and does not use: the socket itself, with its TLS. Where
//! all are in use it waits for one to be closed or returned.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{
        AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
};

use tokio::sync::Notify;

use super::{life::Life, stream::Parked};

/// The connections of all workers to one endpoint.
#[derive(Debug)]
pub(super) struct Connections {
    open: AtomicUsize,
    /// Those of them that serve no further request.
    left: AtomicUsize,
    limit: Option<Limit>,
}

#[derive(Debug)]
struct Limit {
    max: usize,
    /// Workers that wait.
    waiting: AtomicUsize,
    freed: Notify,
    /// Where each worker keeps what it does not use.
    lenders: Mutex<Vec<Weak<dyn Lender>>>,
}

/// Who may have a connection that is not in use.
pub(super) trait Lender: Send + Sync {
    /// Gives one away.
    fn lend(&self) -> Lent;
}

/// What a lender gives.
pub(super) enum Lent {
    /// It has none.
    Nothing,
    /// A connection, with what is left of its life.
    Connection(Parked, Life),
    /// It has closed one that was of no use any more.
    Closed,
}

impl Connections {
    /// With a limit of so many, if there is one.
    pub(super) fn new(max: Option<usize>) -> Self {
        let limit =
            max.map(|max| Limit { max, waiting: AtomicUsize::new(0), freed: Notify::new(), lenders: Mutex::default() });
        Self { open: AtomicUsize::new(0), left: AtomicUsize::new(0), limit }
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// The right to open one more, if there may be more.
    pub(super) fn permit(self: &Arc<Self>) -> Option<ConnectionPermit> {
        let has_room = |open: usize| (self.in_use(open) < self.max()).then_some(open + 1);
        let taken = self.open.fetch_update(SeqCst, SeqCst, has_room);
        taken.is_ok().then(|| ConnectionPermit { connections: Arc::clone(self), is_left: false })
    }

    /// Whether there may be no further one.
    pub(super) fn are_full(&self) -> bool {
        self.in_use(self.open.load(SeqCst)) >= self.max()
    }

    /// Of so many that are `open`. As many may be left as there may be in use, so that there are never more than twice that.
    fn in_use(&self, open: usize) -> usize {
        open.saturating_sub(self.left.load(SeqCst).min(self.max()))
    }

    fn max(&self) -> usize {
        self.limit.as_ref().map_or(usize::MAX, |limit| limit.max)
    }

    /// `lender` can be asked from now on, until it is dropped.
    pub(super) fn add_lender(&self, lender: Weak<dyn Lender>) {
        let Some(limit) = &self.limit else { return };
        let mut lenders = limit.lenders.lock().unwrap_or_else(PoisonError::into_inner);
        lenders.retain(|lender| lender.strong_count() > 0);
        lenders.push(lender);
    }

    /// What some worker can do without.
    pub(super) fn borrow(&self) -> Lent {
        let Some(limit) = &self.limit else { return Lent::Nothing };
        let lenders = limit.lenders.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut lent = lenders.iter().filter_map(Weak::upgrade).map(|lender| lender.lend());
        lent.find(|lent| !matches!(lent, Lent::Nothing)).unwrap_or(Lent::Nothing)
    }

    /// Waits until one was closed or returned after `look` had found none.
    pub(super) async fn wait<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let waiting = self.limit.as_ref().map(|limit| {
            limit.waiting.fetch_add(1, SeqCst);
            Waiting(limit)
        });
        loop {
            if let Some(found) = look() {
                return found;
            }
            match &waiting {
                Some(Waiting(limit)) => limit.freed.notified().await,
                None => std::future::pending().await,
            }
        }
    }

    /// One was closed, or is not in use any more: whoever waits may have it.
    pub(super) fn freed(&self) {
        if let Some(limit) = &self.limit
            && limit.waiting.load(SeqCst) > 0
        {
            limit.freed.notify_one();
        }
    }
}

/// One that waits, until it is dropped.
struct Waiting<'a>(&'a Limit);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // The word that has come for it may be meant for the next one.
        self.0.freed.notify_one();
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

/// The right to have a connection open, given back when it is dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    connections: Arc<Connections>,
    is_left: bool,
}

impl ConnectionPermit {
    /// The connection that it stands for is not in use any more.
    pub(super) fn at_rest(&self) {
        self.connections.freed();
    }

    /// The connection finishes what runs on it, which may take long, and serves nothing else: another one may take its place.
    pub(super) fn leave(&mut self) {
        if !std::mem::replace(&mut self.is_left, true) {
            self.connections.left.fetch_add(1, SeqCst);
            self.connections.freed();
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        // With the look at who waits in one order for all: neither may miss the other.
        // First, so that nobody takes it for free twice.
        if self.is_left {
            self.connections.left.fetch_sub(1, SeqCst);
        }
        self.connections.open.fetch_sub(1, SeqCst);
        self.connections.freed();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;

    #[test]
    fn no_more_are_open_than_may_be() {
        let connections = Arc::new(Connections::new(Some(2)));
        let permits = [connections.permit().unwrap(), connections.permit().unwrap()];
        assert!(connections.permit().is_none() && connections.open() == 2);
        drop(permits);
        assert!(connections.permit().is_some() && connections.open() == 0);
        let unlimited = Arc::new(Connections::new(None));
        let permits: Vec<_> = (0..1000).filter_map(|_| unlimited.permit()).collect();
        assert_eq!((permits.len(), unlimited.open()), (1000, 1000));
    }

    #[test]
    fn one_that_is_left_makes_room_and_is_open_for_as_long_as_it_is() {
        let connections = Arc::new(Connections::new(Some(1)));
        let mut left = connections.permit().unwrap();
        assert!(connections.are_full() && connections.permit().is_none());
        left.leave();
        left.leave();
        let next = connections.permit().unwrap();
        assert!(connections.are_full() && connections.permit().is_none() && connections.open() == 2);
        drop(left);
        assert!(connections.permit().is_none());
        let mut next = next;
        next.leave();
        let mut last = connections.permit().unwrap();
        last.leave();
        assert!(connections.permit().is_none(), "there are twice as many");
        drop((next, last));
        assert!(connections.permit().is_some() && connections.open() == 0);
    }

    #[test]
    fn who_waits_is_told_when_one_is_closed_or_at_rest() {
        let connections = Arc::new(Connections::new(Some(1)));
        let permit = connections.permit().unwrap();
        let mut waits = pin!(connections.wait(|| connections.permit()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        permit.at_rest();
        assert!(waits.as_mut().poll(&mut context).is_pending(), "it is in use still");
        drop(permit);
        assert!(waits.poll(&mut context).is_ready());
    }

    #[test]
    fn lenders_are_asked_in_turn() {
        struct Has(bool);
        impl Lender for Has {
            fn lend(&self) -> Lent {
                if self.0 { Lent::Closed } else { Lent::Nothing }
            }
        }
        let connections = Connections::new(Some(1));
        let lenders: [Arc<dyn Lender>; 2] = [Arc::new(Has(false)), Arc::new(Has(true))];
        lenders.iter().for_each(|lender| connections.add_lender(Arc::downgrade(lender)));
        assert!(matches!(connections.borrow(), Lent::Closed));
        drop(lenders);
        assert!(matches!(connections.borrow(), Lent::Nothing));
    }
}
