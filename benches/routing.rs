//! What routing costs per request, before the directory is asked: `cargo bench --bench routing`.
//!
//! Expected order of magnitude: 100 ns for a hostname, 20 ns for a plain path (100 ns for an encoded one, which is copied),
//! 50 ns for a key from the host and 150 ns for one from the path.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use usher::routing::{
    Authority, Host, Hostname, InactiveStore, Path, PathHosts, Redirects, RequestFacts, Rules, Settings, UnknownHost,
    WwwPolicy,
};

criterion_group!(benches, hostname_parse, path_read, key_decision);
criterion_main!(benches);

fn hostname_parse(c: &mut Criterion) {
    for (name, wire) in [("canonical", "shop.customdomain1.com"), ("upper_case", "Shop.CustomDomain1.com")] {
        c.bench_function(&format!("hostname_parse/{name}"), |b| b.iter(|| Authority::parse(black_box(wire)).is_ok()));
    }
}

fn path_read(c: &mut Criterion) {
    for (name, raw) in [("plain", "/products/red-shoes/42"), ("encoded", "/products/red%20shoes/42")] {
        c.bench_function(&format!("path_read/{name}"), |b| b.iter(|| Path::read(black_box(raw)).raw().len()));
    }
}

fn key_decision(c: &mut Criterion) {
    let rules = Rules::new(settings());
    for (name, host, raw) in [
        ("custom_domain", "customdomain1.com", "/products/red-shoes/42"),
        ("subdomain", "store1.platform.com", "/products/red-shoes/42"),
        ("path", "localhost", "/store/store1/products/42"),
    ] {
        let (Ok(host), path) = (Host::parse(host), Path::read(raw)) else { continue };
        let facts = RequestFacts { host: &host, path: &path, peer_is_loopback: true };
        c.bench_function(&format!("key_decision/{name}"), |b| b.iter(|| rules.route(black_box(&facts)).is_ok()));
    }
}

fn settings() -> Settings {
    let names = |names: &[&'static str]| names.iter().filter_map(|name| Hostname::parse(name).ok()).collect();
    Settings {
        platform_domains: names(&["platform.com", "eu.platform.com"]),
        admin_hosts: names(&["admin.platform.com", "admin.eu.platform.com"]),
        admin_labels: vec!["admin".into()],
        admin_paths: vec!["/admin".into()],
        reserved_labels: ["www", "admin", "api"].map(String::from).into(),
        www: WwwPolicy::Redirect,
        path_prefix: "/store".into(),
        path_hosts: PathHosts::Loopback,
        unknown_host: UnknownHost::NotFound,
        inactive_store: InactiveStore::Unknown,
        redirects: Redirects::default(),
    }
}
