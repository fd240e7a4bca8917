use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;
use crate::{
    database::{migrations, sqlite::Database},
    lifecycle::{Content, SnapshotFile},
};

struct Fixture {
    vault: Vault,
    archive: Archive,
    keys: Arc<Keyring>,
    database: Database,
    folder: tempfile::TempDir,
}

fn keyring(byte: u8) -> Arc<Keyring> {
    Arc::new(Keyring::parse(&format!("k{byte}:{}", STANDARD.encode([byte; 32]))).unwrap())
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::create(&folder.path().join("usher.db")).unwrap();
        migrations::run(&Session::sqlite(&database), &migrations::Plan::default()).await.unwrap();
        let keys = keyring(1);
        let vault = Vault::new(Session::sqlite(&database), Arc::clone(&keys), Handle::current());
        Self { vault, archive: Archive::new(Session::sqlite(&database)), keys, database, folder }
    }

    async fn import(&self, names: &[&str]) {
        let made =
            rcgen::generate_simple_self_signed(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        self.archive.import(certificate.as_bytes(), key.as_bytes(), &self.keys).await.unwrap();
    }

    async fn import_ended(&self, name: &str) {
        self.import_until(name, SystemTime::now() - Duration::from_secs(1)).await;
    }

    async fn import_until(&self, name: &str, end: SystemTime) {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = end.into();
        let key = rcgen::KeyPair::generate().unwrap();
        let (certificate, key) = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
        self.archive.import(certificate.as_bytes(), key.as_bytes(), &self.keys).await.unwrap();
    }

    async fn sql(&self, sql: &str) {
        Session::sqlite(&self.database).batch(sql).await.unwrap();
    }

    async fn find(&self, name: &str) -> Answer {
        self.vault.find(&Hostname::parse(name).unwrap()).await
    }

    /// Takes what is held for old.
    fn age(&self) {
        for (name, mut held) in &self.vault.shared.held {
            held.fresh_until = Instant::now();
            self.vault.shared.held.insert((*name).clone(), held);
        }
    }
}

#[tokio::test]
async fn a_name_is_found_by_itself_or_by_a_wildcard() {
    let fixture = Fixture::new().await;
    fixture.import(&["shop.example", "*.platform.com"]).await;
    for name in ["shop.example", "store1.platform.com"] {
        assert!(fixture.find(name).await.unwrap().is_some(), "{name}");
    }
    for name in ["other.example", "platform.com", "a.b.platform.com"] {
        assert!(fixture.find(name).await.unwrap().is_none(), "{name}");
    }
}

#[tokio::test]
async fn any_number_of_handshakes_for_a_name_cost_one_load() {
    let fixture = Fixture::new().await;
    fixture.import(&["shop.example"]).await;
    let name = Hostname::parse("shop.example").unwrap();
    let all = futures_of(100, || fixture.vault.find(&name)).await;
    assert!(all.into_iter().all(|answer| answer.unwrap().is_some()));
    assert_eq!(fixture.vault.loads(), (1, 0));
}

