//! The choice of an app server. Processor time per choice; expected: some tens of nanoseconds, with three servers or thirty;
//! the affinity of stores looks at every server and takes some ten nanoseconds for each.

use std::{hint::black_box, sync::Arc, time::Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use fastrand::Rng;
use usher::{
    routing::TenantId,
    upstream::{Asking, Balance, Members, Server, ServerAddress, Settings, Tried, Upstream},
};

fn upstream(balance: Balance, servers: u16) -> Arc<Members> {
    let server = |port| Server { address: ServerAddress::Tcp { host: "10.0.0.1".into(), port }, weight: 1 };
    let servers = (1..=servers).map(server).collect();
    #[expect(clippy::expect_used, reason = "without TLS there is nothing that could fail")]
    Upstream::new(Settings { servers, balance, ..Settings::default() }).expect("an upstream").members()
}

fn choose(criterion: &mut Criterion) {
    let Ok(tenant) = TenantId::parse("018f6f5e-0000-7000-8000-000000000000") else { return };
    let asking = Asking { tenant: Some(&tenant), is_repeatable: false };
    for (name, balance) in [
        ("least_loaded", Balance::LeastLoaded),
        ("round_robin", Balance::RoundRobin),
        ("store_affinity", Balance::StoreAffinity),
    ] {
        for servers in [3, 30] {
            let (upstream, mut rng, now) = (upstream(balance, servers), Rng::with_seed(1), Instant::now());
            criterion.bench_function(&format!("choose/{name}/{servers}"), |bencher| {
                bencher.iter(|| upstream.choose(black_box(&asking), &Tried::default(), now, &mut rng));
            });
        }
    }
}

criterion_group!(benches, choose);
criterion_main!(benches);
