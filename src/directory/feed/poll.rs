//! Edits of PostgreSQL tables, read from `usher.changes`, where no notice comes through.
//!
//! A transaction may commit long after it has written its row there, behind rows that were read meanwhile: neither the row's
//! number nor its time says what is new. So everything is read again from the oldest transaction that was still open at the last
//! look, less what was seen already.

use std::{collections::HashMap, convert::Infallible, time::Duration};

use tokio::time::{Instant, interval, sleep};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use super::{Feed, Loss, listen::Telling};
use crate::{
    database::postgres::{self, OneServer, Pool, Position},
    directory::Change,
    telemetry::causes::one_line,
};

/// After an attempt that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Between two prunings. A row is kept for as long after its transaction has ended, so that every other instance has read it.
const PRUNE_EVERY: Duration = Duration::from_secs(30 * 60);

/// Whoever has not looked for longer may have missed what was pruned.
const ABSENCE_MAX: Duration = Duration::from_secs(15 * 60);

/// Rows of one look; beyond it everything is taken as changed.
const ROWS_MAX: i64 = 1000;

const PRUNE: &str = "DELETE FROM usher.changes WHERE transaction < $1::bigint::text::xid8";

/// Looks `every` so often at the `primary`, or through `rows` where none is known, and never returns. Where the rows may come from
/// replicas, `position` keeps up with what was seen.
pub async fn poll(mut feed: Feed, rows: Pool, primary: Option<Pool>, every: Duration, position: Option<Position>) {
    let asked = primary.as_ref().unwrap_or(&rows);
    loop {
        let Err(loss) = attend(&mut feed, asked, every, position.as_ref()).await;
        feed.lose(&loss);
        sleep(PAUSE).await;
        // The server may be replaced by another one, and connections lead to the old one for as long as it lives.
        if loss.is_of_the_server() {
            rows.renew();
        }
    }
}

/// Looks again and again, until one look fails.
async fn attend(
    feed: &mut Feed,
    asked: &Pool,
    every: Duration,
    position: Option<&Position>,
) -> Result<Infallible, Loss> {
    let (mut triggers, mut seen, mut pruning) = (None, Seen::default(), Pruning::begin());
    let (mut ticks, mut looked_at) = (interval(every), Instant::now());
    loop {
        ticks.tick().await;
        if looked_at.elapsed() > ABSENCE_MAX {
            return Err(Loss::Asleep);
        }
        looked_at = Instant::now();
        // All answers of a look are of one server: others may be behind it, or before it.
        let mut server = asked.one_server(position.filter(|_| !seen.is_new()), PAUSE).await?;
        // Nothing is sent through the queue.
        let telling = Telling { queue_has_room: true, ..Telling::read(&one(&mut server, &feed.question).await?)? };
        let look = seen.look(&mut server).await?;
        drop(server);
        feed.stats.hear();
        if seen.forgets_another_history(&look) {
            (triggers, pruning) = (None, Pruning::begin());
        }
        let begins = feed.would_follow(triggers.as_ref(), &telling);
        // First, so that what is read because of it comes from where it has been replayed.
        if let Some(position) = position {
            match begins {
                true => position.restart(look.place),
                false if !look.news.is_empty() => position.raise(look.place),
                false => {}
            }
        }
        feed.judge(&mut triggers, telling);
        feed.apply(&changes(&look.news));
        seen.advance(look.horizon, &look.news);
        pruning.prune(asked, look.horizon).await;
    }
}

async fn one(server: &mut OneServer, sql: &str) -> Result<Row, postgres::Error> {
    server.query(sql, &[]).await?.pop().ok_or(postgres::Error::Closed)
}

/// What one server says at one moment.
struct Look {
    /// The oldest transaction that was open.
    horizon: i64,
    /// Where the server was in its log.
    place: i64,
    is_primary: bool,
    news: Vec<News>,
}

/// A row of `usher.changes`.
struct News {
    id: i64,
    transaction: i64,
    notice: String,
}

impl Look {
    /// From the rows of [`Seen::look`], of which the first has all but the news.
    fn read(rows: &[Row]) -> Result<Self, postgres::Error> {
        let first = rows.first().ok_or(postgres::Error::Closed)?;
        let read = || {
            let news = rows.iter().filter_map(|row| News::read(row).transpose()).collect::<Result<_, _>>()?;
            Ok(Self { horizon: first.try_get(0)?, place: first.try_get(1)?, is_primary: first.try_get(2)?, news })
        };
        read().map_err(postgres::Error::Query)
    }
}

impl News {
    /// Nothing where there was none.
    fn read(row: &Row) -> Result<Option<Self>, tokio_postgres::Error> {
        let Some(id) = row.try_get(3)? else { return Ok(None) };
        Ok(Some(Self { id, transaction: row.try_get(4)?, notice: row.try_get(5)? }))
    }
}

/// What has been read, of the transactions that are read again.
#[derive(Default)]
struct Seen {
    /// The oldest transaction that was open at the last look; none before the first.
    horizon: Option<i64>,
    /// The rows at or behind it, and their transactions.
    ids: HashMap<i64, i64>,
}

impl Seen {
    fn is_new(&self) -> bool {
        self.horizon.is_none()
    }

