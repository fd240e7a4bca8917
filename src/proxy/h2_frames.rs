//! What h2 keeps to itself, found in what it reads and writes: streams that are refused since their client has as many as it may have
//! (RFC 9113 §5.1.2), and a connection that does not begin with SETTINGS (§3.4), which it would serve.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{connection::Client, stream::ClientStream};
use crate::telemetry::outcome::Limit;

/// Length, type, flags and stream of a frame (RFC 9113 §4.1), and behind them the reason of a RST_STREAM (§6.4).
const HEAD: usize = 9;
const RESET: usize = HEAD + 4;

const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;

/// Where the type of the first frame is: behind the preface, and the length of the frame.
const FIRST_TYPE: usize = 24 + 3;

const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];

/// A connection whose frames are looked at.
pub(super) struct Overheard {
    stream: Box<ClientStream>,
    client: Arc<Client>,
    beginning: Beginning,
    refusals: Refusals,
}

impl Overheard {
    pub(super) fn new(stream: Box<ClientStream>, client: &Arc<Client>) -> Self {
        Self { stream, client: Arc::clone(client), beginning: Beginning::default(), refusals: Refusals::default() }
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
        match self.beginning.allows(&buffer.filled()[before..]) {
            true => Poll::Ready(Ok(())),
            false => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
        }
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

/// Finds refusals among the frames that are written.
#[derive(Default)]
struct Refusals {
    /// The beginning of a frame, as far as it is known.
    frame: [u8; RESET],
    known: usize,
    /// Bytes of its payload that are still to come.
    left: usize,
}

impl Refusals {
    /// How many there are in `bytes`, which are written next.
    fn find(&mut self, mut bytes: &[u8]) -> usize {
        let mut found = 0;
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = self.learn(&bytes[skipped..]);
            if self.is_known() {
                found += usize::from(self.frame[HEAD..self.known] == REFUSED_STREAM);
                self.begin_payload();
            }
        }
        found
    }

    /// Takes from `bytes` what is to be known of a frame; gives back the rest.
    fn learn<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let missing = if self.known < HEAD { HEAD } else { RESET } - self.known;
        let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
        self.frame[self.known..][..taken.len()].copy_from_slice(taken);
        self.known += taken.len();
        rest
    }

    fn is_known(&self) -> bool {
        self.known == RESET || self.known == HEAD && self.frame[3] != RST_STREAM
    }

    fn begin_payload(&mut self) {
        let [high, middle, low, ..] = self.frame.map(usize::from);
        self.left = (high << 16 | middle << 8 | low).saturating_sub(self.known - HEAD);
        self.known = 0;
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
