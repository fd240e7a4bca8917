//! The end of the access log: a file or standard output that may fill up, close or stall.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
    thread,
    time::Duration,
};

/// Pause where the other end asks for one: standard output may have been made non-blocking by whoever shares it.
const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(10);

/// Writes whole lines, and knows when it could not.
pub(super) struct Sink<W> {
    out: W,
    /// The last line written lacks its end.
    torn: bool,
}

/// Only the first `written` bytes got out.
#[derive(Debug)]
pub(super) struct Incomplete {
    pub(super) written: usize,
    pub(super) error: io::Error,
}

impl Sink<File> {
    /// Appends to the file at `path`; where it is made, only owner and group can read it: log lines are personal data.
    pub(super) fn file(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
        Ok(Self::new(file))
    }

    /// Without the buffer of [`io::stdout`], which would cut the batches into lines again.
    pub(super) fn stdout() -> io::Result<Self> {
        Ok(Self::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
    }
}

impl<W: Write> Sink<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, torn: false }
    }

    /// Writes `lines`, waiting as long as the other end makes it wait. A line that broke off in an earlier call is ended
    /// first, so that it spoils no other.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), Incomplete> {
        if self.torn {
            self.write_all(b"\n").map_err(|incomplete| Incomplete { written: 0, ..incomplete })?;
            self.torn = false;
        }
        let result = self.write_all(lines);
        if let Err(Incomplete { written, .. }) = &result {
            self.torn = lines[..*written].last().is_some_and(|last| *last != b'\n');
        }
        result
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Incomplete> {
        let mut written = 0;
        while written < bytes.len() {
            match self.out.write(&bytes[written..]) {
                Ok(0) => return Err(Incomplete { written, error: ErrorKind::WriteZero.into() }),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(WOULD_BLOCK_PAUSE),
                Err(error) => return Err(Incomplete { written, error }),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does what the script says, call by call: takes so many bytes, or fails.
    struct Scripted<'a> {
        script: std::vec::IntoIter<Result<usize, ErrorKind>>,
        taken: &'a mut Vec<u8>,
    }

    impl Write for Scripted<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.script.next().expect("one write more than scripted")?.min(bytes.len());
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Drop for Scripted<'_> {
        fn drop(&mut self) {
            assert_eq!(self.script.next(), None, "a write fewer than scripted");
        }
    }

    fn sink(script: Vec<Result<usize, ErrorKind>>, taken: &mut Vec<u8>) -> Sink<Scripted<'_>> {
        Sink::new(Scripted { script: script.into_iter(), taken })
    }

    #[test]
    fn short_writes_interruptions_and_pauses_lose_nothing() {
        let mut taken = Vec::new();
        let script = vec![Ok(2), Err(ErrorKind::Interrupted), Ok(1), Err(ErrorKind::WouldBlock), Ok(99)];
        sink(script, &mut taken).write(b"one\ntwo\n").unwrap();
        assert_eq!(taken, b"one\ntwo\n");
    }

    #[test]
    fn a_line_that_broke_off_is_ended_before_the_next_one() {
        let mut taken = Vec::new();
        let full = Err(ErrorKind::StorageFull);
        let mut sink = sink(vec![Ok(6), full, full, Ok(1), Ok(99)], &mut taken);
        assert_eq!(sink.write(b"one\ntwo\n").unwrap_err().written, 6);
        assert_eq!(sink.write(b"three\n").unwrap_err().written, 0);
        sink.write(b"four\n").unwrap();
        drop(sink);
        assert_eq!(taken, b"one\ntw\nfour\n");
    }

    #[test]
    fn a_break_between_lines_leaves_no_empty_line() {
        let mut taken = Vec::new();
        let mut sink = sink(vec![Ok(4), Err(ErrorKind::BrokenPipe), Ok(99)], &mut taken);
        assert_eq!(sink.write(b"one\ntwo\n").unwrap_err().written, 4);
        sink.write(b"three\n").unwrap();
        drop(sink);
        assert_eq!(taken, b"one\nthree\n");
    }
}
