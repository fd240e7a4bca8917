//! The keys under which private keys lie in the database. Whoever reads the database alone reads none of them.
//!
//! A keyring is text, a key per line: an id, a colon, and 32 bytes in base64. The first seals; all open. A new one comes last until
//! every instance has it, then in front, and the old one is taken away once nothing is sealed by it any more.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{Engine, engine::general_purpose::STANDARD};

const KEY_LEN: usize = 32;

/// Longer ids only make tables wide.
const ID_MAX: usize = 64;

/// The keys, the one that seals first.
pub struct Keyring {
    keys: Vec<Key>,
}

struct Key {
    id: String,
    key: RandomizedNonceKey,
}

/// A secret as it lies in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Which key opens it.
    pub key_id: String,
    /// Nonce, ciphertext and tag in base64.
    pub text: String,
}

impl Keyring {
    /// Reads the lines of `text`; empty ones and those that begin with `#` say nothing.
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut keys: Vec<Key> = Vec::new();
        for line in lines {
            let key = Key::parse(line)?;
            if keys.iter().any(|earlier| earlier.id == key.id) {
                return Err(KeyringError::Twice(key.id));
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(KeyringError::Empty) } else { Ok(Self { keys }) }
    }

    /// The id of the key that seals.
    pub fn sealing_id(&self) -> &str {
        self.keys.first().map_or("", |key| &key.id)
    }

    /// Seals `secret` for `context`: moved to another place it does not open.
    pub fn seal(&self, secret: &[u8], context: &str) -> Result<Sealed, SealError> {
        let key = self.keys.first().ok_or(SealError::Failed)?;
        let mut text = secret.to_vec();
        let nonce = key
            .key
            .seal_in_place_append_tag(Aad::from(context.as_bytes()), &mut text)
            .map_err(|_| SealError::Failed)?;
        let bytes = [&nonce.as_ref()[..], &text].concat();
        Ok(Sealed { key_id: key.id.clone(), text: STANDARD.encode(bytes) })
    }

    /// Opens what was sealed for `context`.
    pub fn open(&self, sealed: &Sealed, context: &str) -> Result<Vec<u8>, SealError> {
        let key = self.keys.iter().find(|key| key.id == sealed.key_id);
        let key = key.ok_or_else(|| SealError::UnknownKey(sealed.key_id.clone()))?;
        let bytes = STANDARD.decode(&sealed.text).map_err(|_| SealError::Damaged)?;
        let (nonce, rest) = bytes.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Damaged)?;
        let mut rest = rest.to_vec();
        let opened = key.key.open_in_place(Nonce::from(nonce), Aad::from(context.as_bytes()), &mut rest);
        opened.map(|secret| secret.to_vec()).map_err(|_| SealError::Damaged)
    }
}

impl Key {
    fn parse(line: &str) -> Result<Self, KeyringError> {
        let (id, key) = line.split_once(':').ok_or(KeyringError::NoId)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if id.is_empty() || id.len() > ID_MAX || !id.bytes().all(plain) {
            return Err(KeyringError::NoId);
        }
        let bytes = STANDARD.decode(key.trim()).ok().filter(|bytes| bytes.len() == KEY_LEN);
        let bytes = bytes.ok_or_else(|| KeyringError::NoKey(id.to_owned()))?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| KeyringError::NoKey(id.to_owned()))?;
        Ok(Self { id: id.to_owned(), key })
    }
}

impl fmt::Debug for Keyring {
    /// The ids alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

/// Why a text is no keyring. Never repeats what may be a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// There is no line with a key.
    #[error("has no key in it")]
    Empty,
    /// A line has no id, or one of other characters.
    #[error("has a line without an id in front of its colon")]
    NoId,
    /// What follows an id is no key.
    #[error("has no 32 bytes in base64 behind {0}:")]
    NoKey(String),
    /// An id stands there twice.
    #[error("has two keys called {0}")]
    Twice(String),
}

/// Why a secret cannot be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The provider refused.
    #[error("the secret could not be sealed")]
    Failed,
    /// The key is not on the ring.
    #[error("it is sealed by the key {0}, which is not among those configured")]
    UnknownKey(String),
    /// It was changed, belongs elsewhere, or the key has the same id and is another one.
    #[error("it does not open: damaged, or sealed by another key of the same id")]
    Damaged,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(keys: &[(&str, u8)]) -> Keyring {
        let lines: Vec<_> = keys.iter().map(|(id, byte)| format!("{id}:{}", STANDARD.encode([*byte; 32]))).collect();
        Keyring::parse(&lines.join("\n")).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_in_its_own_place_only() {
        let keys = ring(&[("a", 1)]);
        let sealed = keys.seal(b"secret", "shop.example").unwrap();
        assert_eq!(keys.open(&sealed, "shop.example").unwrap(), b"secret");
        assert_eq!(keys.open(&sealed, "other.example"), Err(SealError::Damaged));
        assert_ne!(keys.seal(b"secret", "shop.example").unwrap(), sealed, "a nonce was used twice");
        for text in ["", "AAAA", "?", &sealed.text.replacen(|c| c != 'A', "A", 1)] {
            let damaged = Sealed { text: text.to_owned(), ..sealed.clone() };
            assert_eq!(keys.open(&damaged, "shop.example"), Err(SealError::Damaged), "{text}");
        }
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_still_opens() {
        let sealed = ring(&[("old", 1)]).seal(b"secret", "x").unwrap();
        let both = ring(&[("new", 2), ("old", 1)]);
        assert_eq!(both.open(&sealed, "x").unwrap(), b"secret");
        assert_eq!((both.sealing_id(), both.seal(b"s", "x").unwrap().key_id.as_str()), ("new", "new"));
        assert_eq!(ring(&[("new", 2)]).open(&sealed, "x"), Err(SealError::UnknownKey("old".to_owned())));
        assert_eq!(ring(&[("old", 3)]).open(&sealed, "x"), Err(SealError::Damaged));
    }

    #[test]
    fn what_is_no_keyring_is_refused_without_repeating_it() {
        let key = STANDARD.encode([7; 32]);
        let refused = |text: &str| Keyring::parse(text).unwrap_err();
        assert_eq!(refused("# nothing\n\n"), KeyringError::Empty);
        assert_eq!(refused(&key), KeyringError::NoId);
        assert_eq!(refused(&format!("a b:{key}")), KeyringError::NoId);
        assert_eq!(refused("a:c2hvcnQ="), KeyringError::NoKey("a".to_owned()));
        assert_eq!(refused(&format!("a:{key}\na:{key}")), KeyringError::Twice("a".to_owned()));
        let ring = Keyring::parse(&format!("# of 2026\n a:{key} \n")).unwrap();
        assert_eq!(format!("{ring:?}"), r#"["a"]"#);
    }
}
