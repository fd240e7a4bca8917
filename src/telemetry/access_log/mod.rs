//! One JSON line per exchange, through buffered writers that never block a worker.
//!
//! A worker formats into a buffer of its own and hands it over when it is full; one thread writes. The same thread
//! collects what idle workers hold, so no line waits longer than the flush interval for its turn. Where the other end
//! cannot keep up, lines are dropped and counted: serving comes before logging.

mod line;
mod queue;
mod settings;
mod sink;

use std::{
    fs::File,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use line::Clock;
pub use line::{Line, Try};
use queue::{Next, Queue};
pub use settings::{Settings, Target};
use sink::{Incomplete, Sink};

/// A shorter flush interval would keep the writing thread busy with nothing.
const FLUSH_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// A longer one would only be another word for never, and at some length no clock could show its end.
const FLUSH_INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// How long the end of the process waits for a target that takes no more; a guess, shorter than any supervisor's patience.
const FINISH_PATIENCE: Duration = Duration::from_secs(5);

/// A full disk is worth one warning in this time, not one per batch.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// One worker's own buffer of lines.
pub struct Writer {
    /// None where the access log is off.
    tap: Option<Tap>,
}

struct Tap {
    /// Locked by this worker for each line, and by the writing thread once per flush interval to swap the lines out.
    buffer: Arc<Mutex<Buffer>>,
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Buffer {
    lines: Vec<u8>,
    clock: Clock,
}

impl Writer {
    /// Formats `line` into this worker's buffer; never waits, and drops the line where the writer cannot keep up.
    pub fn write(&self, line: &Line<'_>) {
        let Some(Tap { buffer, queue }) = &self.tap else { return };
        let mut buffer = lock(buffer);
        let Buffer { lines, clock } = &mut *buffer;
        line.append_to(lines, clock);
        if lines.len() >= queue.batch_bytes {
            queue.hand_over(lines);
        }
    }
}

/// The access log of the process: its thread, and the way to get writers.
pub struct AccessLog {
    /// None where the access log is off.
    running: Option<Running>,
}

#[derive(Clone)]
struct Running {
    queue: Arc<Queue>,
    buffers: Arc<Mutex<Vec<Arc<Mutex<Buffer>>>>>,
}

impl AccessLog {
    /// Opens the target and starts the writing thread.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let sink = match &settings.target {
            Target::Off => return Ok(Self { running: None }),
            Target::Stdout => Sink::stdout()?,
            Target::File(path) => Sink::file(path)?,
        };
        let running =
            Running { queue: Arc::new(Queue::new(settings.buffer_max_bytes)), buffers: Arc::new(Mutex::default()) };
        let flush_interval = settings.flush_interval.clamp(FLUSH_INTERVAL_MIN, FLUSH_INTERVAL_MAX);
        let thread = WritingThread { running: running.clone(), sink, flush_interval, losses: Losses::default() };
        thread::Builder::new().name("access-log".into()).spawn(move || thread.run())?;
        Ok(Self { running: Some(running) })
    }

    /// A writer for one worker; it is kept for as long as the access log, so one per worker and not per connection.
    pub fn writer(&self) -> Writer {
        let tap = self.running.as_ref().map(|running| {
            let buffer = Arc::<Mutex<Buffer>>::default();
            lock(&running.buffers).push(buffer.clone());
            Tap { buffer, queue: running.queue.clone() }
        });
        Writer { tap }
    }

    /// Lines dropped so far.
    pub fn dropped(&self) -> u64 {
        self.running.as_ref().map_or(0, |running| running.queue.dropped())
    }

    /// Reads the lines dropped so far, for the metrics, which outlive this value.
    pub fn dropped_counter(&self) -> impl Fn() -> u64 + Send + Sync + use<> {
        let queue = self.running.as_ref().map(|running| running.queue.clone());
        move || queue.as_ref().map_or(0, |queue| queue.dropped())
    }

    /// Writes what is left and ends the thread. A target that takes nothing for 5 s is given up with a warning.
    ///
    /// Lines written by a worker after this are lost, so the workers end first.
    pub fn finish(self) {
        if !self.finish_within(FINISH_PATIENCE) {
            tracing::warn!("access log abandoned before its end, its target takes no more");
        }
    }

    fn finish_within(self, patience: Duration) -> bool {
        self.running.is_none_or(|running| {
            running.queue.finish();
            running.queue.wait_closed(patience)
        })
    }
}

