//! An SQLite file, queried off the async threads.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use tokio::{sync::Mutex, task};

/// Another process writes in milliseconds; who has waited a second for its lock has met a stuck one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// An open SQLite file; a cheap clone.
///
/// One connection serves all: whoever wants it waits in line without holding a thread.
#[derive(Clone, Debug)]
pub struct Database {
    connection: Arc<Mutex<Connection>>,
}

impl Database {
    /// Opens an existing file; a missing one is an error. A file that may not be written can still be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            return Err(Error::Missing(path.to_owned()));
        }
        Self::open_with(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    /// Opens the file and creates it where it is missing; for `migrate` and `demo` only.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let is_new = !path.exists();
        let created = Self::open_with(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        if is_new {
            created.write_ahead().map_err(|cause| Error::Open(path.to_owned(), cause))?;
        }
        Ok(created)
    }

    /// With a write-ahead log, readers do not wait for the writer. The mode stays with the file, so that it is the app's to choose for
    /// files that it has made.
    fn write_ahead(&self) -> rusqlite::Result<()> {
        // Nobody else has it yet.
        let Ok(connection) = self.connection.try_lock() else { return Ok(()) };
        connection.pragma_update(None, "journal_mode", "WAL")
    }

    /// Runs `work` on a thread where it may block. Use [`Connection::prepare_cached`] for what is asked often.
    ///
    /// Once begun, the work goes on to its end even where the caller no longer waits for it.
    pub async fn run<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let mut connection = Arc::clone(&self.connection).lock_owned().await;
        let outcome = task::spawn_blocking(move || work(&mut connection)).await;
        outcome.map_err(Error::Interrupted)?.map_err(Error::Query)
    }

    /// A number that changes when another connection has changed the file.
    pub async fn data_version(&self) -> Result<i64, Error> {
        self.run(|connection| connection.pragma_query_value(None, "data_version", |row| row.get(0))).await
    }

    fn open_with(path: &Path, access: OpenFlags) -> Result<Self, Error> {
        let connection = connect(path, access).map_err(|cause| Error::Open(path.to_owned(), cause))?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }
}

/// Without `SQLITE_OPEN_URI`, so that a `?` in a file name is just that.
fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // SQLite opens anything and looks at it later; asked now, a file of another kind is refused by name.
    connection.pragma_query_value(None, "schema_version", |row| row.get::<_, i64>(0))?;
    Ok(connection)
}

/// What can go wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("there is no file {0}")]
    Missing(PathBuf),
    /// The file cannot be opened, or is no SQLite database.
    #[error("the file {0} cannot be opened as an SQLite database")]
    Open(PathBuf, #[source] rusqlite::Error),
    /// A statement failed.
    #[error("the query failed")]
    Query(#[source] rusqlite::Error),
    /// The work panicked, or the runtime ended before it began.
    #[error("the query did not come to an end")]
    Interrupted(#[source] task::JoinError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usher.db");
        (folder, path)
    }

    #[test]
    fn open_creates_nothing() {
        let (_folder, path) = temporary();
        assert!(matches!(Database::open(&path), Err(Error::Missing(_))));
        assert!(!path.exists());
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        let (_folder, path) = temporary();
        std::fs::write(&path, "this is not the header of an SQLite file, and long enough to be read as one").unwrap();
        assert!(matches!(Database::open(&path), Err(Error::Open(..))));
    }

    #[tokio::test]
    async fn what_one_handle_writes_another_reads() {
        let (_folder, path) = temporary();
        let writer = Database::create(&path).unwrap();
        writer
            .run(|connection| connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (7)"))
            .await
            .unwrap();
        let reader = Database::open(&path).unwrap();
        let answer =
            reader.run(|connection| connection.query_row("SELECT a FROM t", (), |row| row.get::<_, i64>(0))).await;
        assert_eq!(answer.unwrap(), 7);
    }

    #[tokio::test]
    async fn edits_by_others_are_noticed() {
        let (_folder, path) = temporary();
        let [reader, writer] = [Database::create(&path).unwrap(), Database::create(&path).unwrap()];
        let before = reader.data_version().await.unwrap();
        assert_eq!(reader.data_version().await.unwrap(), before);
        writer.run(|connection| connection.execute_batch("CREATE TABLE t (a)")).await.unwrap();
        assert_ne!(reader.data_version().await.unwrap(), before);
    }

    #[tokio::test]
    async fn foreign_keys_are_kept() {
        let (_folder, path) = temporary();
        let database = Database::create(&path).unwrap();
        let sql = "CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (a INTEGER REFERENCES a (id)); INSERT INTO b VALUES (1)";
        assert!(matches!(database.run(|connection| connection.execute_batch(sql)).await, Err(Error::Query(_))));
    }

    #[tokio::test]
    async fn work_that_panics_leaves_the_database_usable() {
        let (_folder, path) = temporary();
        let database = Database::create(&path).unwrap();
        let broken = database.run(|_| -> rusqlite::Result<()> { panic!("on purpose") }).await;
        assert!(matches!(broken, Err(Error::Interrupted(_))));
        let answer = database.run(|connection| connection.query_row("SELECT 1", (), |row| row.get::<_, i64>(0))).await;
        assert_eq!(answer.unwrap(), 1);
    }
}
