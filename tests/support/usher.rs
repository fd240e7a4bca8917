//! The real binary: its commands, and the router as a running process.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use toml::Table;

use super::{App, Client, Response, Tables, eventually, signal};

/// `usher` with a configuration file, about to be run.
pub(crate) struct Binary {
    directory: TempDir,
    config: Table,
    environment: Vec<(String, String)>,
    descriptors_max: Option<u32>,
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A running router, ended with the value.
pub(crate) struct Usher {
    child: Child,
    directory: TempDir,
    log: Arc<Mutex<Vec<String>>>,
    http: SocketAddr,
    https: Option<SocketAddr>,
    admin: SocketAddr,
}

const BASE: &str = r#"
    [listen]
    http = ["127.0.0.1:0"]
    workers = 2
    [admin]
    listen = "127.0.0.1:0"
    [routing]
    platform_domains = ["platform.com"]
    [upstreams.default]
    servers = ["http://127.0.0.1:9"]
    [log]
    format = "json"
"#;

impl Binary {
    /// With a configuration that names only what has no default.
    pub(crate) fn new() -> Self {
        let directory = TempDir::with_prefix("usher-test-").unwrap();
        let mut config: Table = BASE.parse().unwrap();
        let access_log = directory.path().join("access.log").display().to_string();
        config["log"].as_table_mut().unwrap().insert("access".into(), access_log.into());
        Self { directory, config, environment: Vec::new(), descriptors_max: None }
    }

    /// With its directory in `tables`.
    pub(crate) fn over(tables: &Tables) -> Self {
        Self::new().config(&format!("[directory]\nurl = \"{}\"", tables.url()))
    }

    /// With `apps` as the servers of the default upstream.
    pub(crate) fn apps(self, apps: &[&App]) -> Self {
        let urls: Vec<String> = apps.iter().map(|app| app.url()).collect();
        self.config(&format!("[upstreams.default]\nservers = {urls:?}"))
    }

    /// With these keys laid over the configuration.
    pub(crate) fn config(mut self, overrides: &str) -> Self {
        lay_over(&mut self.config, overrides.parse().unwrap_or_else(|error| panic!("{error}: {overrides}")));
        self
    }

    /// With an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// With so many file descriptors at most.
    pub(crate) fn descriptors_max(mut self, count: u32) -> Self {
        self.descriptors_max = Some(count);
        self
    }

    /// Where the configuration is written to.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.directory.path().join("usher.toml")
    }