/// Takes batches from the queue and lines from idle workers, and writes them.
struct WritingThread {
    running: Running,
    sink: Sink<File>,
    flush_interval: Duration,
    losses: Losses,
}

impl WritingThread {
    fn run(mut self) {
        let mut flush_at = Instant::now() + self.flush_interval;
        loop {
            match self.running.queue.next(flush_at) {
                Next::Batch(batch) => self.write(batch),
                Next::Flush => {}
                Next::Finish => {
                    self.collect();
                    if self.running.queue.close() {
                        return;
                    }
                }
            }
            let now = Instant::now();
            if now >= flush_at {
                self.collect();
                flush_at = now + self.flush_interval;
            }
            self.losses.warn(self.running.queue.dropped(), now);
        }
    }

    /// Queues what each worker holds, behind what it handed over before. One in, one out: many workers with a little each
    /// do not overflow a queue that keeps up.
    fn collect(&mut self) {
        let Running { queue, buffers } = self.running.clone();
        let buffers = lock(&buffers).clone();
        for buffer in buffers {
            // The worker gets its buffer back before anything is written: the write may stall.
            queue.hand_over(&mut lock(&buffer).lines);
            queue.pop().into_iter().for_each(|batch| self.write(batch));
        }
    }

    fn write(&mut self, batch: Vec<u8>) {
        if let Err(Incomplete { written, error }) = self.sink.write(&batch) {
            self.running.queue.count_dropped(&batch[written..]);
            self.losses.error = Some(error);
        }
        self.running.queue.recycle(batch);
    }
}

/// What was told about dropped lines, and what is still to be told.
#[derive(Default)]
struct Losses {
    told: u64,
    told_at: Option<Instant>,
    /// The last failure to write; none where the target was merely too slow.
    error: Option<io::Error>,
}

impl Losses {
    fn warn(&mut self, dropped: u64, now: Instant) {
        let recently = self.told_at.is_some_and(|at| now.duration_since(at) < WARNING_INTERVAL);
        if dropped == self.told || recently {
            return;
        }
        let error = self.error.take().map(tracing::field::display);
        tracing::warn!(lines = dropped - self.told, error, "access log lines dropped");
        (self.told, self.told_at) = (dropped, Some(now));
    }
}

