//! App servers: what is accepted, and each way of being wrong.

use super::refusals::all_refused;
use super::{accepted, problem, problems, with};
use crate::upstream::{Balance, Protocol, ProxyProtocol};

#[test]
fn named_upstreams_exist() {
    let config = accepted("upstreams.admin", "servers = [\"http://a:1\"]");
    assert_eq!((config.admin_upstream, config.tenant_upstream), (1, 1), "admin sorts before default");
    let missing = problem("routing", "homepage_upstream = \"defalt\"");
    assert_eq!(
        (missing.subject.as_str(), missing.remedy.as_str()),
        ("routing.homepage_upstream", "did you mean \"default\"?")
    );
}

#[test]
fn routing_names_the_upstream_of_administration_and_homepage() {
    let text = with("routing", "admin_upstream = \"back\"\nhomepage_upstream = \"site\"");
    let text =
        format!("{text}[upstreams.back]\nservers = [\"http://a:1\"]\n[upstreams.site]\nservers = [\"http://b:1\"]\n");
    let config = super::parse(&text).unwrap();
    let name = |index: usize| config.upstreams[index].name.as_str();
    let roles = [config.tenant_upstream, config.admin_upstream, config.homepage_upstream].map(name);
    assert_eq!(roles, ["default", "back", "site"]);
}

#[test]
fn names_of_upstreams_are_plain() {
    for name in ["\"a.b\"", "Back", "\"\"", "\"ä\""] {
        let text = format!("{}\n[upstreams.{name}]\nservers = [\"http://a:1\"]\n", super::MINIMAL);
        assert_eq!(problems(&text)[0].cause, "this name cannot be used: it is a label of the metrics");
    }
}

#[test]
fn the_default_upstream_and_its_servers_are_required() {
    let text = super::MINIMAL.replace("[upstreams.default]", "[upstreams.other]");
    assert_eq!(problems(&text)[0].subject, "upstreams.default");
    let text = super::MINIMAL.replace("servers = [\"http://127.0.0.1:8000\"]", "");
    let found = problems(&text);
    assert_eq!(
        (found[0].subject.as_str(), found[0].cause.as_str()),
        ("upstreams.default.servers", "names no app server")
    );
}

#[test]
fn a_server_is_scheme_host_and_port() {
    let refused = [
        ("127.0.0.1:8000", "is not an http:// URL"),
        ("unix:run/app.sock", "is no absolute path"),
        ("srv+http://10.0.0.1", "is an address and no name"),
        ("http://app", "has no port from 1 to 65535"),
        ("http://app:0", "has no port from 1 to 65535"),
        ("http://u:p@app:8000", "has a user name, which would be sent to nobody"),
        ("http://app:8000/base", "has a path or a query; a request keeps its own"),
        ("http://app:8000/?x", "has a path or a query; a request keeps its own"),
        ("http://app:99999", "has no port from 1 to 65535"),
        ("http://app :80", "is no URL"),
    ];
    for (server, cause) in refused {
        let text = super::MINIMAL.replace("http://127.0.0.1:8000", server);
        let found = problems(&text);
        assert_eq!((found.len(), found[0].cause.as_str()), (1, cause), "{server}");
        assert!(!found[0].to_string().contains("u:p"));
    }
}

