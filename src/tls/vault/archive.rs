//! The everyday edits of the certificates in the database, for commands.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs;
use serde::Serialize;

use super::super::{Certificate, CertificateError, Keyring, Sealed, keyring::SealError};
use crate::database::session::{self, Row, Session, Value};

/// The certificates in a database.
pub struct Archive {
    session: Session,
    table: String,
}

/// What is told of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The host, or `*.` and the domain below which it is good for one label.
    pub name: String,
    /// When it ends to be valid, in seconds since the Unix epoch.
    pub expires: i64,
    /// Which key its private key is sealed by.
    pub key_id: String,
}

/// What became of the private keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rekeyed {
    /// Sealed by the first key now.
    pub sealed_anew: usize,
    /// Names whose key does not open, and why.
    pub failed: Vec<(String, SealError)>,
}

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
             sealed_key = excluded.sealed_key, expires_at = excluded.expires_at, renew_at = NULL, updated_at = CURRENT_TIMESTAMP",
            self.table
        );
        let (mut entries, mut statements) = (Vec::new(), Vec::new());
        for name in names(&certificate) {
            let Sealed { key_id, text } = keys.seal(key, &name)?;
            let values = [&name, pem, &key_id, &text].map(Value::from);
            statements.push((sql.as_str(), [&values[..], &[Value::Int(expires)]].concat()));
            entries.push(Entry { name, expires, key_id });
        }
        if entries.is_empty() {
            return Err(CertificateError::Nameless.into());
        }
        self.session.transaction(&statements).await?;
        Ok(entries)
    }

    /// All of them, the first to run out first.
    pub async fn list(&self) -> Result<Vec<Entry>, ArchiveError> {
        let sql = format!("SELECT name, expires_at, key_id FROM {} ORDER BY expires_at, name", self.table);
        self.session.query(&sql, &[]).await?.iter().map(entry).collect()
    }

    /// One of them, with the certificate and those behind it as PEM.
    pub async fn show(&self, name: &str) -> Result<Option<(Entry, String)>, ArchiveError> {
        let sql = format!("SELECT name, expires_at, key_id, certificate FROM {} WHERE name = $1", self.table);
        let rows = self.session.query(&sql, &[Value::from(name)]).await?;
        rows.first().map(|row| Ok((entry(row)?, text(row, 3)?))).transpose()
    }

    /// Seals by the first of `keys` what is sealed by another. What is replaced meanwhile is left as it is.
    pub async fn rekey(&self, keys: &Keyring) -> Result<Rekeyed, ArchiveError> {
        let sql = format!("SELECT name, key_id, sealed_key FROM {} WHERE key_id <> $1 ORDER BY name", self.table);
        let rows = self.session.query(&sql, &[Value::from(keys.sealing_id())]).await?;
        let mut rekeyed = Rekeyed::default();
        for row in &rows {
            let (name, old) = (text(row, 0)?, Sealed { key_id: text(row, 1)?, text: text(row, 2)? });
            match keys.open(&old, &name).and_then(|key| keys.seal(&key, &name)) {
                Ok(new) => {
                    self.replace(&name, &old, &new).await?;
                    rekeyed.sealed_anew += 1;
                }
                Err(error) => rekeyed.failed.push((name, error)),
            }
        }
        Ok(rekeyed)
    }

    async fn replace(&self, name: &str, old: &Sealed, new: &Sealed) -> Result<(), ArchiveError> {
        let sql = format!("UPDATE {} SET key_id = $1, sealed_key = $2 WHERE name = $3 AND sealed_key = $4", self.table);
        self.session.query(&sql, &[&new.key_id, &new.text, name, &old.text].map(Value::from)).await?;
        Ok(())
    }
}

fn names(certificate: &Certificate) -> Vec<String> {
    let (names, wildcards) = certificate.names();
    let wildcards = wildcards.iter().map(|parent| format!("*.{parent}"));
    names.iter().map(ToString::to_string).chain(wildcards).collect()
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn entry(row: &Row) -> Result<Entry, ArchiveError> {
    let Some(Value::Int(expires)) = row.get(1) else { return Err(ArchiveError::Row) };
    Ok(Entry { name: text(row, 0)?, expires: *expires, key_id: text(row, 2)? })
}

fn text(row: &Row, column: usize) -> Result<String, ArchiveError> {
    row.get(column).and_then(Value::as_text).map(str::to_owned).ok_or(ArchiveError::Row)
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
