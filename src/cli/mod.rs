//! The command line: what may be written, and what is said in return.

mod cert;
mod check;
mod config;
mod database;
mod demo;
mod domain;
mod domain_check;
mod failure;
mod migrate;
mod outcome;
mod resolve;
mod serve;
mod store;
mod upstreams;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use usher::config::Config;

pub(crate) use failure::Failure;
pub(crate) use outcome::{Outcome, finish};

/// The edge of a multi-tenant SaaS: finds the store behind the host of each request, and forwards it to the app servers with
/// an X-Store-Id that they can trust.
#[derive(Debug, Parser)]
#[command(
    name = "usher",
    version,
    after_help = "\
Examples:
  usher demo                           the whole product, with nothing installed
  usher config default > usher.toml    a commented configuration; then:
  usher check --config usher.toml
  usher serve --config usher.toml"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What usher can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(serve::Serve),
    Demo(demo::Demo),
    #[command(flatten)]
    Once(Once),
}

/// The commands that look or edit, and end.
#[derive(Debug, Subcommand)]
pub(crate) enum Once {
    Check(check::Check),
    Resolve(resolve::Resolve),
    Migrate(migrate::Migrate),
    Store(store::Store),
    Domain(domain::Domain),
    Upstreams(upstreams::Upstreams),
    Cert(cert::Cert),
    Config(config::ConfigCommand),
}

impl Once {
    /// Runs the command to its end.
    pub(crate) async fn run(self) -> Result<Outcome, Failure> {
        match self {
            Self::Check(check) => check.run().await,
            Self::Resolve(resolve) => resolve.run().await,
            Self::Migrate(migrate) => migrate.run().await,
            Self::Store(store) => store.run().await,
            Self::Domain(domain) => Box::pin(domain.run()).await,
            Self::Upstreams(upstreams) => upstreams.run().await,
            Self::Cert(cert) => cert.run().await,
            Self::Config(config) => config.run(),
        }
    }
}

/// Which configuration is meant; nothing is searched for in silence.
#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file (TOML); `usher config default` prints one
    #[arg(long, value_name = "FILE", env = "USHER_CONFIG")]
    config: PathBuf,
}

impl ConfigFile {
    fn load(&self) -> Result<Config, Failure> {
        Config::load(&self.config).map_err(Failure::Config)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_documented_commands_are_understood() {
        for line in [
            "usher serve --config f",
            "usher demo",
            "usher check --config f",
            "usher resolve shop.example.com/p --config f --json",
            "usher migrate --config f --print",
            "usher store add store1 --name Shop --config f",
            "usher store list --config f --json",
            "usher store disable store1 --config f",
            "usher domain add shop.example.com --store store1 --verified --config f",
            "usher domain list --store 1 --config f",
            "usher domain primary shop.example.com --config f",
            "usher upstreams --config f --json",
            "usher upstreams drain default 10.0.0.5:8000 --config f",
            "usher upstreams resume default [::1]:8000 --config f --json",
            "usher cert import --certificate c.pem --key k.pem --config f",
            "usher cert list --config f --json",
            "usher cert show shop.example.com --config f",
            "usher cert rekey --config f",
            "usher config default",
            "usher config schema",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
    }

    #[test]
    fn what_is_not_documented_is_a_wrong_call() {
        let lines = [
            "usher nosuch",
            "usher check --nosuch",
            "usher store nosuch",
            "usher domain add a.com --config f",
            "usher upstreams",
        ];
        for line in lines {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn every_command_shows_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Examples:\n  usher"), "{}: {help}", command.get_name());
        }
    }
}
