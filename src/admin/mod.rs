//! The admin listener, on the control runtime.

use std::net::SocketAddr;

/// What `[admin]` means.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Who may read `/metrics`; everybody may read `/live` and `/ready`.
    pub allow: Vec<ipnet::IpNet>,
}
