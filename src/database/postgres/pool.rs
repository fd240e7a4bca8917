//! A pool of connections.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Object, PoolError, RecyclingMethod, Runtime, Timeouts,
    tokio_postgres::{self, NoTls, Row, types::ToSql, types::Type},
};

use super::{Position, Settings, TlsMode, tls};

/// Between two looks whether a replica has caught up; it mostly has within some milliseconds.
const REPLAY_POLL: Duration = Duration::from_millis(10);

/// A connection on loan from the pool; goes back on drop.
pub type Client = Object;

/// A pool of connections; a cheap clone.
///
/// Connections are opened by tasks of the runtime that asks, and belong to it.
#[derive(Clone, Debug)]
pub struct Pool {
    pool: deadpool_postgres::Pool,
    met: Arc<Met>,
    pub(super) query_timeout: Duration,
}

/// What is known of the servers behind the connections.
#[derive(Debug)]
struct Met {
    /// One of them was a standby when it was connected to. A primary becomes one by a restart alone, which ends its connections.
    standby: AtomicBool,
    /// Connections that were made before go to a server that may have been replaced.
    renewed_at: Arc<Mutex<Instant>>,
}

/// How full a pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStats {
    /// Connections that are open.
    pub open: usize,
    /// Of these, the ones that nobody is using.
    pub idle: usize,
}

/// A connection for questions whose answers have to fit together, as those of two servers would not.
pub struct OneServer {
    /// `None` after a question that was not answered in time.
    client: Option<Client>,
    query_timeout: Duration,
}

