//! Who looks at custom domains, and how it hears of new ones.

use super::{Error, rows::Rows};
use crate::{
    config::{self, Config},
    directory::{Change, Directory, Feed},
    domains::{Edits, Links, SelfCheck, Verifier},
    tls::Issuer,
};

/// The service, where it is usher that decides who owns a domain.
pub(super) fn verifier(
    config: &Config,
    rows: &Rows,
    self_check: &SelfCheck,
    directory: &Directory,
    feed: &mut Feed,
    issuer: Option<Issuer>,
) -> Result<Option<Verifier>, Error> {
    if !config.domains.are_verified {
        return Ok(None);
    }
    let (edits, stats, marked) = (Edits::default(), feed.stats(), feed.stats());
    let told = edits.clone();
    feed.observe(move |change| match change {
        Change::Domain(name) => told.tell(name),
        Change::Everything => told.tell_everything(),
        Change::Label(_) | Change::Tenant(_) => {}
    });
    let (directory, is_file) = (directory.clone(), matches!(config.database, config::Database::Sqlite(_)));
    let links = Links {
        edits,
        is_told: Box::new(move || stats.is_following()),
        // PostgreSQL's triggers tell of it, and of the store whose other hosts may stand back for it, once a replica can be expected to
        // have it; not where nobody follows them. Of an SQLite file nobody tells what was written here, nor is the store known.
        on_mark: Box::new(move |name| match is_file {
            true => directory.apply(&[Change::Everything]),
            false if !marked.is_following() => directory.apply(&[Change::Domain(name.into())]),
            false => {}
        }),
        on_live: Box::new(move |name| issuer.iter().for_each(|issuer| issuer.leads_here(name))),
    };
    let checks = config.domains.checks.clone();
    Verifier::new(checks, rows.session(), self_check.clone(), links).map(Some).map_err(Error::Dns)
}
