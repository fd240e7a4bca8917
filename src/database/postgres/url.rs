//! The URL of a server, as applications write it.
//!
//! [`tokio_postgres::Config`] reads most of it; what it does not know (drivers in the scheme, half of libpq's TLS modes) is
//! taken out before. No text made here ever quotes a part of the URL that could be a password.

use std::{error::Error as _, path::PathBuf, str::FromStr, time::Duration};

use tokio_postgres::config::{Config, Host};

use super::{CONNECT_TIMEOUT, CONNECTIONS_MAX, QUERY_TIMEOUT, Settings, TlsMode, WAIT_TIMEOUT};

/// Firewalls and NAT tables forget a silent connection after minutes and say nothing; probing twice a minute keeps the pool's
/// connections alive, and finds dead ones before a request does.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(30);

/// A URL that cannot be used; never shows the password.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UrlError(pub String);

pub(super) fn parse(url: &str) -> Result<Settings, UrlError> {
    let rest = without_scheme(url)?;
    require_encoded_credentials(rest)?;
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let query = Query::parse(query)?;
    let mut server = server(address, &query)?;
    let connect_timeout = apply_defaults(&mut server, &query);
    let tls = if is_local(&server) { TlsMode::Disable } else { query.tls_mode()? };
    Ok(Settings {
        server,
        tls,
        tls_root: query.root_file(),
        connections_max: CONNECTIONS_MAX,
        connect_timeout,
        wait_timeout: WAIT_TIMEOUT,
        query_timeout: QUERY_TIMEOUT,
    })
}

/// What stands behind `postgres://`, `postgresql://`, `postgresql+driver://`.
fn without_scheme(url: &str) -> Result<&str, UrlError> {
    let refusal = || UrlError("is not a PostgreSQL URL; write postgresql://user:password@host:5432/database".into());
    let (scheme, rest) = url.split_once("://").ok_or_else(refusal)?;
    match scheme.split('+').next() {
        Some("postgres" | "postgresql") => Ok(rest),
        _ => Err(refusal()),
    }
}

/// With a stray `@`, `/` or `?` in the password, its tail would be read as host or option, and quoted in an error.
fn require_encoded_credentials(rest: &str) -> Result<(), UrlError> {
    match rest.split_once('@') {
        Some((credentials, address)) if credentials.contains(['/', '?']) || address.contains('@') => {
            Err(UrlError("has `@`, `/` or `?` in user name, password or options; write %40, %2F, %3F there".into()))
        }
        _ => Ok(()),
    }
}

fn server(address: &str, query: &Query) -> Result<Config, UrlError> {
    let url = format!("postgresql://{address}?{}", query.others.join("&"));
    let server = Config::from_str(&url).map_err(|error| query.explain(&error))?;
    if server.get_hosts().is_empty() && server.get_hostaddrs().is_empty() {
        return Err(UrlError("names no server; write postgresql://user:password@host:5432/database".into()));
    }
    Ok(server)
}

/// Returns the deadline for a whole connect; each host gets its share, so that a dead first one cannot use up all of it.
fn apply_defaults(server: &mut Config, query: &Query) -> Duration {
    if server.get_application_name().is_none() {
        server.application_name("usher");
    }
    if !query.names("keepalives_idle") {
        server.keepalives_idle(KEEPALIVES_IDLE);
    }
    let deadline = server.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
    let hosts = u32::try_from(server.get_hosts().len().max(1)).unwrap_or(u32::MAX);
    server.connect_timeout(deadline / hosts);
    deadline
}

/// Whether only Unix sockets are meant, where libpq ignores `sslmode` and servers refuse TLS.
fn is_local(server: &Config) -> bool {
    !server.get_hosts().is_empty() && server.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)))
}

/// The part after `?`, with the TLS options taken out.
#[derive(Default)]
struct Query<'a> {
    sslmode: Option<String>,
    sslrootcert: Option<String>,
    others: Vec<&'a str>,
}

impl<'a> Query<'a> {
    fn parse(text: &'a str) -> Result<Self, UrlError> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode" | "ssl", value)) => query.sslmode = Some(decode(value)?),
                Some(("sslrootcert", value)) => query.sslrootcert = Some(decode(value)?),
                Some(_) => query.others.push(pair),
                None => return Err(UrlError("has an option without `=` behind the `?`".into())),
            }
        }
        Ok(query)
    }

    fn names(&self, option: &str) -> bool {
        self.others.iter().any(|pair| pair.split('=').next() == Some(option))
    }

    /// libpq checks the chain under `require` as soon as a root certificate is given, and allows the system's roots only
    /// together with the name check (its manual, §34.19.1).
    fn tls_mode(&self) -> Result<TlsMode, UrlError> {
        let mode = self.sslmode.as_deref().map(parse_tls_mode).transpose()?;
        match (self.sslrootcert.as_deref(), mode) {
            (Some("system"), None | Some(TlsMode::VerifyFull)) => Ok(TlsMode::VerifyFull),
            (Some("system"), _) => Err(UrlError("has sslrootcert=system, which needs sslmode=verify-full".into())),
            (Some(_), Some(TlsMode::Require)) => Ok(TlsMode::VerifyCa),
            (_, mode) => Ok(mode.unwrap_or(TlsMode::Prefer)),
        }
    }

    fn root_file(&self) -> Option<PathBuf> {
        self.sslrootcert.as_deref().filter(|path| *path != "system").map(PathBuf::from)
    }

    /// A password among the options may hold a bare `&`, whose tail then looks like the name of an unknown option.
    fn explain(&self, error: &tokio_postgres::Error) -> UrlError {
        match error.source() {
            Some(cause) if !self.names("password") => UrlError(format!("cannot be used: {cause}")),
            _ => UrlError("cannot be used: one of its options is unknown or has an invalid value".into()),
        }
    }
}

