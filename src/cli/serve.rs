//! `usher serve`.

use clap::Args;
use usher::telemetry::logging;

use super::{ConfigFile, Failure, Outcome};

/// Run the router
///
/// Listens where [listen] says, finds the store behind the host of each request in the database of [directory], and forwards
/// to the servers of [upstreams]. Refuses to start with a wrong configuration, with a database whose tables are missing
/// (`usher migrate` creates them) and with an SQLite file that does not exist.
///
/// SIGTERM or Ctrl-C: takes no new connections, finishes what runs, ends with 0.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  usher serve --config /etc/usher/usher.toml
  USHER_DATABASE_URL=postgres://usher@db/shop usher serve --config usher.toml")]
pub(crate) struct Serve {
    #[command(flatten)]
    file: ConfigFile,
}

impl Serve {
    pub(crate) async fn run(self) -> Result<Outcome, Failure> {
        let config = self.file.load()?;
        logging::init(&config.log).map_err(Failure::Logging)?;
        usher::app::serve(config).await.map_err(Failure::Serve)?;
        Ok(Outcome::default())
    }
}
