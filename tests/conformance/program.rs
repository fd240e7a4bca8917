//! Running a program of somebody else's to its end, under a deadline.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::support::signal;

/// What a run may take at most, in seconds; generous, since the machine may be busy.
const DEADLINE_SECONDS: &str = "120";

/// For tests that measure how long others wait: they run one at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program with its arguments; a failure of the test where `tests/install.sh` has not provided for it.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", DEADLINE_SECONDS, name]);
    command
}

/// A script of ours, run by a Python that has the libraries in `programs/requirements.txt`.
pub(crate) fn python(script: &str) -> Command {
    run_by("target/conformance/bin/python", script)
}

/// A program that came with these libraries.
pub(crate) fn python_tool(name: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/conformance/bin").join(name);
    assert!(path.exists(), "{} is missing: run tests/install.sh", path.display());
    program(path.to_str().unwrap())
}

/// The same with the libraries that the app in `deploy/fastapi` needs.
pub(crate) fn python_of_the_shop(script: &str) -> Command {
    run_by("target/fastapi/bin/python", script)
}

fn run_by(interpreter: &str, script: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let interpreter: PathBuf = root.join(interpreter);
    assert!(interpreter.exists(), "{} is missing: run tests/install.sh", interpreter.display());
    let mut command = program(interpreter.to_str().unwrap());
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(root.join("tests/conformance/programs").join(script));
    command
}

/// Runs it to its end and returns what it printed; it has to end well.
pub(crate) fn ran(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?} ended with {status}\n{stdout}\n{stderr}");
    println_last(&stdout);
    stdout.into_owned()
}

/// The score, for whoever runs the tests with `--nocapture`.
fn println_last(stdout: &str) {
    if let Some(score) = stdout.lines().last().filter(|line| line.starts_with("score: ")) {
        eprintln!("{score}");
    }
}

/// An app server from one of the scripts, ended with the value.
pub(crate) struct Foreign {
    child: Child,
    port: u16,
}

impl Foreign {
    /// Starts it and waits until it says its port.
    pub(crate) fn start(script: &str) -> Self {
        Self::run(&mut python(script))
    }

    /// The same with a command that is set up already.
    pub(crate) fn run(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|error| panic!("{command:?} said {line:?}: {error}"));
        Self { child, port }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The keys that make it the default upstream.
    pub(crate) fn as_upstream(&self, scheme: &str) -> String {
        format!("[upstreams.default]\nservers = ['{scheme}://127.0.0.1:{}']", self.port)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // `timeout` hands a signal it is sent on to what it runs.
        signal("TERM", self.child.id());
        let _ = self.child.wait();
    }
}
