//! The commands: problems are told at once with their remedy, edits work alike on both databases.

use serde_json::Value;

use crate::support::{App, Backend, Binary, Output, Tables};

const BOTH: [Backend; 2] = [Backend::Postgres, Backend::Sqlite];

fn succeeds(output: Output) -> String {
    assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
    output.stdout
}

fn json(output: Output) -> Value {
    let text = succeeds(output);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_wrong_call_exits_2_and_help_exits_0() {
    let usher = Binary::new();
    assert_eq!(usher.run_bare(&["nosuch"]).code, 2);
    assert_eq!(usher.run_bare(&["serve", "--nosuch"]).code, 2);
    for command in ["serve", "demo", "check", "resolve", "migrate", "store", "domain", "config"] {
        let help = succeeds(usher.run_bare(&[command, "--help"]));
        assert!(help.len() > 200, "the help of {command} explains too little: {help}");
    }
}

#[test]
fn check_reports_all_problems_at_once() {
    let usher = Binary::new();
    let config = "[listen]\nhttp = [\"nonsense\"]\nheader_timeout = \"5 parsecs\"\nnosuch_key = 1\n\
                  [routing]\nplatform_domains = [\"not a domain\"]\nwww = \"perhaps\"\n\
                  [upstreams.default]\nservers = [\"ftp://127.0.0.1\"]\n";
    let output = usher.run_on(config, &["check"]);
    assert_eq!(output.code, 1);
    let report = output.stdout + &output.stderr;
    for part in [
        "listen.http",
        "nonsense",
        "5 parsecs",
        "nosuch_key",
        "platform_domains",
        "not a domain",
        "perhaps",
        "ftp://127.0.0.1",
    ] {
        assert!(report.contains(part), "{part} is not in the report:\n{report}");
    }
}

#[test]
fn check_accepts_what_is_right_and_connects_to_what_is_named() {
    for backend in BOTH {
        let app = App::echo();
        let tables = Tables::example(backend);
        succeeds(Binary::over(&tables).apps(&[&app]).run(&["check"]));
        let unreachable =
            Binary::over(&tables).config(&format!("[upstreams.default]\nservers = ['{}']", App::refusing_url()));
        let output = unreachable.run(&["check"]);
        assert_eq!(output.code, 1, "an app server that refuses: {}{}", output.stdout, output.stderr);
        let empty = Tables::none(backend);
        if backend == Backend::Postgres {
            let output = Binary::over(&empty).apps(&[&app]).run(&["check"]);
            assert_eq!(output.code, 1, "missing tables: {}{}", output.stdout, output.stderr);
            assert!((output.stdout + &output.stderr).contains("store_domains"));
        }
    }
}

#[test]
fn check_lists_domains_that_are_not_written_canonically() {
    let app = App::echo();
    for backend in BOTH {
        let tables = Tables::example(backend).with("UPDATE store_domains SET domain = 'Shop.Alpha.com.' WHERE id = 2");
        let output = Binary::over(&tables).apps(&[&app]).run(&["check"]);
        let report = output.stdout + &output.stderr;
        assert!(report.contains("Shop.Alpha.com."), "{report}");
    }
}

#[test]
fn serve_refuses_a_database_without_its_tables_and_a_file_that_is_not_there() {
    for backend in BOTH {
        let tables = Tables::none(backend);
        let output = Binary::over(&tables).run(&["serve"]);
        assert_eq!(output.code, 1, "{backend:?}: {}", output.stderr);
        assert!(output.stderr.contains("usher migrate"), "no remedy: {}", output.stderr);
        if backend == Backend::Sqlite {
            assert!(!std::path::Path::new(tables.path()).exists(), "serve created the file");
        }
    }
}

#[test]
fn serve_refuses_a_file_it_cannot_read_and_keys_it_does_not_know() {
    let usher = Binary::new();
    assert_ne!(usher.run_bare(&["serve", "--config", "/nonexistent/usher.toml"]).code, 0);
    let output = usher.config("[listen]\ntypo = 1").run(&["serve"]);
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("typo"), "{}", output.stderr);
}

#[test]
fn migrate_may_run_again_and_print_runs_nothing() {
    for backend in BOTH {
        let tables = Tables::none(backend);
        let sql = succeeds(Binary::over(&tables).run(&["migrate", "--print"]));
        assert!(sql.contains("CREATE TABLE") && sql.contains("store_domains"), "{sql}");
        assert_ne!(Binary::over(&tables).run(&["serve"]).code, 0, "--print created the tables");
        let tables = tables.migrated().with(crate::support::EXAMPLE_ROWS).migrated();
        let stores = json(Binary::over(&tables).run(&["store", "list", "--json"]));
        assert_eq!(stores.as_array().map(Vec::len), Some(2), "{stores}");
    }
}