#[test]
fn a_server_may_be_a_name_or_an_address() {
    let text = super::MINIMAL
        .replace("\"http://127.0.0.1:8000\"", r#""http://App_1:8000/", "http://[::1]:8001", "http://127.0.0.1:8002""#);
    let servers = super::parse(&text).unwrap().upstreams.remove(0).servers;
    let shown: Vec<_> = servers.iter().map(|server| server.address.to_string()).collect();
    assert_eq!(shown, ["app_1:8000", "[::1]:8001", "127.0.0.1:8002"]);
}

#[test]
fn a_server_may_be_a_socket_a_service_or_behind_tls() {
    let settings = |server: &str, keys: &str| {
        let text = super::MINIMAL.replace("\"http://127.0.0.1:8000\"", &format!("\"{server}\""));
        super::parse(&format!("{text}\n{keys}")).unwrap().upstreams.remove(0)
    };
    for server in ["unix:/run/app.sock", "https://a:1", "h2://a:1", "srv+http://_http._tcp.a", "srv+h2c://_grpc._tcp.a"]
    {
        let settings = settings(server, "");
        assert_eq!(settings.url(&settings.servers[0].address), server);
        assert_eq!(settings.tls.is_some(), server.contains("https") || server.starts_with("h2://"));
    }
    let resolvers = settings("http://a:1", "resolvers = [\"10.0.0.2\", \"127.0.0.1:8600\"]").resolvers;
    assert_eq!(resolvers, ["10.0.0.2:53", "127.0.0.1:8600"].map(|address| address.parse().unwrap()));
    let tls = settings("https://a:1", "ca_file = \"ca.pem\"\nserver_name = \"App.Internal\"").tls.unwrap();
    assert_eq!((tls.ca_file.unwrap().to_str(), tls.server_name.as_deref()), (Some("ca.pem"), Some("app.internal")));
}

#[test]
fn keys_of_tls_need_servers_that_speak_it_and_each_other() {
    let found = |server: &str, keys: &str| {
        let text = super::MINIMAL.replace("\"http://127.0.0.1:8000\"", &format!("\"{server}\""));
        problems(&format!("{text}\n{keys}")).remove(0)
    };
    for key in ["ca_file", "client_certificate", "client_key", "server_name"] {
        let problem = found("http://a:1", &format!("{key} = \"x\""));
        assert_eq!(problem.subject, format!("upstreams.default.{key}"));
    }
    assert_eq!(found("https://a:1", "client_key = \"x\"").subject, "upstreams.default.client_certificate");
    assert_eq!(found("https://a:1", "server_name = \"a b\"").subject, "upstreams.default.server_name");
    assert_eq!(found("http://a:1", "resolvers = [\"ns.a\"]").subject, "upstreams.default.resolvers");
}

#[test]
fn all_servers_of_an_upstream_speak_one_protocol() {
    let servers = |list: &str| super::MINIMAL.replace("\"http://127.0.0.1:8000\"", list);
    let protocol = |list: &str| super::parse(&servers(list)).unwrap().upstreams.remove(0).protocol;
    assert_eq!(protocol(r#""http://a:1", "http://b:1""#), Protocol::Http1);
    assert_eq!(protocol(r#""h2c://a:1", "h2c://b:1""#), Protocol::Http2);
    let found = problems(&servers(r#""h2c://a:1", "http://b:1""#));
    assert_eq!(found[0].cause, "speaks another protocol than the first one");
    assert_eq!((found.len(), found[0].value.as_deref()), (1, Some("\"http://b:1\"")));
}

#[test]
fn a_server_may_have_a_weight() {
    let servers = |list: &str| super::MINIMAL.replace("\"http://127.0.0.1:8000\"", list);
    let upstream = super::parse(&servers(r#""http://a:1", { url = "http://b:1", weight = 100 }"#)).unwrap().upstreams;
    assert_eq!(upstream[0].servers.iter().map(|server| server.weight).collect::<Vec<_>>(), [1, 100]);
    for wrong in ["0", "101", "1.5", "\"2\""] {
        let found = problems(&servers(&format!("\"http://a:1\", {{ url = \"http://b:1\", weight = {wrong} }}")));
        assert_eq!((found[0].subject.as_str(), found.len()), ("upstreams.default.servers.weight", 1), "{found:?}");
    }
    for wrong in
        ["1", "{ weight = 2 }", r#"{ url = "http://a:1", wieght = 2 }"#, r#"{ url = "ftp://a:1", weight = 2 }"#]
    {
        assert!(problems(&servers(wrong))[0].subject.starts_with("upstreams.default.servers"), "{wrong}");
    }
    let twice = problems(&servers(r#""http://a:1", { url = "http://a:1", weight = 2 }"#));
    assert_eq!(twice[0].remedy, "remove one of the two; a larger share is a weight");
}

#[test]
fn there_are_three_ways_to_choose_a_server() {
    let balance = |value: &str| accepted("upstreams.default", &format!("balance = \"{value}\"")).upstreams[0].balance;
    let ways = ["least_loaded", "round_robin", "store_affinity"].map(balance);
    assert_eq!(ways, [Balance::LeastLoaded, Balance::RoundRobin, Balance::StoreAffinity]);
    all_refused("upstreams.default", "balance", &["\"random\"", "1"]);
}

#[test]
fn proxy_protocol_is_off_or_version_2() {
    let setting =
        |value: &str| accepted("upstreams.default", &format!("proxy_protocol = \"{value}\"")).upstreams.remove(0);
    assert_eq!(setting("off").proxy_protocol, ProxyProtocol::Off);
    assert_eq!(setting("v2").proxy_protocol, ProxyProtocol::V2);
    all_refused("upstreams.default", "proxy_protocol", &["\"v1\"", "true", "2"]);
}
