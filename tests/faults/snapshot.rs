//! A start without the database: what the last run knew is served, and nothing is made up.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::support::{App, Binary, Ca, Client, Cluster, Pair, Tables, Usher, eventually};

/// A server of its own, and a file that outlives the routers over it.
struct Stage {
    cluster: Cluster,
    tables: Tables,
    app: App,
    folder: tempfile::TempDir,
}

impl Stage {
    /// A router has run, has found customdomain1.com, and has ended.
    fn new() -> Self {
        let cluster = Cluster::start();
        let tables = Tables::example_on(&cluster);
        let stage = Self { cluster, tables, app: App::echo(), folder: tempfile::tempdir().unwrap() };
        let mut usher = stage.router("").start();
        assert_eq!(usher.get("customdomain1.com", "/").status, 200);
        assert!(usher.stop().success());
        assert!(stage.file().exists());
        stage
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("directory.snapshot")
    }

    fn router(&self, more: &str) -> Binary {
        let config = format!("[directory]\nsnapshot = '{}'\n{more}", self.file().display());
        Binary::over(&self.tables).apps(&[&self.app]).config(&config)
    }

    /// A router whose database is away.
    fn router_alone(&self, more: &str) -> Usher {
        self.cluster.stop();
        self.router(more).start_unready()
    }

    /// Nothing is served and nobody is unknown, until the database is back.
    fn check_serves_nothing_before_the_database(&self, usher: &Usher) {
        assert_eq!(usher.admin_get("/ready").status, 503);
        assert_eq!(usher.get("customdomain1.com", "/").status, 503);
        self.cluster.start_again();
        eventually("usher is ready", || (usher.admin_get("/ready").status == 200).then_some(()));
        eventually("the host is served", || (usher.get("customdomain1.com", "/").status == 200).then_some(()));
    }
}

#[test]
fn what_the_last_run_knew_is_served_and_compared_once_the_database_is_back() {
    let stage = Stage::new();
    let usher = stage.router_alone("");
    let ready = eventually("usher is ready without the database", || {
        Some(usher.admin_get("/ready")).filter(|ready| ready.status == 200)
    });
    assert!(ready.text().contains("database"), "{}", ready.text());
    assert_eq!(usher.metric("usher_degraded", &["\"database\""]), 1.0);
    assert_eq!(usher.get("customdomain1.com", "/").status, 200);
    assert_eq!(usher.get("customdomain2.com", "/").status, 503, "was not asked for before");
    assert!(usher.log().contains("what the last run knew"), "{}", usher.log());
    stage.cluster.start_again();
    stage.tables.execute("UPDATE store_domains SET is_active = false WHERE domain = 'customdomain1.com'");
    eventually("the edit is noticed", || (usher.get("customdomain1.com", "/").status == 404).then_some(()));
    eventually("nothing is degraded", || {
        let ready = usher.admin_get("/ready").text();
        (!ready.contains("database") && !ready.contains("feed")).then_some(())
    });
    assert_eq!(usher.metric("usher_degraded", &[]), 0.0);
}

#[test]
fn a_damaged_file_is_told_and_not_used() {
    let stage = Stage::new();
    let mut content = fs::read(stage.file()).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(stage.file(), content).unwrap();
    let usher = stage.router_alone("");
    assert!(usher.log().contains("the file is damaged"), "{}", usher.log());
    stage.check_serves_nothing_before_the_database(&usher);
}

#[test]
fn a_file_of_other_platform_domains_is_told_and_not_used() {
    let stage = Stage::new();
    let usher = stage.router_alone("[routing]\nplatform_domains = ['other.example', 'platform.com']");
    assert!(usher.log().contains("other platform domains"), "{}", usher.log());
    stage.check_serves_nothing_before_the_database(&usher);
}

#[test]
fn a_file_of_other_queries_is_told_and_not_used() {
    let stage = Stage::new();
    let usher = stage
        .router_alone("follow = 'off'\n[directory.queries]\ncustom_domain = 'SELECT 2 AS store_id WHERE $1 <> chr(0)'");
    assert!(usher.log().contains("other queries"), "{}", usher.log());
    assert_eq!(usher.get("customdomain1.com", "/").status, 503);
}

#[test]
fn a_file_of_another_version_is_told_and_not_used() {
    let stage = Stage::new();
    let content = fs::read_to_string(stage.file()).unwrap();
    let (head, _) = content.split_once(',').unwrap();
    let (lines, _) = content.trim_end().rsplit_once('\n').unwrap();
    let lines = lines.replacen(head, "{\"usher_snapshot\":1", 1) + "\n";
    let crc32 = crc32fast::hash(lines.as_bytes());
    fs::write(stage.file(), format!("{lines}{{\"crc32\":{crc32}}}\n")).unwrap();
    let usher = stage.router_alone("");
    assert!(usher.log().contains("the file has version 1 of the format"), "{}", usher.log());
    stage.check_serves_nothing_before_the_database(&usher);
}

