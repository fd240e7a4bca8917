//! What an instance that was too slow for its lease has no hand in any more, and what another cannot read.

use super::{
    super::{order_key::OrderKey, store},
    *,
};

const NAME: &str = "shop000.example";
const ORDER: &str = "https://ca/order/1";

async fn one() -> Simulation {
    Simulation::new(1, &["ca"], GENEROUS, |_, _| Ok(())).await
}

async fn lease(all: &Simulation) -> Lease {
    all.session.batch("UPDATE usher_acme_orders SET leased_until = 0, due_at = 0").await.unwrap();
    all.shared.leases.take(&all.session, NAME).await.unwrap().unwrap()
}

async fn count(all: &Simulation, table: &str) -> usize {
    all.session.query(&format!("SELECT name FROM {table}"), &[]).await.unwrap().len()
}

#[tokio::test]
async fn a_certificate_that_comes_after_the_lease_has_gone_leaves_the_next_ones_key_and_notes_alone() {
    let all = one().await;
    let late = lease(&all).await;
    let next = lease(&all).await;
    OrderKey::make(&all.shared, &next, ORDER).await.unwrap();
    let note = format!("INSERT INTO usher_acme_besides (name, beside, visit_at) VALUES ('{NAME}', 'www.{NAME}', 9)");
    all.session.batch(&note).await.unwrap();
    let issued = issued(&[NAME.to_owned()], BEGIN);
    let stored = store::store(&all.shared, &late, "ca", &issued, None).await;
    assert!(matches!(stored, Err(OrderError::LeaseLost)), "{stored:?}");
    assert_eq!([count(&all, "usher_acme_order_keys").await, count(&all, "usher_acme_besides").await], [1, 1]);
    store::store(&all.shared, &next, "ca", &issued, None).await.unwrap();
    assert_eq!([count(&all, "usher_acme_order_keys").await, count(&all, "usher_acme_besides").await], [0, 0]);
    assert_eq!(all.expiries().await[NAME], BEGIN + LIFETIME);
}

#[tokio::test]
async fn an_order_key_that_cannot_be_opened_any_more_counts_as_none_and_makes_room_for_another() {
    let all = one().await;
    let lease = lease(&all).await;
    for damage in ["key_id = 'gone'", "sealed_key = 'AAAA'"] {
        let made = OrderKey::make(&all.shared, &lease, ORDER).await.unwrap().into_pem();
        let found = OrderKey::find(&all.shared, &lease, ORDER).await.unwrap().map(OrderKey::into_pem);
        assert_eq!(found, Some(made));
        all.session.batch(&format!("UPDATE usher_acme_order_keys SET {damage}")).await.unwrap();
        assert!(OrderKey::find(&all.shared, &lease, ORDER).await.unwrap().is_none(), "{damage}");
    }
}
