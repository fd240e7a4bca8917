//! One test per way of being wrong.

use ipnet::IpNet;

use super::{accepted, problem, problems, with};
use crate::{
    config::Config,
    proxy::TrustedProxies,
    routing::{Host, PathHosts, UnknownHost, WwwPolicy},
    telemetry::access_log::Target,
};

/// The cause of each refusal, for values of one key.
fn causes<const N: usize>(section: &str, key: &str, values: [&str; N]) -> [String; N] {
    values.map(|value| {
        let problem = problem(section, &format!("{key} = {value}"));
        assert_eq!(problem.subject, format!("{section}.{key}"), "{problem}");
        problem.cause
    })
}

pub(super) fn all_refused(section: &str, key: &str, values: &[&str]) {
    for value in values {
        let problem = problem(section, &format!("{key} = {value}"));
        assert_eq!(problem.subject, format!("{section}.{key}"), "{problem}");
    }
}

#[test]
fn listen_addresses_have_an_address_and_a_port() {
    let values = [r#"["localhost:80"]"#, r#"[":80"]"#, r#"["127.0.0.1"]"#, r#"["::1:80"]"#];
    assert_eq!(causes("listen", "http", values), ["is no address to listen on"; 4].map(String::from));
    let remedy = problem("listen", "http = [\":80\"]").remedy;
    assert_eq!(remedy, "put 0.0.0.0 in front for all IPv4 addresses, [::] for IPv6 too");
}

#[test]
fn somebody_must_be_able_to_reach_usher() {
    assert_eq!(causes("listen", "http", ["[]"]), ["is empty: nobody could reach usher"]);
}

#[test]
fn an_address_is_listened_on_once_and_port_0_as_often_as_wanted() {
    assert_eq!(causes("listen", "http", [r#"["127.0.0.1:80", "127.0.0.1:80"]"#]), ["is listed twice"]);
    assert_eq!(accepted("listen", r#"http = ["127.0.0.1:0", "127.0.0.1:0"]"#).proxy.http.len(), 2);
}

#[test]
fn the_admin_listener_has_an_address_of_its_own() {
    assert_eq!(causes("admin", "listen", [r#""127.0.0.1:8080""#]), ["is an address of [listen] as well"]);
    let default = problem("listen", r#"http = ["127.0.0.1:9900"]"#);
    assert_eq!((default.subject.as_str(), default.value), ("admin.listen", None));
}

const PAIR: &str = r#"{ certificate = "a.pem", key = "a.key" }"#;

#[test]
fn tls_needs_a_certificate() {
    let problem = problem("listen", r#"https = ["127.0.0.1:8443"]"#);
    assert_eq!((problem.subject.as_str(), problem.cause.as_str()), ("listen.https", "needs a certificate"));
    let both = format!("https = ['127.0.0.1:8443']\n[tls]\ncertificates = [{PAIR}]");
    let config = accepted("listen", &both);
    assert_eq!((config.proxy.https.len(), config.tls.certificates.len()), (1, 1));
}

#[test]
fn a_certificate_is_two_files_and_one_may_be_the_default() {
    let values = ["[{ certificate = 'a.pem' }]", "[{ key = 'a.key' }]", "[{ certificate = '', key = 'a.key' }]"];
    let names = ["names no key", "names no certificate", "names no certificate"];
    assert_eq!(causes("tls", "certificates", values), names.map(String::from));
    let default = PAIR.replace(" }", ", default = true }");
    assert!(accepted("tls", &format!("certificates = [{PAIR}, {default}]")).tls.certificates[1].is_default);
    assert_eq!(causes("tls", "certificates", [&format!("[{default}, {default}]")]), ["is a second default"]);
    let unknown = problem("tls", "certificates = [{ certificate = 'a', key = 'b', defualt = true }]");
    assert_eq!(
        (unknown.subject.as_str(), unknown.remedy.as_str()),
        ("tls.certificates.defualt", "did you mean tls.certificates.default?")
    );
    all_refused("tls", "certificates", &["['a.pem']", "[5]", "'a.pem'"]);
    all_refused("tls", "minimum_version", &["'1.1'", "1.2", "'1.3.0'"]);
}

#[test]
fn admin_networks_may_be_single_addresses() {
    let allow = accepted("admin", r#"allow = ["192.0.2.7", "10.1.2.3/8"]"#).admin.allow;
    assert_eq!(allow.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.7/32", "10.0.0.0/8"]);
    all_refused("admin", "allow", &[r#"["localhost"]"#, r#"["10.0.0.0/33"]"#]);
}

#[test]
fn proxies_in_front_are_networks_addresses_and_names() {
    let proxy = accepted("listen", r#"trusted_proxies = ["loopback", "192.0.2.7"]"#).proxy;
    assert_eq!(proxy.trusted_proxies, TrustedProxies::new(networks(["127.0.0.0/8", "::1/128", "192.0.2.7/32"])));
    let proxy = accepted("listen", r#"proxy_protocol = ["10.1.2.3/8"]"#).proxy;
    assert_eq!(proxy.proxy_protocol, networks(["10.0.0.0/8"]));
    for key in ["trusted_proxies", "proxy_protocol"] {
        all_refused("listen", key, &[r#"["lb.internal"]"#, r#"["10.0.0.0/33"]"#, r#"["private", "private"]"#, "true"]);
    }
    let slip = problem("listen", r#"trusted_proxies = ["cloudfare"]"#);
    assert_eq!(slip.remedy, "did you mean \"cloudflare\"?");
}

#[test]
fn a_list_of_proxies_that_holds_everybody_is_warned_of() {
    for key in ["trusted_proxies", "proxy_protocol"] {
        let warnings = accepted("listen", &format!(r#"{key} = ["private", "0.0.0.0/0"]"#)).warnings;
        let shown: Vec<_> = warnings.iter().map(|warning| (warning.subject.clone(), warning.value.clone())).collect();
        assert_eq!(shown, [(format!("listen.{key}"), Some("\"0.0.0.0/0\"".to_owned()))]);
    }
}

fn networks<const N: usize>(texts: [&str; N]) -> Vec<IpNet> {
    texts.map(|text| text.parse().unwrap()).to_vec()
}

#[test]
fn numbers_keep_their_bounds() {
    all_refused("listen", "connections_max", &["0", "-1", "1.5", "\"100\"", "1000001"]);
    all_refused("listen", "header_max_bytes", &["\"8191B\"", "\"2MiB\"", "32768"]);
    all_refused("listen", "header_timeout", &["\"0s\"", "30", "\"30\"", "\"366d\""]);
    all_refused("directory", "loads_max", &["0"]);
    all_refused("directory", "loads_per_second", &["0"]);
    all_refused("upstreams.default", "connect_timeout", &["\"0ms\""]);
}

#[test]
fn headers_that_frame_a_message_cannot_be_owned() {
    for name in super::super::listen::FRAMING_HEADERS {
        let line = format!("owned_headers = [\"{}\"]", name.to_ascii_uppercase());
        assert_eq!(problem("listen", &line).cause, "frames the message; usher handles it itself");
    }
    all_refused("listen", "owned_headers", &[r#"["X Plan"]"#, r#"[""]"#, r#"["X-Plan", "x-plan"]"#]);
    assert_eq!(accepted("listen", r#"owned_headers = ["X-Plan"]"#).proxy.owned_headers, ["x-plan"]);
}

fn with_platforms(domains: &str, lines: &str) -> String {
    with("routing", lines).replace(r#"["platform.com"]"#, domains)
}

#[test]
fn platform_domains_are_names_and_each_stands_once() {
    let refused = [
        (r#"["platform.com", "PLATFORM.com."]"#, "is listed twice"),
        (r#"["*.platform.com"]"#, "has a star"),
        (r#"["https://platform.com"]"#, "is a URL"),
        (r#"["192.0.2.7"]"#, "is an address and no name"),
        ("[]", "names no domain"),
    ];
    for (domains, cause) in refused {
        let found = problems(&with_platforms(domains, ""));
        let causes: Vec<_> = found.iter().map(|problem| problem.cause.as_str()).collect();
        assert_eq!(causes, [cause], "{domains}");
        assert_eq!(found[0].subject, "routing.platform_domains");
    }
    assert_eq!(problems(&with_platforms(r#"["plat form.com"]"#, "")).len(), 1);
}

#[test]
fn platform_domains_may_be_written_as_people_write_them() {
    let routing = super::parse(&with_platforms(r#"["Bücher.example", "b.Example."]"#, "")).unwrap().routing;
    let names: Vec<_> = routing.platform_domains.iter().map(|name| name.as_str()).collect();
    assert_eq!(names, ["xn--bcher-kva.example", "b.example"]);
}

#[test]
fn no_label_fits_before_a_platform_domain_of_full_length() {
    let longest = format!("{}.{}", vec!["a".repeat(61); 4].join("."), "abcd");
    let found = problems(&with_platforms(&format!("[\"{longest}\"]"), ""));
    assert_eq!((found.len(), found[0].subject.as_str()), (1, "routing.admin_hosts"), "{found:#?}");
}

#[test]
fn the_star_of_an_admin_host_stands_for_each_platform_domain() {
    let text = with_platforms(r#"["Platform.com", "shops.example"]"#, r#"admin_hosts = ["Backend.*", "hq.example"]"#);
    let routing = super::parse(&text).unwrap().routing;
    let hosts: Vec<_> = routing.admin_hosts.iter().map(|host| host.as_str()).collect();
    assert_eq!(hosts, ["backend.platform.com", "backend.shops.example", "hq.example"]);
    assert_eq!(routing.admin_labels, ["backend"]);
}

#[test]
fn a_star_stands_at_the_end_behind_one_label() {
    all_refused("routing", "admin_hosts", &[r#"["*.platform.com"]"#, r#"["*"]"#, r#"["a.b.*"]"#, r#"["admin*"]"#]);
}

#[test]
fn a_platform_domain_cannot_be_the_administration() {
    let cause = "makes platform.com the administration, which is a platform domain";
    assert_eq!(causes("routing", "admin_hosts", [r#"["platform.com"]"#]), [cause]);
    let nested = problems(&with_platforms(r#"["platform.com", "admin.platform.com"]"#, r#"admin_hosts = ["admin.*"]"#));
    assert_eq!(nested[0].subject, "routing.admin_hosts");
}

#[test]
fn paths_have_one_spelling() {
    let odd = [
        r#"["admin"]"#,
        r#"["/"]"#,
        r#"["/admin/"]"#,
        r#"["//admin"]"#,
        r#"["/x/../admin"]"#,
        r#"["/%61dmin"]"#,
        r#"["/admin?x"]"#,
        r#"["/admin;x"]"#,
        r#"["/ädmin"]"#,
    ];
    all_refused("routing", "admin_paths", &odd);
    all_refused("routing", "path_prefix", &odd.map(|list| list.trim_matches(['[', ']'])));
    assert_eq!(accepted("routing", r#"path_prefix = "/s/v1""#).routing.path_prefix, "/s/v1");
}

#[test]
fn a_prefix_that_is_never_reached_is_refused() {
    let cause = "is never reached: routing.admin_paths has \"/admin\"";
    assert_eq!(causes("routing", "path_prefix", [r#""/admin""#, r#""/admin/store""#]), [cause, cause]);
    assert_eq!(accepted("routing", r#"path_prefix = "/administrator""#).routing.path_prefix, "/administrator");
    assert_eq!(problem("routing", r#"admin_paths = ["/store"]"#).subject, "routing.path_prefix");
}

#[test]
fn path_hosts_are_names_or_addresses_without_a_port() {
    let hosts = accepted("routing", r#"path_hosts = ["localhost", "127.0.0.1", "[::1]"]"#).routing.path_hosts;
    let PathHosts::Listed(hosts) = hosts else { panic!("{hosts:?}") };
    assert!(matches!(&hosts[..], [Host::Name(_), Host::Ip(v4), Host::Ip(v6)] if v4.is_ipv4() && v6.is_ipv6()));
    all_refused("routing", "path_hosts", &[r#"["localhost:8080"]"#, r#"["http://localhost"]"#]);
}

#[test]
fn reserved_labels_are_single_labels() {
    assert_eq!(accepted("routing", r#"reserved_labels = ["WWW"]"#).routing.reserved_labels, ["www"]);
    all_refused("routing", "reserved_labels", &[r#"["a.b"]"#, r#"[""]"#]);
}

#[test]
fn an_unknown_host_is_refused_sent_home_or_redirected() {
    let unknown = |value: &str| accepted("routing", &format!("unknown_host = {value}")).routing.unknown_host;
    assert_eq!(unknown(r#""not_found""#), UnknownHost::NotFound);
    assert_eq!(unknown(r#""homepage""#), UnknownHost::Homepage);
    let url = "https://platform.com/start";
    assert_eq!(unknown(&format!("{{ redirect = \"{url}\" }}")), UnknownHost::Redirect(url.parse().unwrap()));
}

#[test]
fn a_redirect_goes_to_an_absolute_url_without_a_password() {
    for url in ["/start", "platform.com", "ftp://platform.com", "https://u:p@platform.com/", "https://a b/"] {
        let problem = problem("routing", &format!("unknown_host = {{ redirect = \"{url}\" }}"));
        assert_eq!(problem.subject, "routing.unknown_host.redirect", "{problem}");
        assert!(!problem.to_string().contains("u:p"), "{problem}");
    }
    all_refused("routing", "unknown_host", &["\"404\"", "5", "[]"]);
    assert_eq!(problem("routing", "unknown_host = {}").subject, "routing.unknown_host.redirect");
}

#[test]
fn www_is_one_of_three() {
    assert_eq!(accepted("routing", "www = \"serve\"").routing.www, WwwPolicy::Serve);
    assert_eq!(causes("routing", "www", ["\"maybe\"", "5"]), ["there is no such choice", "this is of the wrong type"]);
}

#[test]
fn a_tenant_is_usable_at_least_as_long_as_fresh() {
    let problem = problem("directory", "usable_for = \"30s\"");
    assert_eq!(problem.cause, "a tenant would stop being usable while it is still fresh");
}

#[test]
fn the_access_log_goes_to_a_path_or_a_known_target() {
    let target = |value: &str| accepted("log", &format!("access = \"{value}\"")).access_log.target;
    assert_eq!(
        [target("off"), target("stdout"), target("./a.log")],
        [Target::Off, Target::Stdout, Target::File("./a.log".into())]
    );
    let slip = problem("log", "access = \"stdot\"");
    assert_eq!((slip.subject.as_str(), slip.remedy.as_str()), ("log.access", "did you mean \"stdout\"?"));
    all_refused("log", "access", &["\"\"", "\"/var/log/\""]);
}

#[test]
fn log_filter_and_format_are_checked() {
    all_refused("log", "filter", &["\"\"", "\"usher=loud\""]);
    all_refused("log", "format", &["\"xml\""]);
    assert!(accepted("log", "format = \"json\"").log.json);
}

#[test]
fn what_reads_the_default_tables_does_not_stand_beside_queries_of_ones_own() {
    let beside = |section: &str, key: &str, column: &str| {
        let sql = format!("SELECT 1 AS store_id, '' AS {column} WHERE $1 = ''");
        let own = format!("queries = {{ custom_domain = \"{sql}\" }}\nfollow = \"off\"");
        with(section, key).replace("[directory]\n", &format!("[directory]\n{own}\n"))
    };
    for (section, key, cause) in [
        ("routing", "secondary_domains = \"redirect\"", "needs a column primary_domain"),
        ("routing", "subdomains = \"redirect\"", "needs a column primary_domain"),
        ("domains", "verification = \"usher\"", "needs the tables stores and store_domains"),
    ] {
        let found = problems(&beside(section, key, "upstream"));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].cause.starts_with(cause), "{found:#?}");
    }
    assert!(accepted("routing", "secondary_domains = \"redirect\"").routing.redirects.secondary);
    let brought = beside("routing", "secondary_domains = \"redirect\"", "primary_domain");
    assert!(Config::parse(&brought, "usher.toml", &|_| None).is_ok());
}

#[test]
fn looks_at_domains_are_checked() {
    all_refused("domains", "check_timeout", &["\"51s\"", "\"1ms\"", "20"]);
    all_refused("domains", "resolvers", &[r#"["dns.example:53"]"#, r#"["9.9.9.9:53", "9.9.9.9"]"#]);
    all_refused("domains", "authority_port", &["0", "65536"]);
    all_refused("domains", "verification", &["\"nobody\"", "true"]);
    all_refused("domains", "former_prefixes", &[r#"["a.b"]"#]);
    let checks = accepted("domains", "resolvers = [\"9.9.9.9\", \"[2620:fe::fe]:5353\"]").domains.checks;
    assert_eq!(checks.dns.resolvers, ["9.9.9.9:53".parse().unwrap(), "[2620:fe::fe]:5353".parse().unwrap()]);
}

#[test]
fn dns_records_are_checked() {
    all_refused("domains", "verification_prefix", &["\"\"", "\"a.b\""]);
    all_refused("domains", "addresses", &[r#"["edge.platform.com"]"#]);
    all_refused("domains", "cname", &["\"192.0.2.7\"", "\"\""]);
}

#[test]
fn a_table_is_watched_once() {
    let watch = |table: &str| format!("[[directory.watch]]\ntable = '{table}'\ncolumns = ['id']\n");
    let queries = "[directory.queries]\ncustom_domain = 'SELECT id AS store_id FROM shops WHERE domain = $1'\n";
    let text = |tables: [&str; 2]| format!("{}\n{queries}{}", super::MINIMAL, tables.map(watch).join(""));
    let found = super::problems(&text(["shops", "Shops"]));
    let causes: Vec<_> = found.iter().map(|problem| problem.cause.as_str()).collect();
    assert_eq!(causes, ["names the table Shops again, which has one set of triggers"]);
    assert!(Config::parse(&text(["shops", "domains"]), "usher.toml", &|_| None).is_ok());
}
