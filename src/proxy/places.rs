//! How many connections each client has, and how many requests on all of them: without a bound one address could take everything.
//!
//! An entry exists only while one of its connections or requests does, so that what is remembered is bounded by what they are.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use foldhash::fast::RandomState;

/// Locks; a connection takes one of them twice in its life, so that workers hardly ever meet.
const SHARDS: usize = 64;

/// What clients have in the whole process.
#[derive(Debug)]
pub struct Places {
    connections_max: usize,
    requests_max: usize,
    /// Chooses the shard.
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

type Shard = HashMap<Block, Guest, RandomState>;

/// One client.
#[derive(Debug, Default)]
struct Guest {
    connections: usize,
    /// Requests that a proxy of ours has brought.
    visits: usize,
    /// Requests at once, on connections of its own and brought by proxies.
    requests: Arc<AtomicUsize>,
}

impl Places {
    /// `connections_max` connections for each client, and `requests_max` requests at once on all of them.
    pub fn new(connections_max: usize, requests_max: usize) -> Arc<Self> {
        let shards = std::array::from_fn(|_| Mutex::default());
        Arc::new(Self { connections_max, requests_max, hasher: RandomState::default(), shards })
    }

    /// A place for one more connection of `address`, unless all of its client's are taken.
    pub(super) fn connect(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let block = Block::of(address);
        let mut shard = self.shard(block);
        let guest = shard.entry(block).or_default();
        if guest.connections >= self.connections_max {
            return None;
        }
        guest.connections += 1;
        Some(self.place(block, Kind::Connection, guest))
    }

    /// The place of a client that a proxy of ours speaks for.
    pub(super) fn visit(self: &Arc<Self>, address: IpAddr) -> Place {
        let block = Block::of(address);
        let mut shard = self.shard(block);
        let guest = shard.entry(block).or_default();
        guest.visits += 1;
        self.place(block, Kind::Visit, guest)
    }

    fn place(self: &Arc<Self>, block: Block, kind: Kind, guest: &Guest) -> Place {
        Place { places: Arc::clone(self), block, kind, requests: Arc::clone(&guest.requests) }
    }

    fn give_back(&self, block: Block, kind: Kind) {
        let mut shard = self.shard(block);
        let Some(guest) = shard.get_mut(&block) else { return };
        match kind {
            Kind::Connection => guest.connections -= 1,
            Kind::Visit => guest.visits -= 1,
        }
        if guest.connections + guest.visits == 0 {
            shard.remove(&block);
        }
    }

    fn shard(&self, block: Block) -> MutexGuard<'_, Shard> {
        let [chosen, ..] = self.hasher.hash_one(block).to_le_bytes();
        self.shards[usize::from(chosen) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection, or of a request that a proxy has brought; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    block: Block,
    kind: Kind,
    requests: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Connection,
    Visit,
}

impl Place {
    /// One more request of this client; `None` where it has as many as it may.
    pub(super) fn begin(&self) -> Option<Turn> {
        let turn = Turn { requests: Arc::clone(&self.requests), _visit: None };
        (turn.requests.fetch_add(1, Relaxed) < self.places.requests_max).then_some(turn)
    }

    /// The same for the one request that this place was taken for.
    pub(super) fn begin_visit(self) -> Option<Turn> {
        let mut turn = self.begin()?;
        turn._visit = Some(self);
        Some(turn)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.give_back(self.block, self.kind);
    }
}

/// One request among those that its client has at once, until dropped.
#[derive(Debug)]
pub(super) struct Turn {
    requests: Arc<AtomicUsize>,
    _visit: Option<Place>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.requests.fetch_sub(1, Relaxed);
    }
}

/// The addresses of one client: with IPv6 each has a whole /64 to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Block {
    V4(u32),
    V6(u64),
}

impl Block {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(address: &str) -> Block {
        Block::of(address.parse().unwrap())
    }

    fn entries(places: &Places) -> usize {
        places.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[test]
    fn a_client_is_an_address_or_with_ipv6_a_network_of_64_bits() {
        assert_ne!(block("203.0.113.7"), block("203.0.113.8"));
        assert_eq!(block("203.0.113.7"), block("::ffff:203.0.113.7"));
        assert_eq!(block("2001:db8:1:2::1"), block("2001:db8:1:2:ffff::2"));
        assert_ne!(block("2001:db8:1:2::1"), block("2001:db8:1:3::1"));
        assert_ne!(block("0.0.0.1"), block("0:0:0:1::"));
    }

    #[test]
    fn requests_of_one_client_count_together_on_whatever_connection_they_come() {
        let places = Places::new(10, 2);
        let [client, other] = ["203.0.113.7", "203.0.113.8"].map(|address| address.parse().unwrap());
        let connections = [places.connect(client).unwrap(), places.connect(client).unwrap()];
        let first = connections[0].begin().unwrap();
        let brought = places.visit(client).begin_visit().unwrap();
        assert!(connections[1].begin().is_none() && places.visit(client).begin_visit().is_none());
        assert!(places.visit(other).begin_visit().is_some());
        drop(brought);
        assert!(connections[1].begin().is_some());
        drop((first, connections));
        assert_eq!(entries(&places), 0);
    }

    /// One connection comes, or one of those that are open goes.
    #[derive(Clone, Debug)]
    enum Step {
        Come(u8),
        Go(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![3 => (0..8u8).prop_map(Step::Come), 2 => any::<prop::sample::Index>().prop_map(Step::Go)]
    }

    proptest! {
        #[test]
        fn a_place_is_refused_exactly_while_all_are_taken_and_none_is_kept(
            max in 1..5usize,
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let places = Places::new(max, 1);
            let mut open: Vec<(u8, Place)> = Vec::new();
            for step in steps {
                match step {
                    Step::Come(client) => {
                        let taken = open.iter().filter(|(owner, _)| *owner == client).count();
                        let place = places.connect(IpAddr::from([10, 0, 0, client]));
                        prop_assert_eq!(place.is_some(), taken < max);
                        open.extend(place.map(|place| (client, place)));
                    }
                    Step::Go(index) if !open.is_empty() => drop(open.swap_remove(index.index(open.len()))),
                    Step::Go(_) => {}
                }
                let clients: std::collections::HashSet<u8> = open.iter().map(|(owner, _)| *owner).collect();
                prop_assert_eq!(entries(&places), clients.len());
            }
            open.clear();
            prop_assert_eq!(entries(&places), 0);
        }
    }
}
