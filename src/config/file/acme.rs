//! `[acme]`, as it was written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{
    units::{Count, Timespan},
    written::{List, Section, Written},
};

/// `[acme]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Acme {
    /// The directory URL of the CA, or one of `letsencrypt`, `letsencrypt-staging`, `zerossl`; unset: no certificates are asked for.
    pub(in crate::config) directory: Written<String>,
    /// Whether you agree to the CA's terms of service; it issues nothing otherwise.
    pub(in crate::config) terms_agreed: Written<bool>,
    /// Whom the CA may write to, each `mailto:…`.
    pub(in crate::config) contacts: Written<List<String>>,
    /// A file with the root certificate of a private CA's own server (PEM); unset: the system's.
    pub(in crate::config) root_file: Written<String>,
    /// Which of its kinds of certificate; unset: what the CA gives to those who do not ask.
    pub(in crate::config) profile: Written<String>,
    /// The customer that you are to the CA already (external account binding): the name of your key there.
    pub(in crate::config) external_account_id: Written<String>,
    /// A file that holds this key, in base64 as the CA shows it.
    pub(in crate::config) external_account_key_file: Written<String>,
    /// The name of an environment variable that holds the same.
    pub(in crate::config) external_account_key_env: Written<String>,
    /// CAs that are asked after repeated failure, in this order.
    pub(in crate::config) fallbacks: Written<List<Section<Authority>>>,
    /// How a CA is shown whose a name is; after a refusal the next way is tried.
    pub(in crate::config) challenges: Written<List<String>>,
    /// Whether a name is asked for itself first, so that nothing is ordered for one that does not lead here.
    pub(in crate::config) self_check: Written<bool>,
    /// Orders of the account in a window; beyond it names wait.
    pub(in crate::config) orders_max: Written<Count<1, 1_000_000>>,
    /// This window.
    pub(in crate::config) orders_window: Written<Timespan<1000>>,
    /// Orders for names below one registrable domain in a window, renewals aside; beyond it they wait.
    pub(in crate::config) domain_orders_max: Written<Count<1, 1_000_000>>,
    /// This window.
    pub(in crate::config) domain_orders_window: Written<Timespan<1000>>,
    /// Failed validations of one name in a window; beyond it it waits.
    pub(in crate::config) failures_max: Written<Count<1, 1000>>,
    /// This window.
    pub(in crate::config) failures_window: Written<Timespan<1000>>,
    /// A command that adds and removes DNS records, for certificates of `*.` platform domains; it gets `add` or `remove`, name and
    /// value as further words.
    pub(in crate::config) dns_hook: Written<List<String>>,
    /// For one run of it; then it is ended.
    pub(in crate::config) dns_hook_timeout: Written<Timespan<1>>,
    /// How long a new record takes to reach all DNS servers of the domain.
    pub(in crate::config) dns_hook_wait: Written<Timespan<0>>,
}

/// A CA: an item of `acme.fallbacks`, or what `[acme]` says of the first.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Authority {
    /// As `acme.directory`. Required.
    pub(in crate::config) directory: Written<String>,
    /// As `acme.terms_agreed`, for this CA.
    pub(in crate::config) terms_agreed: Written<bool>,
    /// As `acme.root_file`, for this CA.
    pub(in crate::config) root_file: Written<String>,
    /// As `acme.profile`, for this CA.
    pub(in crate::config) profile: Written<String>,
    /// As `acme.external_account_id`, for this CA.
    pub(in crate::config) external_account_id: Written<String>,
    /// As `acme.external_account_key_file`, for this CA.
    pub(in crate::config) external_account_key_file: Written<String>,
    /// As `acme.external_account_key_env`, for this CA.
    pub(in crate::config) external_account_key_env: Written<String>,
}
