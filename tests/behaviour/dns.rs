//! What is read from the DNS, asked of a real name server.

use std::{net::UdpSocket, time::Duration};

use usher::domains::dns::{Dns, Error, Settings};

use crate::support::NameServer;

const ZONE: &str = r#"
@ NS ns
@ NS gone.elsewhere.test.
ns A 127.0.0.1
shop A 192.0.2.7
shop AAAA 2001:db8::7
www CNAME shop
_orion-verify.shop TXT "an-older-text"
_orion-verify.shop TXT "0123456789abcdef" "0123456789abcdef"
_orion-verify.alias CNAME token.elsewhere.test.
@ CAA 0 issue "ca.test"
plain A 192.0.2.8
own CAA 0 issue ";"
own A 192.0.2.9
"#;

fn server() -> NameServer {
    NameServer::start(&[("brand.test", ZONE)])
}

fn dns(server: &NameServer) -> Dns {
    let settings = Settings {
        resolvers: vec![server.address()],
        authority_port: server.address().port(),
        allow_private: true,
        ..quick()
    };
    Dns::new(&settings).unwrap()
}

fn quick() -> Settings {
    Settings { timeout: Duration::from_millis(500), ..Settings::default() }
}

#[tokio::test]
async fn the_pieces_of_a_text_are_put_together() {
    let server = server();
    let mut texts = dns(&server).texts("_orion-verify.shop.brand.test").await.unwrap();
    texts.sort();
    assert_eq!(texts, [b"0123456789abcdef0123456789abcdef".to_vec(), b"an-older-text".to_vec()]);
}

#[tokio::test]
async fn no_record_and_no_name_are_answers_and_no_errors() {
    let server = server();
    let dns = dns(&server);
    for name in ["shop.brand.test", "nosuch.brand.test"] {
        assert_eq!(dns.texts(name).await.unwrap(), Vec::<Vec<u8>>::new(), "{name}");
    }
}

#[tokio::test]
async fn the_servers_of_the_closest_zone_are_asked_for_a_second_opinion() {
    let server = server();
    let dns = dns(&server);
    assert_eq!(dns.texts_at_authority("_orion-verify.shop.brand.test").await.unwrap().len(), 2);
    assert_eq!(dns.texts_at_authority("_orion-verify.none.brand.test").await.unwrap(), Vec::<Vec<u8>>::new());
}

#[tokio::test]
async fn an_alias_into_another_zone_is_no_absence() {
    let server = server();
    let answer = dns(&server).texts_at_authority("_orion-verify.alias.brand.test").await;
    assert!(answer.is_err(), "{answer:?}");
}

#[tokio::test]
async fn a_zone_that_nobody_serves_is_no_absence() {
    let server = server();
    let dns = dns(&server);
    assert!(dns.texts("_orion-verify.stranger.test").await.is_err());
    assert!(dns.texts_at_authority("_orion-verify.stranger.test").await.is_err());
}

#[tokio::test]
async fn a_server_that_says_nothing_is_no_absence() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let settings =
        Settings { resolvers: vec![silent.local_addr().unwrap()], timeout: Duration::from_millis(100), ..quick() };
    assert!(matches!(Dns::new(&settings).unwrap().texts("brand.test").await, Err(Error::NoAnswer(_))));
}

#[tokio::test]
async fn addresses_are_those_of_both_families_and_of_the_alias() {
    let server = server();
    let dns = dns(&server);
    let addresses = dns.addresses("www.brand.test").await.unwrap();
    assert_eq!(addresses, ["192.0.2.7".parse::<std::net::IpAddr>().unwrap(), "2001:db8::7".parse().unwrap()]);
    assert_eq!(dns.aliases("www.brand.test").await.unwrap(), ["shop.brand.test"]);
    assert_eq!(dns.aliases("shop.brand.test").await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn the_closest_caa_records_count() {
    let server = server();
    let dns = dns(&server);
    let values = |name| {
        let dns = &dns;
        async move { dns.caa(name).await.unwrap().records.into_iter().map(|caa| caa.value).collect::<Vec<_>>() }
    };
    assert_eq!(values("plain.brand.test").await, [b"ca.test".to_vec()]);
    assert_eq!(values("own.brand.test").await, [b";".to_vec()]);
    assert_eq!(values("deep.own.brand.test").await, [b";".to_vec()]);
}
