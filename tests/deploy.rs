//! What `deploy/Dockerfile` copies is there, and its ignore file lets it through.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{fs, path::Path};

#[test]
fn all_that_the_image_is_built_from_is_there_and_let_through() {
    let (dockerfile, patterns) = (read("deploy/Dockerfile"), read("deploy/Dockerfile.dockerignore"));
    let sources = copied(&dockerfile);
    assert!(sources.contains(&"Cargo.lock") && sources.contains(&"src"), "not everything was read: {sources:?}");
    let missing: Vec<_> = sources.iter().filter(|source| !root().join(source).exists()).collect();
    assert!(missing.is_empty(), "not there: {missing:?}");
    let ignored: Vec<_> = sources.iter().filter(|source| is_ignored(source, &patterns)).collect();
    assert!(ignored.is_empty(), "ignored: {ignored:?}");
}

#[test]
fn the_reader_finds_what_is_copied_from_the_tree() {
    let dockerfile = "FROM a AS b\nCOPY c d/e ./\n  COPY --chown=f:g h i\nCOPY --from=b j k\nRUN COPY l m\n# COPY n o";
    assert_eq!(copied(dockerfile), ["c", "d/e", "h"]);
}

#[test]
fn the_last_pattern_that_fits_decides() {
    let patterns = "# a comment\n*\n!src\n!deploy/release\n\nsrc/results\n";
    let ignored = ["deploy", "deploy/release2", "src/results", "src/results/a.md", "srcs"];
    assert!(ignored.iter().all(|path| is_ignored(path, patterns)));
    assert!(["src", "src/main.rs", "deploy/release"].iter().all(|path| !is_ignored(path, patterns)));
}

/// The sources of every COPY that takes them from the tree.
fn copied(dockerfile: &str) -> Vec<&str> {
    let mut sources = Vec::new();
    for line in dockerfile.lines() {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if words.first() == Some(&"COPY") && !words.iter().any(|word| word.starts_with("--from=")) {
            let _destination = words.pop();
            sources.extend(words.into_iter().skip(1).filter(|word| !word.starts_with("--")));
        }
    }
    sources
}

/// By the last pattern that fits, as Docker has it.
fn is_ignored(path: &str, patterns: &str) -> bool {
    let mut is_ignored = false;
    for pattern in patterns.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (pattern, ignores) = pattern.strip_prefix('!').map_or((pattern, true), |pattern| (pattern, false));
        if fits(path, pattern) {
            is_ignored = ignores;
        }
    }
    is_ignored
}

/// A path stands for all below it; of Docker's wildcards the one that stands for everything is known here.
fn fits(path: &str, pattern: &str) -> bool {
    assert!(pattern == "*" || !pattern.contains(['*', '?', '[']), "the test does not know what {pattern} means");
    pattern == "*" || Path::new(path).starts_with(pattern)
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
