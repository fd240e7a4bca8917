//! `[admin]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{
    convert::{listen_address, network, plain},
    file,
    problems::{Refusal, Report},
};
use crate::admin;

const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9900);

/// `public` are the addresses of `[listen]`, which the admin listener must not share.
pub(super) fn resolve(written: file::Admin, public: &[SocketAddr], report: &mut Report<'_>) -> admin::Settings {
    let span = written.listen.span();
    let listen = report.convert("admin.listen", written.listen, "127.0.0.1:9900", listen_address).unwrap_or(LISTEN);
    if listen.port() != 0 && public.contains(&listen) {
        let refusal = Refusal::new(
            "is an address of [listen] as well",
            "an address and port of its own",
            "choose another port: the admin listener must not be reachable from outside",
        );
        report.refuse("admin.listen", span.unwrap_or_default(), refusal);
    }
    let allow = report.convert_list("admin.allow", written.allow, &["127.0.0.0/8", "::1/128"], network);
    admin::Settings { listen, allow: plain(allow) }
}
