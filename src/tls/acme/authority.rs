//! A CA: its account, which all instances share, and what is known of its mood.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use instant_acme::{Account, AccountBuilder, AccountCredentials, ExternalAccountKey, NewAccount};

use super::{client::Client, failure::OrderError, rest::Rest, settings::AuthoritySettings, table};
use crate::{
    database::session::{Session, Value},
    tls::{Keyring, Sealed},
};

/// A CA that certificates are asked of.
pub(super) struct Authority {
    pub(super) settings: AuthoritySettings,
    rest: Mutex<Rest>,
    account: tokio::sync::Mutex<Option<Account>>,
}

impl Authority {
    pub(super) fn new(settings: AuthoritySettings) -> Self {
        Self { settings, rest: Mutex::default(), account: tokio::sync::Mutex::default() }
    }

    /// By what it is known.
    pub(super) fn directory(&self) -> &str {
        &self.settings.directory
    }

    /// Looks at its mood, or notes a change of it.
    pub(super) fn rest<T>(&self, with: impl FnOnce(&mut Rest) -> T) -> T {
        with(&mut self.rest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The account. Two instances that make one at the same time both go on with the one that was written first.
    pub(super) async fn account(&self, session: &Session, keys: &Keyring) -> Result<Account, OrderError> {
        let mut held = self.account.lock().await;
        if let Some(account) = &*held {
            return Ok(account.clone());
        }
        if self.read(session, keys).await?.is_none() {
            let made = self.make().await?;
            self.write(session, keys, &made).await?;
        }
        let credentials = self.read(session, keys).await?.ok_or(OrderError::NoAccount)?;
        let account = self.builder()?.from_credentials(credentials).await?;
        *held = Some(account.clone());
        Ok(account)
    }

    fn builder(&self) -> Result<AccountBuilder, OrderError> {
        let client = Client::new(self.settings.root.as_deref().map(Path::new))?;
        Ok(Account::builder_with_http(Box::new(client)))
    }

    async fn make(&self) -> Result<AccountCredentials, OrderError> {
        let AuthoritySettings { directory, contacts, binding, .. } = &self.settings;
        let contacts: Vec<_> = contacts.iter().map(String::as_str).collect();
        let new = NewAccount { contact: &contacts, terms_of_service_agreed: true, only_return_existing: false };
        let binding = binding.as_ref().map(|binding| ExternalAccountKey::new(binding.key_id.clone(), &binding.key));
        let (_account, credentials) = self.builder()?.create(&new, directory.clone(), binding.as_ref()).await?;
        tracing::info!(directory, "account made at the CA");
        Ok(credentials)
    }

    async fn read(&self, session: &Session, keys: &Keyring) -> Result<Option<AccountCredentials>, OrderError> {
        let table = table(session.dialect(), "acme_accounts");
        let sql = format!("SELECT key_id, sealed_credentials FROM {table} WHERE directory = $1");
        let rows = session.query(&sql, &[Value::from(self.directory())]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let text = |column: usize| row.get(column).and_then(Value::as_text).unwrap_or_default().to_owned();
        let opened = keys.open(&Sealed { key_id: text(0), text: text(1) }, self.directory())?;
        Ok(Some(serde_json::from_slice(&opened).map_err(OrderError::Credentials)?))
    }

    async fn write(&self, session: &Session, keys: &Keyring, made: &AccountCredentials) -> Result<(), OrderError> {
        let plain = serde_json::to_vec(made).map_err(OrderError::Credentials)?;
        let Sealed { key_id, text } = keys.seal(&plain, self.directory())?;
        let table = table(session.dialect(), "acme_accounts");
        let sql = format!(
            "INSERT INTO {table} (directory, key_id, sealed_credentials) VALUES ($1, $2, $3) ON CONFLICT (directory) DO NOTHING"
        );
        session.query(&sql, &[self.directory(), &key_id, &text].map(Value::from)).await?;
        Ok(())
    }
}

/// The URI of our account at the CA with this directory, as CAA records name it (RFC 8657 §3); nothing where there is none, or it
/// cannot be read.
pub async fn account_uri(session: &Session, keys: &Keyring, directory: &str) -> Option<String> {
    let settings = AuthoritySettings {
        directory: directory.to_owned(),
        contacts: Vec::new(),
        root: None,
        profile: None,
        binding: None,
    };
    let credentials = Authority::new(settings).read(session, keys).await.ok()??;
    serde_json::to_value(&credentials).ok()?.get("id")?.as_str().map(str::to_owned)
}

/// So many failures in a row at one CA, and the name is taken to the next one.
const FAILURES_EACH: u32 = 3;

/// Which of the CAs a name is taken to that was at `last`, and has failed there `failures` times in a row: the preferred one first, the
/// next after repeated failure, and none that wants to be left alone. `None`: all of them do.
pub(super) fn choose<'a>(
    authorities: &'a [Authority],
    last: Option<&str>,
    failures: u32,
    now: i64,
) -> Option<&'a Authority> {
    let last = last.and_then(|last| authorities.iter().position(|authority| authority.directory() == last));
    let is_tired = failures > 0 && failures.is_multiple_of(FAILURES_EACH);
    let start = last.unwrap_or_default() + usize::from(is_tired && last.is_some());
    let in_turn = (0..authorities.len()).filter_map(|step| authorities.get((start + step) % authorities.len()));
    in_turn.into_iter().find(|authority| authority.rest(|rest| rest.left(now)) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorities() -> Vec<Authority> {
        let of = |directory: &str| AuthoritySettings {
            directory: directory.to_owned(),
            contacts: Vec::new(),
            root: None,
            profile: None,
            binding: None,
        };
        ["a", "b", "c"].map(of).map(Authority::new).into()
    }

    #[test]
    fn the_next_one_is_taken_after_repeated_failure() {
        let all = authorities();
        let chosen = |last: Option<&str>, failures| choose(&all, last, failures, 0).map(Authority::directory);
        assert_eq!([0, 1, 2].map(|failures| chosen(None, failures)), [Some("a"); 3]);
        assert_eq!(
            [0, 2, 3, 4].map(|failures| chosen(Some("a"), failures)),
            [Some("a"), Some("a"), Some("b"), Some("a")]
        );
        assert_eq!(
            (chosen(Some("b"), 6), chosen(Some("c"), 9), chosen(Some("gone"), 3)),
            (Some("c"), Some("a"), Some("a"))
        );
    }

    #[test]
    fn one_that_wants_to_be_left_alone_is_passed_over() {
        let all = authorities();
        all[0].rest(|rest| rest.told(0, 60));
        assert_eq!(choose(&all, None, 0, 0).map(Authority::directory), Some("b"));
        assert_eq!(choose(&all, None, 0, 60).map(Authority::directory), Some("a"));
        all.iter().for_each(|authority| authority.rest(|rest| rest.told(0, 60)));
        assert!(choose(&all, None, 0, 0).is_none());
    }
}
