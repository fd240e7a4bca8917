//! Certificates in files: read at start, and again whenever one of the files is another one than before. What cannot be read
//! then changes nothing: the last good certificate stays.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::crypto::aws_lc_rs;
use tokio::{task::spawn_blocking, time::sleep};

use super::{Certificate, CertificateError, CertificateFiles, Certificates};
use crate::telemetry::causes::one_line;

/// How often the files are looked at: a look costs some microseconds, and who replaces a certificate tries it soon.
const LOOK: Duration = Duration::from_secs(1);

/// The certificates of `[tls]`, as they were last read.
#[derive(Debug)]
pub struct Files {
    pairs: Vec<Pair>,
}

impl Files {
    /// Reads all of them, or says what is wrong with the first that cannot be used.
    pub fn load(settings: &[CertificateFiles]) -> Result<Self, FileError> {
        Ok(Self { pairs: settings.iter().cloned().map(Pair::load).collect::<Result<_, _>>()? })
    }

    /// Whether there is nothing to watch.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The certificates as they can be shown.
    pub fn certificates(&self) -> Arc<Certificates> {
        let (all, default) = self.held();
        Certificates::new(&all, default)
    }

    /// Keeps `certificates` as the files are, for as long as the process runs.
    pub async fn watch(mut self, certificates: Arc<Certificates>) {
        loop {
            sleep(LOOK).await;
            let shown = Arc::clone(&certificates);
            let looked = spawn_blocking(move || {
                self.look(&shown);
                self
            });
            // A look that panics ends the service, and with it the process.
            let Ok(files) = looked.await else { return };
            self = files;
        }
    }

    fn look(&mut self, certificates: &Certificates) {
        let changed = self.pairs.iter_mut().map(|pair| pair.look(certificates)).filter(|changed| *changed).count();
        if changed > 0 {
            let (all, default) = self.held();
            certificates.replace(&all, default);
        }
    }

    fn held(&self) -> (Vec<Arc<Certificate>>, Option<Arc<Certificate>>) {
        let default = self.pairs.iter().find(|pair| pair.files.is_default).map(|pair| Arc::clone(&pair.certificate));
        (self.pairs.iter().map(|pair| Arc::clone(&pair.certificate)).collect(), default)
    }
}

/// One of them.
#[derive(Debug)]
struct Pair {
    files: CertificateFiles,
    /// Of both files when they were last tried.
    tried: [Option<Stamp>; 2],
    /// One of them could not be read then, which says nothing of what stands in it.
    is_unread: bool,
    certificate: Arc<Certificate>,
}

impl Pair {
    fn load(files: CertificateFiles) -> Result<Self, FileError> {
        // Before they are read: a file that changes meanwhile is read again.
        let tried = stamps(&files);
        Ok(Self { certificate: Arc::new(files.read()?), files, tried, is_unread: false })
    }

    /// Whether there is another certificate than before.
    fn look(&mut self, certificates: &Certificates) -> bool {
        let now = stamps(&self.files);
        let is_changed = now != self.tried;
        if !is_changed && !self.is_unread {
            return false;
        }
        self.tried = now;
        let read = self.files.read();
        self.is_unread = matches!(read, Err(FileError::Unreadable { .. }));
        match read {
            Ok(certificate) => {
                tracing::info!(file = %self.files.certificate.display(), "certificate replaced");
                self.certificate = Arc::new(certificate);
                true
            }
            // It has been told.
            Err(_) if !is_changed => false,
            Err(error) => {
                certificates.count_failure();
                let error = one_line(&error);
                tracing::warn!(error, "the certificate that was there before is still shown");
                false
            }
        }
    }
}

/// What tells one state of a file from another, also where a link is set to another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

fn stamps(files: &CertificateFiles) -> [Option<Stamp>; 2] {
    [&files.certificate, &files.key].map(|path| {
        let found = fs::metadata(path).ok()?;
        Some(Stamp { inode: found.ino(), length: found.len(), changed: (found.ctime(), found.ctime_nsec()) })
    })
}

