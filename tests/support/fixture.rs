//! The usual stage: the example rows, one app server, one router.

use super::{App, Backend, Binary, Response, Tables, Usher};

/// Configuration under which an upload goes on as it comes, to be seen by the app while it lasts.
pub(crate) const UNBUFFERED: &str = "[upstreams.default]\nbuffer_request = '0B'";

/// Everything that a request passes.
pub(crate) struct Fixture {
    pub(crate) usher: Usher,
    pub(crate) app: App,
    pub(crate) tables: Tables,
}

impl Fixture {
    /// An app that accounts for what it saw, and the example rows in SQLite.
    pub(crate) fn new() -> Self {
        Self::with_app(App::echo())
    }

    /// This app, and the example rows in SQLite.
    pub(crate) fn with_app(app: App) -> Self {
        Self::configured(app, "")
    }

    /// This app, the example rows in SQLite, and these keys laid over the configuration.
    pub(crate) fn configured(app: App, config: &str) -> Self {
        Self::over(Tables::example(Backend::Sqlite), app, config)
    }

    /// These tables, this app, and these keys laid over the configuration.
    pub(crate) fn over(tables: Tables, app: App, config: &str) -> Self {
        let usher = Binary::over(&tables).apps(&[&app]).config(config).start();
        Self { usher, app, tables }
    }

    pub(crate) fn get(&self, host: &str, target: &str) -> Response {
        self.usher.get(host, target)
    }
}
