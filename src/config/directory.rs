//! `[directory]`: how long an answer is believed, and where the rows are.

use std::{ops::Range, path::PathBuf, time::Duration};

use super::{
    Database, Env,
    database::{self, Located, Location},
    file,
    problems::{Refusal, Report},
    queries::{self, LookUps},
    units::Timespan,
    written::Written,
};
use crate::{
    database::{postgres, session::Dialect},
    directory::{Settings, feed::Follow},
};

/// They take turns on one connection.
const SQLITE_QUERIES_MAX: usize = 1;

/// What `[directory]` says.
pub(super) struct Resolved {
    /// The look-ups.
    pub(super) settings: Settings,
    /// The database where it is known.
    pub(super) located: Option<Located>,
    /// Where edits are listened for, if elsewhere.
    pub(super) listen: Option<postgres::Settings>,
    /// How edits become known.
    pub(super) follow: Follow,
    /// What is asked.
    pub(super) look_ups: LookUps,
}

/// `[directory]` under these platform domains.
pub(super) fn resolve(
    written: file::Directory,
    platforms: &[String],
    env: Env<'_>,
    report: &mut Report<'_>,
) -> Resolved {
    let location =
        Location { key: "directory.url", url: written.url, url_env: written.url_env, url_file: written.url_file };
    let listen_location = Location {
        key: "directory.listen_url",
        url: written.listen_url,
        url_env: written.listen_url_env,
        url_file: written.listen_url_file,
    };
    let poll_every = written.poll_every.or(Duration::from_secs(1));
    let follow = match written.follow.or(file::Follow::Listen) {
        file::Follow::Listen => Follow::Listen,
        file::Follow::Poll => Follow::Poll(poll_every),
        file::Follow::Off => Follow::Off,
    };
    let limits = Limits {
        connections_max: written.connections_max.into_value(),
        connect_timeout: written.connect_timeout.into_value(),
        wait_timeout: written.wait_timeout.into_value(),
        query_timeout: written.query_timeout.into_value(),
    };
    let lookup_span = written.lookup_timeout.span();
    let lifetimes =
        Lifetimes { fresh: written.fresh_for, followed: written.fresh_for_followed, usable: written.usable_for };
    let (fresh_for, fresh_for_followed, usable_for) = lifetimes.resolve(report);
    let mut settings = Settings {
        found_max: written.found_max.or(200_000),
        absent_max: written.absent_max.or(100_000),
        names_max: written.names_max.or(1_000_000),
        fresh_for,
        fresh_for_followed,
        usable_for,
        absent_for: written.absent_for.or(Duration::from_secs(5)),
        lookup_timeout: written.lookup_timeout.or(Duration::from_millis(900)),
        loads_max: written.loads_max.or(256),
        loads_per_second: written.loads_per_second.or(5000),
        known_loads_max: written.known_loads_max.or(16_384),
        queries_max: SQLITE_QUERIES_MAX,
        platforms: u16::try_from(platforms.len()).unwrap_or(u16::MAX),
    };
    let mut located = database::locate(location, env, report);
    if let Some(Located { database: Database::Postgres(server), .. }) = &mut located {
        limits.apply(server);
        settings.queries_max = server.connections_max;
        warn_of_idle_wait(settings.lookup_timeout, lookup_span, server, report);
    }
    let dialect = match &located {
        Some(Located { database: Database::Sqlite(_), .. }) => Dialect::Sqlite,
        _ => Dialect::Postgres,
    };
    let look_ups = queries::resolve(written.queries, written.watch, (dialect, follow, platforms), report);
    let mut listen = database::locate_listener(listen_location, env, report);
    listen.iter_mut().for_each(|server| limits.apply(server));
    Resolved { settings, located, listen, follow, look_ups }
}

/// Where what is held is kept: as written, and nowhere for `""`; else under this name where the service manager has a directory for it.
pub(super) fn snapshot(written: Written<String>, name: &str, env: Env<'_>) -> Option<PathBuf> {
    match written.given() {
        Some(path) => Some(path.into_inner()).filter(|path| !path.is_empty()).map(PathBuf::from),
        // systemd.exec(5), "StateDirectory=": a list, of which ours has one item.
        None => {
            let folders = env("STATE_DIRECTORY")?;
            let folder = folders.split(':').next().filter(|folder| !folder.is_empty())?;
            Some(PathBuf::from(folder).join(name))
        }
    }
}

/// The keys that concern PostgreSQL alone. What they leave open is as the URL says, or the pool's own default.
struct Limits {
    connections_max: Option<usize>,
    connect_timeout: Option<Duration>,
    wait_timeout: Option<Duration>,
    query_timeout: Option<Duration>,
}

impl Limits {
    fn apply(&self, server: &mut postgres::Settings) {
        server.connections_max = self.connections_max.unwrap_or(server.connections_max);
        server.connect_timeout = self.connect_timeout.unwrap_or(server.connect_timeout);
        server.wait_timeout = self.wait_timeout.unwrap_or(server.wait_timeout);
        server.query_timeout = self.query_timeout.unwrap_or(server.query_timeout);
    }
}

/// How long a found one lasts.
struct Lifetimes {
    fresh: Written<Timespan<1>>,
    followed: Written<Timespan<1>>,
    usable: Written<Timespan<1>>,
}

impl Lifetimes {
    /// Without news, with news, and at all.
    fn resolve(self, report: &mut Report<'_>) -> (Duration, Duration, Duration) {
        let spans = [self.usable.span(), self.followed.span(), self.fresh.span()];
        let fresh = self.fresh.or(Duration::from_secs(60));
        let usable = self.usable.or(Duration::from_hours(24));
        let followed = self.followed.or(Duration::from_hours(1).min(usable).max(fresh));
        let span = spans.into_iter().flatten().next().unwrap_or_default();
        if followed < fresh {
            let cause = "a tenant would be fresh for less time while changes are told than while they are not";
            let accepted = "fresh_for_followed of at least fresh_for";
            let refusal = Refusal::new(cause, accepted, "raise fresh_for_followed or lower fresh_for");
            report.refuse("directory.fresh_for_followed", span.clone(), refusal);
        }
        if usable < fresh.max(followed) {
            let cause = "a tenant would stop being usable while it is still fresh";
            let accepted = "usable_for of at least fresh_for and fresh_for_followed";
            let refusal = Refusal::new(cause, accepted, "raise usable_for or lower the others");
            report.refuse("directory.usable_for", span, refusal);
        }
        (fresh, followed, usable)
    }
}

/// A wait that is longer than a load can take never ends by its own deadline.
fn warn_of_idle_wait(
    lookup: Duration,
    span: Option<Range<usize>>,
    server: &postgres::Settings,
    report: &mut Report<'_>,
) {
    let load = server.wait_timeout.saturating_add(server.connect_timeout).saturating_add(server.query_timeout);
    if lookup > load {
        let cause = "is never reached: connecting, waiting and querying together end sooner";
        let accepted = format!("at most {}ms, the sum of the other deadlines", load.as_millis());
        let refusal = Refusal::new(cause, accepted, "lower lookup_timeout, or raise the deadline you meant");
        report.warn("directory.lookup_timeout", span, refusal);
    }
}
