//! The files that `usher serve` writes: whether it could. Nothing is left behind.

use std::{
    fs::{self, OpenOptions},
    io,
    path::Path,
};

use usher::{
    config::{Config, Problem},
    telemetry::access_log::Target,
};

use super::Report;

/// `place` is the file of the configuration.
pub(super) fn check(config: &Config, place: &str) -> Report {
    let mut report = Report::default();
    if let Target::File(path) = &config.access_log.target {
        let remedy = "create the folder and let usher write there, or correct log.access";
        report.tell("log.access", path, can_append(path), remedy, place);
    }
    for (key, path) in [("directory.snapshot", &config.snapshot), ("tls.snapshot", &config.tls.snapshot)] {
        let Some(path) = path else { continue };
        let remedy = format!("create the folder and let usher write there, or correct {key}");
        report.tell(key, path, can_replace(path), &remedy, place);
    }
    report
}

impl Report {
    fn tell(&mut self, key: &str, path: &Path, result: io::Result<()>, remedy: &str, place: &str) {
        match result {
            Ok(()) => self.good.push(format!("{key}: {} can be written", path.display())),
            Err(error) => self.errors.push(Problem {
                place: place.to_owned(),
                subject: key.to_owned(),
                value: Some(path.display().to_string()),
                cause: format!("cannot be written: {error}"),
                accepted: "a file in a folder that exists and that usher may write to".into(),
                remedy: remedy.to_owned(),
            }),
        }
    }
}

/// A pipe is not opened, which would wait for its reader.
fn can_append(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => Ok(()),
        Ok(_file) => OpenOptions::new().append(true).open(path).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => can_create_beside(path),
        Err(error) => Err(error),
    }
}

/// The snapshot is written beside it and takes its name, which a folder does not let go of.
fn can_replace(path: &Path) -> io::Result<()> {
    if path.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { can_create_beside(path) }
}

/// By a file without a name, which is gone with its descriptor.
fn can_create_beside(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::tempfile_in(folder).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(folder: &Path, log: &str, snapshot: &str) -> Report {
        let text = format!(
            "[routing]\nplatform_domains = ['platform.com']\n[directory]\nurl = 'sqlite://x.db'\nsnapshot = '{0}/{snapshot}'\n\
             [tls]\nencryption_keys_env = 'KEYS'\nsnapshot = '{0}/{snapshot}'\n\
             [upstreams.default]\nservers = ['http://127.0.0.1:8000']\n[log]\naccess = '{0}/{log}'\n",
            folder.display()
        );
        let env = |name: &str| (name == "KEYS").then(|| format!("k:{}=", "A".repeat(43)));
        check(&Config::parse(&text, "usher.toml", &env).unwrap(), "usher.toml")
    }

    #[test]
    fn what_could_not_be_written_is_told_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let good = checked(folder.path(), "access.log", "snapshot");
        assert_eq!((good.errors.len(), good.good.len()), (0, 3), "{good:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

        let bad = checked(folder.path(), "nosuch/access.log", "nosuch/snapshot");
        let subjects: Vec<_> = bad.errors.iter().map(|problem| problem.subject.as_str()).collect();
        assert_eq!((subjects, bad.good.len()), (vec!["log.access", "directory.snapshot", "tls.snapshot"], 0));
        assert!(bad.errors[0].value.as_ref().unwrap().ends_with("nosuch/access.log"));
    }

    #[test]
    fn a_log_that_exists_is_opened_and_a_folder_is_no_log() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        fs::write(folder.path().join("access.log"), "kept").unwrap();
        assert_eq!(checked(folder.path(), "access.log", "s").errors.len(), 0);
        assert_eq!(fs::read_to_string(folder.path().join("access.log")).unwrap(), "kept");
        assert_eq!(checked(folder.path(), "folder", "s").errors.len(), 1);
    }

    #[test]
    fn a_folder_is_no_snapshot_and_an_old_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        fs::write(folder.path().join("old"), "kept").unwrap();
        assert_eq!(checked(folder.path(), "access.log", "old").errors.len(), 0);
        let bad = checked(folder.path(), "access.log", "folder");
        let subjects: Vec<_> = bad.errors.iter().map(|problem| problem.subject.as_str()).collect();
        assert_eq!(subjects, ["directory.snapshot", "tls.snapshot"]);
        assert!(bad.errors[0].cause.contains("directory"), "{}", bad.errors[0].cause);
    }
}
