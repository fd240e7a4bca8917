//! Where WebSocket frames begin and end (RFC 6455 §5.2), so that a farewell can be put between two of them. Nothing else of them
//! is looked at, and nothing is refused.

/// Two octets, a length of up to eight more, and a mask of four.
const HEADER_MAX: usize = 14;

const OPCODE: u8 = 0x0f;
const CLOSE: u8 = 0x08;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

/// A Close frame that says "going away" (1001, RFC 6455 §7.4.1), as servers send it.
pub(super) const FAREWELL: &[u8] = &[0x88, 0x02, 0x03, 0xe9];

/// The same as clients have to send it, masked; a mask of zeros hides nothing, and nothing needs to be hidden here.
pub(super) const FAREWELL_MASKED: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

/// The frames of one direction.
#[derive(Default)]
pub(super) struct Frames {
    header: [u8; HEADER_MAX],
    known: usize,
    payload_left: u64,
    is_closed: bool,
}

impl Frames {
    /// Follows `bytes`, which come next.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            if self.payload_left > 0 {
                let skipped = usize::try_from(self.payload_left).map_or(bytes.len(), |left| left.min(bytes.len()));
                self.payload_left -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            self.header[self.known] = *first;
            self.known += 1;
            bytes = rest;
            if self.known == self.header_length() {
                self.begin_payload();
            }
        }
    }

    /// Whether a frame may stand here: the last one is complete, and was no farewell.
    pub(super) fn has_room(&self) -> bool {
        self.known == 0 && self.payload_left == 0 && !self.is_closed
    }

    fn header_length(&self) -> usize {
        if self.known < 2 {
            return 2;
        }
        let mask = if self.header[1] & MASKED == 0 { 0 } else { 4 };
        2 + self.length_octets() + mask
    }

    fn length_octets(&self) -> usize {
        match self.header[1] & LENGTH {
            126 => 2,
            127 => 8,
            _ => 0,
        }
    }

    fn begin_payload(&mut self) {
        let extended = &self.header[2..2 + self.length_octets()];
        self.payload_left = match extended {
            [] => (self.header[1] & LENGTH).into(),
            octets => octets.iter().fold(0, |length, octet| length << 8 | u64::from(*octet)),
        };
        self.is_closed |= self.header[0] & OPCODE == CLOSE;
        self.known = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(payload: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { MASKED } else { 0 };
        let mut frame = vec![0x82];
        match payload {
            0..126 => frame.push(mask | u8::try_from(payload).unwrap()),
            126..65536 => {
                frame.push(mask | 126);
                frame.extend(u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        frame.resize(frame.len() + if masked { 4 } else { 0 } + payload, 0x88);
        frame
    }

    #[test]
    fn after_a_farewell_there_is_no_room_for_another() {
        for farewell in [FAREWELL, FAREWELL_MASKED] {
            let mut frames = Frames::default();
            frames.follow(farewell);
            assert!(!frames.has_room());
        }
    }

    proptest! {
        #[test]
        fn there_is_room_after_each_frame_and_nowhere_else(
            payloads in prop::collection::vec((prop_oneof![0..130_usize, 65_500..65_600_usize], any::<bool>()), 1..4),
            cuts in prop::collection::vec(1..5000_usize, 1..50),
        ) {
            let frames: Vec<Vec<u8>> = payloads.iter().map(|(payload, masked)| frame(*payload, *masked)).collect();
            let ends: Vec<usize> = frames.iter().scan(0, |end, frame| { *end += frame.len(); Some(*end) }).collect();
            let bytes = frames.concat();
            let (mut followed, mut position) = (Frames::default(), 0);
            for cut in cuts.iter().cycle() {
                let end = (position + cut).min(bytes.len());
                followed.follow(&bytes[position..end]);
                position = end;
                prop_assert_eq!(followed.has_room(), ends.contains(&position));
                if position == bytes.len() {
                    break;
                }
            }
        }

        #[test]
        fn no_bytes_are_too_odd_to_be_followed(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            Frames::default().follow(&bytes);
        }
    }
}
