//! The everyday edits and look-ups of the certificates in the database, for commands and the API.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs;

use super::{
    super::{Certificate, CertificateError, Keyring, Sealed, acme, keyring::SealError},
    entry::{self, Entry, State},
};
use crate::database::session::{self, Session, Value};

/// Entries read with one query.
const PAGE: usize = 1000;

/// The certificates in a database.
pub struct Archive {
    session: Session,
    table: String,
}

/// What became of the secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rekeyed {
    /// Sealed by the first key now.
    pub sealed_anew: usize,
    /// What does not open, and why.
    pub failed: Vec<(String, SealError)>,
}

/// Where secrets lie: the table, the column that says whose each is, as text, the secret's column, and what stands in front of whose it is in
/// what it was sealed for.
const SECRETS: [(&str, &str, &str, &str); 4] = [
    ("certificates", "name", "sealed_key", ""),
    ("acme_accounts", "directory", "sealed_credentials", ""),
    ("acme_order_keys", "name", "sealed_key", acme::ORDER_KEY),
    ("ticket_keys", "CAST(number AS text)", "sealed_key", crate::tls::tickets::CONTEXT),
];

impl Archive {
    /// Those behind `session`.
    pub fn new(session: Session) -> Self {
        let table = super::table(session.dialect());
        Self { session, table }
    }

    /// Takes a certificate with its key, both as PEM, for every name it is good for; what was there for a name is replaced.
    pub async fn import(&self, chain: &[u8], key: &[u8], keys: &Keyring) -> Result<Vec<Entry>, ArchiveError> {
        let certificate = Certificate::from_pem(chain, key, &aws_lc_rs::default_provider())?;
        let pem = str::from_utf8(chain).map_err(|_| ArchiveError::NotText)?;
        let expires = seconds(certificate.expires());
        let sql = format!(
            "INSERT INTO {} (name, certificate, key_id, sealed_key, expires_at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (name) DO UPDATE SET certificate = excluded.certificate, key_id = excluded.key_id, \
             sealed_key = excluded.sealed_key, expires_at = excluded.expires_at, renew_at = NULL, directory = NULL, ask_at = NULL, \
             updated_at = CURRENT_TIMESTAMP",
            self.table
        );
        let names = certificate.printed_names();
        let mut statements = Vec::new();
        for name in &names {
            let Sealed { key_id, text } = keys.seal(key, name)?;
            let values = [name, pem, &key_id, &text].map(Value::from);
            statements.push((sql.as_str(), [&values[..], &[Value::Int(expires)]].concat()));
        }
        if names.is_empty() {
            return Err(CertificateError::Nameless.into());
        }
        self.session.transaction(&statements).await?;
        let mut entries = Vec::new();
        for name in &names {
            entries.extend(self.entry(name).await?);
        }
        Ok(entries)
    }

    /// All of them, and the names that have none yet, the first to run out first.
    pub async fn list(&self) -> Result<Vec<Entry>, ArchiveError> {
        let (mut entries, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.page(&after, None, PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|entry| entry.name.clone()).unwrap_or_default();
            entries.extend(page);
            if is_last {
                break;
            }
        }
        entries.sort_by(|one, other| (one.expires, &one.name).cmp(&(other.expires, &other.name)));
        Ok(entries)
    }

    /// The next `count` in the order of their names, of those in `state`.
    pub async fn page(&self, after: &str, state: Option<State>, count: usize) -> Result<Vec<Entry>, ArchiveError> {
        let sql = entry::page(self.session.dialect(), state, count);
        self.session.query(&sql, &[Value::from(after)]).await?.iter().map(Entry::read).collect()
    }

    /// How it stands with `name`; nothing where it has no certificate and nobody asks for one.
    pub async fn entry(&self, name: &str) -> Result<Option<Entry>, ArchiveError> {
        let rows = self.session.query(&entry::one(self.session.dialect()), &[Value::from(name)]).await?;
        rows.first().map(Entry::read).transpose()
    }

    /// One of them, with the certificate and those behind it as PEM.
    pub async fn show(&self, name: &str) -> Result<Option<(Entry, String)>, ArchiveError> {
        let sql = format!("SELECT certificate FROM {} WHERE name = $1", self.table);
        let rows = self.session.query(&sql, &[Value::from(name)]).await?;
        let Some(pem) = rows.first().and_then(|row| row.first()?.as_text()) else { return Ok(None) };
        Ok(self.entry(name).await?.map(|entry| (entry, pem.to_owned())))
    }

    /// Seals by the first of `keys` what is sealed by another: private keys, also of orders that are under way, accounts at CAs, keys of session tickets. What is replaced
    /// meanwhile is left as it is.
    pub async fn rekey(&self, keys: &Keyring) -> Result<Rekeyed, ArchiveError> {
        let mut rekeyed = Rekeyed::default();
        for (table, whose, secret, context) in SECRETS {
            let table = acme::table(self.session.dialect(), table);
            let sql = format!("SELECT {whose}, key_id, {secret} FROM {table} WHERE key_id <> $1 ORDER BY {whose}");
            for row in self.session.query(&sql, &[Value::from(keys.sealing_id())]).await? {
                let text = |column: usize| row.get(column).and_then(Value::as_text).map(str::to_owned);
                let (Some(name), Some(key_id), Some(text)) = (text(0), text(1), text(2)) else {
                    return Err(ArchiveError::Row);
                };
                let (context, old) = (format!("{context}{name}"), Sealed { key_id, text });
                match keys.open(&old, &context).and_then(|plain| keys.seal(&plain, &context)) {
                    Ok(new) => {
                        let sql = format!(
                            "UPDATE {table} SET key_id = $1, {secret} = $2 WHERE {whose} = $3 AND {secret} = $4"
                        );
                        self.session
                            .query(
                                &sql,
                                &[&new.key_id, &new.text, &name, &old.text].map(|text| Value::from(text.as_str())),
                            )
                            .await?;
                        rekeyed.sealed_anew += 1;
                    }
                    Err(error) => rekeyed.failed.push((context, error)),
                }
            }
        }
        Ok(rekeyed)
    }
}

pub(super) fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Why an edit is not possible.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The certificate cannot be shown.
    #[error("the certificate cannot be taken")]
    Certificate(#[from] CertificateError),
    /// The file of the certificate is no text.
    #[error("the certificate is not PEM")]
    NotText,
    /// The private key cannot be sealed.
    #[error("the private key cannot be sealed")]
    Seal(#[from] SealError),
    /// The database.
    #[error("the certificates in the database cannot be used")]
    Database(#[from] session::Error),
    /// A row has other columns than were asked for.
    #[error("the table of certificates has columns of another type")]
    Row,
}
