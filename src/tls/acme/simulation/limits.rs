//! What may be asked of a CA: what it says itself, and what the configuration says for it.

use instant_acme::Problem;

use super::*;

fn limited(seconds: i64) -> OrderError {
    let problem = Problem {
        r#type: Some("urn:ietf:params:acme:error:rateLimited".to_owned()),
        detail: Some("too many new orders from this account".to_owned()),
        status: Some(429),
        subproblems: Vec::new(),
    };
    OrderError::Ca { cause: problem.into(), retry_after: Some(Duration::from_secs(seconds.unsigned_abs())) }
}

#[tokio::test]
async fn a_ca_that_limits_is_left_alone_for_as_long_as_it_says() {
    // Ten orders in an hour, and no question within ten minutes after it has said so.
    let mut all = Simulation::new(40, &["ca"], GENEROUS, |order, seen| {
        let lately = seen.iter().filter(|earlier| earlier.is_accepted && order.at - earlier.at < HOUR).count();
        if lately < 10 { Ok(()) } else { Err(limited(600)) }
    })
    .await;
    all.run_until(BEGIN + 20 * HOUR, |_, _| {}).await;
    assert_eq!(all.expiries().await.len(), 40);
    let (seen, mut silent_until) = (all.seen(), 0);
    for (position, order) in seen.iter().enumerate() {
        // What was under way together has been said no to together.
        let is_together = position > 0 && seen[position - 1].at == order.at;
        assert!(order.at >= silent_until || is_together, "{order:?}");
        if !order.is_accepted {
            silent_until = order.at + 600;
        }
    }
}

/// Another instance was told so, or this one before it was restarted.
#[tokio::test]
async fn a_ca_that_another_instance_was_told_to_leave_alone_is_left_alone_by_all() {
    let mut all = Simulation::new(3, &["ca"], GENEROUS, |_, _| Ok(())).await;
    all.shared.budgets.note_rest(&all.session, "ca", 2 * HOUR).await.unwrap();
    all.shared.budgets.note_rest(&all.session, "ca", HOUR).await.unwrap();
    all.run_until(BEGIN + 5 * HOUR, |_, _| {}).await;
    let first = all.seen().iter().map(|order| order.at).min();
    assert!(first.is_some_and(|at| (BEGIN + 2 * HOUR..BEGIN + 4 * HOUR).contains(&at)), "{first:?}");
    // And tells it in its turn.
    let mut limited = Simulation::new(1, &["ca"], GENEROUS, |_, _| Err(limited(600))).await;
    limited.run_until(BEGIN + HOUR / 4, |_, _| {}).await;
    assert!(limited.shared.budgets.rest(&limited.session, "ca").await.unwrap() > 0);
}

#[tokio::test]
async fn our_own_limits_are_kept_and_those_that_came_last_go_first() {
    let quota = Quota { max: 10, window: Duration::from_hours(1) };
    let mut all = Simulation::new(60, &["ca"], quota, |_, _| Ok(())).await;
    // One after the other, as customers come.
    for number in 0..60 {
        let name = format!(
            "INSERT INTO usher_acme_orders (name, fence, holder, leased_until, due_at, attempts, wanted_since) \
                            VALUES ('shop{number:03}.example', 0, '', 0, 0, 0, {number})"
        );
        all.session.batch(&name).await.unwrap();
    }
    all.run_until(BEGIN + 6 * HOUR, |_, _| {}).await;
    let seen = all.seen();
    assert_eq!(all.expiries().await.len(), 60);
    for order in &seen {
        let within = seen.iter().filter(|other| (order.at..order.at + HOUR).contains(&other.at)).count();
        assert!(within <= 20, "{within} in an hour");
    }
    // Those that are under way together come in any order.
    let together = seen.windows(9).all(|orders| orders[0].name > orders[8].name);
    assert!(together, "{:?}", seen.iter().map(|order| order.name.as_str()).collect::<Vec<_>>());
}

/// Under one registrable domain, of which a CA may be asked for two certificates in `window`.
async fn subdomains(
    names: usize,
    window: i64,
    rule: impl Fn(&Seen, &[Seen]) -> Result<(), OrderError> + Send + Sync + 'static,
) -> Simulation {
    let mut settings = settings(&["ca"], GENEROUS);
    settings.limits.domain_orders = Quota { max: 2, window: Duration::from_secs(window.unsigned_abs()) };
    let name = |number| format!("shop{number}.platform.com");
    Simulation::with(names, settings, rule, |all, _arrivals| all.names = (0..names).map(name).collect()).await
}

#[tokio::test]
async fn names_below_one_domain_share_its_limit() {
    let mut all = subdomains(4, DAY, |_, _| Ok(())).await;
    all.run_until(BEGIN + 3 * DAY, |_, _| {}).await;
    let at: Vec<_> = all.seen().iter().map(|order| order.at - BEGIN).collect();
    assert!(at.len() == 4 && at[1] < HOUR && at[2] >= DAY / 2 && at[3] >= DAY, "{at:?}");
}

#[tokio::test]
async fn orders_that_no_ca_has_seen_take_nothing_of_a_domains_limit() {
    let back = BEGIN + 3 * DAY;
    let mut all =
        subdomains(2, 7 * DAY, move |order, _| if order.at < back { Err(OrderError::Late) } else { Ok(()) }).await;
    all.run_until(back + 2 * HOUR, |_, _| {}).await;
    assert_eq!(all.expiries().await.len(), 2);
}

#[tokio::test]
async fn orders_that_our_own_limit_has_kept_back_take_nothing_of_a_domains_limit() {
    let mut all = subdomains(2, 7 * DAY, |_, _| Ok(())).await;
    let used = format!("INSERT INTO usher_acme_budgets VALUES ('orders ca', {})", (BEGIN + 6 * HOUR) * 1000);
    all.session.batch(&used).await.unwrap();
    all.run_until(BEGIN + 8 * HOUR, |_, _| {}).await;
    assert_eq!(all.expiries().await.len(), 2);
}

#[tokio::test]
async fn a_name_that_has_failed_as_often_as_allowed_waits_for_the_window() {
    let mut settings = settings(&["ca"], GENEROUS);
    settings.limits.failures = Quota { max: 1, window: Duration::from_hours(6) };
    let mut all = Simulation::with(1, settings, |_, _| Err(OrderError::Invalid), |_names, _arrivals| {}).await;
    all.run_until(BEGIN + 2 * DAY, |_, _| {}).await;
    let tried: Vec<_> = all.seen().iter().map(|order| order.at).collect();
    assert!(tried.len() >= 4 && tried.windows(2).all(|pair| pair[1] - pair[0] >= 6 * HOUR), "{tried:?}");
}