    /// Runs a command that ends by itself, with `--config`.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.write_config();
        self.run_bare(&[arguments, &["--config", self.config_path().to_str().unwrap()]].concat())
    }

    /// Runs a command that ends by itself, with exactly these arguments.
    pub(crate) fn run_bare(&self, arguments: &[&str]) -> Output {
        let output = self.command().args(arguments).stdin(Stdio::null()).output().unwrap();
        Output {
            code: output.status.code().unwrap_or_else(|| panic!("{arguments:?} ended by {}", output.status)),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts the router and waits until it is ready.
    pub(crate) fn start(self) -> Usher {
        let usher = self.start_unready();
        eventually("usher is ready", || (usher.admin_get("/ready").status == 200).then_some(()));
        usher
    }

    /// Starts the router and waits only until it listens.
    pub(crate) fn start_unready(self) -> Usher {
        self.write_config();
        let speaks_tls = self.config["listen"].get("https").is_some();
        let mut command = self.command();
        command.args(["serve", "--config"]).arg(self.config_path());
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("usher starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        collect(child.stderr.take().unwrap(), Arc::clone(&log));
        let unknown = ([0; 4], 0).into();
        let mut usher = Usher { child, directory: self.directory, log, http: unknown, https: None, admin: unknown };
        usher.http = usher.wait_for_address("http");
        usher.https = speaks_tls.then(|| usher.wait_for_address("https"));
        usher.admin = usher.wait_for_address("admin");
        usher
    }

    /// Replaces the configuration by this text, as it stands, and runs a command on it.
    pub(crate) fn run_on(&self, config: &str, arguments: &[&str]) -> Output {
        fs::write(self.config_path(), config).unwrap();
        self.run_bare(&[arguments, &["--config", self.config_path().to_str().unwrap()]].concat())
    }

    fn write_config(&self) {
        fs::write(self.config_path(), self.config.to_string()).unwrap();
    }

    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_usher");
        let mut command = match self.descriptors_max {
            None => Command::new(binary),
            Some(count) => {
                let mut limited = Command::new("prlimit");
                limited.arg(format!("--nofile={count}:{count}")).arg(binary);
                limited
            }
        };
        command.current_dir(self.directory.path()).env_remove("DATABASE_URL").env_remove("USHER_DATABASE_URL");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Usher {
    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where TLS is spoken.
    pub(crate) fn https(&self) -> SocketAddr {
        self.https.expect("listen.https in the configuration")
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.http)
    }

    /// A GET on a connection of its own; `more` are further header lines, each with its CRLF.
    pub(crate) fn get_with(&self, host: &str, target: &str, more: &str) -> Response {
        let mut client = self.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n")).response()
    }

    pub(crate) fn get(&self, host: &str, target: &str) -> Response {
        self.get_with(host, target, "")
    }

    /// Sends these bytes on a connection of its own and reads one answer.
    pub(crate) fn raw(&self, bytes: impl AsRef<[u8]>) -> Response {
        self.connect().send(bytes).response()
    }

    pub(crate) fn admin_get(&self, target: &str) -> Response {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        Client::connect(self.admin).send(request).response()
    }

    /// The sum of a metric over the series whose labels contain all of `labels` (`name="value"`).
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.admin_get("/metrics").text();
        let series = text.lines().filter_map(|line| line.strip_prefix(name));
        let series =
            series.filter(|rest| rest.starts_with([' ', '{']) && labels.iter().all(|label| rest.contains(label)));
        series.map(|rest| rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// The access log as soon as it has `count` lines; more are a failure.
    pub(crate) fn access_log(&self, count: usize) -> Vec<Value> {
        let text = eventually(&format!("{count} lines in the access log"), || {
            let text = self.access_log_so_far();
            (text.lines().count() >= count && text.ends_with('\n')).then_some(text)
        });
        assert_eq!(text.lines().count(), count, "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// What is in the access log now.
    pub(crate) fn access_log_so_far(&self) -> String {
        fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default()
    }

    /// SIGTERM, and how the process ended.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.wait()
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        signal("TERM", self.process());
    }

    /// How the process ended; a failure where it does not.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("usher ends", || self.child.try_wait().unwrap())
    }

    /// Whether the process is still there.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The most memory that was ever resident, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.status_of_process("VmHWM:") * 1024
    }

    /// The memory that is resident now, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.status_of_process("VmRSS:") * 1024
    }

    /// The threads whose names begin with `name`.
    pub(crate) fn threads(&self, name: &str) -> usize {
        let threads = fs::read_dir(format!("/proc/{}/task", self.process())).unwrap();
        let names = threads.filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("comm")).ok());
        names.filter(|found| found.starts_with(name)).count()
    }

    fn status_of_process(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// What the process wrote to its standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    fn wait_for_address(&mut self, listener: &str) -> SocketAddr {
        eventually(&format!("usher says where {listener} listens"), || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "usher ended ({}) before it listened", ended.unwrap_or_default());
            self.log.lock().unwrap().iter().find_map(|line| address(line, listener))
        })
    }
}

impl Drop for Usher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- usher said:\n{}\n---", self.log());
        }
    }
}

/// The address in a line that says `listening` of this listener.
fn address(line: &str, listener: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields").unwrap_or(&line);
    let ours = fields["message"] == "listening" && fields["name"] == listener;
    ours.then(|| fields["address"].as_str()?.parse().ok())?
}

fn collect(stderr: ChildStderr, log: Arc<Mutex<Vec<String>>>) {
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            log.lock().unwrap().push(line);
        }
    });
}

fn lay_over(table: &mut Table, overrides: Table) {
    for (key, value) in overrides {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(value)) => lay_over(inner, value),
            (_, value) => drop(table.insert(key, value)),
        }
    }
}

/// A short time in which nothing is expected to happen; for the few tests that show an absence.
pub(crate) const A_MOMENT: Duration = Duration::from_millis(200);
