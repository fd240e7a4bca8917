//! The shown defaults are the real ones, and every key is shown.

use serde_json::Value;

use toml::Table;

use super::{Config, MINIMAL, parse};
use crate::config::{default_text, schema};

#[test]
fn the_shown_defaults_are_the_built_in_ones() {
    for beside in ["", BESIDE] {
        let [shown, built_in] = [default_text(), MINIMAL].map(|text| meaning(table(text, beside)));
        assert_eq!(shown, built_in);
    }
    assert_eq!(parse(default_text()).unwrap().warnings, []);
}

/// With these keys all others have a meaning: some count beside another one only.
const BESIDE: &str = r#"
    [listen]
    https = ["127.0.0.1:8443"]
    [tls]
    encryption_keys_env = "USHER_KEYS"
    [acme]
    directory = "letsencrypt"
    terms_agreed = true
    dns_hook = ["/bin/hook"]
    [directory]
    url = "postgres://usher@db/shops"
    follow = "poll"
    [upstreams.another]
    servers = ["http://127.0.0.1:1"]
    [upstreams.default]
    probe_path = "/health"
"#;

/// `text` with the keys of `beside` in it.
fn table(text: &str, beside: &str) -> Table {
    let mut table: Table = text.parse().unwrap();
    for (section, keys) in beside.parse::<Table>().unwrap() {
        let section = table.entry(section).or_insert_with(|| Table::new().into());
        lay_over(section.as_table_mut().unwrap(), keys.as_table().unwrap());
    }
    table
}

fn lay_over(table: &mut Table, keys: &Table) {
    for (key, value) in keys {
        match (table.get_mut(key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(keys)) => lay_over(inner, keys),
            _ => drop(table.insert(key.clone(), value.clone())),
        }
    }
}

/// All that a file means, each setting of every module.
fn meaning(table: Table) -> Result<String, String> {
    let keys = "2026:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let env = |name: &str| (name == "USHER_KEYS").then(|| keys.to_owned());
    let config = Config::parse(&table.to_string(), "usher.toml", &env).map_err(|problems| problems.to_string())?;
    Ok(format!("{:#?}", Config { warnings: Vec::new(), ..config }))
}

/// Were a key compared with nothing, its shown default could be any.
#[test]
fn another_value_of_a_shown_key_means_something_else() {
    let shown = table(default_text(), BESIDE);
    let default = meaning(shown.clone()).unwrap();
    let mut changed = 0;
    for (section, key, value) in others(&shown) {
        let mut table = shown.clone();
        let target = match section.strip_prefix("upstreams.") {
            Some(name) => &mut table["upstreams"][name],
            None => &mut table[section.as_str()],
        };
        target[key.as_str()] = value.clone();
        assert_ne!(meaning(table).as_ref(), Ok(&default), "{section}.{key} = {value}");
        changed += 1;
    }
    assert!(changed > 80, "only {changed} keys have another value to try");
}

/// Each key of the file that is a number, a truth value or a number with its unit, with another value.
fn others(shown: &Table) -> Vec<(String, String, toml::Value)> {
    let sections = shown.iter().filter(|(name, _)| *name != "upstreams").map(|(name, table)| (name.clone(), table));
    let upstream = ("upstreams.default".to_owned(), &shown["upstreams"]["default"]);
    let keys = sections.chain([upstream]).flat_map(|(section, table)| {
        let keys = table.as_table().unwrap().iter();
        keys.map(move |(key, value)| (section.clone(), key.clone(), value)).collect::<Vec<_>>()
    });
    keys.filter_map(|(section, key, value)| Some((section, key, other(value)?))).collect()
}

fn other(value: &toml::Value) -> Option<toml::Value> {
    match value {
        toml::Value::Boolean(value) => Some((!value).into()),
        // Far enough from "one per core", however many these are.
        toml::Value::Integer(number) => Some((number + 1009).into()),
        toml::Value::String(text) => {
            let (number, unit) = text.split_at(text.find(|char: char| !char.is_ascii_digit())?);
            let is_unit = unit.bytes().all(|byte| byte.is_ascii_alphabetic());
            Some(format!("{}{unit}", number.parse::<u64>().ok().filter(|_| is_unit)? + 1).into())
        }
        _ => None,
    }
}

