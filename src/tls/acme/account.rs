//! The account at the CA: one for all instances, its key sealed in the database.

use instant_acme::{Account, AccountBuilder, AccountCredentials, NewAccount};
use tokio::sync::Mutex;

use super::{Settings, order::OrderError, table};
use crate::{
    database::session::{Session, Value},
    tls::{Keyring, Sealed},
};

/// Finds the account, or makes it.
pub(super) struct Accounts {
    settings: Settings,
    held: Mutex<Option<Account>>,
}

impl Accounts {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, held: Mutex::default() }
    }

    /// The account. Two instances that make one at the same time both go on with the one that was written first.
    pub(super) async fn account(&self, session: &Session, keys: &Keyring) -> Result<Account, OrderError> {
        let mut held = self.held.lock().await;
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
        Ok(match &self.settings.root {
            Some(root) => Account::builder_with_root(root)?,
            None => Account::builder()?,
        })
    }

    async fn make(&self) -> Result<AccountCredentials, OrderError> {
        let contacts: Vec<_> = self.settings.contacts.iter().map(String::as_str).collect();
        let new = NewAccount { contact: &contacts, terms_of_service_agreed: true, only_return_existing: false };
        let (_account, credentials) = self.builder()?.create(&new, self.settings.directory.clone(), None).await?;
        tracing::info!(directory = self.settings.directory, "account made at the CA");
        Ok(credentials)
    }

    async fn read(&self, session: &Session, keys: &Keyring) -> Result<Option<AccountCredentials>, OrderError> {
        let table = table(session.dialect(), "acme_accounts");
        let sql = format!("SELECT key_id, sealed_credentials FROM {table} WHERE directory = $1");
        let rows = session.query(&sql, &[Value::from(self.settings.directory.as_str())]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let text = |column: usize| row.get(column).and_then(Value::as_text).unwrap_or_default().to_owned();
        let opened = keys.open(&Sealed { key_id: text(0), text: text(1) }, &self.settings.directory)?;
        Ok(Some(serde_json::from_slice(&opened).map_err(OrderError::Credentials)?))
    }

    async fn write(&self, session: &Session, keys: &Keyring, made: &AccountCredentials) -> Result<(), OrderError> {
        let plain = serde_json::to_vec(made).map_err(OrderError::Credentials)?;
        let Sealed { key_id, text } = keys.seal(&plain, &self.settings.directory)?;
        let table = table(session.dialect(), "acme_accounts");
        let sql = format!(
            "INSERT INTO {table} (directory, key_id, sealed_credentials) VALUES ($1, $2, $3) ON CONFLICT (directory) DO NOTHING"
        );
        session.query(&sql, &[&self.settings.directory, &key_id, &text].map(|text| Value::from(text.as_str()))).await?;
        Ok(())
    }
}
