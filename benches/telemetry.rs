//! What recording one exchange costs. Expected on one core of a small server: 250 ns for a line, 300 ns where it needs
//! escapes, 40 to 80 ns for the counters. Lines come faster here than any disk takes them, so some may be dropped.

#![expect(clippy::expect_used, reason = "a bench that cannot start has nothing to measure")]

use std::{hint::black_box, net::Ipv4Addr, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use usher::telemetry::{
    access_log::{AccessLog, Line, Settings, Target},
    metrics::Metrics,
    outcome::{AttemptOutcome, Outcome},
};

fn line(target: &str, time_ms: u64) -> Line<'_> {
    Line {
        time_ms,
        request_id: "01977f4e8b0a7c3d9e5f6a7b8c9d0e1f",
        client: Ipv4Addr::new(203, 0, 113, 77).into(),
        method: "GET",
        host: "shop.alpha.com",
        target,
        version: "HTTP/1.1",
        tls: "",
        store: "12345",
        matched: "custom_domain",
        status: 200,
        bytes_in: 0,
        bytes_out: 15_012,
        duration_us: 12_345,
        upstream_us: 12_001,
        endpoint: "10.0.0.17:8000",
        attempts: 1,
        tries: &[],
        outcome: "ok",
        fault: "",
        reason: "",
    }
}

/// With the hand-over to a writing thread that writes to nowhere.
fn access_log(c: &mut Criterion) {
    let target = Target::File("/dev/null".into());
    let settings = Settings { target, buffer_max_bytes: 16 << 20, flush_interval: Duration::from_millis(500) };
    let log = AccessLog::start(settings).expect("/dev/null can be opened");
    let writer = log.writer();
    let mut group = c.benchmark_group("access_log");
    for (name, target) in
        [("plain", "/products/blue-shirt?size=m&page=2"), ("escaped", "/\"blue\"\\shirt\u{7f}?size=ä")]
    {
        let mut time_ms = 1_767_225_599_007;
        group.bench_function(name, |b| {
            b.iter(|| {
                time_ms += 1;
                writer.write(black_box(&line(target, time_ms)));
            });
        });
    }
    group.finish();
    eprintln!("lines dropped: {}", log.dropped());
    log.finish();
}

fn metrics(c: &mut Criterion) {
    let worker = Metrics::new(vec!["default".into()]).worker();
    let endpoint = worker.endpoint(0, &"127.0.0.1:8000".into());
    c.bench_function("metrics/exchange", |b| {
        b.iter(|| {
            endpoint.attempt(black_box(AttemptOutcome::Answered));
            endpoint.connection(black_box(true));
            worker.upstream_head(0, black_box(Duration::from_micros(1200)));
            worker.exchange(black_box(Outcome::Ok), black_box(200), black_box(Duration::from_micros(1234)));
        });
    });
}

criterion_group!(benches, access_log, metrics);
criterion_main!(benches);
