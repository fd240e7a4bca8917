//! The one clock that all instances share: that of the database.

use std::{
    borrow::Cow,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::database::session::Dialect;

/// Tells the time in seconds since the Unix epoch; a cheap clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    /// A time that a test has set.
    #[cfg(test)]
    pub(super) set: Option<std::sync::Arc<std::sync::atomic::AtomicI64>>,
}

impl Clock {
    /// The time as the database tells it within a statement.
    pub(super) fn sql(&self, dialect: Dialect) -> Cow<'static, str> {
        #[cfg(test)]
        if let Some(now) = &self.set {
            return now.load(std::sync::atomic::Ordering::Relaxed).to_string().into();
        }
        match dialect {
            Dialect::Postgres => "CAST(extract(epoch FROM now()) AS bigint)".into(),
            Dialect::Sqlite => "CAST(strftime('%s', 'now') AS INTEGER)".into(),
        }
    }

    /// The time of this machine, for what is not compared with another's.
    pub(super) fn now(&self) -> i64 {
        #[cfg(test)]
        if let Some(now) = &self.set {
            return now.load(std::sync::atomic::Ordering::Relaxed);
        }
        seconds(SystemTime::now())
    }
}

/// `time` in seconds since the Unix epoch.
pub(super) fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
