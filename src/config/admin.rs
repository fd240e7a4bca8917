//! `[admin]`.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use super::{
    Env,
    convert::{listen_address, network, plain},
    file,
    problems::{Refusal, Report},
    written::Written,
};
use crate::admin::{self, Token};

const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9900);

/// Holds the token itself, and counts before the file.
const TOKEN: &str = "USHER_ADMIN_TOKEN";

/// `public` are the addresses of `[listen]`, which the admin listener must not share.
pub(super) fn resolve(
    written: file::Admin,
    public: &[SocketAddr],
    env: Env<'_>,
    report: &mut Report<'_>,
) -> admin::Settings {
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
    admin::Settings { listen, allow: plain(allow), token: token(written.token_file, env, report) }
}

/// The token from its variable, or from the file that is named.
fn token(file: Written<String>, env: Env<'_>, report: &mut Report<'_>) -> Option<Token> {
    let accepted = "16 or more visible ASCII characters, such as `openssl rand -hex 32` prints";
    let too_short = || Refusal::new("holds no token that can be used", accepted, "make a new one");
    if let Some(text) = env(TOKEN).filter(|text| !text.trim().is_empty()) {
        let token = Token::new(text.trim());
        return token.or_else(|| {
            report.refuse_variable(TOKEN, too_short());
            None
        });
    }
    let path = file.given()?;
    let refused = |error| {
        Refusal::new(
            format!("cannot be read: {error}"),
            "a file that holds nothing but the token",
            "check path and rights",
        )
    };
    let text = fs::read_to_string(path.get_ref()).map_err(refused);
    let token = text.and_then(|text| Token::new(text.trim()).ok_or_else(too_short));
    // Somebody may have written the token itself.
    token.map_err(|refusal| report.refuse_secret("admin.token_file", path.span(), refusal)).ok()
}
