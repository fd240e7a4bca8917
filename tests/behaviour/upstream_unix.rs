//! App servers behind a socket in the file system.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::{App, Backend, Binary, Front, Tables, Usher};

const TOKEN: &str = "0123456789abcdef";

struct Stage {
    usher: Usher,
    app: App,
    path: PathBuf,
    front: Option<Front>,
    tables: Tables,
    _folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let (app, tables, folder) = (App::echo(), Tables::example(Backend::Sqlite), TempDir::new().unwrap());
        let path = folder.path().join("app.sock");
        let front = Front::unix(&path, app.address());
        let usher = Self::binary(&tables, &path).env("USHER_ADMIN_TOKEN", TOKEN).start();
        Self { usher, app, path, front: Some(front), tables, _folder: folder }
    }

    fn binary(tables: &Tables, path: &std::path::Path) -> Binary {
        Binary::over(tables).config(&format!("[upstreams.default]\nservers = ['unix:{}']", path.display()))
    }
}

#[test]
fn requests_go_through_the_socket_and_connections_are_kept() {
    let stage = Stage::new();
    let mut client = stage.usher.connect();
    for _ in 0..3 {
        client.send("POST /p HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(client.response().status, 200);
    }
    assert!(stage.app.requests().iter().all(|request| request.body == b"abc"));
    assert_eq!((stage.app.requests().len(), stage.app.connections()), (3, 1));
    assert_eq!(stage.app.last().head.one("host"), Some("customdomain1.com"));
    let line = &stage.usher.access_log(3)[0];
    assert_eq!(line["endpoint"], format!("unix:{}", stage.path.display()));
}

#[test]
fn a_socket_that_is_gone_is_a_502_and_check_says_so() {
    let mut stage = Stage::new();
    let checked = || Stage::binary(&stage.tables, &stage.path).run(&["check"]);
    let output = checked();
    assert_eq!(output.code, 0, "{output:?}");
    let address = format!("unix:{}", stage.path.display());
    assert!(output.stdout.contains(&format!("{address} accepts connections")), "{}", output.stdout);
    stage.front = None;
    std::fs::remove_file(&stage.path).unwrap();
    assert_eq!(checked().code, 1);
    assert_eq!(stage.usher.get("customdomain1.com", "/").status, 502);
    assert_eq!(stage.usher.access_log(1)[0]["outcome"], "connect_failed");
}

#[test]
fn orders_name_the_socket_by_its_path() {
    let stage = Stage::new();
    let token = stage.usher.folder().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let config = format!("[admin]\nlisten = '{}'\ntoken_file = '{}'", stage.usher.admin(), token.display());
    let binary = Stage::binary(&stage.tables, &stage.path).config(&config);
    let drained = binary.run(&["upstreams", "drain", "default", &format!("unix:{}", stage.path.display())]);
    assert!(drained.stdout.contains("draining (by order)"), "{drained:?}");
}
