//! The whole product with nothing installed: an SQLite file with the example stores, two sample app servers in the
//! process, the router in front of them.

mod app;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use self::app::SampleApp;
use crate::{
    app::{Addresses, App},
    config::{Config, Problems},
    database::{
        migrations,
        session::{self, Session},
        sqlite,
    },
    lifecycle::Termination,
};

/// The example stores of the documentation; ids that exist are left as they are, so that a folder can be used again.
const EXAMPLE_ROWS: &str = include_str!("example.sql");

/// What `usher demo` was asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the database file is kept; a temporary folder that goes with the demo if unset.
    pub folder: Option<PathBuf>,
    /// Where the router listens.
    pub http: SocketAddr,
    /// Where the admin listener listens.
    pub admin: SocketAddr,
}

/// Runs until Ctrl-C. `started` is given the addresses once everything listens.
pub async fn run(options: Options, started: impl FnOnce(&Addresses)) -> Result<(), Error> {
    let termination = Termination::listen()?;
    let folder = Folder::prepare(options.folder.as_deref())?;
    let file = folder.path().join("usher-demo.db");
    create_rows(&file).await?;
    let apps = [SampleApp::bind("app-1").await?, SampleApp::bind("app-2").await?];
    let servers = apps.each_ref().map(SampleApp::address);
    for app in apps {
        tokio::spawn(app.run());
    }
    let app = App::bind(configuration(&file, &options, servers)?).await?;
    started(app.addresses());
    Ok(app.run(termination.wait()).await?)
}

/// A folder that was given, or one that goes with the demo.
enum Folder {
    Given(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Folder {
    fn prepare(given: Option<&Path>) -> io::Result<Self> {
        match given {
            Some(path) => std::fs::create_dir_all(path).map(|()| Self::Given(path.to_owned())),
            None => tempfile::Builder::new().prefix("usher-demo-").tempdir().map(Self::Temporary),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

async fn create_rows(file: &Path) -> Result<(), Error> {
    let session = Session::sqlite(&sqlite::Database::create(file)?);
    migrations::run(&session, &migrations::Plan::default()).await?;
    session.batch(EXAMPLE_ROWS).await?;
    Ok(())
}

/// The demo is configured as an operator would do it, through the same door.
fn configuration(file: &Path, options: &Options, servers: [SocketAddr; 2]) -> Result<Config, Error> {
    let quoted = |text: String| toml::Value::String(text).to_string();
    let text = format!(
        "[listen]\nhttp = [\"{http}\"]\n\
         [admin]\nlisten = \"{admin}\"\n\
         [routing]\nplatform_domains = [\"platform.localhost\"]\n\
         [directory]\nurl = {url}\n\
         [upstreams.default]\nservers = [\"http://{first}\", \"http://{second}\"]\n",
        http = options.http,
        admin = options.admin,
        url = quoted(format!("sqlite://{}", file.display())),
        first = servers[0],
        second = servers[1],
    );
    Config::parse(&text, "demo", &|_name| None).map_err(Error::Config)
}

/// Why the demo cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder or a sample app server could not be set up.
    #[error("the demo cannot be set up")]
    System(#[from] io::Error),
    /// The database file could not be made.
    #[error("the demo's database cannot be made")]
    Database(#[from] sqlite::Error),
    /// The example rows could not be written.
    #[error("the demo's rows cannot be written")]
    Rows(#[from] session::Error),
    /// An address or path that cannot stand in a configuration.
    #[error("{0}")]
    Config(Problems),
    /// The router could not run.
    #[error(transparent)]
    App(#[from] crate::app::Error),
}
