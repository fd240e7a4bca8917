//! A throw-away PostgreSQL server, gone when the test process is gone.

use std::{
    fs::{self, File},
    io::{Seek, Write},
    net::{SocketAddr, TcpListener},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use tempfile::TempDir;

use super::{Pair, eventually};

/// One server on 127.0.0.1, with its data in a temporary directory.
pub(crate) struct Cluster {
    port: u16,
    directory: PathBuf,
    databases: AtomicUsize,
    running: Mutex<Running>,
}

/// The server process, and the watchdog that ends it should the test process be killed.
struct Running {
    server: Child,
    watchdog: Child,
}

impl Cluster {
    /// The one server that the tests of this process share; each takes a database of its own.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A server for one test that stops it, starts it or makes it hang.
    pub(crate) fn start() -> Self {
        Self::launched(initialised())
    }

    /// A server that shows this certificate to those who want TLS.
    pub(crate) fn with_tls(pair: &Pair) -> Self {
        let directory = initialised();
        let data = directory.join("data");
        for (name, text) in [("server.crt", &pair.certificate), ("server.key", &pair.key)] {
            let path = data.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            give_to_owner(&path);
        }
        let mut settings = File::options().append(true).open(data.join("postgresql.auto.conf")).unwrap();
        writeln!(settings, "ssl = on").unwrap();
        Self::launched(directory)
    }

    /// Lets `role` in under TLS only, from the next connection on.
    pub(crate) fn demand_tls(&self, role: &str) {
        self.put_first_in_hba(&format!(
            "hostssl all {role} 127.0.0.1/32 trust\nhostnossl all {role} 127.0.0.1/32 reject\n"
        ));
    }

    /// A replica that replays so much later what the server has done.
    pub(crate) fn lagging_replica(&self, milliseconds: u32) -> Self {
        let directory = private_directory();
        let address = format!("host=127.0.0.1 port={} user=usher", self.port);
        run(server_program("pg_basebackup")
            .args(["-d", &address, "-R", "-c", "fast", "-D"])
            .arg(directory.join("data")));
        let mut settings = File::options().append(true).open(directory.join("data/postgresql.auto.conf")).unwrap();
        writeln!(settings, "recovery_min_apply_delay = {milliseconds}").unwrap();
        Self::launched(directory)
    }

    /// Ends the server in order, after its replicas have all that it has done.
    pub(crate) fn shut_down(&self) {
        let mut running = self.running.lock().unwrap();
        signal("INT", running.server.id());
        running.server.wait().unwrap();
    }

    /// Makes a primary of this replica.
    pub(crate) fn promote(&self) {
        execute(&self.url("postgres"), "SELECT pg_promote()");
        eventually("the replica is a primary", || {
            (count(&self.url("postgres"), "SELECT WHERE NOT pg_is_in_recovery()") == 1).then_some(())
        });
    }

    /// Starts this server, which has been shut down, as a replica of `primary` that replays so much later what that one does.
    pub(crate) fn return_as_replica_of(&self, primary: &Self, milliseconds: u32) {
        let data = self.directory.join("data");
        fs::write(data.join("standby.signal"), "").unwrap();
        fs::set_permissions(data.join("standby.signal"), fs::Permissions::from_mode(0o666)).unwrap();
        let mut settings = File::options().append(true).open(data.join("postgresql.auto.conf")).unwrap();
        writeln!(settings, "primary_conninfo = 'host=127.0.0.1 port={} user=usher'", primary.port).unwrap();
        writeln!(settings, "recovery_min_apply_delay = {milliseconds}").unwrap();
        self.start_again();
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    fn launched(directory: PathBuf) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let running = Mutex::new(launch(&directory, port));
        let cluster = Self { port, directory, databases: AtomicUsize::new(0), running };
        cluster.wait_until_it_answers();
        cluster
    }

    /// The URL here of a database that `url` names on another server.
    pub(crate) fn url_of(&self, url: &str) -> String {
        self.url(url.rsplit_once('/').unwrap().1)
    }

    /// The URL of a new, empty database.
    pub(crate) fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::SeqCst));
        execute(&self.url("postgres"), &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://usher@127.0.0.1:{}/{database}", self.port)
    }

    /// Ends the server at once, as a crash would.
    pub(crate) fn stop(&self) {
        let mut running = self.running.lock().unwrap();
        signal("QUIT", running.server.id());
        running.server.wait().unwrap();
    }

    /// Starts the server again, on the same port with the same data.
    pub(crate) fn start_again(&self) {
        let mut running = self.running.lock().unwrap();
        running.retire_watchdog();
        *running = launch(&self.directory, self.port);
        drop(running);
        self.wait_until_it_answers();
    }

    /// Makes the whole server hang: it keeps its connections and answers nothing, until [`Self::wake`].
    ///
    /// The parent is stopped first, and woken last: until then its children cannot vanish.
    pub(crate) fn freeze(&self) {
        let server = self.server();
        signal("STOP", server);
        children(server).into_iter().for_each(|child| signal("STOP", child));
    }

    /// Ends what [`Self::freeze`] began.
    pub(crate) fn wake(&self) {
        let server = self.server();
        children(server).into_iter().for_each(|child| signal("CONT", child));
        signal("CONT", server);
    }

    /// Lets `role` in with its password only, from the next connection on.
    pub(crate) fn demand_passwords(&self, role: &str) {
        self.put_first_in_hba(&format!("host all {role} 127.0.0.1/32 scram-sha-256\n"));
    }

    fn put_first_in_hba(&self, lines: &str) {
        let path = self.directory.join("data/pg_hba.conf");
        let rules = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{lines}{rules}")).unwrap();
        execute(&self.url("postgres"), "SELECT pg_reload_conf()");
    }

    fn server(&self) -> u32 {
        self.running.lock().unwrap().server.id()
    }

    /// How often the server ran a statement for `database_url` with `parameter` among its values.
    pub(crate) fn queries_with(&self, database_url: &str, parameter: &str) -> usize {
        let database = database_url.rsplit('/').next().unwrap();
        let log = fs::read_to_string(self.directory.join("log")).unwrap();
        let prefix = format!("[{database}] DETAIL:  parameters: ");
        log.lines().filter(|line| line.starts_with(&prefix) && line.contains(&format!("'{parameter}'"))).count()
    }

    /// Writes down, from the next connection to this database on, how the server goes about each statement.
    pub(crate) fn note_plans(&self, database_url: &str) {
        let database = database_url.rsplit('/').next().unwrap();
        let set = |setting: &str| execute(&self.url("postgres"), &format!("ALTER DATABASE {database} SET {setting}"));
        ["session_preload_libraries = 'auto_explain'", "auto_explain.log_min_duration = 0"].into_iter().for_each(set);
    }

    /// The plans of the statements that contain `text`, as noted so far.
    pub(crate) fn plans(&self, database_url: &str, text: &str) -> Vec<String> {
        let database = database_url.rsplit('/').next().unwrap();
        let log = fs::read_to_string(self.directory.join("log")).unwrap();
        let prefix = format!("[{database}] ");
        let entries = log.split(&prefix).map(|rest| rest.split("\n[").next().unwrap_or_default());
        let plans = entries.filter(|entry| entry.starts_with("LOG:  duration: ") && entry.contains("Query Text: "));
        plans.filter(|plan| plan.contains(text)).map(str::to_owned).collect()
    }

    fn wait_until_it_answers(&self) {
        eventually("PostgreSQL answers", || {
            let exited = self.running.lock().unwrap().server.try_wait().unwrap();
            assert!(exited.is_none(), "PostgreSQL ended: {}", fs::read_to_string(self.directory.join("log")).unwrap());
            try_execute(&self.url("postgres"), "SELECT 1").ok()
        });
    }
}

