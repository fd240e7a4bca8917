//! The role that README describes has rights enough, and `usher check` says which are missing.

use crate::support::{App, Binary, Cluster, NameServer, Tables, eventually, free_address};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// The tables with the example rows, and the same as a role sees them that may read two of them.
fn owner_and_edge(cluster: &Cluster) -> (Tables, Tables) {
    let owner = Tables::example_on(cluster).with(
        "CREATE ROLE edge LOGIN; GRANT USAGE ON SCHEMA public TO edge; GRANT SELECT ON stores, store_domains TO edge",
    );
    let edge = owner.seen_by("edge");
    (owner, edge)
}

/// What `usher check` wants the owner to run.
fn grants(binary: &Binary) -> Vec<String> {
    let output = binary.run(&["check"]);
    let grants = output.stderr.lines().filter_map(|line| line.split_once("as the owner of the tables: "));
    let grants: Vec<_> = grants.map(|(_, grant)| grant.to_owned()).collect();
    assert_eq!(output.code, i32::from(!grants.is_empty()), "{}", output.stderr);
    grants
}

fn follows_edits(binary: Binary, owner: &Tables, app: &App) {
    let usher = binary.start();
    assert_eq!(usher.get("customdomain1.com", "/").status, 200);
    owner.execute("UPDATE store_domains SET store_id = 2 WHERE domain = 'customdomain1.com'");
    eventually("the edit shows", || {
        usher.get("customdomain1.com", "/");
        (app.last().folded("x-store-id") == ["2"]).then_some(())
    });
}

#[test]
fn reading_two_tables_is_enough_to_route_and_to_follow_edits() {
    let (app, cluster) = (App::echo(), Cluster::start());
    let (owner, edge) = owner_and_edge(&cluster);
    let binary = Binary::over(&edge).apps(&[&app]);
    assert_eq!(grants(&binary), Vec::<String>::new());
    follows_edits(binary, &owner, &app);
}

#[test]
fn what_else_is_switched_on_needs_the_rights_that_check_asks_for() {
    let shop = format!("@ NS ns\nns A 127.0.0.1\n_orion-verify TXT \"{TOKEN}\"\n");
    let (app, names, cluster) = (App::echo(), NameServer::start(&[("brand.example", &shop)]), Cluster::start());
    let (owner, edge) = owner_and_edge(&cluster);
    owner.execute("ALTER TABLE store_domains ADD verified_at timestamptz");
    let (resolver, http) = (names.address(), free_address());
    let binary = Binary::over(&edge).apps(&[&app]).config(&format!(
        "[listen]\nhttp = ['{http}']\n[domains]\nverification = 'usher'\nresolvers = ['{resolver}']\n\
         authority_port = {}\nself_check_port = {}\nallow_private = true",
        resolver.port(),
        http.port()
    ));
    let wanted = grants(&binary);
    assert_eq!(
        wanted,
        [
            "GRANT UPDATE (is_verified, verified_at) ON store_domains TO edge;",
            "GRANT USAGE ON SCHEMA usher TO edge;",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA usher TO edge;",
        ]
    );
    owner.execute(&wanted.concat());
    assert_eq!(grants(&binary), Vec::<String>::new());
    let usher = binary.start();
    owner.execute(&format!(
        "INSERT INTO store_domains (store_id, domain, is_active, is_verified, verification_token) \
         VALUES (1, 'brand.example', true, false, '{TOKEN}')"
    ));
    eventually("the domain is served", || (usher.get("brand.example", "/").status == 200).then_some(()));
    assert_eq!(owner.count("SELECT FROM store_domains WHERE verified_at IS NOT NULL"), 1);
}

#[test]
fn asking_for_edits_needs_the_rights_that_check_asks_for() {
    let (app, cluster) = (App::echo(), Cluster::start());
    let (owner, edge) = owner_and_edge(&cluster);
    let polling = "[directory]\nfollow = 'poll'";
    assert_eq!(Binary::over(&owner).apps(&[&app]).config(polling).run(&["migrate"]).code, 0);
    let binary = Binary::over(&edge).apps(&[&app]).config(polling);
    let wanted = grants(&binary);
    assert_eq!(wanted, ["GRANT USAGE ON SCHEMA usher TO edge;", "GRANT SELECT, DELETE ON usher.changes TO edge;"]);
    owner.execute(&wanted.concat());
    assert_eq!(grants(&binary), Vec::<String>::new());
    follows_edits(binary, &owner, &app);
}

/// What usher writes, and edits that are asked for, go where edits are listened for.
#[test]
fn the_role_of_listen_url_is_the_one_that_is_looked_at() {
    let (app, cluster) = (App::echo(), Cluster::start());
    let (owner, edge) = owner_and_edge(&cluster);
    let polling = format!("[directory]\nfollow = 'poll'\nlisten_url = '{}'", edge.url());
    assert_eq!(Binary::over(&owner).config("[directory]\nfollow = 'poll'").run(&["migrate"]).code, 0);
    let binary = Binary::over(&owner).apps(&[&app]).config(&polling);
    let wanted = grants(&binary);
    assert_eq!(wanted, ["GRANT USAGE ON SCHEMA usher TO edge;", "GRANT SELECT, DELETE ON usher.changes TO edge;"]);
    owner.execute(&wanted.concat());
    assert_eq!(grants(&binary), Vec::<String>::new());
}
