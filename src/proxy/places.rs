//! How many connections each client has: without a bound one address could take them all.
//!
//! An entry exists only while one of its connections does, so that what is remembered is bounded by `connections_max`.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;

/// Locks; a connection takes one of them twice in its life, so that workers hardly ever meet.
const SHARDS: usize = 64;

/// The places that clients have in the whole process.
#[derive(Debug)]
pub struct Places {
    max: usize,
    /// Chooses the shard.
    hasher: RandomState,
    shards: [Mutex<HashMap<Block, usize, RandomState>>; SHARDS],
}

impl Places {
    /// `max` places for each client.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, hasher: RandomState::default(), shards: std::array::from_fn(|_| Mutex::default()) })
    }

    /// A place for one more connection of `address`, unless all of its client's are taken.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let block = Block::of(address);
        let mut shard = self.shard(block);
        let taken = shard.entry(block).or_default();
        if *taken >= self.max {
            return None;
        }
        *taken += 1;
        drop(shard);
        Some(Place { places: Arc::clone(self), block })
    }

    fn give_back(&self, block: Block) {
        let mut shard = self.shard(block);
        let Some(taken) = shard.get_mut(&block) else { return };
        *taken -= 1;
        if *taken == 0 {
            shard.remove(&block);
        }
    }

    fn shard(&self, block: Block) -> MutexGuard<'_, HashMap<Block, usize, RandomState>> {
        let [chosen, ..] = self.hasher.hash_one(block).to_le_bytes();
        self.shards[usize::from(chosen) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    block: Block,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.give_back(self.block);
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
            let places = Places::new(max);
            let mut open: Vec<(u8, Place)> = Vec::new();
            for step in steps {
                match step {
                    Step::Come(client) => {
                        let taken = open.iter().filter(|(owner, _)| *owner == client).count();
                        let place = places.take(IpAddr::from([10, 0, 0, client]));
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