#[test]
fn what_migrate_prints_is_what_it_does() {
    for backend in BOTH {
        let printed = succeeds(Binary::over(&Tables::none(backend)).run(&["migrate", "--print"]));
        let tables = Tables::none(backend).with_script(&printed).with(crate::support::EXAMPLE_ROWS).migrated();
        assert_eq!(json(Binary::over(&tables).run(&["store", "list", "--json"])).as_array().map(Vec::len), Some(2));
    }
}

#[test]
fn a_store_and_its_domain_are_added_verified_and_served() {
    for backend in BOTH {
        let app = App::echo();
        let tables = Tables::empty(backend);
        let usher = |arguments: &[&str]| Binary::over(&tables).run(arguments);
        succeeds(usher(&["store", "add", "newshop"]));
        let domain = succeeds(usher(&["domain", "add", "new.example.com", "--store", "newshop"]));
        assert!(domain.contains("_orion-verify.new.example.com") && domain.contains("TXT"), "{domain}");

        let running =
            Binary::over(&tables).apps(&[&app]).config("[directory]\nabsent_for = '50ms'\nfresh_for = '50ms'").start();
        assert_eq!(running.get("newshop.platform.com", "/").status, 200);
        assert_eq!(running.get("new.example.com", "/").status, 404, "a domain is served before it is verified");
        let becomes = |host: &str, status: u16| {
            crate::support::eventually(&format!("{host} is {status}"), || {
                (running.get(host, "/").status == status).then_some(())
            });
        };
        succeeds(usher(&["domain", "verify", "new.example.com"]));
        becomes("new.example.com", 200);
        succeeds(usher(&["domain", "disable", "new.example.com"]));
        becomes("new.example.com", 404);
        succeeds(usher(&["domain", "enable", "new.example.com"]));
        becomes("new.example.com", 200);
        succeeds(usher(&["store", "disable", "newshop"]));
        becomes("new.example.com", 404);
        becomes("newshop.platform.com", 404);
        succeeds(usher(&["store", "enable", "newshop"]));
        becomes("new.example.com", 200);
        succeeds(usher(&["domain", "remove", "new.example.com"]));
        becomes("new.example.com", 404);
    }
}

#[test]
fn what_cannot_be_a_store_or_a_domain_is_refused() {
    for backend in BOTH {
        let tables = Tables::example(backend);
        for arguments in [
            ["store", "add", "admin"].as_slice(),
            &["store", "add", "www"],
            &["store", "add", "a.b"],
            &["store", "add", "bad-"],
            &["store", "add", "store1"],
            &["store", "show", "nosuch"],
            &["domain", "add", "not a domain", "--store", "store1"],
            &["domain", "add", "x.platform.com", "--store", "store1"],
            &["domain", "add", "customdomain2.com", "--store", "store1"],
            &["domain", "add", "fine.example.com", "--store", "nosuch"],
            &["domain", "verify", "nosuch.example.com"],
        ] {
            let output = Binary::over(&tables).run(arguments);
            assert_eq!(output.code, 1, "{arguments:?} on {backend:?}: {}{}", output.stdout, output.stderr);
            assert!(!output.stderr.trim().is_empty(), "{arguments:?} says nothing");
        }
    }
}

#[test]
fn domains_are_written_canonically_and_one_is_primary() {
    for backend in BOTH {
        let tables = Tables::example(backend);
        let usher = |arguments: &[&str]| Binary::over(&tables).run(arguments);
        succeeds(usher(&["domain", "add", "Bücher.Example.COM.", "--store", "store1"]));
        succeeds(usher(&["domain", "primary", "shop.alpha.com"]));
        let domains = json(usher(&["domain", "list", "--json"]));
        let text = domains.to_string();
        assert!(text.contains("xn--bcher-kva.example.com"), "{text}");
        let store1 = domains.as_array().unwrap().iter().filter(|d| d["store_id"] == "1" || d["store_id"] == 1);
        let primary: Vec<&Value> = store1.filter(|d| d["is_primary"] == true).collect();
        assert_eq!(primary.len(), 1, "{text}");
        assert_eq!(primary[0]["domain"], "shop.alpha.com");
    }
}

#[test]
fn a_zone_top_needs_addresses_and_is_not_told_to_set_a_cname() {
    let tables = Tables::example(Backend::Sqlite);
    let add = |domain: &str, domains: &str| {
        let binary = Binary::over(&tables).config(&format!("[domains]\n{domains}"));
        succeeds(binary.run(&["domain", "add", domain, "--store", "store1"]))
    };
    let cname = "cname = 'edge.platform.com'";
    let top = add("brand.com", cname);
    assert!(top.contains("set addresses in the [domains] section") && !top.contains("or cname"), "{top}");
    assert!(top.contains("ALIAS or ANAME records, one to edge.platform.com"), "{top}");
    let below = add("shop.brand.com", cname);
    assert!(below.contains("edge.platform.com") && !below.contains("[domains]"), "{below}");
    let with_addresses = add("other.com", &format!("{cname}\naddresses = ['192.0.2.7']"));
    assert!(with_addresses.contains("192.0.2.7") && !with_addresses.contains("[domains]"), "{with_addresses}");
    assert!(add("third.com", "").contains("set addresses or cname in the [domains] section"));
}