    /// What was not read yet; nothing at the first look, after which all that is held is compared anyway. In one statement, which sees
    /// the rows of all transactions before its own horizon.
    async fn look(&self, server: &mut OneServer) -> Result<Look, postgres::Error> {
        let ids: Vec<i64> = self.ids.keys().copied().collect();
        let values: [(&(dyn ToSql + Sync), Type); 3] =
            [(&self.horizon, Type::INT8), (&ids, Type::INT8_ARRAY), (&ROWS_MAX, Type::INT8)];
        let sql = format!(
            "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, {}, NOT pg_is_in_recovery(), news.*
             FROM (VALUES (1)) AS one LEFT JOIN (SELECT id, transaction::text::bigint, notice FROM usher.changes
             WHERE transaction >= $1::bigint::text::xid8 AND id <> ALL ($2) ORDER BY id LIMIT $3) AS news ON TRUE",
            Position::PLACE
        );
        Look::read(&server.query(&sql, &values).await?)
    }

    /// Whether what was seen is not the past of this server: it took over without all of it, and gives the numbers of what it has
    /// not got to other transactions. A replica may merely be behind.
    fn is_of_another_history(&self, look: &Look) -> bool {
        look.is_primary && self.horizon.is_some_and(|horizon| look.horizon < horizon)
    }

    /// Forgets what was seen where it is that of another one, whose numbers say nothing here.
    fn forgets_another_history(&mut self, look: &Look) -> bool {
        let is_another = self.is_of_another_history(look);
        if is_another {
            *self = Self::default();
        }
        is_another
    }

    fn advance(&mut self, horizon: i64, news: &[News]) {
        self.ids.extend(news.iter().map(|news| (news.id, news.transaction)));
        self.ids.retain(|_, transaction| *transaction >= horizon);
        self.horizon = Some(horizon);
    }
}

fn changes(news: &[News]) -> Vec<Change> {
    match i64::try_from(news.len()) {
        Ok(rows) if rows < ROWS_MAX => news.iter().flat_map(|news| Change::read(&news.notice)).collect(),
        _ => vec![Change::Everything],
    }
}

/// Removes what everybody has read.
struct Pruning {
    noted_at: Instant,
    /// Transactions before it had ended then.
    horizon: Option<i64>,
}

impl Pruning {
    fn begin() -> Self {
        Self { noted_at: Instant::now(), horizon: None }
    }

    /// A failure leaves the table longer and the feed as good as it was.
    async fn prune(&mut self, asked: &Pool, horizon: i64) {
        let Some(ended) = self.horizon.filter(|_| self.noted_at.elapsed() >= PRUNE_EVERY) else {
            self.horizon.get_or_insert(horizon);
            return;
        };
        *self = Self { noted_at: Instant::now(), horizon: Some(horizon) };
        if let Err(error) = asked.query(PRUNE, &[(&ended, Type::INT8)]).await {
            tracing::warn!(error = one_line(&error), "usher.changes could not be pruned");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, transaction: i64) -> News {
        News { id, transaction, notice: format!("label s{id}") }
    }

    #[test]
    fn rows_are_remembered_for_as_long_as_they_are_read_again() {
        let mut seen = Seen::default();
        seen.advance(10, &[]);
        seen.advance(10, &[row(2, 12), row(3, 11)]);
        assert_eq!((seen.horizon, seen.ids.len()), (Some(10), 2));
        seen.advance(12, &[row(1, 10)]);
        assert_eq!(seen.ids, HashMap::from([(2, 12)]));
        seen.advance(20, &[]);
        assert!(seen.ids.is_empty());
    }

    #[test]
    fn a_primary_whose_transactions_count_from_further_back_is_another_one() {
        let look = |horizon, is_primary| Look { horizon, place: 0, is_primary, news: Vec::new() };
        let mut seen = Seen::default();
        assert!(!seen.is_of_another_history(&look(5, true)));
        seen.advance(10, &[]);
        for (horizon, is_primary, is_another) in [(9, true, true), (9, false, false), (10, true, false)] {
            assert_eq!(seen.is_of_another_history(&look(horizon, is_primary)), is_another, "{horizon}");
        }
        // A row that has the number of one that was seen there is new here.
        seen.advance(10, &[row(1, 12)]);
        assert!(!seen.forgets_another_history(&look(10, true)) && seen.ids.len() == 1);
        assert!(seen.forgets_another_history(&look(9, true)) && seen.ids.is_empty() && seen.is_new());
    }

    #[test]
    fn a_server_that_refuses_is_the_same_at_the_next_attempt() {
        let loss = |error: postgres::Error| Loss::Connection(error).is_of_the_server();
        assert!(
            [postgres::Error::Closed, postgres::Error::QueryTimeout, postgres::Error::ConnectTimeout]
                .into_iter()
                .all(loss)
        );
        assert!(!loss(postgres::Error::PoolTimeout) && !loss(postgres::Error::Behind));
        assert!(!Loss::Asleep.is_of_the_server());
    }

    #[test]
    fn more_rows_than_anybody_reads_are_everything() {
        let few: Vec<_> = (1..4).map(|id| row(id, 1)).collect();
        assert_eq!(changes(&few).len(), 3);
        let many: Vec<_> = (0..ROWS_MAX).map(|id| row(id, 1)).collect();
        assert_eq!(changes(&many), [Change::Everything]);
    }
}
