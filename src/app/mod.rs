//! Composition root: settings -> parts -> addresses bound -> run. No decisions.
//!
//! Two planes: one thread with a runtime of its own per worker for requests, and the runtime that calls [`App::bind`] for
//! everything else (database, admin listener, signals).

mod arrivals;
mod counts;
mod domains;
mod operator;
mod rows;
mod snapshots;
mod threads;
mod wanted;

use std::{future::Future, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{net::TcpListener, runtime::Handle, sync::Semaphore, task::spawn_blocking};

pub use crate::admin::Addresses;

use self::{rows::Rows, snapshots::Snapshots, threads::Threads, wanted::CustomDomains};
use crate::{
    admin,
    config::Config,
    database::{migrations::Plan, postgres, sqlite},
    directory::{Directory, Feed, OwnQueries, feed::Follow},
    domains::{SelfCheck, Verifier, Visits, dns},
    lifecycle::{Drain, Readiness, Tasks, Termination},
    proxy::{self, BindError, Buffers, Https, Listeners, ListeningSocket, Places, Scheme, UnknownNames},
    routing::Rules,
    telemetry::{
        access_log::{AccessLog, Target},
        metrics::Metrics,
    },
    tls::{self, Acceptor, Acme, Arrivals, Certificates, FileError, Files, Issuer, Keyring, Tickets, Vault},
    upstream::{self, Upstream},
};

/// What the workers get on top of the drain deadline to write their last log lines before the process goes on without them.
const DRAIN_GRACE: Duration = Duration::from_secs(2);

/// For the last answers of the admin listener.
const FAREWELL: Duration = Duration::from_secs(1);

/// Runs usher until SIGTERM or SIGINT, then drains.
pub async fn serve(config: Config) -> Result<(), Error> {
    let termination = Termination::listen()?;
    App::bind(config).await?.run(termination.wait()).await
}

/// All parts, bound and connected with each other, not yet running.
pub struct App {
    addresses: Addresses,
    sockets: Vec<Vec<ListeningSocket>>,
    workers: Vec<proxy::Parts>,
    certificates: (Files, Arc<Certificates>),
    tickets: Option<(Arc<Tickets>, Arc<Keyring>)>,
    acme: Option<Acme>,
    self_check: SelfCheck,
    verifier: Option<Verifier>,
    admin: (TcpListener, admin::Parts),
    upstreams: Vec<Arc<Upstream>>,
    rows: Rows,
    own_queries: Option<OwnQueries>,
    plan: Plan,
    follow: Follow,
    feed: Feed,
    snapshots: Snapshots,
    /// Tenants of the last run, which are served before the database has answered.
    restored: usize,
    readiness: Readiness,
    access_log: AccessLog,
    drain_timeout: Duration,
}

impl App {
    /// Binds every socket and builds the parts; serves nothing yet.
    pub async fn bind(config: Config) -> Result<Self, Error> {
        let listeners = bind_public(&config.proxy)?;
        let admin_listener = bind_admin(config.admin.listen).await?;
        let addresses = Addresses {
            http: listeners.addresses(Scheme::Http),
            https: listeners.addresses(Scheme::Https),
            admin: admin_listener.local_addr()?,
        };
        let files = Files::load(&config.tls.certificates)?;
        let certificates = files.certificates();
        let rows = Rows::open(&config)?;
        let source = rows.source(config.queries.clone());
        let vault = config.tls.keys.clone().map(|keys| Vault::new(rows.session(), keys, Handle::current()));
        let tickets = config.tls.keys.as_ref().map(|_keys| Tickets::new());
        let self_check = SelfCheck::default();
        let (acme, issuer) = acme(&config, &rows, &self_check)?.unzip();
        let https = https(&config, &addresses, &certificates, vault.clone(), tickets.clone(), issuer.clone())?;
        let directory = Directory::new(config.directory.clone(), source, Handle::current());
        let (snapshots, restored) = Snapshots::restore(&config, &directory, vault.as_ref()).await;
        let upstreams = upstreams(&config)?;
        let metrics = Metrics::new(counts::names(&upstreams));
        counts::register_endpoints(&metrics, &upstreams);
        let access_log = start_access_log(&config)?;
        let buffers = Buffers::new(config.proxy.buffers_max);
        let tls = operator::tls(&config, &addresses, &certificates, vault.clone());
        counts::register(&metrics, &directory, &access_log, &buffers, &certificates, vault, issuer.clone());
        let readiness = Readiness::default();
        counts::register_readiness(&metrics, &readiness);
        let mut feed = Feed::new(directory.clone(), readiness.clone(), &config.plan.watched);
        counts::register_feed(&metrics, feed.stats());
        if let Some(issuer) = issuer.clone() {
            feed.on_challenge(move || issuer.look_for_challenges());
        }
        let verifier = domains::verifier(&config, &rows, &self_check, &directory, &mut feed, issuer)?;
        counts::register_domains(&metrics, verifier.as_ref());
        Ok(Self {
            sockets: listeners.into_workers(),
            workers: workers(
                &config,
                &upstreams,
                &directory,
                (&metrics, &access_log),
                &buffers,
                https.as_ref(),
                &self_check,
            ),
            certificates: (files, certificates),
            tickets: tickets.zip(config.tls.keys.clone()),
            acme,
            self_check,
            verifier,
            admin: (
                admin_listener,
                operator::parts(&config, (&readiness, metrics), &upstreams, &directory, &rows, (&addresses, tls)),
            ),
            addresses,
            upstreams,
            rows,
            own_queries: config.own_queries,
            plan: config.plan,
            follow: config.follow,
            feed,
            snapshots,
            restored,
            readiness,
            access_log,
            drain_timeout: config.proxy.drain_timeout,
        })
    }

    /// The addresses really bound.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Serves until `end`, then drains.
    pub async fn run(self, end: impl Future<Output = ()>) -> Result<(), Error> {
        announce(&self.addresses);
        let drain = Drain::new();
        // Before anybody can ask: a probe in between would be told "ready".
        let waiting = match self.restored {
            0 => self.readiness.hold("database"),
            _ => self.readiness.degrade("database"),
        };
        // Servers behind names are of no use before these were asked for.
        let resolving = self.readiness.hold("upstreams");
        let mut tasks = Tasks::new(Handle::current());
        let (listener, parts) = self.admin;
        // The admin listener tells about the drain of the workers, and so outlives it.
        let farewell = Drain::new();
        tasks.spawn("admin", admin::serve(listener, parts, farewell.watch()));
        let (files, certificates) = self.certificates;
        if !files.is_empty() {
            tasks.spawn("certificates", files.watch(certificates));
        }
        self.snapshots.keep(&mut tasks);
        tasks.spawn("feed", self.rows.clone().follow(self.follow, self.feed));
        tasks.spawn("discovery", upstream::discover(self.upstreams.clone(), resolving));
        tasks.spawn("upstream-files", upstream::watch_files(self.upstreams.clone()));
        tasks.spawn("prober", upstream::probe(self.upstreams));
        if let Some((tickets, keys)) = self.tickets {
            tasks.spawn("tickets", tickets.share(self.rows.session(), keys));
        }
        if let Some(acme) = self.acme {
            tasks.spawn("acme", acme.run());
        }
        tasks.spawn("self-check", self.self_check.keep(self.rows.session()));
        if let Some(verifier) = self.verifier {
            tasks.spawn("verifier", verifier.run());
        }
        let mut threads = Threads::start(self.workers, self.sockets, &drain)?;
        let ended = tokio::select! {
            () = end => Ok(()),
            service = tasks.failed() => Err(Error::Service(service)),
            worker = threads.failed() => Err(Error::Service(worker)),
            error = self.rows.watch(self.own_queries.as_ref(), &self.plan, waiting) => Err(error),
        };
        let _draining = self.readiness.hold("draining");
        tracing::info!(deadline = ?self.drain_timeout, "draining");
        let drained = drain.run(self.drain_timeout + DRAIN_GRACE).await;
        tracing::info!(workers_left = drained.left, "drained");
        self.snapshots.write().await;
        farewell.run(FAREWELL).await;
        let _written = spawn_blocking(|| self.access_log.finish()).await;
        ended
    }
}

fn start_access_log(config: &Config) -> Result<AccessLog, Error> {
    let settings = config.access_log.clone();
    AccessLog::start(settings).map_err(|cause| Error::AccessLog { target: config.access_log.target.clone(), cause })
}

fn bind_public(settings: &proxy::Settings) -> Result<Listeners, BindError> {
    let http = settings.http.iter().map(|address| (*address, Scheme::Http));
    let https = settings.https.iter().map(|address| (*address, Scheme::Https));
    Listeners::bind(http.chain(https), settings.workers)
}

fn upstreams(config: &Config) -> Result<Vec<Arc<Upstream>>, Error> {
    let upstream = |settings: &upstream::Settings| {
        let name = settings.name.clone();
        Upstream::new(settings.clone()).map(Arc::new).map_err(|cause| Error::UpstreamTls { name, cause })
    };
    config.upstreams.iter().map(upstream).collect()
}

/// The service that asks for certificates, where there is a CA to ask.
fn acme(config: &Config, rows: &Rows, self_check: &SelfCheck) -> Result<Option<(Acme, Issuer)>, Error> {
    let Some((settings, keys)) = config.acme.clone().zip(config.tls.keys.clone()) else { return Ok(None) };
    let rules = Rules::new(config.routing.clone());
    let source = rows.source(config.queries.clone());
    let names = CustomDomains::new(rows.session(), source, rules, config.own_queries.is_none());
    let arrivals: Option<Arc<dyn Arrivals>> = match config.acme_self_check {
        true => Some(Arc::new(Visits::new(config.domains.checks.clone(), self_check.clone()).map_err(Error::Dns)?)),
        false => None,
    };
    Ok(Some(Acme::new(settings, rows.session(), keys, Arc::new(names), arrivals)))
}

/// One acceptor for all workers, so that a session can go on with another one.
fn https(
    config: &Config,
    addresses: &Addresses,
    certificates: &Arc<Certificates>,
    vault: Option<Vault>,
    tickets: Option<Arc<Tickets>>,
    issuer: Option<Issuer>,
) -> Result<Option<Https>, Error> {
    let Some(first) = addresses.https.first() else { return Ok(None) };
    let acceptor = Acceptor::new(config.tls.minimum_version, Arc::clone(certificates), vault, tickets, issuer)
        .map_err(Error::Tls)?;
    Ok(Some(Https::new(acceptor, config.https, first.port())))
}

async fn bind_admin(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|cause| BindError { address, cause }.into())
}

