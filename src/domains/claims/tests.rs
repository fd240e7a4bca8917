//! What becomes of claims as rows change, on SQLite.

use super::*;
use crate::database::{migrations, sqlite::Database};

async fn claims(rows: &str) -> (tempfile::TempDir, Claims) {
    let folder = tempfile::tempdir().unwrap();
    let session = Session::sqlite(&Database::create(&folder.path().join("usher.db")).unwrap());
    migrations::run(&session, &migrations::Plan::default()).await.unwrap();
    session.batch("INSERT INTO stores (id, subdomain, name) VALUES (1, 'a', 'A')").await.unwrap();
    session
        .batch(&format!(
            "INSERT INTO store_domains (id, store_id, domain, is_verified, verification_token) VALUES {rows}"
        ))
        .await
        .unwrap();
    (folder, Claims::new(session))
}

async fn known(claims: &Claims) -> Vec<String> {
    let sql = "SELECT name || ' ' || token || ' ' || state FROM usher_domain_claims ORDER BY name, token";
    let rows = claims.session.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row[0].as_text().unwrap().to_owned()).collect()
}

async fn is_verified(claims: &Claims, id: i64) -> bool {
    let sql = "SELECT is_verified FROM store_domains WHERE id = $1";
    claims.session.query(sql, &[Value::Int(id)]).await.unwrap()[0][0].is_true()
}

async fn run_out(claims: &Claims) {
    claims.session.batch("UPDATE usher_domain_claims SET leased_until = 1, due_at = 0").await.unwrap();
}

fn proved(claim: &Claim) -> Verdict<'static> {
    let standing = Standing { state: State::Live, ..claim.standing };
    Verdict { standing, finding: "found", pause: Duration::from_secs(60), is_verified: Some(true) }
}

