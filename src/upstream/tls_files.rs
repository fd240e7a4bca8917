//! The files of TLS towards app servers, read again whenever one of them is another one than before. What cannot be used then changes
//! nothing. Connections that are open go on with what they were opened with.

use std::{
    fs,
    future::pending,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{task::spawn_blocking, time::sleep};

use super::Upstream;
use crate::telemetry::causes::one_line;

/// How often the files are looked at: a look costs some microseconds, and who replaces a certificate tries it soon.
const LOOK: Duration = Duration::from_secs(1);

/// Keeps TLS towards the servers of all upstreams as the files are, for ever.
pub async fn watch_files(upstreams: Vec<Arc<Upstream>>) {
    let mut watched: Vec<_> = upstreams.into_iter().filter(|upstream| !upstream.tls_files().is_empty()).collect();
    if watched.is_empty() {
        return pending().await;
    }
    loop {
        sleep(LOOK).await;
        let looked = spawn_blocking(move || {
            watched.iter().for_each(|upstream| look(upstream));
            watched
        });
        // A look that panics ends the service, and with it the process.
        let Ok(upstreams) = looked.await else { return };
        watched = upstreams;
    }
}

fn look(upstream: &Upstream) {
    let name = &upstream.settings.name;
    match upstream.reload_tls() {
        Ok(false) => {}
        Ok(true) => tracing::info!(upstream = name, "files of TLS towards app servers were read again"),
        Err(error) => {
            let error = one_line(&error);
            tracing::warn!(upstream = name, error, "TLS towards app servers goes on with the files of before");
        }
    }
}

/// How the files were when they were last read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamps(Vec<Option<Stamp>>);

/// What tells one state of a file from another, also where a link is set to another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl Stamps {
    /// As `files` are now.
    pub(super) fn of(files: &[PathBuf]) -> Self {
        Self(files.iter().map(|path| stamp(path)).collect())
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some(Stamp { inode: found.ino(), length: found.len(), changed: (found.ctime(), found.ctime_nsec()) })
}