impl Pool {
    /// Prepares the pool; connects nothing yet.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        Self::with(settings, Met::new(Arc::new(Mutex::new(Instant::now()))))
    }

    /// Another pool, which is renewed with this one.
    pub fn beside(&self, settings: Settings) -> Result<Self, Error> {
        Self::with(settings, Met::new(Arc::clone(&self.met.renewed_at)))
    }

    fn with(settings: Settings, met: Met) -> Result<Self, Error> {
        let timeouts = Timeouts {
            wait: Some(settings.wait_timeout),
            create: Some(settings.connect_timeout),
            recycle: Some(settings.query_timeout),
        };
        let met = Arc::new(met);
        let pool = deadpool_postgres::Pool::builder(manager(&settings)?)
            .max_size(settings.connections_max)
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .post_create(Met::note(&met, settings.query_timeout))
            .pre_recycle(Met::refuse_old(&met))
            .build()
            .map_err(|error| Error::Pool(error.into()))?;
        Ok(Self { pool, met, query_timeout: settings.query_timeout })
    }

    /// A free connection, or a new one; waits and connects under the deadlines of [`Settings`].
    pub async fn client(&self) -> Result<Client, Error> {
        Ok(self.pool.get().await?)
    }

    /// No connection that is open now serves another query, here and in the pools [`beside`](Self::beside): where the name of the
    /// server leads may have changed.
    pub fn renew(&self) {
        let now = Instant::now();
        *self.met.renewed_at.lock().unwrap_or_else(PoisonError::into_inner) = now;
        drop(self.pool.retain(|_, metrics| metrics.created >= now));
    }

    /// Runs one query under [`Settings::query_timeout`], without a named statement: the next query of the same connection may
    /// reach another server process behind a transaction-mode pooler.
    ///
    /// Await it to its end: a future dropped in the middle leaves its query running on a connection that goes back to the pool.
    pub async fn query(&self, sql: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>, Error> {
        self.query_since(None, self.query_timeout, sql, values).await
    }

    /// The same from a server that has replayed the log up to `position`; waits for it to come there, for `patience` at most.
    pub async fn query_since(
        &self,
        position: Option<&Position>,
        patience: Duration,
        sql: &str,
        values: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, Error> {
        self.one_server(position, patience).await?.query(sql, values).await
    }

    /// One server for several queries, which has replayed the log up to `position`.
    pub async fn one_server(&self, position: Option<&Position>, patience: Duration) -> Result<OneServer, Error> {
        let client = self.client().await?;
        let Some(position) = position.filter(|position| position.has_to_be_asked() || self.met.standby.load(SeqCst))
        else {
            return Ok(OneServer { client: Some(client), query_timeout: self.query_timeout });
        };
        match wait_for_replay(&client, position, patience, self.query_timeout).await {
            Ok(()) => Ok(OneServer { client: Some(client), query_timeout: self.query_timeout }),
            Err(Error::QueryTimeout) => {
                close(client);
                Err(Error::QueryTimeout)
            }
            Err(error) => Err(error),
        }
    }

    /// For one query.
    pub fn query_timeout(&self) -> Duration {
        self.query_timeout
    }

    /// How full the pool is; for the metrics.
    pub fn stats(&self) -> PoolStats {
        let status = self.pool.status();
        PoolStats { open: status.size, idle: status.available }
    }
}

impl OneServer {
    /// As [`Pool::query`]. After [`Error::QueryTimeout`] it is of no further use.
    pub async fn query(&mut self, sql: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>, Error> {
        let client = self.client.as_ref().ok_or(Error::Closed)?;
        match tokio::time::timeout(self.query_timeout, client.query_typed(sql, values)).await {
            Ok(answer) => answer.map_err(Error::Query),
            Err(_) => {
                self.client.take().into_iter().for_each(close);
                Err(Error::QueryTimeout)
            }
        }
    }

    pub(super) fn into_client(self) -> Result<Client, Error> {
        self.client.ok_or(Error::Closed)
    }
}

impl Met {
    fn new(renewed_at: Arc<Mutex<Instant>>) -> Self {
        Self { standby: AtomicBool::new(false), renewed_at }
    }

    /// Asks each new connection once; a pool of connections to primaries then asks nobody again.
    fn note(met: &Arc<Self>, limit: Duration) -> Hook {
        let met = Arc::clone(met);
        Hook::async_fn(move |client: &mut ClientWrapper, _metrics| {
            let met = Arc::clone(&met);
            Box::pin(async move {
                let asking = client.query_typed("SELECT pg_is_in_recovery()", &[]);
                let rows = tokio::time::timeout(limit, asking).await;
                let rows = rows.map_err(|_| HookError::message("no answer"))?.map_err(HookError::Backend)?;
                if !rows.first().is_some_and(|row| matches!(row.try_get(0), Ok(false))) {
                    met.standby.store(true, SeqCst);
                }
                Ok(())
            })
        })
    }

    fn refuse_old(met: &Arc<Self>) -> Hook {
        let met = Arc::clone(met);
        Hook::sync_fn(move |_client, metrics| {
            let renewed_at = *met.renewed_at.lock().unwrap_or_else(PoisonError::into_inner);
            if metrics.created < renewed_at {
                Err(HookError::message("its server may have been replaced"))
            } else {
                Ok(())
            }
        })
    }
}

/// By a question of its own: one query sees the rows as they were when it began, and the log as it is.
async fn wait_for_replay(
    client: &Client,
    position: &Position,
    patience: Duration,
    query_timeout: Duration,
) -> Result<(), Error> {
    let (place, end) = (position.place(), tokio::time::Instant::now() + patience);
    loop {
        let values: [(&(dyn ToSql + Sync), Type); 1] = [(&place, Type::INT8)];
        let rows = tokio::time::timeout(query_timeout, client.query_typed(Position::IS_REPLAYED, &values)).await;
        let rows = rows.map_err(|_| Error::QueryTimeout)?.map_err(Error::Query)?;
        if rows.first().is_some_and(|row| matches!(row.try_get(0), Ok(true))) {
            return Ok(());
        }
        if tokio::time::Instant::now() >= end {
            return Err(Error::Behind);
        }
        tokio::time::sleep(REPLAY_POLL).await;
    }
}

fn manager(settings: &Settings) -> Result<Manager, Error> {
    // A closed connection is known as such without asking; a question per loan would double the time of every query.
    let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let server = settings.with_ssl_mode();
    match settings.tls {
        TlsMode::Disable => Ok(Manager::from_config(server, NoTls, config)),
        mode => {
            let connector = tls::connector(mode, settings.tls_root.as_deref())?;
            Ok(Manager::from_config(server, connector, config))
        }
    }
}

/// A connection of the pool for several statements that belong together. Dropped before they are over, as a caller's deadline does, it is
/// closed: whoever got it next would be in the midst of them. Until then it counts as one of the pool's.
pub(in crate::database) struct Lent(Option<Client>);

impl Lent {
    /// One of `pool`.
    pub(in crate::database) async fn of(pool: &Pool) -> Result<Self, Error> {
        Ok(Self(Some(pool.client().await?)))
    }

    /// The connection.
    pub(in crate::database) fn client(&self) -> Result<&Client, Error> {
        self.0.as_ref().ok_or(Error::Closed)
    }

    /// It can be used by the next.
    pub(in crate::database) fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(close);
    }
}

/// Closes a connection that still waits for an answer: whoever got it next would wait for somebody else's question.
pub(super) fn close(client: Client) {
    drop(Object::take(client));
}

/// What can go wrong with the server, named by phase.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// TLS could not be prepared.
    #[error("TLS to the database cannot be set up")]
    TlsSetup(#[from] tls::TlsError),
    /// The pool could not be built, or is closed.
    #[error("the pool of database connections cannot be used")]
    Pool(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No free connection in time.
    #[error("no free database connection within the deadline")]
    PoolTimeout,
    /// No new connection in time.
    #[error("the database was not connected to within the deadline")]
    ConnectTimeout,
    /// Connecting, TLS or authentication failed.
    #[error("the database could not be connected to")]
    Connect(#[source] tokio_postgres::Error),
    /// The server did not answer a query in time.
    #[error("the database did not answer within the deadline")]
    QueryTimeout,
    /// A replica had not replayed in time what has been told.
    #[error("the replica is behind what has been told")]
    Behind,
    /// The server refused a query, or the connection broke while it ran.
    #[error("the query failed")]
    Query(#[source] tokio_postgres::Error),
    /// A connection that listened broke.
    #[error("the connection to the database was lost")]
    Lost(#[source] tokio_postgres::Error),
    /// The server ended a connection that listened.
    #[error("the database closed the connection")]
    Closed,
}

impl Error {
    /// Whether it was refused, or had to wait too long, at a server that will be the same at the next attempt. Not where the server
    /// is going down (SQLSTATE 57P01 and the like).
    pub fn is_of_a_server_that_stays(&self) -> bool {
        match self {
            Self::PoolTimeout | Self::Behind => true,
            Self::Query(cause) => cause.code().is_some_and(|state| !state.code().starts_with("57P")),
            _ => false,
        }
    }

    /// Whether the server could not take a value as what the query wants (SQLSTATE class 22).
    pub fn is_data_exception(&self) -> bool {
        matches!(self, Self::Query(cause) if cause.code().is_some_and(|state| state.code().starts_with("22")))
    }
}

impl From<PoolError> for Error {
    fn from(error: PoolError) -> Self {
        use deadpool_postgres::TimeoutType;
        match error {
            PoolError::Timeout(TimeoutType::Create) => Self::ConnectTimeout,
            PoolError::Timeout(TimeoutType::Wait | TimeoutType::Recycle) => Self::PoolTimeout,
            PoolError::Backend(cause) | PoolError::PostCreateHook(HookError::Backend(cause)) => Self::Connect(cause),
            PoolError::PostCreateHook(HookError::Message(_)) => Self::ConnectTimeout,
            other => Self::Pool(other.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(port: u16) -> Settings {
        Settings::parse(&format!("postgres://app:secret@127.0.0.1:{port}/x")).unwrap()
    }

    #[tokio::test]
    async fn a_refused_connection_is_an_error_of_connecting() {
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let pool = Pool::new(settings(port)).unwrap();
        assert!(matches!(pool.client().await, Err(Error::Connect(_))));
        assert_eq!(pool.stats(), PoolStats { open: 0, idle: 0 });
    }

    #[tokio::test]
    async fn a_server_that_accepts_and_says_nothing_meets_the_deadlines() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut settings = settings(listener.local_addr().unwrap().port());
        settings.connections_max = 1;
        settings.connect_timeout = Duration::from_millis(200);
        settings.wait_timeout = Duration::from_millis(50);
        let pool = Pool::new(settings).unwrap();
        let (first, second) = tokio::join!(pool.client(), pool.client());
        assert!(matches!(first, Err(Error::ConnectTimeout)));
        assert!(matches!(second, Err(Error::PoolTimeout)));
    }

    #[test]
    fn pools_beside_each_other_are_renewed_together() {
        let pool = Pool::new(settings(1)).unwrap();
        let (beside, other) = (pool.beside(settings(2)).unwrap(), Pool::new(settings(3)).unwrap());
        let renewed_at = |pool: &Pool| *pool.met.renewed_at.lock().unwrap();
        let before = (renewed_at(&beside), renewed_at(&other));
        pool.renew();
        assert!(renewed_at(&beside) > before.0);
        assert_eq!(renewed_at(&other), before.1);
    }

    #[test]
    fn errors_do_not_show_the_password() {
        let pool = Pool::new(settings(1)).unwrap();
        assert!(!format!("{pool:?}").contains("secret"));
    }
}
