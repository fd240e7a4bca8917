//! `usher config`.

use clap::{Args, Subcommand};
use usher::config;

use super::{Failure, Outcome};

/// Print the default configuration or its JSON schema
///
/// The default configuration names every key with its default and says what it does. The schema is for editors and tools
/// that complete and check TOML files.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  usher config default > usher.toml
  usher config schema > usher.schema.json")]
pub(crate) struct ConfigCommand {
    #[command(subcommand)]
    print: Print,
}

#[derive(Debug, Subcommand)]
enum Print {
    /// Every key at its default, with comments
    Default,
    /// The JSON schema of the file
    Schema,
}

impl ConfigCommand {
    pub(super) fn run(self) -> Result<Outcome, Failure> {
        match self.print {
            Print::Default => Ok(Outcome::answer(config::default_text())),
            Print::Schema => Outcome::json(&config::schema()),
        }
    }
}