/// The keys without a default, which the file shows commented out.
const UNSET: [&str; 28] = [
    "tls.encryption_keys_file",
    "tls.encryption_keys_env",
    "tls.snapshot",
    "acme.directory",
    "acme.root_file",
    "acme.profile",
    "acme.external_account_id",
    "acme.external_account_key_file",
    "acme.external_account_key_env",
    "acme.fallbacks",
    "acme.dns_hook",
    "admin.token_file",
    "routing.path_hosts",
    "directory.url_env",
    "directory.url_file",
    "directory.listen_url",
    "directory.listen_url_env",
    "directory.listen_url_file",
    "directory.snapshot",
    "upstreams.default.ca_file",
    "upstreams.default.client_certificate",
    "upstreams.default.client_key",
    "upstreams.default.server_name",
    "upstreams.default.probe_path",
    "upstreams.default.probe_host",
    "directory.queries",
    "directory.watch",
    "domains.cname",
];

#[test]
fn every_key_of_the_schema_is_shown() {
    let shown = toml::from_str::<Value>(default_text()).unwrap();
    let keys = schema_keys(&schema());
    assert!(keys.len() > 40, "{keys:?}");
    for key in keys {
        let pointer = format!("/{}", key.replace('.', "/"));
        assert_ne!(shown.pointer(&pointer).is_some(), UNSET.contains(&key.as_str()), "{key}");
    }
}

#[test]
fn keys_without_a_default_can_be_uncommented() {
    for key in UNSET {
        let (section, name) = key.rsplit_once('.').unwrap();
        let (before, after) = default_text().split_once(&format!("[{section}]\n")).unwrap();
        let commented = format!("# {name} = ");
        assert!(after.split("\n[").next().unwrap().contains(&commented), "{key}");
        let text = format!("{before}[{section}]\n{}", after.replacen(&commented, &format!("{name} = "), 1));
        let problems = parse(&text).err().map(|problems| problems.to_string()).unwrap_or_default();
        // Some are refused alone, for what they lack or because the database is named twice, but never for what they are.
        let expected = match key {
            "directory.url_env" | "directory.url_file" => ["the database is named twice"].as_slice(),
            "directory.listen_url_env" => &["this variable is not set"],
            "admin.token_file" | "directory.listen_url_file" | "tls.encryption_keys_file" => &["cannot be read"],
            "tls.encryption_keys_env" => &["is not set"],
            "acme.directory" => &["needs a key", "nobody has agreed"],
            "directory.watch"
            | "upstreams.default.ca_file"
            | "upstreams.default.client_certificate"
            | "upstreams.default.client_key"
            | "upstreams.default.server_name" => &["is without effect"],
            _ => &[],
        };
        assert_eq!(problems.matches("error: ").count(), expected.len(), "{key}: {problems}");
        assert!(expected.iter().all(|cause| problems.contains(cause)), "{key}: {problems}");
    }
}

#[test]
fn the_schema_refuses_unknown_keys_and_describes_known_ones() {
    let schema = schema();
    assert_eq!(schema["additionalProperties"], false);
    let listen = resolved(&schema, &schema["properties"]["listen"]);
    assert_eq!(listen["additionalProperties"], false);
    assert_eq!(listen["properties"]["connections_max"]["minimum"], 1);
    assert!(listen["properties"]["workers"]["description"].as_str().unwrap().starts_with("Worker threads"));
}

/// Dotted paths of all keys; `default` stands for the names of upstreams.
fn schema_keys(schema: &Value) -> Vec<String> {
    let mut keys = Vec::new();
    for (section, reference) in schema["properties"].as_object().unwrap() {
        let (prefix, table) = match section.as_str() {
            "upstreams" => ("upstreams.default", &reference["additionalProperties"]),
            section => (section, reference),
        };
        let properties = resolved(schema, table)["properties"].as_object().unwrap();
        keys.extend(properties.keys().map(|key| format!("{prefix}.{key}")));
    }
    keys
}

fn resolved<'s>(schema: &'s Value, reference: &'s Value) -> &'s Value {
    match reference["$ref"].as_str() {
        Some(pointer) => schema.pointer(pointer.trim_start_matches('#')).unwrap(),
        None => reference,
    }
}