#[test]
fn the_label_of_the_record_that_proves_a_domain_can_be_set() {
    let tables = Tables::example(Backend::Sqlite);
    let binary = Binary::over(&tables).config("[domains]\nverification_prefix = '_own'");
    let records = succeeds(binary.run(&["domain", "add", "shop.brand.com", "--store", "store1"]));
    assert!(records.contains("_own.shop.brand.com") && !records.contains("_orion-verify"), "{records}");
}

#[test]
fn a_primary_domain_that_is_not_served_is_a_warning() {
    for backend in BOTH {
        let tables = Tables::example(backend);
        let primary = |domain: &str| {
            let output = Binary::over(&tables).run(&["domain", "primary", domain]);
            assert_eq!(output.code, 0, "{}", output.stderr);
            output.stderr
        };
        assert_eq!(primary("shop.alpha.com"), "");
        tables.execute("UPDATE store_domains SET is_verified = false WHERE domain = 'shop.alpha.com'");
        let unverified = primary("shop.alpha.com");
        assert!(unverified.contains("warning: shop.alpha.com is not served, since it is not verified"), "{unverified}");
        tables.execute("UPDATE stores SET is_active = false WHERE id = 1");
        assert!(primary("customdomain1.com").contains("its store is switched off"));
    }
}

#[test]
fn resolve_explains_where_a_request_would_go() {
    for backend in BOTH {
        let tables = Tables::example(backend);
        let resolve = |request: &str| json(Binary::over(&tables).run(&["resolve", request, "--json"])).to_string();
        let found = resolve("customdomain1.com/p");
        assert!(found.contains("\"1\"") && found.contains("custom_domain"), "{found}");
        assert!(resolve("localhost/store/store2/p").contains("path"));
        assert!(resolve("platform.com").contains("homepage"));
        let words = succeeds(Binary::over(&tables).run(&["resolve", "customdomain1.com/p"]));
        assert!(words.lines().count() >= 2 && words.contains("customdomain1.com"), "{words}");
        let unknown = Binary::over(&tables).run(&["resolve", "unknown.example", "--json"]).stdout;
        assert!(unknown.contains("404") || unknown.contains("unknown") || unknown.contains("absent"), "{unknown}");
    }
}

#[test]
fn the_environment_overrides_the_url_and_check_says_so() {
    let (app, wrong, right) = (App::echo(), Tables::none(Backend::Sqlite), Tables::example(Backend::Sqlite));
    let output = Binary::over(&wrong).apps(&[&app]).env("USHER_DATABASE_URL", right.url()).run(&["check"]);
    assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
    assert!((output.stdout + &output.stderr).contains("USHER_DATABASE_URL"));
    succeeds(Binary::new().apps(&[&app]).env("DATABASE_URL", right.url()).run(&["check"]));
    let configured = Binary::over(&wrong).apps(&[&app]).env("DATABASE_URL", right.url()).run(&["check"]);
    assert_eq!(configured.code, 1, "DATABASE_URL counts only where no url is configured");
}

#[test]
fn a_password_is_never_shown() {
    let usher = Binary::new().config("[directory]\nurl = 'postgres://usher:hunter2@127.0.0.1:1/shop'");
    for arguments in [["check"].as_slice(), &["resolve", "customdomain1.com"], &["store", "list"], &["migrate"]] {
        let output = usher.run(arguments);
        assert_ne!(output.code, 0, "{arguments:?}");
        assert!(!(output.stdout + &output.stderr).contains("hunter2"), "{arguments:?}");
    }
}

#[test]
fn the_default_configuration_and_its_schema_are_printed() {
    let usher = Binary::new();
    let default = succeeds(usher.run_bare(&["config", "default"]));
    let parsed: toml::Table = default.parse().unwrap();
    assert!(parsed.contains_key("listen") && parsed.contains_key("routing"), "{default}");
    assert!(default.lines().any(|line| line.starts_with('#')), "no comments");
    let schema = json(usher.run_bare(&["config", "schema"]));
    assert!(schema["properties"]["routing"].is_object(), "{schema}");
}

/// Rows that were imported with their ids leave PostgreSQL's sequence behind; no message of the database says so.
#[test]
fn ids_that_the_sequence_gives_again_are_explained() {
    let imported = "INSERT INTO stores (id, subdomain, name) VALUES (1, 'store1', 'Shop Alpha')";
    let tables = Tables::empty(Backend::Postgres).with(imported);
    let output = Binary::over(&tables).run(&["store", "add", "store2"]);
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("stores_pkey") && output.stderr.contains("setval"), "{}", output.stderr);
}
