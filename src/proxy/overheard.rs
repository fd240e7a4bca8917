//! What h2 keeps to itself, found in what it reads and writes: streams that are refused since their client has as many as it may have
//! (RFC 9113 §5.1.2), a connection that does not begin with SETTINGS (§3.4), which it would serve, and a head that does not come to its
//! end (§4.3), for which it would wait.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    connection::Client,
    h2_frames::{Frames, Part},
    stream::ClientStream,
};
use crate::telemetry::outcome::Limit;

/// Types of frames, and a flag (RFC 9113 §6).
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Bytes in front of the first frame that is read (§3.4).
const PREFACE: usize = 24;

/// Where the type of that frame is: behind its length.
const FIRST_TYPE: usize = PREFACE + 3;

/// A reason for a RST_STREAM (§7).
const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];

/// A connection whose frames are looked at.
pub(super) struct Overheard {
    stream: Box<ClientStream>,
    client: Arc<Client>,
    beginning: Beginning,
    heads: Heads,
    refusals: Refusals,
}

impl Overheard {
    pub(super) fn new(stream: Box<ClientStream>, client: &Arc<Client>) -> Self {
        let (beginning, heads, refusals) = (Beginning::default(), Heads::default(), Refusals::default());
        Self { stream, client: Arc::clone(client), beginning, heads, refusals }
    }

    /// Notes whether what was `read` leaves a head unfinished.
    fn follow(&mut self, read: &[u8]) {
        let was_unfinished = self.heads.is_unfinished;
        let completed = self.heads.follow(read);
        let Client { pulse, worker, .. } = &*self.client;
        match self.heads.is_unfinished {
            true if completed || !was_unfinished => pulse.note_unfinished(Some(worker.clock.now_ms())),
            false if was_unfinished => pulse.note_unfinished(None),
            _ => {}
        }
    }

    fn count(&mut self, written: &[u8]) {
        let found = self.refusals.find(written);
        (0..found).for_each(|_| self.client.worker.metrics.limit(Limit::Streams));
    }
}

