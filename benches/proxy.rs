//! The header work of one request: stripping what a browser sends and adding what the app is told.
//!
//! Expected: about half a microsecond for both together, and nothing much more for a hostile request.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use usher::{
    proxy::{
        ForwardedClient, ForwardedHost, Ids, Scheme, Standing,
        headers::{Forwarding, HeaderRules, add_forwarding},
    },
    routing::{Match, TenantId},
};

const BROWSER: [(&str, &str); 10] = [
    ("host", "shop.alpha.com"),
    ("connection", "keep-alive"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://shop.alpha.com/products"),
    ("cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"),
    ("upgrade-insecure-requests", "1"),
    ("sec-fetch-mode", "navigate"),
];

const HOSTILE: [(&str, &str); 5] = [
    ("x-store-id", "9"),
    ("x_store_id", "9"),
    ("x-forwarded-for", "1.2.3.4"),
    ("x-real-ip", "1.2.3.4"),
    ("forwarded", "for=1.2.3.4"),
];

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn rewrite(headers: &mut HeaderMap, rules: &HeaderRules, client: &HeaderValue, tenant: &TenantId) {
    rules.strip_request(headers, Standing::Stranger);
    let host = ForwardedHost { value: HeaderValue::from_static("shop.alpha.com"), port: None };
    let client =
        ForwardedClient { address: client.clone(), list: client.clone(), scheme: Scheme::Http, forwarded: None };
    let ids = Ids::make();
    add_forwarding(
        headers,
        Forwarding {
            client,
            version: Version::HTTP_11,
            ids: &ids,
            host,
            matched: Match::CustomDomain,
            tenant: Some(tenant),
            prefix: None,
        },
    );
}

fn bench(criterion: &mut Criterion) {
    let (rules, client) = (HeaderRules::new(Vec::new(), true), HeaderValue::from_static("203.0.113.7"));
    let Ok(tenant) = TenantId::parse("42") else { return };
    let (browser, hostile) = (headers(&BROWSER), headers(&[&BROWSER[..], &HOSTILE[..]].concat()));
    for (name, sent) in [("rewrite browser", browser), ("rewrite hostile", hostile)] {
        criterion.bench_function(name, |bencher| {
            let run = |mut headers: HeaderMap| {
                rewrite(&mut headers, &rules, &client, &tenant);
                headers
            };
            bencher.iter_batched(|| sent.clone(), run, BatchSize::SmallInput);
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