impl CertificateFiles {
    /// The certificate that stands in them.
    pub fn read(&self) -> Result<Certificate, FileError> {
        let [chain, key] = [text(&self.certificate)?, text(&self.key)?];
        let refused = |cause| FileError::Refused { path: self.certificate.clone(), key: self.key.clone(), cause };
        let certificate = Certificate::from_pem(&chain, &key, &aws_lc_rs::default_provider()).map_err(refused)?;
        match certificate.is_nameless() && !self.is_default {
            true => Err(refused(CertificateError::Nameless)),
            false => Ok(certificate),
        }
    }
}

fn text(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|cause| FileError::Unreadable { path: path.to_owned(), cause })
}

/// Why a certificate cannot be taken from its files.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// What stands in the files cannot be used.
    #[error("the certificate {} with the key {} cannot be used", path.display(), key.display())]
    Refused {
        /// The certificate.
        path: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        #[source]
        cause: CertificateError,
    },
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::routing::Hostname;

    fn write(folder: &TempDir, name: &str) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        fs::write(folder.path().join("c.pem"), made.cert.pem()).unwrap();
        fs::write(folder.path().join("k.pem"), made.signing_key.serialize_pem()).unwrap();
    }

    fn settings(folder: &TempDir) -> Vec<CertificateFiles> {
        let [certificate, key] = ["c.pem", "k.pem"].map(|name| folder.path().join(name));
        vec![CertificateFiles { certificate, key, is_default: false }]
    }

    fn is_found(certificates: &Certificates, name: &str) -> bool {
        certificates.find(&Hostname::parse(name).unwrap()).is_some()
    }

    #[test]
    fn another_certificate_is_taken_once_both_files_are_there() {
        let folder = TempDir::new().unwrap();
        write(&folder, "old.example");
        let mut files = Files::load(&settings(&folder)).unwrap();
        let certificates = files.certificates();
        let key = fs::read(folder.path().join("k.pem")).unwrap();
        write(&folder, "new.example");
        let new_key = fs::read(folder.path().join("k.pem")).unwrap();
        fs::write(folder.path().join("k.pem"), key).unwrap();
        files.look(&certificates);
        assert!(is_found(&certificates, "old.example"), "half of a change was taken");
        files.look(&certificates);
        assert_eq!(certificates.counts().failures, 1, "tried again although nothing has changed");
        fs::write(folder.path().join("k.pem"), new_key).unwrap();
        files.look(&certificates);
        assert!(is_found(&certificates, "new.example") && !is_found(&certificates, "old.example"));
    }

    #[test]
    fn the_last_good_certificate_stays_when_its_files_go() {
        let folder = TempDir::new().unwrap();
        write(&folder, "a.example");
        let mut files = Files::load(&settings(&folder)).unwrap();
        let certificates = files.certificates();
        fs::remove_file(folder.path().join("c.pem")).unwrap();
        files.look(&certificates);
        assert!(is_found(&certificates, "a.example"));
    }

    #[test]
    fn a_file_that_cannot_be_read_for_a_moment_is_read_when_it_can() {
        let folder = TempDir::new().unwrap();
        write(&folder, "old.example");
        let mut files = Files::load(&settings(&folder)).unwrap();
        let certificates = files.certificates();
        let [away, place] = ["away", "c.pem"].map(|name| folder.path().join(name));
        write(&folder, "new.example");
        fs::rename(&place, &away).unwrap();
        for _ in 0..3 {
            files.look(&certificates);
        }
        assert_eq!(certificates.counts().failures, 1, "told more than once");
        fs::rename(&away, &place).unwrap();
        // As if its stamp had been the same all the time: descriptors ran out, or the disk did not answer.
        files.pairs[0].tried = stamps(&files.pairs[0].files);
        files.look(&certificates);
        assert!(is_found(&certificates, "new.example"));
    }

    #[test]
    fn every_problem_names_its_file() {
        let folder = TempDir::new().unwrap();
        write(&folder, "a.example");
        fs::write(folder.path().join("k.pem"), "nothing").unwrap();
        let broken = Files::load(&settings(&folder)).unwrap_err().to_string();
        assert!(broken.contains("k.pem cannot be used"), "{broken}");
        fs::remove_file(folder.path().join("c.pem")).unwrap();
        let missing = Files::load(&settings(&folder)).unwrap_err().to_string();
        assert!(missing.ends_with("c.pem cannot be read"), "{missing}");
    }
}
