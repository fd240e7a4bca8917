//! `usher cert`.

use std::{fs, path::PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use usher::{
    config::Config,
    tls::{Archive, ArchiveError, Entry, Keyring, State},
};

use super::{Failure, Outcome, database, outcome::table, store::Common};

/// Import, list or show certificates in the database, or seal their keys anew
///
/// Certificates in the database are shown by every instance of usher, each within five minutes of the import. Their private keys
/// are sealed by the first key that tls.encryption_keys_file or tls.encryption_keys_env names, and shown by no command.
///
/// With --json: {"name": text, "expires": seconds since the Unix epoch or null, "key_id": text or null, "state": "good", "waiting",
/// "failing" or "ended", "due": when it is asked for, or null, "failures": number, "reason": a word or null, "problem": text or null}, or
/// a list of these from `import` and `list`; `show` also has "certificate" (PEM). `rekey` says {"sealed_anew": number,
/// "failed": [{"name": text, "reason": text}]}.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  usher cert import --certificate shop.pem --key shop.key --config usher.toml
  usher cert list --config usher.toml
  usher cert rekey --config usher.toml      after all instances run with the new key in front")]
pub(crate) struct Cert {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Take a certificate for every name it is good for; what was there for a name is replaced
    Import {
        /// The certificate, with those that lead to its CA behind it (PEM)
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// Its private key, unencrypted (PEM)
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// List certificates and the names that wait for one, the first to run out first, with what stands in the way
    List {
        /// Only those in this state: good, waiting, failing or ended
        #[arg(long, value_parser = state)]
        state: Option<State>,
        #[command(flatten)]
        common: Common,
    },
    /// Show a certificate, without its key
    Show {
        /// The name, as `list` shows it
        name: String,
        #[command(flatten)]
        common: Common,
    },
    /// Seal every private key by the first of the configured keys, and so the accounts at CAs and the keys of session tickets
    ///
    /// Put the new key behind the old one and restart all instances; put it in front and restart them again; run this, and then take
    /// the old one away. In front at once it would seal what instances cannot open that were not restarted yet.
    Rekey {
        #[command(flatten)]
        common: Common,
    },
}

impl Cert {
    pub(super) async fn run(self) -> Result<Outcome, Failure> {
        match self.action {
            Action::Import { certificate, key, common } => {
                let (config, archive) = open(&common).await?;
                let [certificate, key] = [read(certificate)?, read(key)?];
                list(&archive.import(&certificate, &key, keys(&config)?).await?, &common)
            }
            Action::List { state, common } => {
                let mut entries = open(&common).await?.1.list().await?;
                entries.retain(|entry| state.is_none_or(|state| entry.state == state));
                list(&entries, &common)
            }
            Action::Show { name, common } => show(&open(&common).await?.1, &name, &common).await,
            Action::Rekey { common } => {
                let (config, archive) = open(&common).await?;
                rekey(&archive, keys(&config)?, &common).await
            }
        }
    }
}

async fn open(common: &Common) -> Result<(Config, Archive), Failure> {
    let config = common.file.load()?;
    let archive = Archive::new(database::session(&config).await?);
    Ok((config, archive))
}

fn keys(config: &Config) -> Result<&Keyring, Failure> {
    config.tls.keys.as_deref().ok_or(Failure::NoKeyring)
}

fn read(path: PathBuf) -> Result<Vec<u8>, Failure> {
    fs::read(&path).map_err(|cause| Failure::Unreadable { path, cause })
}

fn list(entries: &[Entry], common: &Common) -> Result<Outcome, Failure> {
    if common.json { Outcome::json(&entries) } else { Ok(Outcome::answer(text(entries))) }
}

fn state(text: &str) -> Result<State, &'static str> {
    State::parse(text).ok_or("there are good, waiting, failing and ended")
}

fn text(entries: &[Entry]) -> String {
    let time = |seconds: Option<i64>| match seconds {
        Some(seconds) => jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_string(),
        None => "-".to_owned(),
    };
    let due = |entry: &Entry| if entry.due == Some(0) { "now".to_owned() } else { time(entry.due) };
    let row = |entry: &Entry| {
        [
            entry.name.clone(),
            time(entry.expires),
            entry.key_id.clone().unwrap_or_else(|| "-".to_owned()),
            entry.state.as_str().to_owned(),
            due(entry),
            entry.problem.clone().unwrap_or_default(),
        ]
    };
    table(["NAME", "GOOD UNTIL", "SEALED BY", "STATE", "NEXT ASKED FOR", "WHY NOT YET"], entries.iter().map(row))
}

async fn show(archive: &Archive, name: &str, common: &Common) -> Result<Outcome, Failure> {
    let Some((entry, certificate)) = archive.show(name).await? else {
        let complaints = format!("there is no certificate for {name} in the database\n");
        return Ok(Outcome { complaints, is_negative: true, ..Outcome::default() });
    };
    if common.json {
        let mut told = json!(entry);
        told["certificate"] = certificate.into();
        return Outcome::json(&told);
    }
    Ok(Outcome::answer(format!("{}\n{certificate}", text(&[entry]))))
}

async fn rekey(archive: &Archive, keys: &Keyring, common: &Common) -> Result<Outcome, Failure> {
    let rekeyed = archive.rekey(keys).await?;
    let is_negative = !rekeyed.failed.is_empty();
    if common.json {
        let failed = rekeyed.failed.iter().map(|(name, error)| json!({"name": name, "reason": error.to_string()}));
        let told = json!({"sealed_anew": rekeyed.sealed_anew, "failed": failed.collect::<Vec<_>>()});
        return Ok(Outcome { is_negative, ..Outcome::json(&told)? });
    }
    let complaints = rekeyed.failed.iter().map(|(name, error)| format!("error: {name}: {error}\n")).collect();
    let answer = format!("{} sealed by {} now\n", rekeyed.sealed_anew, keys.sealing_id());
    Ok(Outcome { answer, complaints, is_negative })
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}
