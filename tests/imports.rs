//! The import rule of ARCHITECTURE.md: who may know whom.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
};

/// What each module may use, besides itself. A module that is not listed may use nothing.
const RULES: &[(&str, &[&str])] = &[
    ("routing", &[]),
    ("lifecycle", &[]),
    ("telemetry", &[]),
    ("database", &["lifecycle", "telemetry"]),
    ("directory", &["routing", "database", "lifecycle", "telemetry"]),
    ("catalog", &["routing", "database"]),
    ("domains", &["routing", "database", "lifecycle", "telemetry"]),
    ("upstream", &["routing", "lifecycle", "telemetry"]),
    ("tls", &["routing", "database", "lifecycle", "telemetry"]),
    ("proxy", &["routing", "directory", "domains", "upstream", "tls", "lifecycle", "telemetry"]),
    ("admin", ALL_ABOVE),
    ("config", ALL_ABOVE),
];

/// Stands for every module that is higher up in [`RULES`].
const ALL_ABOVE: &[&str] = &["*"];

/// These connect the others and may use everything.
const COMPOSERS: &[&str] = &["app", "cli", "demo", "main", "lib"];

/// One mention of a module of ours.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Import {
    file: PathBuf,
    line: usize,
    from: String,
    to: String,
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {} may not use {}", self.file.display(), self.line, self.from, self.to)
    }
}

#[test]
fn every_module_uses_only_what_the_rule_allows() {
    let imports = imports_of_the_tree();
    assert!(imports.iter().any(|import| import.from == "directory" && import.to == "routing"), "nothing was read");
    let broken: Vec<String> = imports.iter().filter(|import| !allowed(import)).map(ToString::to_string).collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_module_stands_in_the_rule() {
    let known: BTreeSet<&str> = RULES.iter().map(|(module, _)| *module).chain(COMPOSERS.iter().copied()).collect();
    let unknown: Vec<String> =
        sources().iter().map(|file| module_of(file)).filter(|m| !known.contains(m.as_str())).collect();
    assert!(unknown.is_empty(), "say in RULES what these may use: {unknown:?}");
}

#[test]
fn the_reader_finds_every_way_to_write_an_import() {
    let source = "use crate::a::B;\nuse crate::{\n    c::D,\n    e::{F, g::H}, i,\n};\nlet x = crate::j::k();\n\
                  // crate::comment\npub(crate) use crate::l;\nlet s = usher::m::N;\nuse super::super::n::O;\n";
    let found: Vec<(usize, String)> = mentions(source);
    let expected = [(1, "a"), (3, "c"), (4, "e"), (4, "i"), (6, "j"), (8, "l"), (9, "m")];
    assert_eq!(found, expected.map(|(line, name)| (line, name.to_owned())));
}

#[test]
fn a_forbidden_import_is_reported() {
    let import = |from: &str, to: &str| Import { file: "f".into(), line: 1, from: from.into(), to: to.into() };
    assert!(!allowed(&import("routing", "telemetry")));
    assert!(!allowed(&import("directory", "upstream")));
    assert!(!allowed(&import("proxy", "config")));
    assert!(allowed(&import("proxy", "routing")));
    assert!(allowed(&import("cli", "config")));
    assert!(allowed(&import("admin", "upstream")) && !allowed(&import("admin", "config")));
    assert!(allowed(&import("config", "admin")) && !allowed(&import("config", "app")));
}

fn allowed(import: &Import) -> bool {
    let place = |module: &str| RULES.iter().position(|(name, _)| *name == module);
    let by_rule = |at: usize| match RULES[at].1 {
        ALL_ABOVE => place(&import.to).is_some_and(|above| above < at),
        may => may.contains(&import.to.as_str()),
    };
    import.from == import.to || COMPOSERS.contains(&import.from.as_str()) || place(&import.from).is_some_and(by_rule)
}

fn imports_of_the_tree() -> Vec<Import> {
    let read = |file: PathBuf| {
        let source = fs::read_to_string(&file).unwrap();
        let from = module_of(&file);
        mentions(&source).into_iter().map(move |(line, to)| Import { file: file.clone(), line, from: from.clone(), to })
    };
    sources().into_iter().flat_map(read).collect()
}

/// The first component of every `crate::…` path (and `usher::…`, as binaries write it), with its line.
fn mentions(source: &str) -> Vec<(usize, String)> {
    let code: String =
        source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut found: Vec<(usize, String)> = Vec::new();
    for root in ["crate::", "usher::"] {
        for (at, _) in code.match_indices(root) {
            if !code[..at].ends_with(|before: char| before.is_alphanumeric() || matches!(before, '_' | ':')) {
                let start = at + root.len();
                found.extend(heads(&code[start..]).into_iter().map(|(offset, name)| (start + offset, name)));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(at, name)| (1 + code[..at].matches('\n').count(), name)).collect()
}

/// The first names of a path or of a group in braces, with their offsets.
fn heads(rest: &str) -> Vec<(usize, String)> {
    let mut heads = Vec::new();
    let in_group = usize::from(rest.starts_with('{'));
    let (mut depth, mut at_start) = (0, true);
    for (offset, character) in rest.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => at_start = true,
            _ if at_start && depth == in_group && !character.is_whitespace() => {
                heads.push((offset, identifier(&rest[offset..])));
                at_start = false;
            }
            _ => {}
        }
        if depth == 0 && (in_group == 1 || !at_start) {
            break;
        }
    }
    heads.retain(|(_, name)| name.starts_with(|first: char| first.is_ascii_lowercase()) && name != "self");
    heads
}

fn identifier(rest: &str) -> String {
    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// `src/proxy/forward.rs` and `src/proxy.rs` are `proxy`.
fn module_of(file: &Path) -> String {
    let inside = file.strip_prefix(root()).unwrap();
    inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn sources() -> Vec<PathBuf> {
    let mut sources = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "rs" => sources.push(path),
                _ => {}
            }
        }
    }
    sources.sort();
    sources
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}
