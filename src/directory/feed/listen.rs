//! Edits of PostgreSQL tables, told by triggers.

use std::{convert::Infallible, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::Row;

use super::{Feed, Loss};
use crate::{
    database::{
        migrations::{CHALLENGES, CHANNEL},
        postgres::{self, Listener, Notice, Notices, Pool, Position},
    },
    directory::Change,
};

/// How often the server has to show that it is alive and that nothing is in the way of notices: with the deadline of the answer,
/// a dead connection is noticed after five seconds.
const BEAT: Duration = Duration::from_secs(2);

/// Between two attempts to connect: the first soon, since most losses are restarts; then less often, for a server that is down.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Where notices do not come through, another attempt will not help before somebody changes something.
const DEAF_PAUSE: Duration = Duration::from_secs(60);

/// Listens where `server` says and never returns. A notice sent through `rows`, where the directory reads, must arrive. Where
/// these may be replicas, `position` keeps up with what has been told.
pub async fn listen(mut feed: Feed, server: postgres::Settings, rows: Pool, position: Option<Position>) {
    let mut pause = PAUSE_MIN;
    loop {
        let Err(loss) = attend(&mut feed, &server, &rows, position.as_ref()).await;
        pause = if feed.is_following() { PAUSE_MIN } else { PAUSE_MAX.min(pause * 2) };
        feed.lose(&loss);
        let pause = if matches!(loss, Loss::Deaf) { DEAF_PAUSE } else { pause };
        // Instances that lost the same server do not come back in step.
        sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
    }
}

/// One connection, for as long as it lives.
async fn attend(
    feed: &mut Feed,
    server: &postgres::Settings,
    rows: &Pool,
    position: Option<&Position>,
) -> Result<Infallible, Loss> {
    let mut listener = Listener::connect(server, &[CHANNEL, CHALLENGES]).await?;
    // What is refused here is so at each attempt, and is no reason to connect anew for the rows.
    listener.ask(&feed.question).await?;
    // The server may be another one than before, and the rows' connections lead to the old one for as long as it lives.
    rows.renew();
    if !listener.hears(rows).await? {
        return Err(Loss::Deaf);
    }
    if let Some(position) = position {
        position.restart(place(&listener).await?);
    }
    let mut triggers = None;
    loop {
        let telling = Telling::read(&listener.ask(&feed.question).await?)?;
        feed.stats.hear();
        // First, so that what is read because of it comes from where it has been replayed: nobody told of what was edited before.
        if let Some(position) = position
            && feed.would_follow(triggers.as_ref(), &telling)
        {
            position.raise(place(&listener).await?);
        }
        feed.judge(&mut triggers, telling);
        hear_until(Instant::now() + BEAT, feed, &mut listener, position).await?;
    }
}

/// Applies what is told until `end`.
async fn hear_until(
    end: Instant,
    feed: &Feed,
    listener: &mut Listener,
    position: Option<&Position>,
) -> Result<(), postgres::Error> {
    while let Ok(notices) = timeout_at(end, listener.notices()).await {
        let notices = notices?;
        // First, so that what is read after the changes comes from where they have been replayed.
        if let Some(position) = position {
            position.raise(place(listener).await?);
        }
        match notices {
            Notices::All(notices) => notices.iter().for_each(|notice| feed.hear(notice)),
            Notices::Missed => feed.miss(),
        }
        feed.stats.hear();
        // A notice that is there already is given out whatever the time.
        if Instant::now() >= end {
            break;
        }
    }
    Ok(())
}

/// Where the primary is in its log.
async fn place(listener: &Listener) -> Result<i64, postgres::Error> {
    listener.ask(&format!("SELECT {}", Position::PLACE)).await?.try_get(0).map_err(postgres::Error::Query)
}

/// What edits are told by.
pub(super) struct Telling {
    /// The triggers; `None` where one is missing.
    pub(super) triggers: Option<String>,
    pub(super) queue_has_room: bool,
}

impl Telling {
    pub(super) fn read(row: &Row) -> Result<Self, postgres::Error> {
        let read = || Ok(Self { triggers: row.try_get(0)?, queue_has_room: row.try_get(1)? });
        read().map_err(postgres::Error::Query)
    }
}

impl Feed {
    fn hear(&self, notice: &Notice) {
        match notice.channel.as_str() {
            CHALLENGES => self.be_asked(),
            _ => self.apply(&Change::read(&notice.payload)),
        }
    }

    /// Notices were lost, whatever they said.
    fn miss(&self) {
        self.apply(&[Change::Everything]);
        self.be_asked();
    }

    /// Whether [`judge`](Self::judge) begins to follow.
    pub(super) fn would_follow(&self, triggers: Option<&String>, telling: &Telling) -> bool {
        let is_possible = telling.triggers.is_some() && telling.queue_has_room;
        is_possible && (!self.is_following() || triggers != telling.triggers.as_ref())
    }

    /// Begins to follow where nothing is in the way. `triggers` are those of before; edits between them and others were not told.
    pub(super) fn judge(&mut self, triggers: &mut Option<String>, telling: Telling) {
        if self.would_follow(triggers.as_ref(), &telling) {
            self.follow();
        }
        match telling {
            Telling { triggers: None, .. } => self.lose(&Loss::Triggers),
            Telling { queue_has_room: false, .. } => self.lose(&Loss::Queue),
            Telling { triggers: found, .. } => *triggers = found,
        }
    }
}
