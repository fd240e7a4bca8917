//! Why an edit was refused, and what to do about it.

use crate::{database::session, routing::HostnameError};

/// Why an edit or a look-up of the catalog was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The subdomain is no label.
    #[error("the subdomain {written:?} {cause}")]
    Subdomain {
        /// What was written.
        written: String,
        /// What is wrong with it.
        cause: HostnameError,
    },
    /// The subdomain has dots.
    #[error("the subdomain {written:?} has more than one label")]
    SeveralLabels {
        /// What was written.
        written: String,
    },
    /// No request under any platform domain would be this store's.
    #[error("no store can have the subdomain {label}: it is {reason}")]
    UnusableLabel {
        /// The label.
        label: String,
        /// What it is instead.
        reason: &'static str,
    },
    /// The domain is no host name.
    #[error("the domain {written:?} {cause}")]
    Domain {
        /// What was written.
        written: String,
        /// What is wrong with it.
        cause: HostnameError,
    },
    /// No request for this name would be looked up as a custom domain.
    #[error("{name} can be no store's custom domain: it is {reason}")]
    UnusableDomain {
        /// The name.
        name: String,
        /// What it is instead.
        reason: &'static str,
    },
    /// Another row has the name.
    #[error("{name} belongs to store {store} already")]
    Taken {
        /// The subdomain or domain.
        name: String,
        /// The store as [`super::Store::title`] has it.
        store: String,
    },
    /// No row has this id or subdomain.
    #[error("there is no store with the id or subdomain {0:?}")]
    NoSuchStore(String),
    /// The reference is one store's id and another one's subdomain, or several rows come to the same subdomain.
    #[error("{reference:?} may mean several stores: {candidates}")]
    AmbiguousStore {
        /// What was written.
        reference: String,
        /// The stores that it fits.
        candidates: String,
    },
    /// No row has this name.
    #[error("no store has the domain {0}")]
    NoSuchDomain(String),
    /// Several rows come to the same name.
    #[error("several rows of store_domains come to the name {name}: {rows}")]
    AmbiguousDomain {
        /// The name.
        name: String,
        /// The rows.
        rows: String,
    },
    /// The table does not exist.
    #[error("there is no table {table}")]
    MissingTable {
        /// Its name.
        table: &'static str,
    },
    /// What was asked for needs a column that the table does not have.
    #[error("the table {table} has no column {column}")]
    MissingColumn {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// The app's table wants values that only the app can make.
    #[error("the table {table} needs values that usher cannot know: {columns}")]
    UnknownColumns {
        /// The table.
        table: &'static str,
        /// The columns that take no NULL and have no default.
        columns: String,
    },
    /// The system gave no random numbers.
    #[error("no verification token could be made")]
    Randomness(#[source] getrandom::Error),
    /// The database refused or could not be asked.
    #[error("the database could not do it")]
    Session(#[from] session::Error),
}

impl Error {
    /// What to do about it, in one line.
    pub fn remedy(&self) -> String {
        match self {
            Self::Subdomain { .. } => "use 1 to 63 letters, digits and hyphens, as in `store1`".into(),
            Self::SeveralLabels { .. } => {
                "give the first label only, as in `store1`; a name of the customer's own is added by `usher domain add`"
                    .into()
            }
            Self::UnusableLabel { .. } => {
                "choose another subdomain, or change the [routing] section of the configuration".into()
            }
            Self::Domain { .. } => "write the bare name without scheme, port and path, as in `shop.example.com`".into(),
            Self::UnusableDomain { .. } => {
                "choose a domain of the customer's own; subdomains of the platform are given by `usher store add`"
                    .into()
            }
            Self::Taken { .. } => {
                "choose another name, or remove the row that has it first (`usher store show`, `usher domain show`)"
                    .into()
            }
            Self::NoSuchStore(_) => "see `usher store list`".into(),
            Self::AmbiguousStore { .. } => {
                "write id:ID or subdomain:SUBDOMAIN; several rows of one subdomain have to be renamed by the app".into()
            }
            Self::NoSuchDomain(_) => "see `usher domain list`".into(),
            Self::AmbiguousDomain { .. } => {
                "keep one of these rows and remove the others from the table by their id".into()
            }
            Self::MissingTable { .. } => "run `usher migrate`, which creates what is missing".into(),
            Self::MissingColumn { table, column } => {
                format!("add the column to the app's table: ALTER TABLE {table} ADD COLUMN {column} …")
            }
            Self::UnknownColumns { .. } => "give these columns a default, or add the row by the app itself".into(),
            Self::Randomness(_) => "try again; if it persists, look at the system's random number generator".into(),
            Self::Session(error) if error.is_unique_violation() => {
                "remove or change the row that has this value; if it is an id, rows were added with ids written out, and the \
                 table's sequence has to be set behind them (setval)"
                    .into()
            }
            Self::Session(error) if error.is_lack_of_privilege() => {
                "use a database role that may do this, for example the owner of the tables".into()
            }
            Self::Session(_) => "see `usher check`, which tests the connection and the tables".into(),
        }
    }
}
