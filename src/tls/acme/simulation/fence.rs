//! What one instance has left behind and another cannot read.

use super::{super::order_key::OrderKey, *};

const NAME: &str = "shop000.example";
const ORDER: &str = "https://ca/order/1";

async fn one() -> Simulation {
    Simulation::new(1, &["ca"], GENEROUS, |_, _| Ok(())).await
}

async fn lease(all: &Simulation) -> Lease {
    all.session.batch("UPDATE usher_acme_orders SET leased_until = 0, due_at = 0").await.unwrap();
    all.shared.leases.take(&all.session, NAME).await.unwrap().unwrap()
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