#[test]
fn where_the_service_manager_has_a_directory_the_file_is_there_unless_it_is_not_wanted() {
    let stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    for (config, is_kept) in [("", true), ("[directory]\nsnapshot = ''", false)] {
        let state = folder.path().join(if is_kept { "kept" } else { "not" });
        fs::create_dir(&state).unwrap();
        let binary = Binary::over(&stage.tables).apps(&[&stage.app]).config(config);
        let mut usher = binary.env("STATE_DIRECTORY", &state.display().to_string()).start();
        assert_eq!(usher.get("customdomain1.com", "/").status, 200);
        assert!(usher.stop().success());
        assert_eq!(state.join("directory.snapshot").exists(), is_kept);
    }
}

#[test]
fn without_a_file_a_start_without_the_database_waits_for_it() {
    let stage = Stage::new();
    fs::remove_file(stage.file()).unwrap();
    let usher = stage.router_alone("");
    stage.check_serves_nothing_before_the_database(&usher);
}

/// A router that shows certificates of the database, and one for these names there.
fn vaulted(stage: &Stage, ca: &Ca, folder: &Path, names: &[String]) -> Binary {
    let keys = folder.join("keys");
    let config = format!("[listen]\nhttps = ['127.0.0.1:0']\n[tls]\nencryption_keys_file = {keys:?}");
    let binary = || {
        let binary = Binary::over(&stage.tables).apps(&[&stage.app]).config(&config);
        binary.env("STATE_DIRECTORY", &folder.display().to_string())
    };
    if !keys.exists() {
        fs::write(&keys, format!("k:{}\n", STANDARD.encode([7; 32]))).unwrap();
        ca.issue(&names.iter().map(String::as_str).collect::<Vec<_>>()).write(folder, "import");
        let [certificate, key] = Pair::paths(folder, "import").map(|path| path.display().to_string());
        let imported = binary().run(&["cert", "import", "--certificate", &certificate, "--key", &key]);
        assert_eq!(imported.code, 0, "{}", imported.stderr);
    }
    binary()
}

fn https_status(usher: &Usher, ca: &Ca, name: &str) -> Option<u16> {
    let mut client = Client::connect_tls(usher.https(), &ca.trust(), name).ok()?;
    Some(client.send(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n")).response().status)
}

#[test]
fn certificates_that_were_shown_are_shown_without_the_database_too() {
    let (stage, ca, folder) = (Stage::new(), Ca::new(), tempfile::tempdir().unwrap());
    let names = ["customdomain1.com".to_owned()];
    let binary = || vaulted(&stage, &ca, folder.path(), &names);
    let mut usher = binary().start();
    assert_eq!(https_status(&usher, &ca, &names[0]), Some(200));
    assert!(usher.stop().success());
    stage.cluster.stop();
    for _ in 0..2 {
        let mut usher = binary().start_unready();
        assert_eq!(https_status(&usher, &ca, &names[0]), Some(200));
        assert!(usher.stop().success());
    }
}

/// The file of a run that was killed is up to five minutes old.
#[test]
fn nobody_is_served_from_the_file_who_has_left_meanwhile_where_the_database_is_there() {
    let stage = Stage::new();
    stage.tables.execute("UPDATE store_domains SET is_active = false WHERE domain = 'customdomain1.com'");
    let usher = stage.router("").start();
    assert!(usher.log().contains("what the last run knew"), "{}", usher.log());
    assert_eq!(usher.get("customdomain1.com", "/").status, 404);
}

/// More of them than may be asked for at once, and a server that does not answer.
#[test]
fn certificates_of_the_last_run_wait_for_no_database() {
    const NAMES: usize = 100;
    let (stage, ca) = (Stage::new(), Ca::new());
    let names: Vec<_> = (0..NAMES).map(|number| format!("shop{number}.example")).collect();
    stage.tables.execute(&format!(
        "INSERT INTO store_domains (store_id, domain, is_active, is_verified)
         SELECT 1, 'shop' || i || '.example', true, true FROM generate_series(0, {}) i",
        NAMES - 1
    ));
    let folder = tempfile::tempdir().unwrap();
    let binary = || vaulted(&stage, &ca, folder.path(), &names);
    let mut usher = binary().start();
    names.iter().for_each(|name| assert_eq!(https_status(&usher, &ca, name), Some(200)));
    assert!(usher.stop().success());
    stage.cluster.freeze();
    let usher = binary().start_unready();
    let begun = Instant::now();
    names.iter().for_each(|name| assert_eq!(https_status(&usher, &ca, name), Some(200), "{name}"));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    stage.cluster.wake();
}
