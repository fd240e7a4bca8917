//! Where frames of HTTP/2 begin and end among bytes that come in pieces (RFC 9113 §4.1).

/// Length, type, flags and stream.
const HEAD: usize = 9;

/// Follows frames, and keeps only the head of the one that passes.
pub(super) struct Frames {
    head: [u8; HEAD],
    known: usize,
    /// Bytes of its payload that are still to come.
    left: usize,
}

/// A part of a frame.
pub(super) enum Part<'a> {
    /// Its head is known.
    Begins,
    /// Some of its payload.
    Payload(&'a [u8]),
    /// All of it has passed.
    Ends,
}

impl Frames {
    /// Behind so many bytes of something else, which pass as the payload of a frame of type 0.
    pub(super) fn behind(bytes: usize) -> Self {
        Self { head: [0; HEAD], known: HEAD, left: bytes }
    }

    /// The type of the frame that passes.
    pub(super) fn kind(&self) -> u8 {
        self.head[3]
    }

    /// Its flags.
    pub(super) fn flags(&self) -> u8 {
        self.head[4]
    }

    /// The next part among `bytes`, which are shortened by it; `None` where more of them are needed.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Part<'a>> {
        if self.known < HEAD {
            let missing = HEAD - self.known;
            let taken = take(bytes, missing);
            self.head[self.known..][..taken.len()].copy_from_slice(taken);
            self.known += taken.len();
            return (self.known == HEAD).then(|| self.begin());
        }
        if self.left == 0 {
            self.known = 0;
            return Some(Part::Ends);
        }
        let payload = take(bytes, self.left);
        self.left -= payload.len();
        (!payload.is_empty()).then_some(Part::Payload(payload))
    }

    fn begin(&mut self) -> Part<'static> {
        let [high, middle, low, ..] = self.head.map(usize::from);
        self.left = high << 16 | middle << 8 | low;
        Part::Begins
    }
}

/// At most so many of `bytes`, which are shortened by them.
fn take<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(most.min(bytes.len()));
    *bytes = rest;
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_wherever_the_bytes_are_cut(
            before in 0..30_usize,
            frames in prop::collection::vec((any::<u8>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)), 0..20),
            cut in 1..400_usize,
        ) {
            let mut bytes = vec![7; before];
            for (kind, flags, payload) in &frames {
                let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
                bytes.extend([&length[1..], &[*kind, *flags, 0, 0, 0, 1], payload].concat());
            }
            let (mut follower, mut seen, mut payload) = (Frames::behind(before), Vec::new(), Vec::new());
            for mut piece in bytes.chunks(cut) {
                while let Some(part) = follower.next(&mut piece) {
                    match part {
                        Part::Begins => payload.clear(),
                        Part::Payload(bytes) => payload.extend_from_slice(bytes),
                        Part::Ends => seen.push((follower.kind(), follower.flags(), payload.clone())),
                    }
                }
            }
            let other = (0, 0, vec![7; before]);
            // Without a first byte the end of what is in front of the frames is not seen either.
            let expected = std::iter::once(other).chain(frames).take(if bytes.is_empty() { 0 } else { usize::MAX });
            prop_assert_eq!(seen, expected.collect::<Vec<_>>());
        }
    }
}
