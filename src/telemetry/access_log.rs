//! One JSON line per exchange, through a buffered writer that never blocks a worker.

use std::{net::IpAddr, path::PathBuf, time::Duration};

/// What `[log]` means for the access log.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the lines go.
    pub target: Target,
    /// Bytes that wait for the writer at most; beyond it lines are dropped and counted.
    pub buffer_max_bytes: usize,
    /// How long a line waits at most before it is handed to the writer.
    pub flush_interval: Duration,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

/// What one line says; borrowed from the exchange, formatted without allocation.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// Milliseconds since the Unix epoch at which the request's head was complete.
    pub time_ms: u64,
    /// The request id.
    pub request_id: &'a str,
    /// The client's address.
    pub client: IpAddr,
    /// The method.
    pub method: &'a str,
    /// The host that was looked up; empty where none could be read.
    pub host: &'a str,
    /// Path and query as sent.
    pub target: &'a str,
    /// `HTTP/1.1`, …
    pub version: &'static str,
    /// The tenant's id; empty without one.
    pub store: &'a str,
    /// The value of `X-Store-Match`; empty without one.
    pub matched: &'static str,
    /// Status sent; 0 where the client had gone before.
    pub status: u16,
    /// Body bytes received from the client.
    pub bytes_in: u64,
    /// Body bytes sent to the client.
    pub bytes_out: u64,
    /// From the complete head to the last byte, in microseconds.
    pub duration_us: u64,
    /// From the first attempt to the response head, in microseconds; 0 without one.
    pub upstream_us: u64,
    /// The app server that answered; empty without one.
    pub endpoint: &'a str,
    /// Attempts made.
    pub attempts: u32,
    /// How it ended: `ok`, or the phase that failed.
    pub outcome: &'static str,
    /// The reason in words, for a refusal or failure; empty without one.
    pub reason: &'a str,
}

/// One worker's own buffer of lines.
pub struct Writer {}

impl Writer {
    /// Formats `line` into this worker's buffer; never waits, and drops the line where the writer cannot keep up.
    pub fn write(&self, line: &Line<'_>) {
        let _ = line;
        todo!()
    }
}

/// The access log of the process: its thread, and the way to get writers.
pub struct AccessLog {}

impl AccessLog {
    /// Opens the target and starts the writing thread.
    pub fn start(settings: Settings) -> std::io::Result<Self> {
        let _ = settings;
        todo!()
    }

    /// A writer for one worker.
    pub fn writer(&self) -> Writer {
        todo!()
    }

    /// Lines dropped so far.
    pub fn dropped(&self) -> u64 {
        todo!()
    }

    /// Writes what is left and ends the thread.
    pub fn finish(self) {
        todo!()
    }
}
