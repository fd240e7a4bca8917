//! The `usher` command: runtimes and exit codes, nothing else.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command, Failure, Once, Outcome};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 0: done and well; 1: not. clap itself ends with 2 where the command line is wrong.
fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Demo(demo) => demo.run(),
        Command::Once(once) => run_once(once),
    };
    cli::finish(outcome)
}

fn run_once(once: Once) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
    let outcome = runtime.block_on(once.run());
    // A name server that does not answer must not hold up the exit.
    runtime.shutdown_background();
    outcome
}
