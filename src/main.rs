//! The `usher` command: runtimes and exit codes, nothing else.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command, Failure, Outcome};
use tokio::runtime::Builder;

/// Threads of the control plane: a scrape and a slow query run beside each other, and no more is asked of it.
const CONTROL_THREADS: usize = 2;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 0: done and well; 1: not. clap itself ends with 2 where the command line is wrong.
fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(serve) => run(Builder::new_multi_thread().worker_threads(CONTROL_THREADS), serve.run()),
        Command::Demo(demo) => run(Builder::new_multi_thread().worker_threads(CONTROL_THREADS), demo.run()),
        Command::Once(once) => run(&mut Builder::new_current_thread(), once.run()),
    };
    cli::finish(outcome)
}

fn run(builder: &mut Builder, command: impl Future<Output = Result<Outcome, Failure>>) -> Result<Outcome, Failure> {
    let runtime = builder.enable_all().build().map_err(Failure::Runtime)?;
    let outcome = runtime.block_on(command);
    // A name server that does not answer must not hold up the exit.
    runtime.shutdown_background();
    outcome
}
