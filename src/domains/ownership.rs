//! Whether the customer's token stands in the DNS, or on the customer's web server.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde::Serialize;

use super::{
    Proof, Settings,
    dns::{self, Dns},
    traffic::Visitor,
};

/// Texts that are shown of those that stand there instead; a person compares them by eye.
const SHOWN_MAX: usize = 3;

/// Octets that are shown of a text: a token has 32 and a few around it that somebody has copied with it.
const SHOWN_OCTETS: usize = 80;

/// What became of the search for a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Ownership {
    /// It stands there.
    Found {
        /// The name of the record.
        record: String,
    },
    /// Not there, but where the name is asked over HTTP.
    Served {
        /// The address of the page.
        url: String,
    },
    /// The zone's own servers say that it does not.
    Absent {
        /// The name of the record that customers are told of.
        record: String,
        /// What stands there instead.
        texts: Vec<String>,
    },
    /// Nobody who knows could be asked.
    Unknown {
        /// The name of the record that customers are told of.
        record: String,
        /// What went wrong.
        reason: String,
    },
}

impl Ownership {
    /// Looks for `token` in the DNS, and then on the web server of `name` where that counts.
    pub(super) async fn look(visitor: Visitor<'_>, settings: &Settings, name: &str, token: &str) -> Self {
        let told = Self::in_dns(visitor.dns, &settings.prefixes, name, token).await;
        let Some(path) = settings.page_path().filter(|_| told.proof() != Proof::Present) else { return told };
        match visitor.meets(name, &path, |page| is_token(page.trim_ascii(), token)).await {
            true => Self::Served { url: url(name, &path) },
            false => told,
        }
    }

    /// Looks under each of `prefixes` in front of `name`: first where everybody looks, and where that says no, at the zone's own servers.
    async fn in_dns(dns: &Dns, prefixes: &[String], name: &str, token: &str) -> Self {
        let records: Vec<_> = prefixes.iter().map(|prefix| format!("{prefix}.{name}")).collect();
        for record in &records {
            let texts = dns.texts(record).await.unwrap_or_default();
            if holds(&texts, token) {
                return Self::Found { record: record.clone() };
            }
        }
        Self::at_authority(dns, &records, token).await
    }

    async fn at_authority(dns: &Dns, records: &[String], token: &str) -> Self {
        let told = records.first().cloned().unwrap_or_default();
        let mut others = Vec::new();
        for record in records {
            match dns.texts_at_authority(record).await {
                Ok(texts) if holds(&texts, token) => return Self::Found { record: record.clone() },
                Ok(texts) => others.extend(texts),
                Err(error) => return Self::Unknown { record: told, reason: reason(&error) },
            }
        }
        Self::Absent { record: told, texts: others.iter().take(SHOWN_MAX).map(|text| shown(text)).collect() }
    }

    /// What it means for the claim.
    pub fn proof(&self) -> Proof {
        match self {
            Self::Found { .. } | Self::Served { .. } => Proof::Present,
            Self::Absent { .. } => Proof::Absent,
            Self::Unknown { .. } => Proof::Unknown,
        }
    }
}

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found { record } => write!(f, "the TXT record {record} holds the token"),
            Self::Served { url } => write!(f, "{url} holds the token"),
            Self::Absent { record, texts } if texts.is_empty() => write!(f, "there is no TXT record {record}"),
            Self::Absent { record, texts } => write!(f, "the TXT record {record} says {}", texts.join(" and ")),
            Self::Unknown { record, reason } => write!(f, "the TXT record {record} could not be asked for: {reason}"),
        }
    }
}

impl Settings {
    /// The page of `name` on which its token counts as well, where that is allowed.
    pub fn token_page(&self, name: &str) -> Option<String> {
        self.page_path().map(|path| url(name, &path))
    }

    fn page_path(&self) -> Option<String> {
        self.http_token.then(|| http_path(self.prefixes.first().map_or("", String::as_str)))
    }
}

fn url(name: &str, path: &str) -> String {
    format!("http://{name}{path}")
}

/// Where the token stands on a web server: the label of the DNS without the underscore in front, which is for names that are no
/// hosts, among the well-known places (RFC 8615).
fn http_path(prefix: &str) -> String {
    format!("/.well-known/{}", prefix.trim_start_matches('_'))
}

/// Whether one of the texts is the token.
pub(super) fn holds(texts: &[Vec<u8>], token: &str) -> bool {
    texts.iter().any(|text| is_token(text, token))
}

/// The time that this takes tells nothing of the token but its length. An empty one is none: anybody could have it.
fn is_token(text: &[u8], token: &str) -> bool {
    !token.is_empty() && verify_slices_are_equal(text, token.as_bytes()).is_ok()
}

/// In quotes, and on one line whatever is in it.
fn shown(text: &[u8]) -> String {
    let (start, rest) = text.split_at(text.len().min(SHOWN_OCTETS));
    format!("\"{}{}\"", start.escape_ascii(), if rest.is_empty() { "" } else { "…" })
}

pub(super) fn reason(error: &dns::Error) -> String {
    crate::telemetry::causes::one_line(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_token() {
        assert!(is_token(b"0123456789abcdef", "0123456789abcdef"));
        for wrong in [&b"0123456789abcde"[..], b"0123456789abcdef ", b"\"0123456789abcdef\"", b"0123456789ABCDEF", b""]
        {
            assert!(!is_token(wrong, "0123456789abcdef"));
        }
        assert!(!is_token(b"", ""));
    }

    #[test]
    fn a_page_stands_where_the_record_would_without_its_underscore() {
        assert_eq!(http_path("_orion-verify"), "/.well-known/orion-verify");
        assert_eq!(http_path("proof"), "/.well-known/proof");
    }

    #[test]
    fn what_stands_there_instead_is_shown_on_one_line_and_not_too_long() {
        assert_eq!(shown(b"a\n\"b\""), r#""a\n\"b\"""#);
        assert!(shown(&[b'x'; 200]).len() < 100);
    }
}
