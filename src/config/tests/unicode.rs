//! Names may be written in Unicode wherever a person writes them; what they mean is what the wire has.

use super::{accepted, problem, problems};

#[test]
fn reserved_labels_may_be_written_in_unicode() {
    let reserved = accepted("routing", r#"reserved_labels = ["Bücher", "www"]"#).routing.reserved_labels;
    assert_eq!(reserved, ["xn--bcher-kva", "www"]);
    let twice = problem("routing", r#"reserved_labels = ["bücher", "xn--bcher-kva"]"#);
    assert_eq!(twice.cause, "is listed twice");
    let refused = problem("routing", r#"reserved_labels = ["bü。cher"]"#);
    assert_eq!((refused.subject.as_str(), refused.value.as_deref()), ("routing.reserved_labels", Some("\"bü。cher\"")));
}

#[test]
fn the_label_of_an_admin_host_may_be_written_in_unicode() {
    let routing = accepted("routing", r#"admin_hosts = ["Büro.*", "büro.example"]"#).routing;
    let hosts: Vec<_> = routing.admin_hosts.iter().map(|host| host.as_str()).collect();
    assert_eq!(hosts, ["xn--bro-hoa.platform.com", "xn--bro-hoa.example"]);
    assert_eq!(routing.admin_labels, ["xn--bro-hoa"]);
}

#[test]
fn an_app_server_may_be_written_in_unicode() {
    let servers = |list: &str| {
        let text = super::MINIMAL.replace("\"http://127.0.0.1:8000\"", list);
        super::parse(&text).map(|config| config.upstreams[0].servers.clone())
    };
    let list = r#""http://Bücher:8000", "http://app.bücher.example:8000/""#;
    let shown: Vec<_> = servers(list).unwrap().iter().map(|server| server.address.to_string()).collect();
    assert_eq!(shown, ["xn--bcher-kva:8000", "app.xn--bcher-kva.example:8000"]);
    let service = servers(r#""srv+http://_http._tcp.bücher.example""#).unwrap();
    assert_eq!(service[0].address.to_string(), "_http._tcp.xn--bcher-kva.example");
    for (server, cause) in [
        ("http://bücher", "has no port from 1 to 65535"),
        ("http://bücher:8000/base", "has a path or a query; a request keeps its own"),
        ("http://ü:p@app:8000", "has a user name, which would be sent to nobody"),
        ("http://a\u{200d}b:8000", "is no valid internationalised name"),
    ] {
        let found = problems(&super::MINIMAL.replace("http://127.0.0.1:8000", server));
        assert_eq!((found.len(), found[0].cause.as_str()), (1, cause), "{server}");
    }
}
