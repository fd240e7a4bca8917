//! The file: a line that says what it is, a line for each tenant, a line with the checksum of all before it.

use std::{
    borrow::Cow,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{Record, Snapshot};
use crate::routing::{KeyRef, PlatformId, Status, Tenant, TenantId, TenantKey, UpstreamName};

/// Of the format. Another one is not read: it is written anew within minutes.
const VERSION: u32 = 2;

/// The first line.
#[derive(Debug, Deserialize, Serialize)]
struct Header {
    usher_snapshot: u32,
    /// Whose tenants these are; positions of platform domains mean nothing elsewhere.
    origin: String,
    written_at_ms: u64,
    tenants: usize,
}

/// A line for one tenant.
#[derive(Debug, Deserialize, Serialize)]
struct Line<'a> {
    /// `None` for a custom domain, else the position of the platform domain, or -1 where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    label_under: Option<i32>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    status: Status,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    upstream: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    primary: Option<Cow<'a, str>>,
    age_s: u64,
}

/// The last line.
#[derive(Debug, Deserialize, Serialize)]
struct Trailer {
    crc32: u32,
}

/// Writes `snapshot` in place of what stands at `path`: whoever reads it finds the old one or the new one, whole.
pub(super) fn write(path: &Path, origin: &str, snapshot: &Snapshot) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    write_lines(file.as_file_mut(), origin, snapshot)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}

fn write_lines(file: &mut File, origin: &str, snapshot: &Snapshot) -> io::Result<()> {
    let mut lines = Checked { to: BufWriter::new(file), crc: crc32fast::Hasher::new() };
    let written_at = snapshot.written_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let written_at_ms = u64::try_from(written_at.as_millis()).unwrap_or(u64::MAX);
    let tenants = snapshot.records.len();
    lines.line(&Header { usher_snapshot: VERSION, origin: origin.to_owned(), written_at_ms, tenants })?;
    for record in &snapshot.records {
        lines.line(&Line::of(record))?;
    }
    let crc32 = lines.crc.clone().finalize();
    lines.line(&Trailer { crc32 })?;
    lines.to.flush()
}

/// Counts what it writes into the checksum.
struct Checked<W> {
    to: W,
    crc: crc32fast::Hasher,
}

impl<W: Write> Checked<W> {
    fn line(&mut self, content: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(content)?;
        line.push(b'\n');
        self.crc.update(&line);
        self.to.write_all(&line)
    }
}

/// Reads the snapshot at `path` if it is whole, of this `origin` and not older than `age_max`; `None` where there is no file.
pub(super) fn read(path: &Path, origin: &str, age_max: Duration) -> Result<Option<Snapshot>, SnapshotError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SnapshotError::Unreadable(error)),
    };
    let content = checked(&text)?;
    let mut lines = content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let header: Header = parse(lines.next().unwrap_or_default())?;
    let written_at = accept(&header, origin, age_max)?;
    let records: Vec<Record> = lines.map(|line| parse::<Line<'_>>(line)?.record()).collect::<Result<_, _>>()?;
    if records.len() != header.tenants {
        return Err(SnapshotError::Damaged);
    }
    Ok(Some(Snapshot { written_at, records }))
}

/// All but the last line, if that has its checksum.
fn checked(text: &[u8]) -> Result<&[u8], SnapshotError> {
    let text = text.strip_suffix(b"\n").ok_or(SnapshotError::Damaged)?;
    let end = text.iter().rposition(|byte| *byte == b'\n').ok_or(SnapshotError::Damaged)? + 1;
    let (content, trailer) = text.split_at(end);
    let Trailer { crc32 } = parse(trailer)?;
    if crc32fast::hash(content) == crc32 { Ok(content) } else { Err(SnapshotError::Damaged) }
}

/// When it was written.
fn accept(header: &Header, origin: &str, age_max: Duration) -> Result<SystemTime, SnapshotError> {
    if header.usher_snapshot != VERSION {
        return Err(SnapshotError::Version(header.usher_snapshot));
    }
    if header.origin != origin {
        return Err(SnapshotError::Foreign);
    }
    let written_at =
        UNIX_EPOCH.checked_add(Duration::from_millis(header.written_at_ms)).ok_or(SnapshotError::Damaged)?;
    match written_at.elapsed() {
        Ok(age) if age > age_max => Err(SnapshotError::Old(age)),
        _ => Ok(written_at),
    }
}

fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, SnapshotError> {
    serde_json::from_slice(line).map_err(|_| SnapshotError::Damaged)
}

impl<'a> Line<'a> {
    fn of(record: &'a Record) -> Self {
        let (label_under, name) = match record.key.as_ref() {
            KeyRef::CustomDomain(name) => (None, name),
            KeyRef::Label { platform, label } => (Some(platform.map_or(-1, |platform| platform.0.into())), label),
        };
        let Tenant { id, status, upstream, primary } = &*record.tenant;
        Self {
            label_under,
            name: name.into(),
            id: id.as_str().into(),
            status: *status,
            upstream: upstream.as_ref().map(|name| name.as_str().into()),
            primary: primary.as_deref().map(Cow::Borrowed),
            age_s: record.age.as_secs(),
        }
    }

