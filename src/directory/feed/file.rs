//! Edits of an SQLite file, which tells that something has changed and not what.

use std::time::Duration;

use tokio::time::sleep;

use super::{Feed, Loss};
use crate::{database::sqlite::Database, directory::Change};

/// How late an edit is seen, at a price of some microseconds per look.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Watches the file and never returns.
pub async fn watch(mut feed: Feed, file: Database) {
    let mut seen = None;
    loop {
        match file.data_version().await {
            Ok(version) => {
                feed.stats.hear();
                feed.see(seen.replace(version), version);
            }
            Err(error) => {
                seen = None;
                feed.lose(&Loss::File(error));
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

impl Feed {
    fn see(&mut self, before: Option<i64>, version: i64) {
        match before {
            None => self.follow(),
            Some(before) if before != version => self.apply(&[Change::Everything]),
            Some(_) => {}
        }
    }
}
