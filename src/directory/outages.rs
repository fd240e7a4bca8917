//! A database that does not answer, or a replica that is behind: who is served, who is told so, and how soon. Over the script of
//! `tests`, with tokio's clock paused.

use super::{
    tests::{Behaviour, HOST, SECOND, Script, directory, settle, shop, tenant},
    *,
};

#[tokio::test(start_paused = true)]
async fn a_database_that_is_away_is_asked_once_a_second_while_its_tenants_are_served() {
    let (script, _directory, reader) = shop();
    let now = Instant::now();
    reader.lookup(HOST, now).await.unwrap();
    script.behave(Behaviour::Fail);
    let later = now + Settings::default().fresh_for;
    for step in 0..100 {
        assert_eq!(reader.lookup(HOST, later + SECOND / 10 * step).await.unwrap(), Some(tenant("1")));
        settle().await;
    }
    assert_eq!(script.asked(), 1 + 10);
    let too_late = reader.lookup(HOST, now + Settings::default().usable_for).await;
    assert!(matches!(too_late, Err(CouldNotAsk::Source(_))));
}

/// By the script's count, nobody asks; by the clock, nobody waits.
#[tokio::test(start_paused = true)]
async fn once_a_database_counts_as_away_whoever_needs_it_is_told_so_at_once() {
    let (script, directory, reader) = shop();
    let now = now();
    script.behave(Behaviour::Fail);
    for number in 0..5 {
        let failed = reader.lookup(KeyRef::CustomDomain(&format!("{number}.example")), now).await;
        assert!(matches!(failed, Err(CouldNotAsk::Source(_))), "{failed:?}");
    }
    script.hold();
    let (asked, before) = (script.asked(), tokio::time::Instant::now());
    for number in 5..20 {
        let refused = reader.lookup(KeyRef::CustomDomain(&format!("{number}.example")), now).await;
        assert!(matches!(refused, Err(CouldNotAsk::Away)), "{refused:?}");
    }
    assert_eq!((script.asked(), before.elapsed()), (asked, Duration::ZERO));
    assert_eq!(directory.stats().snapshot().count(Event::TurnedAway), 15);
    assert!(directory.held().is_away);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_behind_is_no_outage_and_costs_no_tenant() {
    let (script, directory, reader) = shop();
    let now = now();
    reader.lookup(HOST, now).await.unwrap();
    script.behave(Behaviour::LagBehind);
    for number in 0..20 {
        let failed = reader.lookup(KeyRef::CustomDomain(&format!("{number}.example")), now).await;
        assert!(matches!(failed, Err(CouldNotAsk::Source(_))), "{failed:?}");
    }
    assert!(!directory.held().is_away);
    let later = now + Settings::default().fresh_for;
    for _ in 0..3 {
        assert_eq!(reader.lookup(HOST, later).await.unwrap(), Some(tenant("1")));
        settle().await;
    }
}

/// The new answers are there before anybody asks for them.
#[tokio::test(start_paused = true)]
async fn after_a_change_of_everything_an_outage_finds_the_tenants_read_again() {
    let names: Vec<_> = (0..300).map(|number| format!("{number}.example")).collect();
    let rows: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let script = Script::new(&rows);
    let directory = directory(&script, Settings { loads_per_second: names.len() * 10, ..Settings::default() });
    let reader = directory.reader();
    for name in &names {
        reader.lookup(KeyRef::CustomDomain(name), now()).await.unwrap();
    }
    names.iter().for_each(|name| script.set(name, Some("2")));
    // Several in a row are read for once, and a failure on the way is made good.
    for _ in 0..3 {
        directory.apply(&[Change::Everything]);
        tokio::time::sleep(SECOND / 10).await;
    }
    script.behave(Behaviour::Fail);
    tokio::time::sleep(SECOND).await;
    script.behave(Behaviour::Answer);
    let asked = script.asked();
    tokio::time::sleep(10 * SECOND).await;
    assert!(script.asked() - asked <= 400, "{}", script.asked() - asked);
    assert_eq!(directory.held().unchecked, 0);
    script.behave(Behaviour::Fail);
    let mut served = 0;
    for name in &names {
        if let Ok(answer) = reader.lookup(KeyRef::CustomDomain(name), now()).await {
            assert_eq!(answer, Some(tenant("2")), "{name}");
            served += 1;
        }
    }
    // Another answer costs those who share its place among the marks, seldom one pair of so many.
    assert!(served >= names.len() - 10, "{served}");
}
