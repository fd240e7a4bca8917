//! What becomes of `www.` in front of a name, by where it leads.

use super::{super::beside, *};

fn unknown() -> Astray {
    Astray::Unknown("SERVFAIL".to_owned())
}

#[tokio::test]
async fn no_renewal_is_without_www_because_one_question_has_failed() {
    let asked = AtomicI64::new(0);
    let mut all = Simulation::visiting(move |now| {
        let is_later = now > BEGIN + DAY && asked.fetch_add(1, Relaxed) < 5;
        if is_later { Err(unknown()) } else { Ok(()) }
    })
    .await;
    all.run_until(BEGIN + 80 * DAY, |now, expiries| {
        assert!(expiries.len() == 2 && expiries.values().all(|expiry| expiry - now > LIFETIME / 4), "{expiries:?}");
    })
    .await;
    assert_eq!(all.seen().iter().map(|order| order.names.len()).collect::<Vec<_>>(), [2, 2]);
}

#[tokio::test]
async fn www_that_nobody_can_be_asked_about_for_days_is_renewed_before_it_ends_and_keeps_nobody_waiting() {
    let outage = BEGIN + DAY..BEGIN + 70 * DAY;
    let mut all = Simulation::visiting(move |now| if outage.contains(&now) { Err(unknown()) } else { Ok(()) }).await;
    all.run_until(BEGIN + 90 * DAY, |now, expiries| {
        let left = |name: &str| expiries[name] - now;
        assert!(left("shop000.example") > LIFETIME / 4 && left("www.shop000.example") > DAY, "{expiries:?} at {now}");
    })
    .await;
    assert_eq!(all.seen().iter().map(|order| order.names.len()).collect::<Vec<_>>(), [2, 1, 2]);
}

#[tokio::test]
async fn www_that_leads_elsewhere_is_let_go() {
    let elsewhere = || Err(Astray::Elsewhere("192.0.2.1 leads elsewhere".to_owned()));
    let mut all = Simulation::visiting(move |now| if now > BEGIN + DAY { elsewhere() } else { Ok(()) }).await;
    all.run_until(BEGIN + 100 * DAY, |_, _| {}).await;
    assert_eq!(all.seen().iter().map(|order| order.names.len()).collect::<Vec<_>>(), [2, 1]);
}

#[tokio::test]
async fn www_that_leads_here_later_comes_into_the_certificate_within_a_day_and_once() {
    let elsewhere = || Err(Astray::Elsewhere("it has no address".to_owned()));
    let mut all = Simulation::visiting(move |now| if now < BEGIN + 3 * DAY { elsewhere() } else { Ok(()) }).await;
    all.run_until(BEGIN + 50 * DAY, |_, _| {}).await;
    let seen = all.seen();
    assert_eq!(seen.iter().map(|order| order.names.len()).collect::<Vec<_>>(), [1, 2]);
    assert!((BEGIN + 3 * DAY..BEGIN + 4 * DAY + DAY / 5).contains(&seen[1].at), "{seen:?}");
}

#[tokio::test]
async fn www_that_the_ca_refuses_costs_no_order_before_the_next_renewal() {
    let mut all = Simulation::with(
        1,
        settings(&["ca"], GENEROUS),
        |order, _| if order.names.len() > 1 { Err(OrderError::Invalid) } else { Ok(()) },
        |names, arrivals| {
            *arrivals = Some(Arc::new(Led { now: Arc::clone(&names.now), www: |_| Ok(()) }));
        },
    )
    .await;
    all.run_until(BEGIN + 50 * DAY, |_, _| {}).await;
    assert_eq!(all.seen().iter().map(|order| order.names.len()).collect::<Vec<_>>(), [2, 1]);
}

#[tokio::test]
async fn www_behind_somebody_who_forces_https_stays_in_the_certificate_that_it_is_in() {
    let hidden = || Err(Astray::Hidden("192.0.2.1 leads to https (answers 301)".to_owned()));
    let mut all = Simulation::visiting(move |now| if now > BEGIN + DAY { hidden() } else { Ok(()) }).await;
    all.run_until(BEGIN + 80 * DAY, |_, _| {}).await;
    assert_eq!(all.seen().iter().map(|order| order.names.len()).collect::<Vec<_>>(), [2, 2]);
    let mut new = Simulation::visiting(move |_| hidden()).await;
    new.run_until(BEGIN + DAY, |_, _| {}).await;
    assert_eq!(new.seen().iter().map(|order| order.names.len()).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn www_that_leads_here_every_other_time_costs_no_more_orders_than_a_ca_issues_for_the_same_names() {
    let visits = AtomicI64::new(0);
    let mut all = Simulation::visiting(move |_| match visits.fetch_add(1, Relaxed) % 2 {
        0 => Err(Astray::Elsewhere("192.0.2.1 leads elsewhere".to_owned())),
        _ => Ok(()),
    })
    .await;
    for at in (BEGIN..BEGIN + 14 * DAY).step_by(900) {
        all.now.store(at, Relaxed);
        all.work().await;
        beside::hurry(&all.shared, "www.shop000.example").await.unwrap();
    }
    let seen = all.seen();
    assert!(seen.iter().all(|order| order.names.len() == 1), "{seen:?}");
    // Who sets the record and comes by is not kept waiting.
    assert!(seen[1].at <= BEGIN + 900, "{seen:?}");
    let in_a_week = |from: i64| seen.iter().filter(|order| (from..from + 7 * DAY).contains(&order.at)).count();
    assert!(seen.iter().all(|order| in_a_week(order.at) <= 5), "{seen:?}");
}