    fn record(&self) -> Result<Record, SnapshotError> {
        let platform = |position: i32| u16::try_from(position).ok().map(PlatformId);
        let key: TenantKey = match self.label_under {
            None => KeyRef::CustomDomain(&self.name).into(),
            Some(position) => KeyRef::Label { platform: platform(position), label: &self.name }.into(),
        };
        let id = TenantId::parse(&self.id).map_err(|_| SnapshotError::Damaged)?;
        let upstream = self.upstream.as_deref().and_then(UpstreamName::new);
        let tenant = Tenant { id, status: self.status, upstream, primary: self.primary.as_deref().map(Box::from) };
        Ok(Record { key, tenant: Arc::new(tenant), age: Duration::from_secs(self.age_s) })
    }
}

/// Why a snapshot is not used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file cannot be read.
    #[error("the file cannot be read")]
    Unreadable(#[source] io::Error),
    /// Its content is not what was written.
    #[error("the file is damaged")]
    Damaged,
    /// Another version of usher wrote it.
    #[error("the file has version {0} of the format, not {VERSION}")]
    Version(u32),
    /// It is of another database, of other queries, or of other platform domains.
    #[error("the file is of another database, other queries or other platform domains")]
    Foreign,
    /// It is older than tenants may be served.
    #[error("the file is {} minutes old, and tenants are not usable for so long", .0.as_secs() / 60)]
    Old(Duration),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records() -> impl Strategy<Value = Vec<Record>> {
        let statuses = [Status::Active, Status::StoreInactive, Status::DomainInactive, Status::DomainUnverified];
        let record = (
            "[a-z0-9.]{1,20}",
            0_u16..4,
            "[!-~]{1,20}",
            "[a-z]{0,2}",
            prop::sample::select(statuses.to_vec()),
            0_u64..100_000,
        );
        prop::collection::vec(
            record.prop_map(|(name, kind, id, upstream, status, age)| {
                let key = match kind {
                    0 => KeyRef::CustomDomain(&name).into(),
                    1 => KeyRef::Label { platform: None, label: &name }.into(),
                    _ => KeyRef::Label { platform: Some(PlatformId(kind)), label: &name }.into(),
                };
                let primary = (status == Status::Active).then(|| "primary.example".into());
                let upstream = UpstreamName::new(&upstream);
                let tenant = Tenant { id: TenantId::parse(&id).unwrap(), status, upstream, primary };
                Record { key, tenant: Arc::new(tenant), age: Duration::from_secs(age) }
            }),
            0..20,
        )
    }

    fn written(snapshot: &Snapshot) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.snapshot");
        write(&path, "here", snapshot).unwrap();
        (folder, path)
    }

    fn snapshot(records: Vec<Record>) -> Snapshot {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        Snapshot { written_at: UNIX_EPOCH + Duration::from_millis(u64::try_from(now).unwrap()), records }
    }

    const DAY: Duration = Duration::from_hours(24);

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_read(records in records()) {
            let snapshot = snapshot(records);
            let (_folder, path) = written(&snapshot);
            prop_assert_eq!(read(&path, "here", DAY).unwrap().unwrap(), snapshot);
        }

        /// One byte changed, or the end cut off.
        #[test]
        fn any_damage_is_noticed(records in records(), at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<bool>()) {
            let (_folder, path) = written(&snapshot(records));
            let mut text = fs::read(&path).unwrap();
            let at = at.index(text.len());
            prop_assume!(cut || text[at] != to);
            if cut { text.truncate(at) } else { text[at] = to }
            fs::write(&path, text).unwrap();
            prop_assert!(read(&path, "here", DAY).is_err());
        }
    }

    #[test]
    fn no_file_is_no_error() {
        assert!(matches!(read(Path::new("/nonexistent/usher"), "here", DAY), Ok(None)));
    }

    #[test]
    fn another_version_is_told_and_not_read() {
        let (_folder, path) = written(&snapshot(Vec::new()));
        let text = fs::read_to_string(&path).unwrap();
        let head = text.lines().next().unwrap();
        let head = head.replace(&format!("\"usher_snapshot\":{VERSION}"), "\"usher_snapshot\":1") + "\n";
        let crc32 = crc32fast::hash(head.as_bytes());
        fs::write(&path, format!("{head}{{\"crc32\":{crc32}}}\n")).unwrap();
        assert!(matches!(read(&path, "here", DAY), Err(SnapshotError::Version(1))));
    }

    #[test]
    fn another_origin_and_too_old_a_file_are_told_apart() {
        let mut old = snapshot(Vec::new());
        let (_folder, path) = written(&old);
        assert!(matches!(read(&path, "there", DAY), Err(SnapshotError::Foreign)));
        old.written_at -= DAY;
        let (_folder, path) = written(&old);
        assert!(matches!(read(&path, "here", DAY / 2), Err(SnapshotError::Old(_))));
    }
}
