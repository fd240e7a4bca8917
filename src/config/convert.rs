//! From one text of the file to one value; used by several sections.

use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use toml::Spanned;

use super::{
    problems::{Refusal, Report},
    written::{List, Written},
};
use crate::routing::Hostname;

impl Report<'_> {
    /// Converts the value of `path`, or `default` where none was written; a refusal is noted and gives `None`.
    pub(super) fn convert<U>(
        &mut self,
        path: &str,
        written: Written<String>,
        default: &str,
        convert: impl FnOnce(&str) -> Result<U, Refusal>,
    ) -> Option<U> {
        let text = written.given().unwrap_or_else(|| Spanned::new(0..0, default.to_owned()));
        match convert(text.get_ref()) {
            Ok(value) => Some(value),
            Err(refusal) => {
                self.refuse(path, text.span(), refusal);
                None
            }
        }
    }

    /// Converts each item of the list at `path`, or of `default` where none was written; refuses repetitions.
    pub(super) fn convert_list<U: PartialEq>(
        &mut self,
        path: &str,
        written: Written<List<String>>,
        default: &[&str],
        convert: impl Fn(&str) -> Result<U, Refusal>,
    ) -> Vec<Spanned<U>> {
        let mut values: Vec<Spanned<U>> = Vec::new();
        for item in items(written, default) {
            match convert(item.get_ref()) {
                Ok(value) if values.iter().any(|earlier| *earlier.get_ref() == value) => {
                    let refusal = Refusal::new("is listed twice", "each item once", "remove one of the two");
                    self.refuse(path, item.span(), refusal);
                }
                Ok(value) => values.push(Spanned::new(item.span(), value)),
                Err(refusal) => self.refuse(path, item.span(), refusal),
            }
        }
        values
    }
}

fn items(written: Written<List<String>>, default: &[&str]) -> Vec<Spanned<String>> {
    match written.given() {
        Some(list) => list.into_inner().0,
        None => default.iter().map(|item| Spanned::new(0..0, (*item).to_owned())).collect(),
    }
}

/// The values without their places.
pub(super) fn plain<T>(values: Vec<Spanned<T>>) -> Vec<T> {
    values.into_iter().map(Spanned::into_inner).collect()
}

/// A DNS name as a person writes it.
pub(super) fn hostname(text: &str) -> Result<Hostname<'static>, Refusal> {
    let refusal = |cause: String, remedy: &str| Refusal::new(cause, "a host name, such as \"platform.com\"", remedy);
    if text.contains("://") {
        return Err(refusal("is a URL".to_owned(), "write the host name alone"));
    }
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Err(refusal("is an address and no name".to_owned(), "write a host name"));
    }
    Hostname::parse_human(text).map_err(|error| refusal(error.to_string(), "correct the name"))
}

/// Address and port to listen on.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, Refusal> {
    text.parse().map_err(|_| {
        let accepted = "an address and a port: \"127.0.0.1:8080\", \"0.0.0.0:80\", \"[::]:80\"";
        let remedy = match text.starts_with(':') {
            true => "put 0.0.0.0 in front for all IPv4 addresses, [::] for IPv6 too",
            false => "write the address in digits, then a colon and the port",
        };
        Refusal::new("is no address to listen on", accepted, remedy)
    })
}

/// A network, or one address as a network of its own.
pub(super) fn network(text: &str) -> Result<IpNet, Refusal> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map(|network| network.trunc()).map_err(|_| {
        let accepted = "a network or an address: \"10.0.0.0/8\", \"192.0.2.7\", \"fd00::/8\"";
        Refusal::new("is no network", accepted, "correct the address or the length of the prefix")
    })
}

/// An absolute path of URLs such as `/admin`, in the one spelling that all readers understand alike.
pub(super) fn url_path(text: &str) -> Result<String, Refusal> {
    let refusal = |cause: &str, remedy: &str| {
        Err(Refusal::new(cause, "a path such as \"/admin\": plain segments of A-Z a-z 0-9 - . _ ~", remedy))
    };
    let Some(path) = text.strip_prefix('/') else {
        return refusal("does not start with a slash", "put a / in front");
    };
    if path.is_empty() {
        return refusal("would be every path", "name at least one segment");
    }
    if path.ends_with('/') {
        return refusal("ends with a slash", "remove the slash at the end; what lies below is meant anyway");
    }
    if path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return refusal(
            "has an empty or a dot segment, which is read in different ways",
            "write the path without them",
        );
    }
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    if !path.bytes().all(unreserved) {
        return refusal("has characters that are read in different ways when encoded", "choose another path");
    }
    Ok(text.to_owned())
}

/// A refusal whose cause is the error of a parser.
pub(super) fn refused_by(error: impl Display, accepted: &str, remedy: &str) -> Refusal {
    Refusal::new(error.to_string(), accepted, remedy)
}
