//! From text to [`File`], with every wrong key and every wrong type reported.
//!
//! serde stops at the first error. So what it refuses is reported, cut out of the parsed tree, and the rest is read
//! again, until nothing is refused any more.

use std::ops::Range;

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue, Deserializer, Error},
};

use super::{
    file::File,
    problems::{Refusal, Report},
    suggest::closest,
};

/// Keys whose value is never shown, whatever was written there.
const SECRET_PATHS: [&str; 8] = [
    "directory.url",
    "directory.url_env",
    "directory.url_file",
    "directory.listen_url",
    "directory.listen_url_env",
    "directory.listen_url_file",
    "tls.encryption_keys_env",
    "tls.encryption_keys_file",
];

/// Reads `text`; `None` where its syntax is broken, since guesses about the rest would mislead.
pub(super) fn read(text: &str, report: &mut Report<'_>) -> Option<File> {
    let (mut tree, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        errors.iter().for_each(|error| refuse_syntax(error, report));
        return None;
    }
    loop {
        let error = match File::deserialize(Deserializer::from(tree.clone())) {
            Ok(file) => return Some(file),
            Err(error) => error,
        };
        let span = error.span().unwrap_or_default();
        let cut = cut(tree.get_mut(), &span);
        refuse(&error, span, cut.as_deref(), report);
        cut?;
    }
}

/// Removes the key or value that stands exactly at `span`, innermost first; its dotted path.
fn cut(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    for (key, value) in table.iter_mut() {
        if let Some(below) = cut_inside(value, span) {
            let separator = if below.is_empty() { "" } else { "." };
            return Some(format!("{}{separator}{below}", key.get_ref()));
        }
    }
    let (key, _) = table.iter().find(|(key, value)| key.span() == *span || value.span() == *span)?;
    let name = key.get_ref().to_string();
    table.remove(name.as_str());
    Some(name)
}

/// The same for a value; an item of a list has no path of its own. In `[[name]]` list and item stand at the same place, and
/// the list is meant.
fn cut_inside(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<String> {
    let whole = value.span();
    match value.get_mut() {
        DeValue::Table(table) => cut(table, span),
        DeValue::Array(items) if whole != *span => cut_item(items, span),
        _ => None,
    }
}

/// The same for a list. An item with something wrong inside goes as a whole: the rest of it would miss what was cut out.
fn cut_item(items: &mut DeArray<'_>, span: &Range<usize>) -> Option<String> {
    let inside = |item: &Spanned<DeValue<'_>>| match item.span() == *span {
        true => Some(String::new()),
        false => cut_inside(&mut item.clone(), span),
    };
    let (place, below) = items.iter().map(inside).enumerate().find_map(|(place, below)| Some((place, below?)))?;
    *items = items.iter().take(place).chain(items.iter().skip(place + 1)).cloned().collect();
    Some(below)
}

fn refuse_syntax(error: &Error, report: &mut Report<'_>) {
    let (cause, accepted) = match error.message().split_once(", expected ") {
        Some(parts) => parts,
        None => (error.message(), "a key once, and values as TOML writes them"),
    };
    let refusal =
        Refusal::new(format!("this is not TOML: {cause}"), accepted, "correct the syntax; see https://toml.io");
    report.refuse_key("", error.span().unwrap_or_default(), refusal);
}

/// Reports what serde refused. Of its message only the kind and what was expected are used: the rest repeats the value.
fn refuse(error: &Error, span: Range<usize>, path: Option<&str>, report: &mut Report<'_>) {
    let path = path.unwrap_or_default();
    let message = error.message();
    if message.starts_with("unknown field ") {
        return report.refuse_key(path, span, unknown_key(path, message));
    }
    let refusal = match message.starts_with("unknown variant ") {
        true => unknown_word(message),
        false => wrong_value(message),
    };
    match SECRET_PATHS.contains(&path) {
        true => report.refuse_secret(path, span, refusal),
        false => report.refuse(path, span, refusal),
    }
}

fn unknown_key(path: &str, message: &str) -> Refusal {
    let (name, known) = quoted(message);
    let section = path.rsplit_once('.').map_or("", |(section, _)| section);
    let remedy = match closest(name, &known) {
        Some(meant) if section.is_empty() => format!("did you mean {meant}?"),
        Some(meant) => format!("did you mean {section}.{meant}?"),
        None => "remove it; `usher config default` shows every key".to_owned(),
    };
    Refusal::new("there is no such key", known.join(", "), remedy)
}

fn unknown_word(message: &str) -> Refusal {
    let (word, known) = quoted(message);
    let remedy = match closest(word, &known) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => "write one of these".to_owned(),
    };
    let accepted: Vec<_> = known.iter().map(|word| format!("\"{word}\"")).collect();
    Refusal::new("there is no such choice", accepted.join(", "), remedy)
}

fn wrong_value(message: &str) -> Refusal {
    let cause = match message.starts_with("invalid value") {
        true => "this value cannot be used",
        false => "this is of the wrong type",
    };
    let accepted = match message.rsplit_once(", expected ") {
        Some((_, "a boolean")) => "true or false",
        Some((_, "a map")) => "tables with names: [upstreams.default]",
        Some((_, "a sequence")) => "a list: [\"…\", \"…\"]",
        Some((_, "a string")) => "text in quotes",
        Some((_, expected)) => expected,
        None if message.contains("overflowed") => "a smaller number",
        None => "text in quotes",
    };
    Refusal::new(cause, accepted, "write it as accepted; `usher config default` shows every key with its default")
}

/// What serde's message puts into backticks: what was found, and behind `expected` what is known.
fn quoted(message: &str) -> (&str, Vec<&str>) {
    let (found, expected) = message.rsplit_once(", expected ").unwrap_or((message, ""));
    let found = found.split_once('`').map_or("", |(_, name)| name.trim_end_matches('`'));
    (found, expected.split('`').skip(1).step_by(2).collect())
}
