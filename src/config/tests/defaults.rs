//! The shown defaults are the real ones, and every key is shown.

use serde_json::Value;

use super::{MINIMAL, parse};
use crate::config::{default_text, schema};

#[test]
fn the_shown_defaults_are_the_built_in_ones() {
    let [shown, built_in] =
        [default_text(), MINIMAL].map(|text| parse(text).unwrap_or_else(|problems| panic!("{problems}")));
    let sections = |config: &crate::config::Config| {
        [
            format!("{:#?}", config.proxy),
            format!("{:#?}", config.tls),
            format!("{:#?}", config.https),
            format!("{:#?}", config.acme),
            format!("{:#?}", config.admin),
            format!("{:#?}", config.routing),
            format!("{:#?}", config.directory),
            format!("{:#?}", config.database),
            format!("{:#?}", config.upstreams),
            format!("{:#?}", config.log),
            format!("{:#?}", config.access_log),
            format!("{:#?}", config.domains),
        ]
    };
    for (shown, built_in) in sections(&shown).iter().zip(sections(&built_in)) {
        assert_eq!(*shown, built_in);
    }
    assert_eq!(shown.warnings, []);
}

/// The keys without a default, which the file shows commented out.
const UNSET: [&str; 27] = [
    "tls.encryption_keys_file",
    "tls.encryption_keys_env",
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
