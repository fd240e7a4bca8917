//! Where the rows are: `directory.url`, `url_env`, `url_file`, and the two variables that everybody knows; and where edits are
//! listened for, if elsewhere.

use std::{fs, path::PathBuf};

use toml::Spanned;

use super::{
    Database, Env,
    problems::{Refusal, Report},
    secrets::Secret,
    written::Written,
};
use crate::database::postgres;

/// Overrides whatever the file says.
const OVERRIDE: &str = "USHER_DATABASE_URL";

/// Overrides where edits are listened for.
const LISTEN_OVERRIDE: &str = "USHER_LISTEN_URL";

/// Counts only where the file says nothing, since it may be meant for the app.
const FALLBACK: &str = "DATABASE_URL";

const ACCEPTED: &str = "postgres://user:password@host:5432/database, sqlite:///absolute/path or sqlite://relative/path";

/// The keys that can say where a database is.
pub(super) struct Location {
    /// The first of them; the others end in `_env` and `_file` as well.
    pub(super) key: &'static str,
    pub(super) url: Written<Secret>,
    pub(super) url_env: Written<String>,
    pub(super) url_file: Written<String>,
}

/// The database, and who named it.
pub(super) struct Located {
    pub(super) database: Database,
    pub(super) origin: String,
}

/// Finds the URL of the rows and reads it; what is wrong with it is noted in `report`.
pub(super) fn locate(location: Location, env: Env<'_>, report: &mut Report<'_>) -> Option<Located> {
    let source = configured(location, report);
    let source = match (source, non_empty(env, OVERRIDE), non_empty(env, FALLBACK)) {
        (_, Some(url), _) => Source::Variable(OVERRIDE, url),
        (Some(source), None, _) => source,
        (None, None, Some(url)) => Source::Variable(FALLBACK, url),
        (None, None, None) => {
            report.refuse_absence("directory.url", None, nowhere());
            return None;
        }
    };
    let read = source.read(env).and_then(|url| parse(url.expose()));
    read.map(|database| Located { database, origin: source.origin() })
        .map_err(|refusal| source.refuse(refusal, report))
        .ok()
}

/// Finds where edits are listened for, if elsewhere than where the rows are.
pub(super) fn locate_listener(location: Location, env: Env<'_>, report: &mut Report<'_>) -> Option<postgres::Settings> {
    let source = configured(location, report);
    let source = match non_empty(env, LISTEN_OVERRIDE) {
        Some(url) => Source::Variable(LISTEN_OVERRIDE, url),
        None => source?,
    };
    let read = source.read(env).and_then(|url| match parse(url.expose())? {
        Database::Postgres(server) => Ok(server),
        Database::Sqlite(_) => Err(no_listener()),
    });
    read.map_err(|refusal| source.refuse(refusal, report)).ok()
}

fn nowhere() -> Refusal {
    let remedy = "add one of directory.url, url_env and url_file, or set USHER_DATABASE_URL";
    Refusal::new("the database is named nowhere", ACCEPTED, remedy)
}

fn no_listener() -> Refusal {
    let cause = "SQLite has no notices to listen for; a file is watched without this";
    Refusal::new(cause, "postgres://user:password@host:5432/database", "remove it")
}

/// A variable set to nothing counts as unset: container files often hand on `${NAME:-}`.
fn non_empty(env: Env<'_>, name: &str) -> Option<Secret> {
    env(name).filter(|url| !url.trim().is_empty()).map(|url| Secret::from(url.trim().to_owned()))
}