impl Running {
    fn retire_watchdog(&mut self) {
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
    }
}

/// Runs every statement of `sql`.
pub(crate) fn execute(url: &str, sql: &str) {
    try_execute(url, sql).unwrap_or_else(|error| panic!("{error:?} in {sql}"));
}

fn try_execute(url: &str, sql: &str) -> Result<(), tokio_postgres::Error> {
    connected(url, async |client| client.batch_execute(sql).await)
}

/// Feeds `script` to `psql`, as an operator does.
pub(crate) fn psql(url: &str, script: &str) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(script.as_bytes()).unwrap();
    file.rewind().unwrap();
    let mut psql = Command::new(newest_installation().join("psql"));
    run(psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]).arg(url).stdin(file));
}

/// Runs one statement with one value and counts its rows.
pub(crate) fn query(url: &str, sql: &str, value: &str) -> usize {
    connected(url, async |client| client.query(sql, &[&value]).await.map(|rows| rows.len())).unwrap()
}

/// The rows of a query.
pub(crate) fn count(url: &str, sql: &str) -> usize {
    connected(url, async |client| client.query(sql, &[]).await.map(|rows| rows.len())).unwrap()
}

/// An open transaction; rolled back when dropped.
pub(crate) struct Transaction {
    client: tokio_postgres::Client,
    runtime: tokio::runtime::Runtime,
}