impl AsyncRead for Overheard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = &buffer.filled()[before..];
        if !self.beginning.allows(read) {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        self.follow(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Overheard {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.count(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, parts))?;
        let mut left = written;
        for part in parts {
            let length = part.len().min(left);
            self.count(&part[..length]);
            left -= length;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Looks at the first frame.
#[derive(Default)]
struct Beginning {
    /// Bytes read, as long as its type has not come.
    read: usize,
}

impl Beginning {
    /// Whether `bytes`, which are read next, leave it SETTINGS.
    fn allows(&mut self, bytes: &[u8]) -> bool {
        if self.read > FIRST_TYPE {
            return true;
        }
        let kind = bytes.get(FIRST_TYPE - self.read);
        self.read += bytes.len();
        kind.is_none_or(|kind| *kind == SETTINGS)
    }
}

/// Follows heads through the frames that are read.
struct Heads {
    frames: Frames,
    /// One has begun, and its last frame has not come to its end.
    is_unfinished: bool,
}

impl Default for Heads {
    fn default() -> Self {
        Self { frames: Frames::behind(PREFACE), is_unfinished: false }
    }
}

impl Heads {
    /// Goes on with `bytes`, which are read next; whether a head has come to its end among them.
    fn follow(&mut self, mut bytes: &[u8]) -> bool {
        let mut completed = false;
        while let Some(part) = self.frames.next(&mut bytes) {
            let is_of_head = matches!(self.frames.kind(), HEADERS | CONTINUATION);
            match part {
                Part::Begins if is_of_head => self.is_unfinished = true,
                Part::Ends if is_of_head && self.frames.flags() & END_HEADERS != 0 => {
                    self.is_unfinished = false;
                    completed = true;
                }
                _ => {}
            }
        }
        completed
    }
}

/// Finds refusals among the frames that are written.
struct Refusals {
    frames: Frames,
    /// The beginning of the payload.
    reason: [u8; 4],
    known: usize,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { frames: Frames::behind(0), reason: [0; 4], known: 0 }
    }
}

impl Refusals {
    /// How many there are in `bytes`, which are written next.
    fn find(&mut self, mut bytes: &[u8]) -> usize {
        let mut found = 0;
        while let Some(part) = self.frames.next(&mut bytes) {
            match part {
                Part::Begins => self.known = 0,
                Part::Payload(payload) if self.frames.kind() == RST_STREAM => self.learn(payload),
                Part::Payload(_) => {}
                Part::Ends => {
                    let is_refusal = self.frames.kind() == RST_STREAM && self.reason[..self.known] == REFUSED_STREAM;
                    found += usize::from(is_refusal);
                }
            }
        }
        found
    }

    fn learn(&mut self, payload: &[u8]) {
        let room = &mut self.reason[self.known..];
        let taken = payload.len().min(room.len());
        room[..taken].copy_from_slice(&payload[..taken]);
        self.known += taken;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    /// A frame, and whether it is a refusal. Payloads are full of what looks like one.
    fn any_frame() -> impl Strategy<Value = (Vec<u8>, bool)> {
        let looks_so = frame(RST_STREAM, &REFUSED_STREAM);
        let other = (0..10_u8, 0..60_usize).prop_map(move |(kind, times)| {
            let kind = if kind == RST_STREAM { 0 } else { kind };
            (frame(kind, &looks_so.repeat(times)), false)
        });
        let reset = (0..14_u8).prop_map(|reason| (frame(RST_STREAM, &[0, 0, 0, reason]), reason == REFUSED_STREAM[3]));
        prop_oneof![other, reset]
    }

    #[test]
    fn the_first_frame_has_to_be_settings_wherever_the_bytes_are_cut() {
        let preface = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        for (kind, is_allowed) in [(SETTINGS, true), (RST_STREAM, false), (0, false)] {
            let bytes = [&preface[..], &frame(kind, &[0; 6]), &frame(0, &[7; 40])].concat();
            for cut in 1..bytes.len() {
                let mut beginning = Beginning::default();
                let allowed = bytes.chunks(cut).all(|part| beginning.allows(part));
                assert_eq!(allowed, is_allowed, "{kind} in parts of {cut}");
            }
        }
    }

    #[test]
    fn a_head_is_unfinished_from_its_first_frame_to_the_end_of_its_last() {
        const PING: u8 = 6;
        let with = |kind, flags, payload: &[u8]| {
            let mut frame = frame(kind, payload);
            frame[4] = flags;
            frame
        };
        let whole = with(HEADERS, END_HEADERS, b"abc");
        let parts = [with(HEADERS, 0, b"abc"), with(CONTINUATION, 0, b""), with(CONTINUATION, END_HEADERS, b"def")];
        let mut heads = Heads::default();
        let mut follow = |bytes: &[u8]| (heads.follow(bytes), heads.is_unfinished);
        assert_eq!(follow(&[&[0; PREFACE][..], &frame(SETTINGS, &[]), &frame(PING, &[4; 8])].concat()), (false, false));
        assert_eq!(follow(&whole), (true, false));
        assert_eq!(follow(&whole[..9]), (false, true));
        assert_eq!(follow(&whole[9..]), (true, false));
        for part in &parts[..2] {
            assert_eq!(follow(part), (false, true));
        }
        assert_eq!(follow(&parts[2][..11]), (false, true));
        assert_eq!(follow(&[&parts[2][11..], &whole[..9]].concat()), (true, true), "the next one has begun");
    }

    proptest! {
        #[test]
        fn refusals_are_found_wherever_the_bytes_are_cut(
            frames in prop::collection::vec(any_frame(), 0..20),
            cuts in prop::collection::vec(1..400_usize, 1..50),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(frame, _)| frame.clone()).collect();
            let (mut refusals, mut rest, mut found) = (Refusals::default(), &bytes[..], 0);
            for cut in cuts.iter().cycle() {
                let (next, behind) = rest.split_at((*cut).min(rest.len()));
                found += refusals.find(next);
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, frames.iter().filter(|(_, is_refusal)| *is_refusal).count());
        }

        #[test]
        fn no_bytes_are_too_odd_to_be_followed(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            Refusals::default().find(&bytes);
        }
    }
}
