//! Why a command could not do its work: the cause in one line, what to do in another.

use std::{error::Error, io, net::SocketAddr, path::PathBuf};

use http::StatusCode;

use usher::{
    app, catalog, config, database, demo, directory, domains, routing,
    telemetry::{self, causes},
    tls,
};

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The configuration is wrong; shows itself, problem by problem.
    #[error(transparent)]
    Config(config::Problems),
    /// The database could not be opened.
    #[error("the database named by {origin} cannot be used")]
    Database {
        /// Who named it.
        origin: String,
        /// What is wrong with it.
        source: database::session::Error,
    },
    /// The tables could not be created.
    #[error("the tables could not be created")]
    Migrate(#[source] database::session::Error),
    /// Stores and domains of an app whose tables are not the default ones.
    #[error(
        "stores and domains can be edited in the tables stores and store_domains only, and directory.queries reads others"
    )]
    OwnTables,
    /// A store or a domain.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// A certificate in the database.
    #[error(transparent)]
    Archive(tls::ArchiveError),
    /// Private keys cannot be sealed or opened.
    #[error("no key is configured by which private keys are sealed")]
    NoKeyring,
    /// The DNS.
    #[error("the DNS cannot be asked")]
    Dns(#[source] domains::dns::Error),
    /// What instances know each other by.
    #[error("instances cannot know each other")]
    SelfCheck(#[source] domains::SelfCheckError),
    /// A file that was named.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// What was to be resolved names no host.
    #[error("the host {written:?} {cause}")]
    Host {
        /// What was written.
        written: String,
        /// What is wrong with it.
        cause: routing::HostnameError,
    },
    /// A look-up in the directory's tables.
    #[error("the tenant could not be looked up")]
    Lookup(#[source] directory::CouldNotAsk),
    /// Nobody answers as the admin listener.
    #[error("no router answers at {address}")]
    NoAdmin {
        /// Where it was asked.
        address: SocketAddr,
        /// What came of it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The admin listener has answered otherwise.
    #[error("the router refuses ({status}): {detail}")]
    Refused {
        /// How.
        status: StatusCode,
        /// Why.
        detail: String,
    },
    /// The router.
    #[error("usher could not serve")]
    Serve(#[source] app::Error),
    /// The demo.
    #[error("the demo could not run")]
    Demo(#[source] demo::Error),
    /// JSON.
    #[error("the answer could not be written as JSON")]
    Json(#[source] serde_json::Error),
    /// stdout.
    #[error("the answer could not be written")]
    Output(#[source] io::Error),
    /// The log.
    #[error("the log cannot be written")]
    Logging(#[source] telemetry::logging::Error),
    /// Threads or descriptors are used up.
    #[error("the runtime could not be started")]
    Runtime(#[source] io::Error),
}

impl Failure {
    /// What stands on stderr.
    pub(super) fn report(&self) -> String {
        match self {
            Self::Config(problems) => format!("{problems}\n"),
            _ => format!("error: {}\nremedy: {}\n", causes::one_line(self), self.remedy()),
        }
    }

    pub(super) fn remedy(&self) -> String {
        use database::{session, sqlite};
        match self {
            Self::Database { source: session::Error::Sqlite(sqlite::Error::Missing(_)), .. } => {
                "run `usher migrate`, which creates the file, or correct its path".into()
            }
            Self::Database { origin, .. } => format!("see that the database runs and that {origin} is right"),
            Self::Migrate(error) if error.is_lack_of_privilege() => {
                "run it as the owner of the tables, or give the owner what `usher migrate --print` shows".into()
            }
            Self::Migrate(_) => "see what the database says; running it again does no harm".into(),
            Self::OwnTables => "edit them as the app does".into(),
            Self::Catalog(error) => error.remedy(),
            Self::Archive(tls::ArchiveError::Database(_)) => "run `usher migrate`, which creates the table".into(),
            Self::Archive(_) => "give a certificate and its own unencrypted key, both as PEM".into(),
            Self::NoKeyring => "set tls.encryption_keys_file; `usher config default` says how to make a key".into(),
            Self::Dns(_) => "name resolvers in domains.resolvers".into(),
            Self::SelfCheck(_) => {
                "run `usher migrate`, which creates the table, and let yourself read and write it".into()
            }
            Self::Unreadable { .. } => "correct the path, or let yourself read the file".into(),
            Self::Host { .. } => "write a host and perhaps a path, as in `shop.example.com/cart`".into(),
            Self::NoAdmin { .. } => {
                "see that usher runs with this configuration, and that admin.listen has a port other than 0".into()
            }
            Self::Refused { .. } => "see `usher upstreams --help`, and admin.token_file".into(),
            Self::Logging(_) => "correct [log] in the configuration".into(),
            Self::Serve(error) => to_serve(error),
            Self::Demo(error) => to_run_the_demo(error),
            Self::Config(_) | Self::Lookup(_) => SEE_CHECK.into(),
            Self::Json(_) | Self::Output(_) | Self::Runtime(_) => "see that the system has room left".into(),
        }
    }
}

const SEE_CHECK: &str = "see `usher check`, which tests everything that the configuration names";

fn to_serve(error: &app::Error) -> String {
    match error {
        app::Error::MissingTables(_) | app::Error::Sqlite { .. } => {
            "run `usher migrate`, which creates what is missing, or correct [directory]"
        }
        app::Error::MissingColumns(_) => "add the columns to the app's tables; `usher check` says how",
        app::Error::AccessLog { .. } => "create the folder and let usher write there, or correct log.access",
        app::Error::Bind(_) => "stop what listens there, or change [listen] or [admin]",
        _ => SEE_CHECK,
    }
    .into()
}

/// The demo has no configuration to be checked.
fn to_run_the_demo(error: &demo::Error) -> String {
    match error {
        demo::Error::App(app::Error::Bind(_)) => "stop what listens there, or choose others with --http and --admin",
        _ => "see that --folder can be written to and that the system has room left",
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_of_cause_and_one_of_remedy() {
        let missing = database::sqlite::Error::Missing("usher.db".into());
        let failure = Failure::Database { origin: "directory.url".into(), source: missing.into() };
        assert_eq!(
            failure.report(),
            "error: the database named by directory.url cannot be used: there is no file usher.db\n\
             remedy: run `usher migrate`, which creates the file, or correct its path\n"
        );
    }
}
