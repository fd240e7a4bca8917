//! slowhttptest: clients that send or read as slowly as they can. Others do not notice.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    program::{alone, program, ran},
    support::{App, Fixture},
};

/// How many attackers there are, how many come in a second, and how long it lasts in seconds.
const CROWD: &str = "1000";
const ARRIVALS: &str = "400";
const SECONDS: &str = "6";

/// A page that is worth reading slowly.
const LARGE: usize = 256 * 1024;

/// Runs slowhttptest and asks for a page all the while.
fn attack(arguments: &[&str]) {
    let _alone = alone();
    let app = App::small_or_large("/slow", LARGE);
    let config = "[listen]\nconnections_per_client_max = 5000\nheader_timeout = '3s'\nbody_timeout = '3s'";
    let stage = Fixture::configured(app, config);
    let url = format!("http://{}/slow", stage.usher.http());
    let slowest = thread::scope(|scope| {
        let attack = scope.spawn(|| {
            let mut command = program("slowhttptest");
            ran(command.args(["-c", CROWD, "-r", ARRIVALS, "-l", SECONDS, "-u", &url]).args(arguments))
        });
        let mut slowest = Duration::ZERO;
        while !attack.is_finished() {
            let began = Instant::now();
            assert_eq!(stage.get("customdomain1.com", "/").status, 200);
            slowest = slowest.max(began.elapsed());
            thread::sleep(Duration::from_millis(50));
        }
        slowest
    });
    assert!(slowest < Duration::from_secs(1), "{slowest:?} for a page during {arguments:?}");
}

/// Slowloris: heads that never end.
#[test]
fn slow_heads_keep_nobody_waiting() {
    attack(&["-H", "-i", "1"]);
}

/// R-U-Dead-Yet: bodies that never end.
#[test]
fn slow_bodies_keep_nobody_waiting() {
    attack(&["-B", "-i", "1", "-s", "65536"]);
}

/// Apache Range Killer.
#[test]
fn overlapping_ranges_keep_nobody_waiting() {
    attack(&["-R", "-a", "10", "-b", "3000"]);
}

/// Answers that are read a few bytes at a time.
#[test]
fn slow_readers_keep_nobody_waiting() {
    attack(&["-X", "-w", "10", "-y", "20", "-z", "8", "-n", "1", "-k", "3"]);
}
