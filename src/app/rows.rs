//! The configured database at start: opened, and watched until its tables have been seen.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::Error;
use crate::{
    config::{self, Config},
    database::{
        migrations::{self, Plan},
        postgres::{self, Pool, Position},
        session::{self, Session},
        sqlite,
    },
    directory::{
        Feed, OwnQueries, PostgresSource, Queries, SqliteSource, TenantSource,
        feed::{self, Follow},
    },
    lifecycle::ReadinessGuard,
    telemetry::causes::one_line,
};

/// Between two attempts to reach the database at start.
const RETRY: Duration = Duration::from_secs(1);

/// Connections to the primary for usher's own tables, where look-ups may go elsewhere: leases, orders and tickets are small statements,
/// a few a second.
const OWN_CONNECTIONS_MAX: usize = 4;
/// Connections to the primary beside those for the rows: a query takes all keys that wait, so that two keep up with many.
const PRIMARY_CONNECTIONS_MAX: usize = 2;

/// Where the rows are; a cheap clone.
#[derive(Clone)]
pub(super) enum Rows {
    Postgres {
        pool: Pool,
        /// Of a server that can be written to; the same pool where that is the only one.
        own: Pool,
        /// Where edits are listened for.
        listen: Box<postgres::Settings>,
        /// How new rows have to be, since some may come from replicas.
        position: Position,
        /// Asked where a replica is behind what has been told, and for edits; nothing where it is replicas that tell.
        primary: Option<Pool>,
    },
    Sqlite(sqlite::Database),
}

impl Rows {
    /// Opens the configured database. PostgreSQL is not connected to yet; an SQLite file has to exist.
    pub(super) fn open(config: &Config) -> Result<Self, Error> {
        Ok(match &config.database {
            config::Database::Postgres(server) => {
                let pool = Pool::new(server.clone())?;
                Self::Postgres {
                    own: own(&pool, server, config)?,
                    listen: Box::new(config.listen.as_ref().unwrap_or(server).clone()),
                    position: position(server, config),
                    primary: primary(&pool, server, config)?,
                    pool,
                }
            }
            config::Database::Sqlite(path) => {
                Self::Sqlite(sqlite::Database::open(path).map_err(|cause| Error::Sqlite { path: path.clone(), cause })?)
            }
        })
    }

    /// The same as the directory asks it.
    pub(super) fn source(&self, queries: Queries) -> Arc<dyn TenantSource> {
        match self {
            Self::Postgres { pool, position, primary, .. } => {
                Arc::new(PostgresSource::new(pool.clone(), queries, Some(position.clone()), primary.clone()))
            }
            Self::Sqlite(database) => Arc::new(SqliteSource::new(database.clone(), queries)),
        }
    }

    /// Follows the edits of the rows and never returns.
    pub(super) async fn follow(self, how: Follow, feed: Feed) {
        match (how, self) {
            (Follow::Off, _) => feed.rest().await,
            (Follow::Listen, Self::Postgres { pool, listen, position, .. }) => {
                feed::listen(feed, *listen, pool, Some(position)).await
            }
            (Follow::Poll(every), Self::Postgres { pool, position, primary, .. }) => {
                feed::poll(feed, pool, primary, every, Some(position)).await
            }
            (_, Self::Sqlite(file)) => feed::watch(feed, file).await,
        }
    }

    /// The same for services of the control plane.
    pub(super) fn session(&self) -> Session {
        match self {
            Self::Postgres { own, .. } => Session::pooled(own),
            Self::Sqlite(database) => Session::sqlite(database),
        }
    }

    /// What the look-ups read and the database has not; nothing, as it should be.
    async fn lack(&self, own: Option<&OwnQueries>, plan: &Plan) -> Result<Option<Error>, session::Error> {
        let session = match self {
            Self::Postgres { pool, .. } => Session::postgres(pool).await?,
            Self::Sqlite(database) => Session::sqlite(database),
        };
        if let Some(own) = own {
            let faults = own.faults(&session).await?;
            let faults: Vec<_> = faults.iter().map(|fault| format!("{}: {}", fault.query, fault.cause)).collect();
            return Ok((!faults.is_empty()).then(|| Error::OwnQueries(faults.join("; "))));
        }
        let tables = migrations::missing_tables(&session).await?;
        if !tables.is_empty() {
            return Ok(Some(Error::MissingTables(tables.join(", "))));
        }
        let columns = migrations::missing_columns(&session, plan).await?;
        let names: Vec<_> = columns.iter().map(|(table, column)| format!("{table}.{column}")).collect();
        Ok((!names.is_empty()).then(|| Error::MissingColumns(names.join(", "))))
    }

    /// Asks until the database has answered once, then releases `waiting`. Returns only if it has not what look-ups read:
    /// without its tables usher would be ready and know nobody.
    pub(super) async fn watch(&self, own: Option<&OwnQueries>, plan: &Plan, waiting: ReadinessGuard) -> Error {
        loop {
            match self.lack(own, plan).await {
                Ok(None) => break,
                Ok(Some(lack)) => return lack,
                Err(error) => {
                    tracing::warn!(error = one_line(&error), "the database cannot be asked yet");
                    sleep(RETRY).await;
                }
            }
        }
        drop(waiting);
        std::future::pending().await
    }
}

/// Where edits are listened for at the one server that is also asked, it is so directly. Else a pooler may be in between.
fn position(server: &postgres::Settings, config: &Config) -> Position {
    let is_direct = config.follow == Follow::Listen && config.listen.is_none() && !server.has_several_servers();
    if is_direct { Position::default() } else { Position::behind_poolers() }
}

/// Of a server that can be written to; the same pool where that is the only one.
fn own(pool: &Pool, server: &postgres::Settings, config: &Config) -> Result<Pool, postgres::Error> {
    if config.listen.is_none() && !server.has_several_servers() {
        return Ok(pool.clone());
    }
    pool.beside(of_primary(server, config, OWN_CONNECTIONS_MAX))
}

/// Where one server is known to be the primary. Who polls a single one learns of edits from it, whatever it is.
fn primary(pool: &Pool, server: &postgres::Settings, config: &Config) -> Result<Option<Pool>, postgres::Error> {
    if config.listen.is_none() && !server.has_several_servers() && config.follow != Follow::Listen {
        return Ok(None);
    }
    pool.beside(of_primary(server, config, PRIMARY_CONNECTIONS_MAX)).map(Some)
}

fn of_primary(server: &postgres::Settings, config: &Config, connections_max: usize) -> postgres::Settings {
    let primary = config.listen.as_ref().unwrap_or(server).primary();
    postgres::Settings { connections_max: connections_max.min(server.connections_max), ..primary }
}
