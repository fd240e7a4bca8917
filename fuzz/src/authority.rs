//! `Host` and `:authority`: what is accepted means the same to every reader, and says so in one form.

use usher::routing::{Authority, Host};

/// The input is the value of a `Host` field.
pub fn check(input: &[u8]) {
    let Ok(wire) = str::from_utf8(input) else { return };
    let Ok(authority) = Authority::parse(wire) else { return };
    let printed = authority.to_string();
    assert_eq!(Authority::parse(&printed), Ok(authority.clone()), "{wire:?} prints as {printed:?}");
    check_form(&printed);
    check_other_reader(&authority, &printed);
    if let Host::Name(name) = &authority.host {
        check_name(name.as_str());
        check_nothing_was_made_up(wire, name.as_str());
    }
}

/// Nothing that separates, quotes or hides: the form can stand in a header, a log line and a look-up as it is.
fn check_form(printed: &str) {
    let harmless = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-._:[]".contains(&octet);
    assert!(printed.bytes().all(harmless), "{printed:?}");
}

/// The parser of the `http` crate, which knows nothing of ours, finds the same host and port.
fn check_other_reader(authority: &Authority<'_>, printed: &str) {
    let other: http::uri::Authority = printed.parse().unwrap_or_else(|error| panic!("{error}: {printed:?}"));
    assert_eq!(other.host(), authority.host.to_string());
    assert_eq!(other.port_u16(), authority.port);
}

/// RFC 1035 §2.3.4.
fn check_name(name: &str) {
    assert!((1..=253).contains(&name.len()), "{name:?}");
    assert!(name.split('.').all(|label| (1..=63).contains(&label.len())), "{name:?}");
    assert!(name.parse::<std::net::Ipv4Addr>().is_err(), "{name:?} is an address");
}

/// Of a name only letters change their case, and a final dot goes.
fn check_nothing_was_made_up(wire: &str, name: &str) {
    let host = wire.split(':').next().unwrap_or_default();
    let host = host.strip_suffix('.').unwrap_or(host);
    assert!(host.eq_ignore_ascii_case(name), "{wire:?} became {name:?}");
}
