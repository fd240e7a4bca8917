//! The snapshot of the directory: given back at start, and whose it is.

use tokio::task::spawn_blocking;

use crate::{
    config::{self, Config},
    database::postgres,
    directory::{Directory, Keeper, Restored},
    telemetry::causes::one_line,
};

/// Whoever keeps the file that is configured, and how many tenants came out of it.
pub(super) async fn restore(config: &Config, directory: &Directory) -> (Option<Keeper>, usize) {
    let Some(path) = config.snapshot.clone() else { return (None, 0) };
    let keeper = Keeper::new(directory.clone(), path.clone(), &origin(config));
    let restoring = keeper.clone();
    let restored = spawn_blocking(move || restoring.restore()).await;
    let path = path.display();
    let tenants = match restored {
        Ok(Restored::Tenants(tenants)) => {
            tracing::info!(%path, tenants, "what the last run knew is served until the database says more");
            tenants
        }
        Ok(Restored::Nothing) => 0,
        Ok(Restored::Refused(error)) => {
            tracing::warn!(%path, error = one_line(&error), "the snapshot is not used");
            0
        }
        Err(error) => {
            tracing::error!(%path, %error, "the snapshot is not used");
            0
        }
    };
    (Some(keeper), tenants)
}

/// The database, what is asked of it, and the platform domains: their positions are part of the keys.
fn origin(config: &Config) -> String {
    let database = match &config.database {
        config::Database::Postgres(postgres::Settings { server, .. }) => {
            format!("{:?} {:?} {}", server.get_hosts(), server.get_ports(), server.get_dbname().unwrap_or_default())
        }
        config::Database::Sqlite(path) => path.display().to_string(),
    };
    let platforms: Vec<_> = config.routing.platform_domains.iter().map(|name| name.as_str()).collect();
    let queries = config.own_queries.as_ref().map(|own| {
        let text = [&own.custom_domain, &own.label].map(|sql| sql.as_deref().unwrap_or_default()).join("\0");
        format!(" queries {:08x}", crc32fast::hash(text.as_bytes()))
    });
    format!("{database} {}{}", platforms.join(" "), queries.unwrap_or_default())
}
