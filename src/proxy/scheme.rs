//! The scheme by which a client reached usher, or the proxy in front of it.

/// What stands before `://` in the client's address bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain.
    Http,
    /// Under TLS.
    Https,
}

impl Scheme {
    /// The value of `X-Forwarded-Proto`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The value of `X-Forwarded-Port` where the client names no port (RFC 9110 §4.2.1, §4.2.2).
    pub(super) const fn default_port(self) -> &'static str {
        match self {
            Self::Http => "80",
            Self::Https => "443",
        }
    }

    /// The scheme that a proxy names; some call that of a WebSocket by its own name (RFC 6455 §3).
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let is = |names: [&str; 2]| names.iter().any(|name| text.eq_ignore_ascii_case(name.as_bytes()));
        match text {
            _ if is(["http", "ws"]) => Some(Self::Http),
            _ if is(["https", "wss"]) => Some(Self::Https),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_is_read_by_each_of_its_names() {
        let read = |text: &str| Scheme::parse(text.as_bytes());
        assert_eq!(["http", "HTTP", "ws"].map(read), [Some(Scheme::Http); 3]);
        assert_eq!(["https", "Https", "wss"].map(read), [Some(Scheme::Https); 3]);
        assert_eq!(["", "ftp", "https,http", "httpss"].map(read), [None; 4]);
    }
}