impl Transaction {
    pub(crate) fn commit(self) {
        self.runtime.block_on(self.client.batch_execute("COMMIT")).unwrap();
    }
}

/// Begins a transaction with these statements.
pub(crate) fn begin(url: &str, sql: &str) -> Transaction {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let client = runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&format!("BEGIN; {sql}")).await.unwrap();
        client
    });
    Transaction { client, runtime }
}

/// Lets `work` use a connection of its own.
fn connected<T>(
    url: &str,
    work: impl AsyncFnOnce(tokio_postgres::Client) -> Result<T, tokio_postgres::Error>,
) -> Result<T, tokio_postgres::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        work(client).await
    })
}

/// Sends a signal by its name to one process.
pub(crate) fn signal(name: &str, process: u32) {
    run(Command::new("kill").arg(format!("-{name}")).arg(process.to_string()));
}

fn children(process: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap();
    children.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A directory with the data of a new server.
fn initialised() -> PathBuf {
    let directory = private_directory();
    run(server_program("initdb")
        .args(["--auth=trust", "--username=usher", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"])
        .arg(directory.join("data")));
    directory
}

/// A directory of the server's own user, removed by the watchdog.
fn private_directory() -> PathBuf {
    let directory = TempDir::with_prefix("usher-postgres-").unwrap().keep();
    give_to_owner(&directory);
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    directory
}

fn give_to_owner(path: &Path) {
    if we_are_root() {
        run(Command::new("chown").arg("postgres:postgres").arg(path));
    }
}

fn launch(directory: &Path, port: u16) -> Running {
    let log = File::options().create(true).append(true).open(directory.join("log")).unwrap();
    let mut server = server_program("postgres");
    server.arg("-D").arg(directory.join("data")).args(["-p", &port.to_string(), "-h", "127.0.0.1"]);
    server.arg("-k").arg(directory).args(["-c", "fsync=off", "-c", "max_connections=200", "-c", "log_statement=all"]);
    server.args(["-c", "log_line_prefix=[%d] ", "-c", "full_page_writes=off", "-c", "max_prepared_transactions=2"]);
    let server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0).spawn().unwrap();
    let watchdog = watch(server.id(), directory);
    Running { server, watchdog }
}

/// A child whose standard input ends with this process, however that ends; then it ends the server and removes its files.
fn watch(server: u32, directory: &Path) -> Child {
    let script = "read _; kill -QUIT $1; kill -CONT $1
        for i in $(seq 100); do [ -e $2/data/postmaster.pid ] || break; sleep 0.05; done
        kill -KILL $1; rm -rf $2";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "watchdog", &server.to_string()]).arg(directory);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap()
}

/// A program of the PostgreSQL server.
fn server_program(name: &str) -> Command {
    as_owner(&newest_installation().join(name))
}

/// A program that refuses to run as root.
pub(crate) fn as_owner(program: &Path) -> Command {
    if !we_are_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program).current_dir("/");
    command
}

/// `/usr/lib/postgresql/*/bin`, as Debian installs it, or `PGBIN`.
fn newest_installation() -> PathBuf {
    if let Some(directory) = std::env::var_os("PGBIN") {
        return directory.into();
    }
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL: apt install postgresql, or set PGBIN");
    let newest = versions.map(|entry| entry.unwrap().path()).max_by_key(|path| version(path));
    newest.expect("a version of PostgreSQL").join("bin")
}

fn version(path: &Path) -> u32 {
    path.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0)
}

fn we_are_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}
