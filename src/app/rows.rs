//! The configured database at start: opened, and watched until its tables have been seen.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::Error;
use crate::{
    config,
    database::{
        migrations,
        postgres::Pool,
        session::{self, Session},
        sqlite,
    },
    directory::{PostgresSource, SqliteSource, TenantSource},
    lifecycle::ReadinessGuard,
};

/// Between two attempts to reach the database at start.
const RETRY: Duration = Duration::from_secs(1);

/// Where the rows are; a cheap clone.
#[derive(Clone)]
pub(super) enum Rows {
    Postgres(Pool),
    Sqlite(sqlite::Database),
}

impl Rows {
    /// Opens the configured database. PostgreSQL is not connected to yet; an SQLite file has to exist.
    pub(super) fn open(settings: &config::Database) -> Result<Self, Error> {
        Ok(match settings {
            config::Database::Postgres(server) => Self::Postgres(Pool::new(server.clone())?),
            config::Database::Sqlite(path) => {
                Self::Sqlite(sqlite::Database::open(path).map_err(|cause| Error::Sqlite { path: path.clone(), cause })?)
            }
        })
    }

    /// The same as the directory asks it.
    pub(super) fn source(&self) -> Arc<dyn TenantSource> {
        match self {
            Self::Postgres(pool) => Arc::new(PostgresSource::new(pool.clone())),
            Self::Sqlite(database) => Arc::new(SqliteSource::new(database.clone())),
        }
    }

    async fn missing_tables(&self) -> Result<Vec<&'static str>, session::Error> {
        let session = match self {
            Self::Postgres(pool) => Session::postgres(pool).await?,
            Self::Sqlite(database) => Session::sqlite(database),
        };
        migrations::missing_tables(&session).await
    }

    /// Asks until the database has answered once, then releases `waiting`. Returns only if tables are missing: an
    /// empty directory would answer 404 for everybody.
    pub(super) async fn watch(&self, waiting: ReadinessGuard) -> Error {
        loop {
            match self.missing_tables().await {
                Ok(missing) if missing.is_empty() => break,
                Ok(missing) => return Error::MissingTables(missing.join(", ")),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the database cannot be asked yet");
                    sleep(RETRY).await;
                }
            }
        }
        drop(waiting);
        std::future::pending().await
    }
}
