//! The database that the configuration names, for commands.

use usher::{
    catalog::Catalog,
    config::{Config, Database},
    database::{
        postgres::{self, Pool},
        session::{Error, Session},
        sqlite,
    },
    directory::{PostgresSource, SqliteSource, TenantSource},
    routing::Rules,
};

use super::Failure;

/// What names the primary where the rows may be read from replicas; `USHER_LISTEN_URL` overrides it.
const LISTEN_URL: &str = "directory.listen_url";

/// A session over what exists, at a server that can be written to: replicas take no edits, and may be behind.
pub(super) async fn session(config: &Config) -> Result<Session, Failure> {
    let Database::Postgres(rows) = &config.database else { return session_over_rows(config).await };
    let primary = config.listen.as_ref().unwrap_or(rows).primary();
    let origin = if config.listen.is_some() { LISTEN_URL } else { &config.database_origin };
    let unusable = |source| Failure::Database { origin: origin.to_owned(), source };
    over_postgres(primary).await.map_err(unusable)
}

/// A session over the rows that look-ups read, wherever those are.
pub(super) async fn session_over_rows(config: &Config) -> Result<Session, Failure> {
    let session = match &config.database {
        Database::Postgres(rows) => over_postgres(rows.clone()).await,
        Database::Sqlite(path) => sqlite::Database::open(path).map(|file| Session::sqlite(&file)).map_err(Error::from),
    };
    session.map_err(|error| unusable(config, error))
}

/// A session for `usher migrate`, which creates a file that is missing.
pub(super) async fn session_for_migration(config: &Config) -> Result<Session, Failure> {
    let Database::Sqlite(path) = &config.database else { return session(config).await };
    let file = sqlite::Database::create(path).map_err(|error| unusable(config, error))?;
    Ok(Session::sqlite(&file))
}

/// The stores and domains in it.
pub(super) async fn catalog(config: &Config) -> Result<Catalog, Failure> {
    if config.own_queries.is_some() {
        return Err(Failure::OwnTables);
    }
    Ok(Catalog::open(session(config).await?, Rules::new(config.routing.clone())).await?)
}

/// What the router itself would ask, without its caches.
pub(super) fn source(config: &Config) -> Result<Box<dyn TenantSource>, Failure> {
    match &config.database {
        Database::Postgres(settings) => {
            let pool = Pool::new(settings.clone()).map_err(|error| unusable(config, error))?;
            Ok(Box::new(PostgresSource::new(pool, config.queries.clone(), None, None)))
        }
        Database::Sqlite(path) => {
            let file = sqlite::Database::open(path).map_err(|error| unusable(config, error))?;
            Ok(Box::new(SqliteSource::new(file, config.queries.clone())))
        }
    }
}

async fn over_postgres(settings: postgres::Settings) -> Result<Session, Error> {
    Session::postgres(&Pool::new(settings)?).await
}

fn unusable(config: &Config, error: impl Into<Error>) -> Failure {
    Failure::Database { origin: config.database_origin.clone(), source: error.into() }
}