/// One line per listener; with port 0 in the configuration this is where the port is told.
fn announce(addresses: &Addresses) {
    for address in &addresses.http {
        tracing::info!(name = "http", %address, "listening");
    }
    for address in &addresses.https {
        tracing::info!(name = "https", %address, "listening");
    }
    tracing::info!(name = "admin", address = %addresses.admin, "listening");
}

fn workers(
    config: &Config,
    upstreams: &[Arc<Upstream>],
    directory: &Directory,
    (metrics, access_log): (&Metrics, &AccessLog),
    buffers: &Arc<Buffers>,
    https: Option<&Https>,
    self_check: &SelfCheck,
) -> Vec<proxy::Parts> {
    let rules = Arc::new(Rules::new(config.routing.clone()));
    let connections = Arc::new(Semaphore::new(config.proxy.connections_max));
    let places = Places::new(config.proxy.connections_per_client_max, config.proxy.requests_per_client_max);
    let (roles, unknown_names) = (config.roles(), UnknownNames::default());
    let worker = |_number| proxy::Parts {
        settings: config.proxy.clone(),
        rules: Arc::clone(&rules),
        directory: directory.reader(),
        https: https.cloned(),
        self_check: self_check.clone(),
        upstreams: upstreams.to_vec(),
        roles,
        unknown_names: unknown_names.clone(),
        metrics: metrics.worker(),
        access_log: access_log.writer(),
        connections: Arc::clone(&connections),
        places: Arc::clone(&places),
        buffers: Arc::clone(buffers),
    };
    (0..config.proxy.workers).map(worker).collect()
}

