//! slowhttptest: clients that send or read as slowly as they can. Others do not notice, and little is held for them.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    program::{alone, program, ran},
    support::{App, Fixture},
};

/// How many attackers there are, how many come in a second, and how long it lasts in seconds.
const CROWD: u64 = 1000;
const ARRIVALS: &str = "400";
const SECONDS: &str = "6";

/// A page that is worth reading slowly.
const LARGE: usize = 256 * 1024;

const MIB: u64 = 1024 * 1024;

/// Memory that usher may need without attackers: as much as for a gibibyte each way.
const MEMORY: u64 = 64 * MIB;

/// Memory for each attacker: what hyper keeps for a connection at work (20 KB), what came of a head or a body (a piece a
/// second, in 8 KiB each), and a connection to the app.
const MEMORY_EACH: u64 = MIB / 8;

/// Runs slowhttptest and asks for a page all the while. Each attacker may make usher hold so many bytes of answers.
fn attack(arguments: &[&str], unread: usize) {
    let _alone = alone();
    let app = App::small_or_large("/slow", LARGE);
    let config = "[listen]\nconnections_per_client_max = 5000\nheader_timeout = '3s'\nbody_timeout = '3s'";
    let stage = Fixture::configured(app, config);
    let url = format!("http://{}/slow", stage.usher.http());
    let slowest = thread::scope(|scope| {
        let attack = scope.spawn(|| {
            let mut command = program("slowhttptest");
            ran(command.args(["-c", &CROWD.to_string(), "-r", ARRIVALS, "-l", SECONDS, "-u", &url]).args(arguments))
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
    let peak = stage.usher.peak_memory();
    assert!(peak < MEMORY + CROWD * (MEMORY_EACH + unread as u64), "{} MiB during {arguments:?}", peak / MIB);
}

/// Slowloris: heads that never end.
#[test]
fn slow_heads_keep_nobody_waiting() {
    attack(&["-H", "-i", "1"], 0);
}

/// R-U-Dead-Yet: bodies that never end.
#[test]
fn slow_bodies_keep_nobody_waiting() {
    attack(&["-B", "-i", "1", "-s", "65536"], 0);
}

/// Apache Range Killer.
#[test]
fn overlapping_ranges_keep_nobody_waiting() {
    attack(&["-R", "-a", "10", "-b", "3000"], LARGE);
}

/// Answers that are read a few bytes at a time. Three are asked for on each connection, and one at most is held.
#[test]
fn slow_readers_keep_nobody_waiting() {
    attack(&["-X", "-w", "10", "-y", "20", "-z", "8", "-n", "1", "-k", "3"], LARGE);
}
