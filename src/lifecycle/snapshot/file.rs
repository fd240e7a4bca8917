//! The file: a line that says what it is, lines of content, a line with the checksum of all before it.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Of the format. Another one is not read: it is written anew within minutes.
const VERSION: u32 = 3;

/// Where a snapshot lies, and of what it is.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    path: PathBuf,
    origin: String,
}

/// A file that was read.
#[derive(Debug)]
pub struct Opened {
    /// When it was written.
    pub written_at: SystemTime,
    /// It as it was read, whatever takes its place.
    pub file: File,
}

/// The first line.
#[derive(Debug, Deserialize, Serialize)]
struct Header {
    usher_snapshot: u32,
    /// Of what it is. That of another origin means nothing here.
    origin: String,
    written_at_ms: u64,
}

/// The last line.
#[derive(Debug, Deserialize, Serialize)]
struct Trailer {
    crc32: u32,
}

impl SnapshotFile {
    /// One at `path`; a file of another `origin` is not used.
    pub fn new(path: PathBuf, origin: String) -> Self {
        Self { path, origin }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what `fill` gives, in place of what is there: whoever reads it finds the old one or the new one, whole.
    pub fn write(&self, fill: impl FnOnce(&mut Lines<'_>) -> io::Result<()>) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        let mut lines = Lines { to: BufWriter::new(file.as_file_mut()), crc: crc32fast::Hasher::new(), count: 0 };
        let written_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let written_at_ms = u64::try_from(written_at.as_millis()).unwrap_or(u64::MAX);
        lines.line(&Header { usher_snapshot: VERSION, origin: self.origin.clone(), written_at_ms })?;
        fill(&mut lines)?;
        lines.end()?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        File::open(folder)?.sync_all()
    }

    /// Gives each line, and where it begins in the file, to `each`; `None` where there is no file. What was given counts for nothing
    /// where an error follows: only the end tells whether the file is whole.
    pub fn read(
        &self,
        age_max: Duration,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), SnapshotError>,
    ) -> Result<Option<Opened>, SnapshotError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(SnapshotError::Unreadable(error)),
        };
        let mut lines = Checked { from: BufReader::new(file), crc: crc32fast::Hasher::new(), next: Vec::new(), at: 0 };
        lines.advance()?;
        let (_, header) = lines.next()?.ok_or(SnapshotError::Damaged)?;
        let mut outcome = Ok(());
        while let Some((at, line)) = lines.next()? {
            outcome = outcome.and_then(|()| each(at, &line));
        }
        lines.check_end()?;
        // Damage of the first line must not pass for something else, nor lines of another version for damage.
        let written_at = self.accept(&parse(&header)?, age_max)?;
        outcome?;
        Ok(Some(Opened { written_at, file: lines.from.into_inner() }))
    }

    /// When it was written.
    fn accept(&self, header: &Header, age_max: Duration) -> Result<SystemTime, SnapshotError> {
        if header.usher_snapshot != VERSION {
            return Err(SnapshotError::Version(header.usher_snapshot));
        }
        if header.origin != self.origin {
            return Err(SnapshotError::Foreign);
        }
        let written_at =
            UNIX_EPOCH.checked_add(Duration::from_millis(header.written_at_ms)).ok_or(SnapshotError::Damaged)?;
        match written_at.elapsed() {
            Ok(age) if age > age_max => Err(SnapshotError::Old(age)),
            _ => Ok(written_at),
        }
    }
}

/// Takes the lines of a snapshot, and counts what it writes into the checksum.
pub struct Lines<'a> {
    to: BufWriter<&'a mut File>,
    crc: crc32fast::Hasher,
    count: usize,
}

impl Lines<'_> {
    /// Writes one as JSON.
    pub fn line(&mut self, content: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(content)?;
        line.push(b'\n');
        self.crc.update(&line);
        self.count += 1;
        self.to.write_all(&line)
    }

    /// How many there are, the first one of the file not counted.
    pub fn count(&self) -> usize {
        self.count.saturating_sub(1)
    }

    fn end(mut self) -> io::Result<()> {
        let crc32 = self.crc.clone().finalize();
        self.line(&Trailer { crc32 })?;
        self.to.flush()
    }
}

/// Reads the lines of a snapshot, one ahead: the last one is no content.
struct Checked {
    from: BufReader<File>,
    crc: crc32fast::Hasher,
    next: Vec<u8>,
    /// Where the next one begins.
    at: u64,
}

impl Checked {
    fn advance(&mut self) -> Result<Vec<u8>, SnapshotError> {
        let mut line = Vec::new();
        self.from.read_until(b'\n', &mut line).map_err(SnapshotError::Unreadable)?;
        Ok(std::mem::replace(&mut self.next, line))
    }