fn parse_tls_mode(text: &str) -> Result<TlsMode, UrlError> {
    match text {
        "disable" => Ok(TlsMode::Disable),
        "allow" | "prefer" => Ok(TlsMode::Prefer),
        "require" => Ok(TlsMode::Require),
        "verify-ca" => Ok(TlsMode::VerifyCa),
        "verify-full" => Ok(TlsMode::VerifyFull),
        _ => Err(UrlError(
            "has an unknown sslmode; write disable, allow, prefer, require, verify-ca or verify-full".into(),
        )),
    }
}

/// Percent-decodes a value (RFC 3986 §2.1).
fn decode(text: &str) -> Result<String, UrlError> {
    let refusal = || UrlError("has an option with a broken %-encoding".into());
    let mut decoded = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    decoded.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or_else(refusal)?;
        decoded.push(byte);
        decoded.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(decoded).map_err(|_| refusal())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_of_the_apps_own_url_are_accepted() {
        for scheme in ["postgres", "postgresql", "postgresql+asyncpg", "postgres+psycopg2"] {
            let settings = Settings::parse(&format!("{scheme}://app:secret@db:6543/shops")).unwrap();
            assert_eq!(settings.server.get_user(), Some("app"));
            assert_eq!(settings.server.get_password(), Some(&b"secret"[..]));
            assert_eq!(settings.server.get_hosts(), [Host::Tcp("db".into())]);
            assert_eq!(settings.server.get_ports(), [6543]);
            assert_eq!(settings.server.get_dbname(), Some("shops"));
            assert_eq!(settings.server.get_application_name(), Some("usher"));
        }
    }

    #[test]
    fn other_schemes_are_refused() {
        for url in ["mysql://db/x", "postgresqlx://db/x", "db/x", "", "postgres:/db"] {
            assert!(Settings::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn every_sslmode_of_libpq_is_understood() {
        let mode = |query: &str| Settings::parse(&format!("postgres://db/x{query}")).map(|settings| settings.tls);
        assert_eq!(mode("").unwrap(), TlsMode::Prefer);
        assert_eq!(mode("?sslmode=disable").unwrap(), TlsMode::Disable);
        assert_eq!(mode("?sslmode=allow").unwrap(), TlsMode::Prefer);
        assert_eq!(mode("?sslmode=prefer").unwrap(), TlsMode::Prefer);
        assert_eq!(mode("?sslmode=require").unwrap(), TlsMode::Require);
        assert_eq!(mode("?ssl=require").unwrap(), TlsMode::Require);
        assert_eq!(mode("?sslmode=verify-ca").unwrap(), TlsMode::VerifyCa);
        assert_eq!(mode("?sslmode=verify-full").unwrap(), TlsMode::VerifyFull);
        assert!(mode("?sslmode=sometimes").is_err());
    }

    #[test]
    fn a_root_certificate_is_used_as_libpq_does() {
        let settings = Settings::parse("postgres://db/x?sslrootcert=%2Fetc%2Fca%20one.pem&sslmode=require").unwrap();
        assert_eq!(settings.tls_root, Some(PathBuf::from("/etc/ca one.pem")));
        assert_eq!(settings.tls, TlsMode::VerifyCa);
        let system = Settings::parse("postgres://db/x?sslrootcert=system").unwrap();
        assert_eq!((system.tls, system.tls_root), (TlsMode::VerifyFull, None));
        assert!(Settings::parse("postgres://db/x?sslrootcert=system&sslmode=require").is_err());
    }

    #[test]
    fn a_unix_socket_takes_no_tls() {
        let settings = Settings::parse("postgres:///x?host=/run/postgresql&sslmode=verify-full").unwrap();
        assert_eq!(settings.tls, TlsMode::Disable);
        assert_eq!(settings.server.get_hosts(), [Host::Unix("/run/postgresql".into())]);
    }

    #[test]
    fn encoded_credentials_are_decoded() {
        let settings = Settings::parse("postgres://us%40er:p%40ss%2F%3F@db/x").unwrap();
        assert_eq!(settings.server.get_user(), Some("us@er"));
        assert_eq!(settings.server.get_password(), Some(&b"p@ss/?"[..]));
    }

    #[test]
    fn several_hosts_share_the_deadline() {
        let settings = Settings::parse("postgres://a,b/x?connect_timeout=8&target_session_attrs=read-write").unwrap();
        assert_eq!(settings.connect_timeout, Duration::from_secs(8));
        assert_eq!(settings.server.get_connect_timeout(), Some(&Duration::from_secs(4)));
    }

    #[test]
    fn a_url_without_a_server_is_refused() {
        assert!(Settings::parse("postgres:///x").unwrap_err().to_string().contains("names no server"));
    }

    #[test]
    fn an_unknown_option_is_named() {
        assert!(Settings::parse("postgres://db/x?gssencmode=off").unwrap_err().to_string().contains("gssencmode"));
    }

    #[test]
    fn the_password_is_never_shown() {
        let broken = [
            "postgres://app:hunter2@hunter2/x@db",
            "postgres://app:hunter2/x?hunter2=1@db/x",
            "postgres://app:hunter2@db/x?gssencmode=off",
            "postgres://app:hunter2@db/x?sslmode=hunter2",
            "postgres://app:hunter2",
            "postgres://db/x?password=a&hunter2=b",
            "hunter2",
        ];
        for url in broken {
            let error = Settings::parse(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        let settings = Settings::parse("postgres://app:hunter2@db/x").unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn broken_encodings_are_refused() {
        for value in ["%", "%4", "%zz", "%+1", "%ff"] {
            assert!(Settings::parse(&format!("postgres://db/x?sslrootcert={value}")).is_err(), "{value}");
        }
    }
}