/// Where a URL comes from: a key and what it says, or a variable.
enum Source {
    Url(&'static str, Spanned<Secret>),
    Env(String, Spanned<String>),
    File(String, Spanned<String>),
    Variable(&'static str, Secret),
}

/// The one key that was written; a second one is refused, since nobody could tell which counts.
fn configured(location: Location, report: &mut Report<'_>) -> Option<Source> {
    let Location { key, url, url_env, url_file } = location;
    let sources = [
        url.given().map(|url| Source::Url(key, url)),
        url_env.given().map(|name| Source::Env(format!("{key}_env"), name)),
        url_file.given().map(|path| Source::File(format!("{key}_file"), path)),
    ];
    let mut sources = sources.into_iter().flatten();
    let first = sources.next();
    for second in sources {
        let accepted = format!("exactly one of {key}, {key}_env and {key}_file");
        second.refuse(Refusal::new("the database is named twice", accepted, "remove all but one"), report);
    }
    first
}

impl Source {
    /// The URL itself.
    fn read(&self, env: Env<'_>) -> Result<Secret, Refusal> {
        match self {
            Self::Url(_, url) => Ok(url.get_ref().clone()),
            Self::Variable(_, url) => Ok(url.clone()),
            Self::Env(_, name) => read_variable(name.get_ref(), env),
            Self::File(_, path) => read_file(path.get_ref()),
        }
    }

    /// What `usher check` says of it.
    fn origin(&self) -> String {
        match self {
            Self::Url(key, _) => (*key).to_owned(),
            Self::Env(key, name) => format!("{key} {}", name.get_ref()),
            Self::File(key, path) => format!("{key} {}", path.get_ref()),
            Self::Variable(name, _) => (*name).to_owned(),
        }
    }

    fn refuse(&self, refusal: Refusal, report: &mut Report<'_>) {
        match self {
            Self::Url(key, url) if url.get_ref().expose().starts_with("sqlite") => {
                report.refuse(key, url.span(), refusal)
            }
            Self::Url(key, url) => report.refuse_secret(key, url.span(), refusal),
            Self::Env(key, name) => refuse_name(key, name, refusal, report),
            Self::File(key, path) => refuse_name(key, path, refusal, report),
            Self::Variable(name, _) => report.refuse_variable(name, refusal),
        }
    }
}

/// Shows the name of a variable or file, unless it looks as if the URL itself had been put there.
fn refuse_name(path: &str, name: &Spanned<String>, refusal: Refusal, report: &mut Report<'_>) {
    match name.get_ref().contains([':', '=', '@']) {
        true => report.refuse_secret(path, name.span(), refusal),
        false => report.refuse(path, name.span(), refusal),
    }
}

fn read_variable(name: &str, env: Env<'_>) -> Result<Secret, Refusal> {
    let accepted = "the name of a variable that holds the URL, such as \"SHOP_DATABASE_URL\"";
    let named = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(named) {
        return Err(Refusal::new(
            "is no name of a variable",
            accepted,
            "write the name; a URL belongs in the key without _env",
        ));
    }
    let unset =
        || Refusal::new("this variable is not set, or empty", accepted, format!("set {name} before usher starts"));
    non_empty(env, name).ok_or_else(unset)
}

fn read_file(path: &str) -> Result<Secret, Refusal> {
    let refusal = |cause: String| {
        Refusal::new(cause, "a file that holds nothing but the URL", "check path, rights and content of the file")
    };
    let text = fs::read_to_string(path).map_err(|error| refusal(format!("cannot be read: {error}")))?;
    match text.trim() {
        "" => Err(refusal("the file is empty".to_owned())),
        url => Ok(Secret::from(url.to_owned())),
    }
}

fn parse(url: &str) -> Result<Database, Refusal> {
    match url.split_once("://") {
        Some(("sqlite", path)) => sqlite_path(path).map(Database::Sqlite),
        Some((scheme, _)) if scheme.starts_with("sqlite+") => {
            let cause = "driver suffixes count slashes in another way for SQLite";
            Err(Refusal::new(cause, ACCEPTED, "write sqlite:// and the path"))
        }
        _ => {
            let refused = |error: postgres::UrlError| Refusal::new(error.to_string(), ACCEPTED, "correct the URL");
            postgres::Settings::parse(url).map(Database::Postgres).map_err(refused)
        }
    }
}

/// The path as it stands, `%` included: it is a path and no part of a web address.
fn sqlite_path(path: &str) -> Result<PathBuf, Refusal> {
    let refusal = |cause: &str, remedy: &str| Err(Refusal::new(cause, ACCEPTED, remedy));
    match path {
        "" | "/" => refusal("names no file", "add the path of the file"),
        ":memory:" | "/:memory:" => refusal("would be empty at every start", "name a file"),
        path if path.contains(['?', '#']) => {
            refusal("has options, and usher knows none for SQLite", "end the URL after the path")
        }
        path => Ok(PathBuf::from(path)),
    }
}