#[tokio::test]
async fn rows_with_a_token_are_noticed_one_by_one_or_all_together() {
    let rows = "(1, 1, 'Old.Example.', TRUE, 'o'), (2, 1, 'new.example', FALSE, 'n'), (3, 1, 'bare.example', TRUE, NULL), (4, 1, 'empty.example', FALSE, '')";
    let (_folder, claims) = claims(rows).await;
    claims.notice("new.example").await.unwrap();
    assert_eq!(known(&claims).await, ["new.example n pending"]);
    for _ in 0..2 {
        claims.notice_all().await.unwrap();
        assert_eq!(known(&claims).await, ["new.example n pending", "old.example o verified"]);
    }
    // Who was verified before waits for a turn within a day.
    assert_eq!(claims.take(9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_row_that_names_another_domain_or_token_is_proved_anew_and_others_keep_their_mark() {
    let (_folder, claims) = claims("(1, 1, 'a.example', TRUE, 't'), (2, 1, 'b.example', TRUE, 'u')").await;
    claims.notice_all().await.unwrap();
    for (edit, name, known_now) in [
        ("domain = 'c.example'", "c.example", ["b.example u verified", "c.example t pending"]),
        ("is_verified = TRUE", "c.example", ["b.example u verified", "c.example t pending"]),
        ("verification_token = 'v'", "c.example", ["b.example u verified", "c.example v pending"]),
    ] {
        claims.session.batch(&format!("UPDATE store_domains SET {edit} WHERE id = 1")).await.unwrap();
        claims.notice(name).await.unwrap();
        assert_eq!(known(&claims).await, known_now, "{edit}");
        // People may vouch for the new name, once it is known that it is one.
        assert_eq!(is_verified(&claims, 1).await, edit.starts_with("is_verified"), "{edit}");
        assert!(is_verified(&claims, 2).await);
    }
}

#[tokio::test]
async fn a_row_that_names_another_domain_without_a_token_loses_its_mark() {
    for token in ["NULL", "''"] {
        let (_folder, claims) = claims("(1, 1, 'a.example', TRUE, 't')").await;
        claims.notice_all().await.unwrap();
        let edit = format!("UPDATE store_domains SET domain = 'victim.example', verification_token = {token}");
        claims.session.batch(&edit).await.unwrap();
        assert_eq!(claims.notice("victim.example").await.unwrap().unmarked, ["victim.example"]);
        assert!(!is_verified(&claims, 1).await);
    }
}

#[tokio::test]
async fn a_row_that_the_database_refuses_stands_in_nobodys_way() {
    let (_folder, claims) =
        claims("(1, 1, 'a.example', TRUE, 't'), (2, 1, 'b.example', TRUE, 'u'), (3, 1, 'c.example', FALSE, 'v')").await;
    claims.notice_all().await.unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE ON store_domains WHEN NEW.id = 1 AND NOT NEW.is_verified
        BEGIN SELECT RAISE(ABORT, 'ask the app'); END;
        UPDATE store_domains SET domain = 'new-' || domain";
    claims.session.batch(refuse).await.unwrap();
    let noticed = claims.notice_all().await.unwrap();
    assert_eq!(noticed.unmarked, ["new-b.example"]);
    assert_eq!(noticed.refused.unwrap().0, "1");
    // The claim by which its change is known stays.
    assert_eq!(known(&claims).await, ["a.example t verified", "new-b.example u pending", "new-c.example v pending"]);
}

#[tokio::test]
async fn what_no_index_takes_is_passed_over() {
    let (name, token) = ("a".repeat(254), "t".repeat(1001));
    let (_folder, claims) =
        claims(&format!("(1, 1, '{name}', FALSE, 't'), (2, 1, 'b.example', FALSE, '{token}')")).await;
    claims.notice_all().await.unwrap();
    assert_eq!(known(&claims).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_new_row_with_the_id_of_a_removed_one_keeps_its_mark() {
    for by_name in [true, false] {
        let (_folder, claims) = claims("(1, 1, 'a.example', TRUE, 't')").await;
        claims.notice_all().await.unwrap();
        claims.session.batch("DELETE FROM store_domains").await.unwrap();
        if by_name {
            claims.notice("a.example").await.unwrap()
        } else {
            claims.notice_all().await.unwrap()
        };
        let claim = claims.take(1).await.unwrap().pop().unwrap();
        assert_eq!(claims.told(&claim).await.unwrap(), None);
        claims.forget(&claim).await.unwrap();
        let columns = "store_id, domain, is_verified, verification_token";
        let insert = format!("INSERT INTO store_domains ({columns}) VALUES (1, 'b.example', TRUE, 'u')");
        claims.session.batch(&insert).await.unwrap();
        claims.notice("b.example").await.unwrap();
        assert!(is_verified(&claims, 1).await);
    }
}

#[tokio::test]
async fn a_changed_row_that_a_look_comes_upon_first_is_not_believed_either() {
    let (_folder, claims) = claims("(1, 1, 'a.example', FALSE, 't')").await;
    claims.notice("a.example").await.unwrap();
    let claim = claims.take(1).await.unwrap().pop().unwrap();
    claims.session.batch("UPDATE store_domains SET domain = 'c.example', is_verified = TRUE").await.unwrap();
    assert_eq!(claims.told(&claim).await.unwrap(), None);
    claims.notice_row_of(&claim).await.unwrap();
    claims.forget(&claim).await.unwrap();
    claims.notice_all().await.unwrap();
    assert_eq!(known(&claims).await, ["c.example t pending"]);
    assert!(!is_verified(&claims, 1).await);
}

#[tokio::test]
async fn one_at_a_time_looks_and_who_has_lost_the_lease_writes_nothing() {
    let (_folder, claims) = claims("(1, 1, 'a.example', FALSE, 't')").await;
    claims.notice("a.example").await.unwrap();
    let first = claims.take(9).await.unwrap().pop().unwrap();
    assert_eq!(claims.take(9).await.unwrap(), []);
    run_out(&claims).await;
    let second = claims.take(9).await.unwrap().pop().unwrap();
    assert_eq!((first.fence, second.fence), (1, 2));
    claims.settle(&first, &proved(&first)).await.unwrap();
    assert_eq!((known(&claims).await, is_verified(&claims, 1).await), (vec!["a.example t pending".to_owned()], false));
    claims.settle(&second, &proved(&second)).await.unwrap();
    assert_eq!((known(&claims).await, is_verified(&claims, 1).await), (vec!["a.example t live".to_owned()], true));
    assert_eq!(claims.take(9).await.unwrap(), [], "it is not due");
}

#[tokio::test]
async fn verified_at_is_written_where_there_is_such_a_column() {
    let (_folder, claims) = claims("(1, 1, 'a.example', FALSE, 't')").await;
    claims.session.batch("ALTER TABLE store_domains ADD COLUMN verified_at TIMESTAMP").await.unwrap();
    claims.notice("a.example").await.unwrap();
    let claim = claims.take(1).await.unwrap().pop().unwrap();
    claims.settle(&claim, &proved(&claim)).await.unwrap();
    let rows = claims.session.query("SELECT verified_at LIKE '20%' FROM store_domains", &[]).await.unwrap();
    assert!(rows[0][0].is_true(), "{rows:?}");
}

#[tokio::test]
async fn a_mark_that_somebody_has_set_or_taken_back_is_looked_at_soon() {
    let (_folder, claims) = claims("(1, 1, 'a.example', FALSE, 't')").await;
    claims.notice("a.example").await.unwrap();
    let claim = claims.take(1).await.unwrap().pop().unwrap();
    claims.settle(&claim, &proved(&claim)).await.unwrap();
    claims.session.batch("UPDATE store_domains SET is_verified = FALSE").await.unwrap();
    claims.notice("a.example").await.unwrap();
    assert_eq!(claims.take(1).await.unwrap(), [], "it may have been our own look");
    claims.session.batch("UPDATE usher_domain_claims SET looked_at = 1").await.unwrap();
    claims.notice("a.example").await.unwrap();
    assert_eq!(claims.take(1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn thousands_that_are_new_and_fail_keep_no_old_domain_from_being_looked_at() {
    let rows: Vec<_> = (1..=400).map(|id| format!("({id}, 1, 'd{id}.example', FALSE, 't')")).collect();
    let (_folder, claims) = claims(&rows.join(", ")).await;
    claims.notice_all().await.unwrap();
    // The first is the oldest, and has waited longest; the others are due again as soon as they were looked at.
    let old = "UPDATE usher_domain_claims SET since = 1, due_at = 1 WHERE name = 'd1.example'";
    claims.session.batch(&format!("UPDATE usher_domain_claims SET since = 1000; {old}")).await.unwrap();
    let mut rounds = 0;
    loop {
        rounds += 1;
        let taken = claims.take(1).await.unwrap();
        if taken.iter().any(|claim| claim.name == "d1.example") {
            break;
        }
        assert!(rounds < 200, "never");
        claims.session.batch("UPDATE usher_domain_claims SET leased_until = 0 WHERE since > 1").await.unwrap();
    }
    let taken = claims.take(40).await.unwrap();
    assert_eq!(taken.len(), 40);
}
