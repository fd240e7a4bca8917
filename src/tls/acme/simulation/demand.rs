//! What handshakes ask for, beside what is due.

use tokio::time::timeout;

use super::*;

/// Names that begin with `tarpit` are visited and never met; all others lead here.
struct Tarpits {
    visits: Arc<AtomicI64>,
}

impl Arrivals for Tarpits {
    fn lead_here<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Astray>> {
        Box::pin(async {
            if name.starts_with("tarpit") {
                self.visits.fetch_add(1, Relaxed);
                std::future::pending().await
            }
            Ok(())
        })
    }
}

#[tokio::test]
async fn handshakes_for_names_whose_visits_never_end_keep_nothing_due_from_its_turn() {
    let visits = Arc::<AtomicI64>::default();
    let tarpits = Tarpits { visits: Arc::clone(&visits) };
    let mut all = Simulation::with(
        10,
        settings(&["ca"], GENEROUS),
        |_, _| Ok(()),
        |_names, arrivals| *arrivals = Some(Arc::new(tarpits)),
    )
    .await;
    for number in 0..60 {
        all.acme.take_up(Demand::Certificate { name: format!("tarpit{number}.example"), waiter: None });
    }
    let within = Duration::from_secs(20);
    let begun = async {
        while visits.load(Relaxed) < 4 {
            tokio::task::yield_now().await;
        }
    };
    timeout(within, begun).await.unwrap();
    timeout(within, all.work()).await.unwrap();
    let certificates = all.expiries().await;
    let served = (0..10).filter(|number| certificates.contains_key(&format!("shop{number:03}.example"))).count();
    assert_eq!((served, visits.load(Relaxed), all.shared.counts.full()), (10, 4, 56));
}
