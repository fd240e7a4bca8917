//! The admin API: what it tells is what it says it tells, and what requests meet.

use serde_json::{Value, json};

use crate::support::{App, Backend, Binary, Client, Fixture, Tables, TlsFixture, Usher};

fn get(usher: &Usher, target: &str) -> Value {
    let response = usher.admin_get(target);
    assert_eq!(response.status, 200, "{target}: {}", response.text());
    response.json()
}

/// What stands where a reference leads, or the schema itself.
fn resolved<'s>(document: &'s Value, schema: &'s Value) -> &'s Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).expect(reference),
        None => schema,
    }
}

/// Whether `value` is what `schema` says: the properties that are there, no other, each of a type that is listed.
fn check(document: &Value, schema: &Value, value: &Value, place: &str) {
    let schema = resolved(document, schema);
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{place}: {value} is none of {words:?}");
        return;
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let listed =
        |name: &str| schema["type"] == name || schema["type"].as_array().is_some_and(|all| all.contains(&name.into()));
    assert!(listed(kind) || (kind == "integer" && listed("number")), "{place}: {value} is no {}", schema["type"]);
    match value {
        Value::Array(items) => items.iter().for_each(|item| check(document, &schema["items"], item, place)),
        Value::Object(fields) => check_fields(document, schema, fields, place),
        _ => {}
    }
}

fn check_fields(document: &Value, schema: &Value, fields: &serde_json::Map<String, Value>, place: &str) {
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(fields.contains_key(required.as_str().unwrap()), "{place} lacks {required}");
    }
    for (name, value) in fields {
        let known = &schema["properties"][name];
        let schema = if known.is_null() { &schema["additionalProperties"] } else { known };
        assert!(schema.is_object(), "{place}.{name} is not described");
        check(document, schema, value, &format!("{place}.{name}"));
    }
}

#[test]
fn answers_are_what_the_description_says() {
    let tables = Tables::empty(Backend::Sqlite).with(crate::support::EXAMPLE_ROWS);
    let keys = "2026:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let app = App::echo();
    let binary = Binary::over(&tables).apps(&[&app]).env("KEYS", keys);
    let usher = binary.config("[domains]\nverification = 'usher'\n[tls]\nencryption_keys_env = 'KEYS'").start();
    usher.get("customdomain1.com", "/");
    let document = get(&usher, "/api/v1/openapi.json");
    let mut checked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let content = &methods["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        if content.is_null() || path == "/api/v1/openapi.json" {
            continue;
        }
        let query = if path.ends_with("/resolve") { "?url=http://www.customdomain1.com/p" } else { "" };
        check(&document, content, &get(&usher, &format!("{path}{query}")), path);
        checked += 1;
    }
    assert_eq!(checked, 7, "ready, resolve, cache, listeners, upstreams, domains, certificates");
    let refused = usher.admin_get("/api/v1/resolve?url=a%20b");
    assert_eq!(refused.status, 400);
    check(&document, &json!({"$ref": "#/components/schemas/Problem"}), &refused.json(), "a problem");
}

#[test]
fn a_query_that_cannot_be_understood_is_a_problem_as_it_is_described() {
    let tables = Tables::empty(Backend::Sqlite).with(crate::support::EXAMPLE_ROWS);
    let usher = Binary::over(&tables).config("[domains]\nverification = 'usher'").start();
    let document = get(&usher, "/api/v1/openapi.json");
    for target in [
        "/api/v1/resolve",
        "/api/v1/resolve?uri=brand.com",
        "/api/v1/domains?count=many",
        "/api/v1/certificates?limit=-1",
        "/api/v1/certificates?state=nosuch",
        "/ask",
    ] {
        let refused = usher.admin_get(target);
        assert_eq!(
            (refused.status, refused.header("content-type")),
            (400, Some("application/problem+json")),
            "{target}"
        );
        let path = target.split('?').next().unwrap();
        let response = resolved(&document, &document["paths"][path]["get"]["responses"]["400"]);
        let schema = &response["content"]["application/problem+json"]["schema"];
        assert!(schema.is_object(), "{path} describes its 400");
        check(&document, schema, &refused.json(), target);
    }
}

#[test]
fn the_addresses_really_bound_are_told() {
    let stage = Fixture::configured(App::echo(), "[listen]\nhttp = ['127.0.0.1:0', '[::1]:0']");
    let told = get(&stage.usher, "/api/v1/listeners");
    assert_eq!(told["http"][0], stage.usher.http().to_string());
    assert_eq!((told["http"].as_array().unwrap().len(), &told["https"]), (2, &json!([])));
    assert_eq!(told["admin"], stage.usher.admin().to_string());
}

#[test]
fn a_request_is_explained_as_it_is_answered() {
    let stage = Fixture::new();
    for (url, host, target) in [
        ("www.customdomain1.com/p?q=1", "www.customdomain1.com", "/p?q=1"),
        ("http://store2.platform.com/", "store2.platform.com", "/"),
        ("unknown.example", "unknown.example", "/"),
        ("customdomain1.com//admin", "customdomain1.com", "//admin"),
    ] {
        let told = get(&stage.usher, &format!("/api/v1/resolve?url={url}"));
        let answer = stage.usher.get(host, target);
        assert_eq!(told["status"].as_u64().unwrap_or(200), u64::from(answer.status), "{told}");
        assert_eq!(told["location"].as_str(), answer.header("location"), "{told}");
    }
    let found = get(&stage.usher, "/api/v1/resolve?url=store2.platform.com");
    assert_eq!((&found["store_id"], &found["servers"]), (&"2".into(), &json!([stage.app.url()])));
}

#[test]
fn where_there_is_a_certificate_http_is_explained_as_sent_to_https() {
    let stage = TlsFixture::with(App::echo(), "", &[("custom", &["customdomain1.com"], "")]);
    let host = format!("customdomain1.com:{}", stage.usher.http().port());
    let told = get(&stage.usher, &format!("/api/v1/resolve?url=http://{host}/p?q=1"));
    let answer = stage.usher.get(&host, "/p?q=1");
    assert_eq!((answer.status, told["location"].as_str()), (308, answer.header("location")), "{told}");
    assert!(told["location"].as_str().unwrap().starts_with("https://customdomain1.com:"), "{told}");
    assert_eq!(get(&stage.usher, "/api/v1/resolve?url=https://customdomain1.com/")["decision"], "forward");
    let failing = get(&stage.usher, "/api/v1/resolve?url=https://customdomain2.com/");
    assert_eq!((&failing["decision"], &failing["status"]), (&"refuse".into(), &Value::Null), "{failing}");
}

#[test]
fn a_handshake_is_explained_as_it_ends() {
    let stage = TlsFixture::with(App::echo(), "", &[("platform", &["*.platform.com"], "")]);
    let shakes = |host: &str| Client::connect_tls(stage.usher.https(), &stage.ca.trust(), host).is_ok();
    for (host, is_served) in [("store1.platform.com", true), ("nosuch.platform.com", false), ("unknown.example", false)]
    {
        let told = get(&stage.usher, &format!("/api/v1/resolve?url=https://{host}/"));
        assert_eq!((told["decision"] == "forward", shakes(host)), (is_served, is_served), "{told}");
        assert_eq!(told["status"], Value::Null, "{told}");
    }
    let plain = get(&stage.usher, "/api/v1/resolve?url=nosuch.platform.com");
    assert_eq!((&plain["scheme"], &plain["status"]), (&"http".into(), &404.into()), "{plain}");
}