/// A line is appended whole or, where formatting panicked, is cut: its own exchange's loss, not the whole log's.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{BufRead, BufReader},
        net::Ipv4Addr,
        os::unix::fs::PermissionsExt,
        path::Path,
        process::Command,
    };

    use super::*;

    const NEVER: Duration = Duration::from_secs(3600);

    /// More than the lines of any test but the one that fills it.
    const BUFFER_MAX_BYTES: usize = 1024 * 1024;

    fn start(target: &Path, flush_interval: Duration) -> AccessLog {
        start_with(target, flush_interval, BUFFER_MAX_BYTES)
    }

    fn start_with(target: &Path, flush_interval: Duration, buffer_max_bytes: usize) -> AccessLog {
        let target = Target::File(target.to_owned());
        AccessLog::start(Settings { target, buffer_max_bytes, flush_interval }).unwrap()
    }

    fn write(writer: &Writer, attempts: u32) {
        writer.write(&Line {
            time_ms: 1_767_225_599_007,
            request_id: "0190b5a4",
            client: Ipv4Addr::LOCALHOST.into(),
            method: "GET",
            host: "shop.alpha.com",
            target: "/",
            version: "HTTP/1.1",
            tls: "",
            store: "1",
            matched: "subdomain",
            status: 200,
            bytes_in: 0,
            bytes_out: 150,
            duration_us: 1234,
            upstream_us: 1200,
            endpoint: "127.0.0.1:8000",
            attempts,
            tries: &[],
            outcome: "ok",
            fault: "",
            reason: "",
        });
    }

    /// The numbers given to [`write`], in the order of the file.
    fn attempts(log: &str) -> Vec<u64> {
        let attempts = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["attempts"].as_u64().unwrap();
        log.lines().map(attempts).collect()
    }

    #[test]
    fn finish_writes_the_lines_of_all_workers_each_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let log = start(&path, NEVER);
        let workers = [0, 1_000_000].map(|first| {
            let writer = log.writer();
            thread::spawn(move || (first..first + 500).for_each(|number| write(&writer, number)))
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        let dropped = log.dropped_counter();
        assert!(log.finish_within(NEVER));
        assert_eq!(dropped(), 0);
        let (first, second): (Vec<_>, Vec<_>) =
            attempts(&fs::read_to_string(&path).unwrap()).into_iter().partition(|number| *number < 1_000_000);
        assert_eq!(first, (0..500).collect::<Vec<_>>());
        assert_eq!(second, (1_000_000..1_000_500).collect::<Vec<_>>());
    }

    #[test]
    fn many_workers_with_a_line_each_do_not_overflow_a_small_queue() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let log = start_with(&path, NEVER, 1024);
        (0..50).for_each(|number| write(&log.writer(), number));
        let dropped = log.dropped_counter();
        assert!(log.finish_within(NEVER));
        assert_eq!(dropped(), 0);
        assert_eq!(attempts(&fs::read_to_string(&path).unwrap()), (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn a_log_is_appended_to_and_not_readable_for_everybody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        for number in [1, 2] {
            let log = start(&path, NEVER);
            write(&log.writer(), number);
            assert!(log.finish_within(NEVER));
        }
        assert_eq!(attempts(&fs::read_to_string(&path).unwrap()), [1, 2]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
    }

    #[test]
    fn a_single_line_of_an_idle_worker_is_written_after_the_flush_interval() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let log = start(&path, Duration::from_millis(20));
        write(&log.writer(), 7);
        let deadline = Instant::now() + Duration::from_secs(20);
        while fs::read_to_string(&path).unwrap().is_empty() {
            assert!(Instant::now() < deadline, "the line was never flushed");
            thread::sleep(Duration::from_millis(5));
        }
        assert!(log.finish_within(NEVER));
        assert_eq!(attempts(&fs::read_to_string(&path).unwrap()), [7]);
    }

    #[test]
    fn a_reader_that_stalls_costs_counted_lines_and_no_time_of_the_worker() {
        const LINES: u32 = 20_000;
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        // Open for both, so that opening it does not wait for the other side.
        let stalled = File::options().read(true).write(true).open(&fifo).unwrap();
        let log = start(&fifo, Duration::from_millis(5));
        let writer = log.writer();
        // Slowly at first, until the pipe is full: the writing thread then stalls while it collects, and not with a full batch.
        for number in 0..300 {
            write(&writer, number);
            thread::sleep(Duration::from_millis(1));
        }
        // Several times what pipe and queue hold, while nobody reads: this loop ends only if writing never waits.
        (300..LINES).for_each(|number| write(&writer, number));
        let while_stalled = log.dropped();
        assert!(while_stalled > u64::from(LINES) / 2, "{while_stalled}");

        let dropped = log.dropped_counter();
        let reader = BufReader::new(File::open(&fifo).unwrap());
        drop(stalled);
        let reading =
            thread::spawn(move || reader.lines().map(|line| attempts(&line.unwrap()).len() as u64).sum::<u64>());
        assert!(log.finish_within(NEVER));
        assert_eq!(reading.join().unwrap() + dropped(), u64::from(LINES));
    }

    #[test]
    fn finish_does_not_wait_for_ever_for_a_reader_that_stalls() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let _stalled = File::options().read(true).write(true).open(&fifo).unwrap();
        let log = start(&fifo, NEVER);
        let writer = log.writer();
        (0..1000).for_each(|number| write(&writer, number));
        assert!(!log.finish_within(Duration::from_millis(50)));
    }

    #[test]
    fn on_a_full_disk_every_line_is_counted_as_dropped() {
        let log = start(Path::new("/dev/full"), Duration::from_millis(1));
        let writer = log.writer();
        (0..1000).for_each(|number| write(&writer, number));
        let dropped = log.dropped_counter();
        assert!(log.finish_within(NEVER));
        assert_eq!(dropped(), 1000);
    }

    #[test]
    fn a_log_that_is_off_takes_lines_and_keeps_none() {
        let settings = Settings { target: Target::Off, buffer_max_bytes: 0, flush_interval: NEVER };
        let log = AccessLog::start(settings).unwrap();
        write(&log.writer(), 1);
        assert_eq!(log.dropped(), 0);
        assert!(log.finish_within(Duration::ZERO));
    }

    #[test]
    fn losses_are_told_once_per_interval() {
        let (mut losses, begun) = (Losses::default(), Instant::now());
        losses.warn(0, begun);
        assert_eq!(losses.told_at, None);
        losses.warn(5, begun);
        losses.warn(9, begun + WARNING_INTERVAL / 2);
        assert_eq!((losses.told, losses.told_at), (5, Some(begun)));
        losses.warn(9, begun + WARNING_INTERVAL);
        assert_eq!((losses.told, losses.told_at), (9, Some(begun + WARNING_INTERVAL)));
    }
}