async fn futures_of<F: Future>(count: usize, make: impl Fn() -> F) -> Vec<F::Output> {
    let mut pinned: Vec<_> = (0..count).map(|_| Box::pin(make())).collect();
    let mut outputs = Vec::new();
    std::future::poll_fn(|context| {
        pinned.retain_mut(|future| match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => {
                outputs.push(output);
                false
            }
            std::task::Poll::Pending => true,
        });
        if pinned.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    outputs
}

#[tokio::test]
async fn what_was_loaded_once_is_shown_while_it_cannot_be_loaded_again() {
    let fixture = Fixture::new().await;
    fixture.import(&["shop.example"]).await;
    let first = fixture.find("shop.example").await.unwrap().unwrap();
    fixture.sql("UPDATE usher_certificates SET sealed_key = 'damaged'").await;
    for _ in 0..3 {
        fixture.age();
        assert!(Arc::ptr_eq(&fixture.find("shop.example").await.unwrap().unwrap(), &first));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(fixture.vault.loads().1 >= 1);
    assert_eq!(fixture.find("other.example").await.unwrap().map(|_| ()), None);
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_behind_the_next_handshake() {
    let fixture = Fixture::new().await;
    fixture.import(&["shop.example"]).await;
    let first = fixture.find("shop.example").await.unwrap().unwrap();
    fixture.import(&["shop.example"]).await;
    fixture.age();
    assert!(Arc::ptr_eq(&fixture.find("shop.example").await.unwrap().unwrap(), &first));
    while fixture.vault.loads().0 < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!Arc::ptr_eq(&fixture.find("shop.example").await.unwrap().unwrap(), &first));
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_not_shown_where_the_new_one_is_there() {
    let fixture = Fixture::new().await;
    fixture.import_ended("shop.example").await;
    let name = Hostname::parse("shop.example").unwrap();
    let ended = fixture.find("shop.example").await.unwrap().unwrap();
    assert!(ended.has_ended(SystemTime::now()) && !fixture.vault.has(&name));
    fixture.import(&["shop.example"]).await;
    fixture.age();
    let shown = fixture.find("shop.example").await.unwrap().unwrap();
    assert!(!shown.has_ended(SystemTime::now()) && fixture.vault.has(&name));
}

#[tokio::test]
async fn a_wildcard_stands_in_for_a_certificate_that_has_ended() {
    let fixture = Fixture::new().await;
    fixture.import_ended("shop.platform.com").await;
    fixture.import(&["*.platform.com"]).await;
    assert!(!fixture.find("shop.platform.com").await.unwrap().unwrap().has_ended(SystemTime::now()));
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_shown_where_no_other_can_be_had() {
    let fixture = Fixture::new().await;
    fixture.import_ended("shop.example").await;
    assert!(fixture.find("shop.example").await.unwrap().is_some());
    fixture.sql("ALTER TABLE usher_certificates RENAME TO elsewhere").await;
    fixture.age();
    assert!(fixture.find("shop.example").await.unwrap().is_some());
}

#[tokio::test]
async fn a_certificate_is_looked_for_again_when_it_ends() {
    let fixture = Fixture::new().await;
    fixture.import_until("shop.example", SystemTime::now() + Duration::from_secs(2)).await;
    assert!(fixture.find("shop.example").await.unwrap().is_some());
    fixture.import(&["shop.example"]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!fixture.find("shop.example").await.unwrap().unwrap().has_ended(SystemTime::now()));
}

#[tokio::test]
async fn a_key_moved_to_another_name_and_one_of_another_ring_do_not_open() {
    let fixture = Fixture::new().await;
    fixture.import(&["shop.example"]).await;
    fixture.sql("UPDATE usher_certificates SET name = 'evil.example'").await;
    assert_eq!(fixture.find("evil.example").await.map(|_| ()), Err(NotLoaded));
    // Not for every handshake.
    assert_eq!(fixture.find("evil.example").await.map(|_| ()), Err(NotLoaded));
    assert_eq!(fixture.vault.loads(), (1, 1));
    fixture.import(&["shop.example"]).await;
    let stranger = Vault::new(Session::sqlite(&fixture.database), keyring(2), Handle::current());
    assert_eq!(stranger.find(&Hostname::parse("shop.example").unwrap()).await.map(|_| ()), Err(NotLoaded));
}

#[tokio::test]
async fn a_question_without_waiting_is_answered_the_second_time() {
    let fixture = Fixture::new().await;
    fixture.import(&["shop.example"]).await;
    let name = Hostname::parse("shop.example").unwrap();
    assert!(!fixture.vault.has(&name));
    while fixture.vault.loads().0 < 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(fixture.vault.has(&name));
}

#[tokio::test]
async fn a_new_key_can_take_the_place_of_an_old_one() {
    let fixture = Fixture::new().await;
    fixture.import(&["shop.example", "other.example"]).await;
    let both = Keyring::parse(&format!("k2:{}\nk1:{}", STANDARD.encode([2; 32]), STANDARD.encode([1; 32]))).unwrap();
    assert_eq!(fixture.archive.rekey(&both).await.unwrap(), Rekeyed { sealed_anew: 2, failed: Vec::new() });
    assert_eq!(fixture.archive.rekey(&both).await.unwrap(), Rekeyed::default());
    let vault = Vault::new(Session::sqlite(&fixture.database), keyring(2), Handle::current());
    assert!(vault.find(&Hostname::parse("shop.example").unwrap()).await.unwrap().is_some());
    let lost =
        fixture.archive.rekey(&Keyring::parse(&format!("k3:{}", STANDARD.encode([3; 32]))).unwrap()).await.unwrap();
    assert_eq!((lost.sealed_anew, lost.failed.len()), (0, 2));
}

#[tokio::test]
async fn what_is_listed_and_shown_holds_no_key() {
    let fixture = Fixture::new().await;
    fixture.import(&["shop.example"]).await;
    let entries = fixture.archive.list().await.unwrap();
    let [found] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((found.name.as_str(), found.key_id.as_deref(), found.state), ("shop.example", Some("k1"), State::Good));
    let (entry, pem) = fixture.archive.show("shop.example").await.unwrap().unwrap();
    assert!(entry == entries[0] && pem.contains("BEGIN CERTIFICATE") && !pem.contains("KEY"), "{pem}");
    assert!(fixture.archive.show("other.example").await.unwrap().is_none());
}

#[tokio::test]
async fn accounts_and_keys_of_tickets_are_sealed_anew_as_well() {
    let fixture = Fixture::new().await;
    for (table, whose, column, context) in [
        ("usher_acme_accounts", "'https://ca'", "sealed_credentials", "https://ca"),
        ("usher_acme_order_keys", "'a.example', 'https://ca/order/1'", "sealed_key", "order key a.example"),
        ("usher_ticket_keys", "7", "sealed_key", "ticket key 7"),
    ] {
        let Sealed { key_id, text } = fixture.keys.seal(b"secret", context).unwrap();
        fixture.sql(&format!("INSERT INTO {table} VALUES ({whose}, '{key_id}', '{text}')")).await;
        let both =
            Keyring::parse(&format!("k2:{}\nk1:{}", STANDARD.encode([2; 32]), STANDARD.encode([1; 32]))).unwrap();
        assert_eq!(fixture.archive.rekey(&both).await.unwrap(), Rekeyed { sealed_anew: 1, failed: Vec::new() });
        let session = Session::sqlite(&fixture.database);
        let rows = session.query(&format!("SELECT key_id, {column} FROM {table}"), &[]).await.unwrap();
        let [key_id, text] = [0, 1].map(|column| rows[0][column].as_text().unwrap().to_owned());
        assert_eq!(keyring(2).open(&Sealed { key_id, text }, context).unwrap(), b"secret");
    }
}

#[tokio::test]
async fn names_that_wait_or_fail_are_listed_with_the_reason() {
    let fixture = Fixture::new().await;
    fixture.import(&["good.example"]).await;
    let rows = "INSERT INTO usher_acme_orders (name, fence, holder, leased_until, due_at, attempts, wanted_since, reason, problem)
            VALUES ('waiting.example', 1, '', 0, 0, 0, 5, NULL, NULL), ('done.example', 1, '', 0, 0, 0, NULL, NULL, NULL),
                ('failing.example', 1, '', 0, 99, 3, 5, 'astray', 'it has no address'),
                ('renewed.example', 1, '', 0, 99, 1, 5, 'refused', 'no'), ('left.example', 1, '', 0, 99, 0, NULL, NULL, NULL),
                ('leaving.example', 1, '', 0, 99, 0, NULL, NULL, NULL);
        INSERT INTO usher_certificates (name, certificate, key_id, sealed_key, expires_at, renew_at) VALUES
            ('renewed.example', '', 'k1', '', 99999999999, 1), ('ended.example', '', 'k1', '', 1, NULL),
            ('left.example', '', 'k1', '', 1, 1), ('leaving.example', '', 'k1', '', 99999999999, 1)";
    fixture.sql(rows).await;
    let listed = fixture.archive.list().await.unwrap();
    let told: Vec<_> = listed.iter().map(|entry| (entry.name.as_str(), entry.state, entry.expires)).collect();
    let good = listed.iter().find(|entry| entry.name == "good.example").unwrap().expires;
    let expected = [
        ("failing.example", State::Failing, None),
        ("waiting.example", State::Waiting, None),
        ("ended.example", State::Ended, Some(1)),
        ("renewed.example", State::Failing, Some(99_999_999_999)),
        ("good.example", State::Good, good),
        ("left.example", State::Ended, Some(1)),
        ("leaving.example", State::Good, Some(99_999_999_999)),
    ];
    assert!(expected.iter().all(|entry| told.contains(entry)) && told.len() == expected.len(), "{told:?}");
    // Nobody asks for the next ones.
    assert!(listed.iter().filter(|entry| entry.name.starts_with("lea")).all(|entry| entry.due.is_none()));
    let failing = fixture.archive.page("", Some(State::Failing), 10).await.unwrap();
    assert_eq!(
        failing.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(),
        ["failing.example", "renewed.example"]
    );
    assert_eq!((failing[0].failures, failing[0].due, failing[0].reason.as_deref()), (3, Some(99), Some("astray")));
    assert_eq!(fixture.archive.page("failing.example", Some(State::Failing), 10).await.unwrap().len(), 1);
}

/// The next run over the same file, with these keys. The database is away.
async fn next_run(file: &SnapshotFile, keys: Arc<Keyring>) -> (Vault, Option<usize>) {
    let folder = tempfile::tempdir().unwrap();
    let empty = Database::create(&folder.path().join("usher.db")).unwrap();
    let vault = Vault::new(Session::sqlite(&empty), keys, Handle::current());
    let restored = vault.restore(file).unwrap();
    (vault, restored)
}

#[tokio::test]
async fn what_one_run_has_shown_is_shown_by_the_next_ones_without_the_database() {
    let fixture = Fixture::new().await;
    fixture.import(&["shop.example", "*.platform.com", "other.example"]).await;
    let names = ["shop.example", "store1.platform.com"].map(|name| Hostname::parse(name).unwrap());
    let file = SnapshotFile::new(fixture.folder.path().join("certificates.snapshot"), "here".into());
    assert_eq!(fixture.vault.restore(&file).unwrap(), None);
    let mut shown = Vec::new();
    for name in &names {
        shown.push(fixture.vault.find(name).await.unwrap().unwrap());
    }
    file.write(|lines| fixture.vault.fill(lines)).unwrap();
    let text = std::fs::read_to_string(file.path()).unwrap();
    assert!(!text.contains("PRIVATE") && text.contains("\"key_id\":\"k1\""), "{text}");
    // Who was asked for in one run, and who in none, are there in the one after.
    let (vault, restored) = next_run(&file, keyring(1)).await;
    assert_eq!(restored, Some(2));
    assert_eq!(vault.find(&names[0]).await.unwrap().unwrap().chain(), shown[0].chain());
    file.write(|lines| vault.fill(lines)).unwrap();
    let (vault, restored) = next_run(&file, keyring(1)).await;
    assert_eq!(restored, Some(2));
    for (name, shown) in names.iter().zip(shown) {
        assert_eq!(vault.find(name).await.unwrap().unwrap().chain(), shown.chain());
    }
    assert_eq!(vault.find(&Hostname::parse("other.example").unwrap()).await.map(|_| ()), Err(NotLoaded));
}

#[tokio::test]
async fn what_the_last_run_has_left_is_compared_at_once() {
    let fixture = Fixture::new().await;
    fixture.import(&["shop.example"]).await;
    let old = fixture.find("shop.example").await.unwrap().unwrap();
    let file = SnapshotFile::new(fixture.folder.path().join("certificates.snapshot"), "here".into());
    file.write(|lines| fixture.vault.fill(lines)).unwrap();
    fixture.import(&["shop.example"]).await;
    let vault = Vault::new(Session::sqlite(&fixture.database), Arc::clone(&fixture.keys), Handle::current());
    assert_eq!(vault.restore(&file).unwrap(), Some(1));
    let name = Hostname::parse("shop.example").unwrap();
    assert_eq!(vault.find(&name).await.unwrap().unwrap().chain(), old.chain());
    while vault.loads().0 < 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_ne!(vault.find(&name).await.unwrap().unwrap().chain(), old.chain());
}

#[tokio::test]
async fn what_has_ended_or_does_not_open_is_not_taken_from_the_last_run() {
    let fixture = Fixture::new().await;
    fixture.import_until("short.example", SystemTime::now() + Duration::from_secs(2)).await;
    fixture.import(&["shop.example"]).await;
    let names = ["short.example", "shop.example"].map(|name| Hostname::parse(name).unwrap());
    for name in &names {
        assert!(fixture.vault.find(name).await.unwrap().is_some());
    }
    let file = SnapshotFile::new(fixture.folder.path().join("certificates.snapshot"), "here".into());
    file.write(|lines| fixture.vault.fill(lines)).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (vault, restored) = next_run(&file, keyring(1)).await;
    assert_eq!(restored, Some(2));
    assert_eq!(vault.find(&names[0]).await.map(|_| ()), Err(NotLoaded));
    let (stranger, _) = next_run(&file, keyring(2)).await;
    assert_eq!(stranger.find(&names[1]).await.map(|_| ()), Err(NotLoaded));
    file.write(|lines| vault.fill(lines)).unwrap();
    assert_eq!(next_run(&file, keyring(1)).await.1, Some(1), "what has ended is not kept");
}

#[tokio::test]
async fn another_certificate_is_a_change_and_the_same_one_is_none() {
    let fixture = Fixture::new().await;
    fixture.import(&["shop.example"]).await;
    let mut changes = Vec::new();
    for renew in [false, false, true, false] {
        if renew {
            fixture.import(&["shop.example"]).await;
        }
        let loads = fixture.vault.loads().0;
        fixture.age();
        _ = fixture.find("shop.example").await;
        while fixture.vault.loads().0 == loads || !fixture.vault.shared.flights().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        changes.push(fixture.vault.changes());
    }
    assert_eq!(changes, [1, 1, 2, 2]);
}

#[tokio::test]
async fn a_certificate_of_a_ca_that_cannot_be_used_is_due_for_another_one() {
    let fixture = Fixture::new().await;
    for (directory, is_due) in [("NULL", false), ("'https://ca'", true)] {
        fixture.import(&["shop.example"]).await;
        let damage = format!("certificate = 'damaged', directory = {directory}, renew_at = 99999999999");
        fixture.sql(&format!("UPDATE usher_certificates SET {damage}")).await;
        fixture.vault.shared.held.invalidate_all();
        assert_eq!(fixture.find("shop.example").await.map(|_| ()), Err(NotLoaded));
        let session = Session::sqlite(&fixture.database);
        let due = session.query("SELECT 1 FROM usher_certificates WHERE renew_at < 99999999999", &[]).await.unwrap();
        assert_eq!(due.len() == 1, is_due, "{directory}");
    }
}

#[tokio::test]
async fn what_is_left_for_the_next_run_is_sealed_by_the_newest_key() {
    let fixture = Fixture::new().await;
    fixture.import(&["shop.example"]).await;
    assert!(fixture.find("shop.example").await.unwrap().is_some());
    let file = SnapshotFile::new(fixture.folder.path().join("certificates.snapshot"), "here".into());
    file.write(|lines| fixture.vault.fill(lines)).unwrap();
    let both = format!("k2:{}\nk1:{}", STANDARD.encode([2; 32]), STANDARD.encode([1; 32]));
    let (vault, _) = next_run(&file, Arc::new(Keyring::parse(&both).unwrap())).await;
    file.write(|lines| vault.fill(lines)).unwrap();
    let (vault, _) = next_run(&file, keyring(2)).await;
    assert!(vault.find(&Hostname::parse("shop.example").unwrap()).await.unwrap().is_some());
    // Nobody who has other keys loses it.
    let (stranger, _) = next_run(&file, keyring(3)).await;
    assert!(stranger.find(&Hostname::parse("shop.example").unwrap()).await.is_err());
    file.write(|lines| stranger.fill(lines)).unwrap();
    assert_eq!(next_run(&file, keyring(2)).await.1, Some(1));
}
