//! `usher check` tries what `usher serve` will need: notices of edits, and the files that it writes.

use crate::support::{App, Backend, Binary, Pooler, Tables};

/// What a check says, on both of its channels.
fn report(binary: &Binary, code: i32) -> String {
    let output = binary.run(&["check"]);
    assert_eq!(output.code, code, "{}{}", output.stdout, output.stderr);
    output.stdout + &output.stderr
}

#[test]
fn where_edits_are_listened_for_is_connected_to() {
    let (app, tables) = (App::echo(), Tables::example(Backend::Postgres));
    let listening = |url: &str| {
        let config = format!("[directory]\nlisten_url = '{url}'");
        Binary::over(&tables).apps(&[&app]).config(&config)
    };
    let good = report(&listening(tables.url()), 0);
    assert!(good.contains("ok: edits are heard by way of directory.listen_url"), "{good}");
    let plain = report(&Binary::over(&tables).apps(&[&app]), 0);
    assert!(plain.contains("ok: edits are heard by way of directory.url"), "{plain}");
    let away = report(&listening("postgres://usher:hunter2@127.0.0.1:1/shop"), 1);
    assert!(away.contains("directory.listen_url: cannot be listened to") && !away.contains("hunter2"), "{away}");
}

#[test]
fn notices_that_do_not_arrive_are_a_warning() {
    let (app, tables, other) = (App::echo(), Tables::example(Backend::Postgres), Tables::none(Backend::Postgres));
    let elsewhere = format!("[directory]\nlisten_url = '{}'", other.url());
    let deaf = report(&Binary::over(&tables).apps(&[&app]).config(&elsewhere), 0);
    assert!(deaf.contains("warning: database: directory.listen_url: notices do not arrive"), "{deaf}");
    let pooler = Pooler::before(tables.url());
    let behind = Binary::new().apps(&[&app]).config(&format!("[directory]\nurl = '{}'", pooler.url()));
    let deaf = report(&behind, 0);
    assert!(deaf.contains("warning: database: directory.url: notices do not arrive"), "{deaf}");
    // With a listener of its own the pooler is no obstacle.
    let beside = behind.config(&format!("[directory]\nlisten_url = '{}'", tables.url()));
    assert!(report(&beside, 0).contains("ok: edits are heard"));
}

#[test]
fn files_that_could_not_be_written_are_errors() {
    let (app, tables) = (App::echo(), Tables::example(Backend::Sqlite));
    let binary = Binary::over(&tables).apps(&[&app]);
    assert!(report(&binary, 0).contains("ok: log.access: "));
    let nowhere = "[log]\naccess = '/nonexistent/access.log'\n[directory]\nsnapshot = '/nonexistent/snapshot'";
    let told = report(&binary.config(nowhere), 1);
    for key in ["log.access = /nonexistent/access.log", "directory.snapshot = /nonexistent/snapshot"] {
        assert!(told.contains(key), "{key} is not in {told}");
    }
}
