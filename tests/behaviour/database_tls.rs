//! TLS to PostgreSQL, as far as `sslmode` asks for it: what it checks, and what it refuses.

use tempfile::TempDir;

use crate::support::{App, Binary, Ca, Cluster, Tables, eventually};

/// A server whose certificate is for `localhost`, and a role that it lets in under TLS only.
struct Stage {
    tables: Tables,
    _cluster: Cluster,
    folder: TempDir,
    ca: Ca,
}

impl Stage {
    fn new() -> Self {
        let ca = Ca::new();
        let cluster = Cluster::with_tls(&ca.issue(&["localhost"]));
        let tables = Tables::example_on(&cluster).with(
            "CREATE ROLE edge LOGIN; GRANT USAGE ON SCHEMA public TO edge; GRANT SELECT ON stores, store_domains TO edge",
        );
        cluster.demand_tls("edge");
        Self { tables, _cluster: cluster, folder: TempDir::with_prefix("usher-test-").unwrap(), ca }
    }

    /// The URL of the role, at a host and with these options.
    fn url(&self, host: &str, options: &str) -> String {
        self.tables.seen_by("edge").url().replacen("127.0.0.1", host, 1) + "?" + options
    }

    /// A file with the certificate of `ca`, as `sslrootcert` wants it.
    fn root(&self, name: &str, ca: &Ca) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, ca.pem()).unwrap();
        path.display().to_string()
    }
}

/// Whether a command reaches the stores; else what it says.
fn reaches(url: &str) -> Result<(), String> {
    let output = Binary::new().config(&format!("[directory]\nurl = '{url}'")).run(&["store", "list"]);
    if output.code != 0 {
        return Err(output.stderr);
    }
    assert!(output.stdout.contains("store1"), "{}", output.stdout);
    Ok(())
}

#[test]
fn each_sslmode_checks_what_it_promises_and_no_less() {
    let stage = Stage::new();
    let (ours, foreign) = (stage.root("ca.pem", &stage.ca), stage.root("foreign.pem", &Ca::new()));
    let good = [
        ("127.0.0.1", "sslmode=prefer".to_owned()),
        ("127.0.0.1", "sslmode=require".to_owned()),
        // The certificate is for localhost alone.
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={ours}")),
        ("localhost", format!("sslmode=verify-full&sslrootcert={ours}")),
    ];
    for (host, options) in good {
        assert_eq!(reaches(&stage.url(host, &options)), Ok(()), "{host} {options}");
    }
    let bad = [
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={foreign}"), "certificate"),
        ("localhost", format!("sslmode=verify-full&sslrootcert={foreign}"), "certificate"),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={ours}"), "certificate"),
        // The server wants TLS of this role: without, nothing above would have shown any.
        ("127.0.0.1", "sslmode=disable".to_owned(), "pg_hba.conf"),
    ];
    for (host, options, cause) in bad {
        let refused = reaches(&stage.url(host, &options)).unwrap_err();
        assert!(refused.contains(cause) && refused.contains("remedy: "), "{host} {options}: {refused}");
    }
}

#[test]
fn requests_and_edits_go_over_a_connection_that_is_checked() {
    let (stage, app) = (Stage::new(), App::echo());
    let root = stage.root("ca.pem", &stage.ca);
    let url = stage.url("localhost", &format!("sslmode=verify-full&sslrootcert={root}"));
    let usher = Binary::new().config(&format!("[directory]\nurl = '{url}'")).apps(&[&app]).start();
    assert_eq!(usher.get("customdomain1.com", "/").status, 200);
    eventually("edits are followed", || (usher.metric("usher_directory_following", &[]) == 1.0).then_some(()));
    stage.tables.execute("UPDATE store_domains SET store_id = 2 WHERE domain = 'customdomain1.com'");
    eventually("the edit shows", || {
        usher.get("customdomain1.com", "/");
        (app.last().folded("x-store-id") == ["2"]).then_some(())
    });
}

#[test]
fn a_server_without_tls_is_taken_where_it_is_preferred_only() {
    let tables = Tables::example_on(Cluster::shared());
    let reaches = |mode: &str| reaches(&format!("{}?sslmode={mode}", tables.url()));
    assert_eq!(reaches("prefer"), Ok(()));
    let refused = reaches("require").unwrap_err();
    assert!(refused.contains("TLS"), "{refused}");
}
