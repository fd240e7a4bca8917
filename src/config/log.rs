//! `[log]`.

use std::{path::PathBuf, time::Duration};

use tracing_subscriber::EnvFilter;

use super::{
    convert::refused_by,
    file::{self, LogFormat},
    problems::{Refusal, Report},
    suggest::closest,
};
use crate::telemetry::{
    access_log::{self, Target},
    logging,
};

/// About 10,000 lines: a disk that pauses for a moment costs none.
const ACCESS_BUFFER_BYTES: usize = 4 << 20;

pub(super) fn resolve(written: file::Log, report: &mut Report<'_>) -> (logging::Settings, access_log::Settings) {
    let filter = report.convert("log.filter", written.filter, "info", filter);
    let target = report.convert("log.access", written.access, "stdout", target);
    let log = logging::Settings {
        filter: filter.unwrap_or_default(),
        json: written.format.or(LogFormat::Text) == LogFormat::Json,
    };
    let access_log = access_log::Settings {
        target: target.unwrap_or(Target::Off),
        buffer_max_bytes: written.access_buffer.or(ACCESS_BUFFER_BYTES),
        flush_interval: written.access_flush.or(Duration::from_secs(1)),
    };
    (log, access_log)
}

fn filter(text: &str) -> Result<String, Refusal> {
    let accepted =
        "a level (error, warn, info, debug, trace, off), or levels per module: \"info,usher::directory=debug\"";
    match EnvFilter::builder().parse(text) {
        Ok(_) if text.trim().is_empty() => Err(Refusal::new("is empty", accepted, "write \"off\" to log nothing")),
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(refused_by(error, accepted, "correct the filter")),
    }
}

/// A path has a slash, so that a misspelt word does not become a file.
fn target(text: &str) -> Result<Target, Refusal> {
    match text {
        "stdout" => Ok(Target::Stdout),
        "off" => Ok(Target::Off),
        path if path.contains('/') && !path.ends_with('/') => Ok(Target::File(PathBuf::from(path))),
        word => {
            let remedy = match closest(word, &["stdout", "off"]) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => "write a file as a path with a slash, \"./access.log\"".to_owned(),
            };
            Err(Refusal::new(
                "is neither a known target nor a path",
                "\"stdout\", \"off\", or the path of a file",
                remedy,
            ))
        }
    }
}
