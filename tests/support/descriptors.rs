//! How many connections a test may open.

use std::process::{self, Command};

/// Half of the descriptors that this process may have, at most `wanted`. An usher that starts after this may have as many.
pub(crate) fn connections_possible(wanted: usize) -> usize {
    let hard = open_files(4).unwrap_or(wanted * 2);
    let raised =
        Command::new("prlimit").args([format!("--pid={}", process::id()), format!("--nofile={hard}:")]).status();
    assert!(raised.unwrap().success(), "prlimit cannot raise the limit of open files to {hard}");
    wanted.min(open_files(3).unwrap_or(hard) / 2)
}

/// The limit of open files in this column of the system's table: 3 is the soft one, 4 the hard one. None: unlimited.
fn open_files(column: usize) -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(column).unwrap().parse().ok()
}