/// Why usher cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address is taken or not ours.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A certificate cannot be shown.
    #[error(transparent)]
    Certificate(#[from] FileError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] tls::SetUpError),
    /// The DNS cannot be asked.
    #[error("the DNS cannot be asked, which domains.verification = \"usher\" and acme.self_check need")]
    Dns(#[source] dns::Error),
    /// TLS towards the app servers of an upstream cannot be set up.
    #[error("TLS to the servers of upstreams.{name} cannot be set up")]
    UpstreamTls {
        /// Of the upstream.
        name: String,
        /// Why.
        #[source]
        cause: upstream::TlsError,
    },
    /// The database settings cannot be used.
    #[error("the database cannot be used")]
    Postgres(#[from] postgres::Error),
    /// The SQLite file cannot be used.
    #[error("the database {} cannot be opened", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: sqlite::Error,
    },
    /// The database answers, but has not these tables.
    #[error("the database lacks: {0}")]
    MissingTables(String),
    /// The app's own tables have not these columns.
    #[error("the tables lack: {0}")]
    MissingColumns(String),
    /// SQL of the user's own cannot be asked.
    #[error("directory.queries cannot be asked: {0}")]
    OwnQueries(String),
    /// The access log cannot be written.
    #[error("the access log cannot be written to {target}")]
    AccessLog {
        /// What `log.access` names.
        target: Target,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A part that runs as long as the process has ended.
    #[error("{0} has stopped; the log says why")]
    Service(&'static str),
    /// The system refused a thread or a socket.
    #[error("the system refused a thread or a socket")]
    System(#[from] io::Error),
}
