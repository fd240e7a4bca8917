//! What the last run has left, and what is kept for the next one: tenants, and certificates from the database.

use std::path::PathBuf;

use crate::{
    config::{self, Config},
    database::postgres,
    directory::Directory,
    lifecycle::{Content, Keeper, SnapshotFile, Tasks},
    telemetry::causes::one_line,
    tls::Vault,
};

/// The files that are configured.
pub(super) struct Snapshots {
    tenants: Option<Keeper<Directory>>,
    certificates: Option<Keeper<Vault>>,
}

impl Snapshots {
    /// Takes back what the last run has left; how many tenants that were.
    pub(super) async fn restore(config: &Config, directory: &Directory, vault: Option<&Vault>) -> (Self, usize) {
        let tenants = keeper(Some(directory), config.snapshot.as_ref(), || origin(config));
        let certificates =
            keeper(vault, config.tls.snapshot.as_ref(), || format!("certificates of {}", database(config)));
        let count = restored("tenants", tenants.as_ref()).await;
        restored("certificates", certificates.as_ref()).await;
        (Self { tenants, certificates }, count)
    }

    /// Writes them for as long as the process runs.
    pub(super) fn keep(&self, tasks: &mut Tasks) {
        if let Some(keeper) = self.tenants.clone() {
            tasks.spawn("snapshot", keeper.run());
        }
        if let Some(keeper) = self.certificates.clone() {
            tasks.spawn("certificates-snapshot", keeper.run());
        }
    }

    /// Writes them for the last time.
    pub(super) async fn write(self) {
        if let Some(keeper) = self.tenants {
            keeper.write().await;
        }
        if let Some(keeper) = self.certificates {
            keeper.write().await;
        }
    }
}

fn keeper<C: Content>(content: Option<&C>, path: Option<&PathBuf>, origin: impl Fn() -> String) -> Option<Keeper<C>> {
    let (content, path) = content.cloned().zip(path.cloned())?;
    Some(Keeper::new(content, SnapshotFile::new(path, origin())))
}

/// How many there were.
async fn restored<C: Content>(what: &str, keeper: Option<&Keeper<C>>) -> usize {
    let Some(keeper) = keeper else { return 0 };
    let path = keeper.path().display();
    match keeper.restore().await {
        Ok(Some(count)) => {
            tracing::info!(%path, what, count, "what the last run knew is served until the database says more");
            count
        }
        Ok(None) => 0,
        Err(error) => {
            tracing::warn!(%path, what, error = one_line(&error), "the snapshot is not used");
            0
        }
    }
}

/// The database, what is asked of it, and the platform domains: their positions are part of the keys.
fn origin(config: &Config) -> String {
    let platforms: Vec<_> = config.routing.platform_domains.iter().map(|name| name.as_str()).collect();
    let queries = config.own_queries.as_ref().map(|own| {
        let text = [&own.custom_domain, &own.label].map(|sql| sql.as_deref().unwrap_or_default()).join("\0");
        format!(" queries {:08x}", crc32fast::hash(text.as_bytes()))
    });
    format!("{} {}{}", database(config), platforms.join(" "), queries.unwrap_or_default())
}

fn database(config: &Config) -> String {
    match &config.database {
        config::Database::Postgres(postgres::Settings { server, .. }) => {
            format!("{:?} {:?} {}", server.get_hosts(), server.get_ports(), server.get_dbname().unwrap_or_default())
        }
        config::Database::Sqlite(path) => path.display().to_string(),
    }
}
