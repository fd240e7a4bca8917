//! PROXY protocol version 2 towards app servers that ask for it.

use std::net::SocketAddr;

use crate::support::{App, Backend, Binary, Conversation, Fixture, Framing, Tables};

const IPV4_HEADER: u64 = 28;

/// Takes the header off, notes nothing of it but hands it back in `X-Proxy`, and answers one request.
fn reads_header(mut conversation: Conversation) {
    let Ok(header) = conversation.wire().body(Framing::Length(IPV4_HEADER)) else { return };
    let hex: String = header.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    while conversation.request().is_some() {
        if conversation.write(format!("HTTP/1.1 200 OK\r\nX-Proxy: {hex}\r\nContent-Length: 0\r\n\r\n")).is_err() {
            return;
        }
    }
}

fn expected(client: SocketAddr, local: SocketAddr) -> String {
    let ports = format!("{:04x}{:04x}", client.port(), local.port());
    format!("0d0a0d0a000d0a515549540a2111000c7f0000017f000001{ports}")
}

/// `proxy-protocol.txt` §2, §2.2.
#[test]
fn each_connection_begins_with_the_addresses_of_its_client_and_is_never_shared() {
    let stage = Fixture::configured(
        App::scripted(reads_header),
        "[listen]\nworkers = 1\n[upstreams.default]\nproxy_protocol = 'v2'",
    );
    for number in 1..=3 {
        let mut client = stage.usher.connect();
        let address = client.wire().stream().local_addr().unwrap();
        for request in 0..2 {
            let response = client.send("GET / HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n").response();
            assert_eq!(response.status, 200);
            assert_eq!(response.header("x-proxy").unwrap(), expected(address, stage.usher.http()));
            assert_eq!(stage.app.connections(), number * 2 - 1 + request);
        }
    }
}

#[test]
fn an_upstream_that_does_not_ask_is_told_nothing() {
    let tables = Tables::example(Backend::Sqlite);
    let (app, admin) = (App::echo(), App::scripted(reads_header));
    let config = format!(
        "[routing]\nadmin_upstream = 'admin'\n[upstreams.admin]\nservers = ['{}']\nproxy_protocol = 'v2'",
        admin.url()
    );
    let usher = Binary::over(&tables).apps(&[&app]).config(&config).start();
    assert_eq!(usher.get("customdomain1.com", "/").status, 200);
    assert!(usher.get("customdomain1.com", "/admin").header("x-proxy").is_some());
    assert!(app.last().head.line.starts_with("GET / "));
}
