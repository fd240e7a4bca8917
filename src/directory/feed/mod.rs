//! The feed: hears of committed edits and applies them to the directory.
//!
//! While it hears, what is held is believed for long, since it would be told of any edit. Whenever it cannot be sure of that it
//! says so, and once it is again, all that is held is read anew: what happened in between was told to nobody.

mod file;
mod listen;
mod poll;
mod stats;

pub use self::{file::watch, listen::listen, poll::poll, stats::FeedStats};

use std::{future::pending, sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{Change, Directory};
use crate::{
    database::{
        migrations::{self, Watch},
        postgres, sqlite,
    },
    lifecycle::{Readiness, ReadinessGuard},
    telemetry::causes::one_line,
};

/// How long a start waits until what the last run has left was compared; 200,000 tenants take 15 seconds.
const COMPARED_PATIENCE: Duration = Duration::from_secs(20);

/// How often it looks.
const COMPARED_LOOK: Duration = Duration::from_millis(10);

/// How edits become known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// They are told at once.
    Listen,
    /// PostgreSQL is asked for them, so often.
    Poll(Duration),
    /// Not before what is held is no longer fresh.
    Off,
}

/// What the feed does to the directory, and what it tells the operator.
pub struct Feed {
    directory: Directory,
    readiness: Readiness,
    /// Whether all is well with what tells of edits.
    question: String,
    stats: Arc<FeedStats>,
    /// Who else has to know of edits, beside the directory.
    observer: Option<Observer>,
    /// Who has to know that a CA may have a new question.
    on_challenge: Option<Box<dyn Fn() + Send + Sync>>,
    standing: Standing,
    /// Until it is known whether edits are heard: what is read before that is not kept, and requests are better off elsewhere.
    beginning: Option<ReadinessGuard>,
}

/// Is called with every edit that is heard of.
type Observer = Box<dyn Fn(&Change) + Send + Sync>;

/// Whether edits are heard.
enum Standing {
    Following,
    Off,
    Lost { error: String, _degraded: ReadinessGuard },
}

impl Feed {
    /// A feed that hears nothing yet, for edits of the `watched` tables.
    pub fn new(directory: Directory, readiness: Readiness, watched: &[Watch]) -> Self {
        let standing = Standing::Lost { error: String::new(), _degraded: readiness.degrade("feed: not connected") };
        let beginning = Some(readiness.hold("feed"));
        Self {
            directory,
            readiness,
            question: migrations::standing(watched),
            stats: Arc::default(),
            observer: None,
            on_challenge: None,
            standing,
            beginning,
        }
    }

    /// Tells `observer` of every edit too; of everything whenever some may have been missed.
    pub fn observe(&mut self, observer: impl Fn(&Change) + Send + Sync + 'static) {
        self.observer = Some(Box::new(observer));
    }

    /// Calls `look` whenever a CA may have a new question, which only PostgreSQL tells where it is listened to.
    pub fn on_challenge(&mut self, look: impl Fn() + Send + Sync + 'static) {
        self.on_challenge = Some(Box::new(look));
    }

    /// Follows nothing, which is as well, and never returns.
    pub async fn rest(mut self) {
        self.standing = Standing::Off;
        self.beginning = None;
        pending().await
    }

    /// What it counts; for the metrics.
    pub fn stats(&self) -> Arc<FeedStats> {
        Arc::clone(&self.stats)
    }

    fn is_following(&self) -> bool {
        matches!(self.standing, Standing::Following)
    }

    /// From now on every edit is heard of.
    fn follow(&mut self) {
        self.directory.follow();
        self.tell(&[Change::Everything]);
        self.stats.follow();
        self.standing = Standing::Following;
        if let Some(beginning) = self.beginning.take() {
            tokio::spawn(hold_until_compared(beginning, self.directory.clone()));
        }
        tracing::info!("edits in the database are followed");
    }

    /// From now on edits may be missed.
    fn lose(&mut self, loss: &Loss) {
        if self.is_following() {
            self.directory.lose();
            self.stats.lose();
        }
        let error = one_line(loss);
        // Attempts that fail alike are told once.
        if !matches!(&self.standing, Standing::Lost { error: before, .. } if *before == error) {
            tracing::warn!(error, "edits in the database are not followed");
        }
        self.standing = Standing::Lost { error, _degraded: self.readiness.degrade(loss.name()) };
        self.beginning = None;
    }

    fn apply(&self, changes: &[Change]) {
        // Counted first: whoever sees a change finds it counted.
        changes.iter().for_each(|change| self.stats.count(change));
        self.directory.apply(changes);
        self.tell(changes);
    }

    fn be_asked(&self) {
        if let Some(look) = &self.on_challenge {
            look();
        }
    }

    fn tell(&self, changes: &[Change]) {
        if let Some(observer) = &self.observer {
            changes.iter().for_each(observer);
        }
    }
}

/// What the last run has left is as old as its end, and must not be the first thing that a visitor meets while the database is there.
async fn hold_until_compared(beginning: ReadinessGuard, directory: Directory) {
    let compared = async {
        while !directory.is_compared() {
            sleep(COMPARED_LOOK).await;
        }
    };
    let _in_time = timeout(COMPARED_PATIENCE, compared).await;
    drop(beginning);
}

/// Why edits may be missed.
#[derive(Debug, thiserror::Error)]
enum Loss {
    /// No connection, or one that is silent.
    #[error("the database cannot be listened to")]
    Connection(#[from] postgres::Error),
    /// Notices do not reach the connection that listens.
    #[error(
        "notices are not heard where they are listened for; behind a pooler set directory.listen_url to the server itself"
    )]
    Deaf,
    /// Nobody tells of edits.
    #[error("triggers are missing, disabled or older than a column; run `usher migrate`")]
    Triggers,
    /// The triggers keep silent while the queue is full, or their commits would fail.
    #[error(
        "the triggers send no notices: the server's queue of them is half full (end the transaction of whoever listens there and \
         does not read), or usher.notify is off in this database"
    )]
    Queue,
    /// What was written meanwhile may have been pruned.
    #[error("usher was stopped for too long")]
    Asleep,
    /// The file cannot be read.
    #[error("the file cannot be watched")]
    File(#[from] sqlite::Error),
}

impl Loss {
    /// Whether another server may answer at the next attempt.
    fn is_of_the_server(&self) -> bool {
        matches!(self, Self::Connection(error) if !error.is_of_a_server_that_stays())
    }

    /// What `/ready` says.
    fn name(&self) -> &'static str {
        match self {
            Self::Connection(_) | Self::Asleep => "feed: not connected",
            Self::Deaf => "feed: notices do not come through",
            Self::Triggers => "feed: triggers are missing",
            Self::Queue => "feed: notices are not sent",
            Self::File(_) => "feed: the file cannot be watched",
        }
    }
}
