//! `usher migrate`.

use clap::Args;
use usher::{
    config::{Config, Database},
    database::{migrations, session::Dialect},
};

use super::{ConfigFile, Failure, Outcome, database};

/// Create the tables, indexes and triggers that are missing
///
/// Creates the tables `stores` and `store_domains` where they do not exist, the two indexes that usher's look-ups need, on
/// PostgreSQL the triggers by which an edit is told to every running usher (with directory.follow = "poll" the table
/// usher.changes as well, in which they keep it), and usher's own record of this (schema `usher`). Where directory.queries reads
/// tables of your own there are only the triggers on those in directory.watch.
/// Tables that exist stay as they are, whatever their keys and further columns. Running it again changes nothing, and several
/// instances may run it at the same time. An SQLite file is created where it is missing.
///
/// On PostgreSQL the indexes are built CONCURRENTLY, so that the app goes on writing meanwhile; connect to the server itself
/// and not to a transaction-mode pooler. The role must own existing tables to add indexes and triggers to them. Run it again
/// after columns were added, or after a table was replaced by another one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  usher migrate --config usher.toml
  usher migrate --config usher.toml --print                shows the SQL; connects to nothing
  usher migrate --config usher.toml --print | psql shop    runs it by other means")]
pub(crate) struct Migrate {
    #[command(flatten)]
    file: ConfigFile,
    /// Show the SQL for the configured database and run nothing
    #[arg(long)]
    print: bool,
}

impl Migrate {
    pub(super) async fn run(self) -> Result<Outcome, Failure> {
        let config = self.file.load()?;
        if self.print {
            return Ok(Outcome::answer(script(&config)));
        }
        let session = database::session_for_migration(&config).await?;
        migrations::run(&session, &config.plan).await.map_err(Failure::Migrate)?;
        Ok(Outcome::answer("all tables, indexes and triggers are there\n"))
    }
}

fn script(config: &Config) -> String {
    let dialect = match config.database {
        Database::Postgres(_) => Dialect::Postgres,
        Database::Sqlite(_) => Dialect::Sqlite,
    };
    migrations::sql(dialect, &config.plan)
}
