//! `usher store`.

use std::slice;

use clap::{Args, Subcommand};
use usher::catalog::{self, Catalog};

use super::{
    ConfigFile, Failure, Outcome, database,
    outcome::{table, yes_no},
};

/// Add, list, show, enable or disable stores
///
/// A store is a row of the table `stores`. It is served under SUBDOMAIN.<platform domain>, and under the custom domains that
/// `usher domain` gives it. STORE is the id of a store or its subdomain; where both could be meant, write id:ID or
/// subdomain:SUBDOMAIN.
///
/// With --json: {"id": text, "subdomain": text, "name": text or null, "is_active": bool}; a list of these from `list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  usher store add store1 --name 'Shop Alpha' --config usher.toml
  usher store list --json --config usher.toml
  usher store disable store1 --config usher.toml")]
pub(crate) struct Store {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a store, active at once
    ///
    /// The subdomain is one label (letters, digits, hyphens), stored in lower case; Unicode becomes its A-label. Labels of
    /// routing.reserved_labels are refused.
    Add {
        /// The label under the platform domains
        subdomain: String,
        /// What people call the store; the subdomain where it is not given
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// List all stores
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Show one store
    Show(One),
    /// Switch a store on
    Enable(One),
    /// Switch a store off: all of its names become unknown
    Disable(One),
}

#[derive(Debug, Args)]
struct One {
    /// The id or subdomain of the store
    store: String,
    #[command(flatten)]
    common: Common,
}

/// What all of these take.
#[derive(Debug, Args)]
pub(super) struct Common {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// Answer in JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Store {
    pub(super) async fn run(self) -> Result<Outcome, Failure> {
        match self.action {
            Action::Add { subdomain, name, common } => {
                let store = open(&common).await?.add_store(&subdomain, name.as_deref()).await?;
                shown(&store, &common)
            }
            Action::List { common } => list(&open(&common).await?.stores().await?, &common),
            Action::Show(One { store, common }) => shown(&open(&common).await?.store(&store).await?, &common),
            Action::Enable(one) => switch(one, true).await,
            Action::Disable(one) => switch(one, false).await,
        }
    }
}

async fn open(common: &Common) -> Result<Catalog, Failure> {
    database::catalog(&common.file.load()?).await
}

async fn switch(One { store, common }: One, is_active: bool) -> Result<Outcome, Failure> {
    shown(&open(&common).await?.set_store_active(&store, is_active).await?, &common)
}

fn shown(store: &catalog::Store, common: &Common) -> Result<Outcome, Failure> {
    if common.json { Outcome::json(store) } else { Ok(Outcome::answer(text(slice::from_ref(store)))) }
}

fn list(stores: &[catalog::Store], common: &Common) -> Result<Outcome, Failure> {
    if common.json { Outcome::json(&stores) } else { Ok(Outcome::answer(text(stores))) }
}

fn text(stores: &[catalog::Store]) -> String {
    let row = |store: &catalog::Store| {
        let name = store.name.clone().unwrap_or_default();
        [store.id.clone(), store.subdomain.clone(), yes_no(store.is_active), name]
    };
    table(["ID", "SUBDOMAIN", "ACTIVE", "NAME"], stores.iter().map(row))
}
