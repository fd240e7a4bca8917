//! Certificates of the last run, which stay on disk until somebody asks for them: a start without the database shows those too. It reads
//! the file through and makes none of them. Their private keys lie there as in the database, sealed.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{crypto::aws_lc_rs, pki_types::CertificateDer};
use serde::{Deserialize, Serialize};

use super::{HELD_MAX, LoadError, Loaded, Row, Vault, archive};
use crate::{
    lifecycle::{Content, Lines, SnapshotError, SnapshotFile},
    tls::{Certificate, Keyring, Sealed},
};

/// A line for one name.
#[derive(Deserialize, Serialize)]
struct Line<'a> {
    /// Who asked for it.
    #[serde(borrow)]
    name: Cow<'a, str>,
    /// In seconds since the Unix epoch.
    expires: i64,
    /// Whose row it is: that name's, or a wildcard's.
    #[serde(borrow)]
    row: Cow<'a, str>,
    #[serde(borrow)]
    key_id: Cow<'a, str>,
    #[serde(borrow)]
    sealed_key: Cow<'a, str>,
    /// Each in base64.
    chain: Vec<Cow<'a, str>>,
}

/// The lines of names that nobody has asked for yet.
pub(super) struct Reserve {
    file: File,
    places: Mutex<HashMap<Box<str>, Place>>,
}

/// Where a line is.
#[derive(Clone, Copy)]
struct Place {
    at: u64,
    len: usize,
    expires: i64,
    /// Nobody could use it: it is not tried again, but kept for a run with other keys.
    is_refused: bool,
}

/// What a start reads of a line.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    expires: i64,
}

impl Reserve {
    fn open(file: &SnapshotFile) -> Result<Option<Self>, SnapshotError> {
        let mut places = HashMap::new();
        let opened = file.read(Duration::MAX, |at, bytes| {
            let Head { name, expires } = serde_json::from_slice(bytes).map_err(|_| SnapshotError::Damaged)?;
            places.insert(name.into(), Place { at, len: bytes.len(), expires, is_refused: false });
            Ok(())
        })?;
        Ok(opened.map(|opened| Self { file: opened.file, places: Mutex::new(places) }))
    }

    /// The certificate for `name`, unless it has ended.
    pub(super) fn find(&self, name: &str, keys: &Keyring) -> Result<Option<Loaded>, LoadError> {
        let now = archive::seconds(SystemTime::now());
        let found = self.places().get(name).filter(|place| !place.is_refused && place.expires > now).copied();
        let Some(place) = found else { return Ok(None) };
        self.loaded(place, keys).map(Some).inspect_err(|error| {
            // A disk that fails once may not the next time.
            let is_refused = !matches!(error, LoadError::Snapshot(_));
            self.places().insert(name.into(), Place { is_refused, ..place });
        })
    }

    /// Whoever keeps the certificate for `name` now writes it, too.
    pub(super) fn forget(&self, name: &str) {
        self.places().remove(name);
    }

    fn loaded(&self, place: Place, keys: &Keyring) -> Result<Loaded, LoadError> {
        let bytes = self.line(place)?;
        serde_json::from_slice::<Line<'_>>(&bytes).map_err(io::Error::from)?.open(keys)
    }

    fn line(&self, place: Place) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; place.len];
        self.file.read_exact_at(&mut bytes, place.at)?;
        Ok(bytes)
    }

    /// What nobody has asked for in this run either is kept for the next one.
    fn fill(&self, lines: &mut Lines<'_>, room: usize, keys: &Keyring) -> io::Result<()> {
        let now = archive::seconds(SystemTime::now());
        let places: Vec<_> = self.places().values().filter(|place| place.expires > now).take(room).copied().collect();
        for place in places {
            let bytes = self.line(place)?;
            serde_json::from_slice::<Line<'_>>(&bytes)?.write(lines, keys)?;
        }
        Ok(())
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Box<str>, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content for Vault {
    /// Longer than that of tenants: certificates change rarely, and 25,000 are 125 MB.
    const EVERY: Duration = Duration::from_hours(1);

    fn restore(&self, file: &SnapshotFile) -> Result<Option<usize>, SnapshotError> {
        let Some(reserve) = Reserve::open(file)? else { return Ok(None) };
        let count = reserve.places().len();
        let _only_once = self.shared.reserve.set(reserve);
        Ok(Some(count))
    }

    /// Moves with each certificate that is another one than was held.
    fn changes(&self) -> u64 {
        self.shared.changes.load(Relaxed)
    }

    fn fill(&self, lines: &mut Lines<'_>) -> io::Result<()> {
        let (now, keys) = (SystemTime::now(), &self.shared.keys);
        // First: what is asked for meanwhile is written twice, and the second line counts.
        if let Some(reserve) = self.shared.reserve.get() {
            let room = HELD_MAX.saturating_sub(self.shared.held.entry_count());
            reserve.fill(lines, usize::try_from(room).unwrap_or(usize::MAX), keys)?;
        }
        for (name, held) in &self.shared.held {
            if let Some(loaded) = held.loaded().filter(|loaded| !loaded.certificate.has_ended(now)) {
                Line::of(&name, &loaded).write(lines, keys)?;
            }
        }
        Ok(())
    }
}

impl<'a> Line<'a> {
    fn of(name: &'a str, loaded: &'a Loaded) -> Self {
        let Row { name: row, sealed: Sealed { key_id, text } } = &*loaded.row;
        let chain = loaded.certificate.chain().iter().map(|link| STANDARD.encode(link).into()).collect();
        let expires = archive::seconds(loaded.certificate.expires());
        Self { name: name.into(), expires, row: (&**row).into(), key_id: key_id.into(), sealed_key: text.into(), chain }
    }

    /// Sealed by the first of `keys`, if any of them opens it: the one before may be on its way out.
    fn write(mut self, lines: &mut Lines<'_>, keys: &Keyring) -> io::Result<()> {
        if self.key_id != keys.sealing_id()
            && let Ok(key) = keys.open(&self.sealed(), &self.row)
            && let Ok(sealed) = keys.seal(&key, &self.row)
        {
            (self.key_id, self.sealed_key) = (sealed.key_id.into(), sealed.text.into());
        }
        lines.line(&self)
    }

    fn sealed(&self) -> Sealed {
        Sealed { key_id: self.key_id.to_string(), text: self.sealed_key.to_string() }
    }

    fn open(&self, keys: &Keyring) -> Result<Loaded, LoadError> {
        let sealed = self.sealed();
        let key = keys.open(&sealed, &self.row)?;
        let link = |text: &Cow<'_, str>| STANDARD.decode(&**text).map(CertificateDer::from);
        let chain = self.chain.iter().map(link).collect::<Result<_, _>>().map_err(io::Error::other)?;
        let certificate = Certificate::from_der(chain, &key, &aws_lc_rs::default_provider())?;
        let row = Row { name: (&*self.row).into(), sealed };
        Ok(Loaded { certificate: Arc::new(certificate), row: Arc::new(row) })
    }
}
