//! An SQLite file, queried off the async threads.

use std::path::Path;

/// An open SQLite file; a cheap clone.
#[derive(Clone)]
pub struct Database {}

impl Database {
    /// Opens an existing file; a missing one is an error.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let _ = path;
        todo!()
    }

    /// Opens the file and creates it where it is missing; for `migrate` and `demo` only.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let _ = path;
        todo!()
    }
}

/// What can go wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("there is no such file")]
    Missing,
}
