//! How connections of clients begin, or fail to.

/// Why a connection that had to begin with a PROXY header was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ProxyHeaderRefusal {
    /// It began with something else.
    Absent,
    /// It was not complete in time.
    Late,
    /// The connection ended before it was complete, as those of some health checks do.
    CutOff,
    /// It broke the format.
    Malformed,
    /// It was longer than any header that makes sense.
    TooLong,
    /// A version, command, family or transport that cannot be meant for a listener of TCP connections.
    Unsupported,
}

impl ProxyHeaderRefusal {
    /// Every reason, in order of declaration.
    pub const ALL: [Self; 6] =
        [Self::Absent, Self::Late, Self::CutOff, Self::Malformed, Self::TooLong, Self::Unsupported];

    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Late => "late",
            Self::CutOff => "cut_off",
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Why a handshake of TLS failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HandshakeFailure {
    /// It was not over in time.
    Late,
    /// The connection ended before.
    CutOff,
    /// What the client said is no TLS, or breaks it.
    Malformed,
    /// Client and usher have no version, cipher or protocol in common.
    Incompatible,
    /// The client asked for no name, and there is no default certificate.
    NoName,
    /// Nobody is known under the name.
    UnknownName,
    /// There is no certificate for the name.
    NoCertificate,
    /// The certificate could not be loaded from the database.
    NotLoaded,
    /// The client broke off with an alert: it does not trust the certificate, for one.
    RefusedByClient,
}

impl HandshakeFailure {
    /// Every reason, in order of declaration.
    pub const ALL: [Self; 9] = [
        Self::Late,
        Self::CutOff,
        Self::Malformed,
        Self::Incompatible,
        Self::NoName,
        Self::UnknownName,
        Self::NoCertificate,
        Self::NotLoaded,
        Self::RefusedByClient,
    ];

    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::CutOff => "cut_off",
            Self::Malformed => "malformed",
            Self::Incompatible => "incompatible",
            Self::NoName => "no_name",
            Self::UnknownName => "unknown_name",
            Self::NoCertificate => "no_certificate",
            Self::NotLoaded => "not_loaded",
            Self::RefusedByClient => "refused_by_client",
        }
    }
}

/// A version of TLS that was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl TlsVersion {
    /// Every version, in order of declaration.
    pub const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    /// The number in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}
