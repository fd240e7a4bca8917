//! The configuration as operators meet it: whole texts in, settings or problems out.

mod acme;
mod database;
mod defaults;
mod refusals;
mod rendering;
mod unicode;
mod upstreams;

use super::{Config, Problem, Problems};

pub(super) const MINIMAL: &str = include_str!("../../../config/usher.minimal.toml");

/// Reads `text` with an empty environment.
fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse(text, "usher.toml", &|_| None)
}

/// The minimal file with `lines` added to its section `name`.
fn with(name: &str, lines: &str) -> String {
    let header = format!("[{name}]\n");
    match MINIMAL.contains(&header) {
        true => MINIMAL.replacen(&header, &format!("{header}{lines}\n"), 1),
        false => format!("{MINIMAL}\n{header}{lines}\n"),
    }
}

/// The settings of the minimal file with `lines` added to its section `name`.
fn accepted(name: &str, lines: &str) -> Config {
    parse(&with(name, lines)).unwrap_or_else(|problems| panic!("{lines}\n{problems}"))
}

/// The problems of `text`.
fn problems(text: &str) -> Vec<Problem> {
    match parse(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(problems) => problems.iter().cloned().collect(),
    }
}

/// The only problem of the minimal file with `lines` added to its section `name`.
fn problem(name: &str, lines: &str) -> Problem {
    let mut found = problems(&with(name, lines));
    assert_eq!(found.len(), 1, "{lines}: {found:#?}");
    found.remove(0)
}
