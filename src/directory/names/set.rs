//! A set of hashes that takes ten bytes for each.

/// Of 16 places, so many are taken at most: beyond it the probes grow long.
const LOAD: usize = 13;

/// The smallest table.
const PLACES_MIN: usize = 1024;

/// An open-addressing table of hashes, probed in a line. Hashes are good enough to choose the place by themselves: the high bits
/// say which, whatever the size of the table, so that it can grow by a third instead of twice. Nothing is ever taken out.
#[derive(Debug)]
pub(super) struct HashSet {
    /// 0 is an empty place.
    places: Box<[u64]>,
    taken: usize,
}

impl HashSet {
    pub(super) fn with_room_for(names: usize) -> Self {
        let places = (names / LOAD + 1).saturating_mul(16).max(PLACES_MIN);
        Self { places: vec![0; places].into(), taken: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.taken
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.places)
    }

    pub(super) fn contains(&self, hash: u64) -> bool {
        self.places[self.find(filled(hash))] != 0
    }

    pub(super) fn insert(&mut self, hash: u64) {
        let hash = filled(hash);
        let place = self.find(hash);
        if self.places[place] != 0 {
            return;
        }
        self.places[place] = hash;
        self.taken += 1;
        if self.taken > self.places.len() / 16 * LOAD {
            self.grow();
        }
    }

    /// Where `hash` stands, or the empty place where it would.
    fn find(&self, hash: u64) -> usize {
        let mut place = self.first_place(hash);
        while self.places[place] != 0 && self.places[place] != hash {
            place = if place + 1 == self.places.len() { 0 } else { place + 1 };
        }
        place
    }

    #[expect(clippy::cast_possible_truncation, reason = "smaller than the number of places")]
    fn first_place(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.places.len() as u128) >> u64::BITS) as usize
    }

    fn grow(&mut self) {
        let mut larger = Self { places: vec![0; self.places.len() / 3 * 4].into(), taken: 0 };
        self.places.iter().filter(|hash| **hash != 0).for_each(|hash| larger.insert(*hash));
        *self = larger;
    }
}

fn filled(hash: u64) -> u64 {
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_has_what_was_put_in_and_nothing_else(
            put in proptest::collection::hash_set(any::<u64>(), 0..5000),
            others in proptest::collection::vec(any::<u64>(), 0..100),
            room in 0_usize..2000,
        ) {
            let mut set = HashSet::with_room_for(room);
            put.iter().for_each(|hash| set.insert(*hash));
            prop_assert!(put.iter().all(|hash| set.contains(*hash)));
            let expected = |hash: &u64| put.iter().any(|one| filled(*one) == filled(*hash));
            prop_assert!(others.iter().all(|hash| set.contains(*hash) == expected(hash)));
        }

        /// All at one end of the table, so that probes go around it.
        #[test]
        fn crowded_hashes_are_found(put in proptest::collection::hash_set(u64::MAX - 3000..=u64::MAX, 0..800)) {
            let mut set = HashSet::with_room_for(0);
            put.iter().for_each(|hash| set.insert(*hash));
            prop_assert_eq!(set.len(), put.len());
            prop_assert!(put.iter().all(|hash| set.contains(*hash)));
        }
    }

    #[test]
    fn a_million_names_take_ten_bytes_each() {
        let mut set = HashSet::with_room_for(1_000_000);
        let mut rng = fastrand::Rng::with_seed(1);
        (0..1_000_000).for_each(|_| set.insert(rng.u64(..)));
        assert_eq!(set.len(), 1_000_000);
        assert!(set.bytes() <= 10_000_000, "{} bytes", set.bytes());
    }

    #[test]
    fn nought_is_a_hash_like_others() {
        let mut set = HashSet::with_room_for(0);
        assert!(!set.contains(0));
        set.insert(0);
        assert!(set.contains(0));
    }
}
