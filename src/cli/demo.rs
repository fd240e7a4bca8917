//! `usher demo`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use usher::demo::Options;

use super::{Failure, Outcome};

/// Show the whole product, with nothing installed
///
/// Makes an SQLite file with two example stores, starts two sample app servers inside this process and the router in front of
/// them, prints URLs that open in a browser as they are and curl lines for the custom domains, and runs until Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  usher demo
  usher demo --http 127.0.0.1:0 --admin 127.0.0.1:0    where the usual ports are taken
  usher demo --folder ./demo                           keeps the database")]
pub(crate) struct Demo {
    /// Where the router listens; port 0 lets the system choose
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// Where health, metrics and the API are; port 0 lets the system choose
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9900")]
    admin: SocketAddr,
    /// Where the database is kept; without it, a temporary folder that goes away with the demo
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Demo {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let Self { http, admin, folder } = self;
        usher::demo::run(Options { http, admin, folder }).map_err(Failure::Demo)?;
        Ok(Outcome::default())
    }
}
