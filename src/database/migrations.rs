//! The tables that usher needs, as numbered SQL.

use super::session::{Dialect, Error, Session};

/// All statements for `dialect`, in order, as `usher migrate --print` shows them.
pub fn sql(dialect: Dialect) -> String {
    let _ = dialect;
    todo!()
}

/// Creates or upgrades what is missing; running it again changes nothing.
pub async fn run(session: &Session) -> Result<(), Error> {
    let _ = session;
    todo!()
}

/// The tables of the default routing queries that do not exist, for `serve` and `check` to name.
pub async fn missing_tables(session: &Session) -> Result<Vec<&'static str>, Error> {
    let _ = session;
    todo!()
}