    /// The next line, without its end, and where it begins; `None` where that is the last one.
    fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, SnapshotError> {
        let mut line = self.advance()?;
        if self.next.is_empty() {
            self.next = line;
            return Ok(None);
        }
        self.crc.update(&line);
        let at = self.at;
        self.at += line.len() as u64;
        line.pop();
        Ok(Some((at, line)))
    }

    /// Whether the last line has the checksum of the others.
    fn check_end(&mut self) -> Result<(), SnapshotError> {
        let last = self.next.strip_suffix(b"\n").ok_or(SnapshotError::Damaged)?;
        let Trailer { crc32 } = parse(last)?;
        if self.crc.clone().finalize() == crc32 { Ok(()) } else { Err(SnapshotError::Damaged) }
    }
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, SnapshotError> {
    serde_json::from_slice(line).map_err(|_| SnapshotError::Damaged)
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
    /// It is older than what is in it may be used.
    #[error("the file is {} minutes old, and what is in it is not usable for so long", .0.as_secs() / 60)]
    Old(Duration),
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::FileExt};

    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn written(lines: &[String]) -> (tempfile::TempDir, SnapshotFile) {
        let folder = tempfile::tempdir().unwrap();
        let file = SnapshotFile::new(folder.path().join("a.snapshot"), "here".into());
        file.write(|to| lines.iter().try_for_each(|line| to.line(line))).unwrap();
        (folder, file)
    }

    fn read(file: &SnapshotFile) -> Result<Option<Vec<(u64, String)>>, SnapshotError> {
        let mut lines = Vec::new();
        let opened = file.read(DAY, |at, line| {
            lines.push((at, parse(line)?));
            Ok(())
        })?;
        Ok(opened.map(|_| lines))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_read_and_found_again_where_it_lies(lines: Vec<String>) {
            let (_folder, file) = written(&lines);
            let found = read(&file).unwrap().unwrap();
            let opened = file.read(DAY, |_, _| Ok(())).unwrap().unwrap();
            for (at, text) in &found {
                let line = serde_json::to_vec(text).unwrap();
                let mut bytes = vec![0; line.len()];
                opened.file.read_exact_at(&mut bytes, *at).unwrap();
                prop_assert_eq!(bytes, line);
            }
            prop_assert_eq!(found.into_iter().map(|(_, text)| text).collect::<Vec<_>>(), lines);
        }

        /// One byte changed, or the end cut off.
        #[test]
        fn any_damage_is_noticed(lines: Vec<String>, at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<bool>()) {
            let (_folder, file) = written(&lines);
            let mut text = fs::read(file.path()).unwrap();
            let at = at.index(text.len());
            prop_assume!(cut || text[at] != to);
            if cut { text.truncate(at) } else { text[at] = to }
            fs::write(file.path(), text).unwrap();
            prop_assert!(read(&file).is_err());
        }
    }

    #[test]
    fn no_file_is_no_error() {
        let nowhere = SnapshotFile::new("/nonexistent/usher".into(), "here".into());
        assert!(matches!(read(&nowhere), Ok(None)));
    }

    #[test]
    fn another_version_is_told_and_not_read() {
        let (_folder, file) = written(&[]);
        let text = fs::read_to_string(file.path()).unwrap();
        let head = text.lines().next().unwrap();
        let head = head.replace(&format!("\"usher_snapshot\":{VERSION}"), "\"usher_snapshot\":1") + "\n";
        let crc32 = crc32fast::hash(head.as_bytes());
        fs::write(file.path(), format!("{head}{{\"crc32\":{crc32}}}\n")).unwrap();
        assert!(matches!(read(&file), Err(SnapshotError::Version(1))));
    }

    #[test]
    fn another_origin_and_too_old_a_file_are_told_apart() {
        let (_folder, file) = written(&[]);
        let elsewhere = SnapshotFile { origin: "there".into(), ..file.clone() };
        assert!(matches!(read(&elsewhere), Err(SnapshotError::Foreign)));
        std::thread::sleep(Duration::from_millis(5));
        let old = file.read(Duration::from_millis(1), |_, _| Ok(()));
        assert!(matches!(old, Err(SnapshotError::Old(_))));
    }

    #[test]
    fn lines_are_counted_without_what_frames_them() {
        let (_folder, file) = written(&[]);
        let mut count = 0;
        file.write(|lines| {
            lines.line(&"one")?;
            lines.line(&"two")?;
            count = lines.count();
            Ok(())
        })
        .unwrap();
        let texts = read(&file).unwrap().unwrap().into_iter().map(|(_, text)| text);
        assert_eq!((count, texts.collect::<Vec<_>>()), (2, vec!["one".to_owned(), "two".to_owned()]));
    }
}
