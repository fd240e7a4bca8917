//! Whose fault it was that an exchange did not go well: the first question of whoever is woken by it.

use super::outcome::Outcome;

/// Who has to do something so that it goes well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Whoever made the request: it is malformed, too much, too slow, was given up, or is for a host that nobody has.
    Client,
    /// The app servers.
    App,
    /// The database could not be asked, or what it says cannot be.
    Database,
    /// usher itself.
    Usher,
}

impl Fault {
    /// The name in the access log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::App => "app",
            Self::Database => "database",
            Self::Usher => "usher",
        }
    }
}

impl Outcome {
    /// Whose fault it was; nobody's where all went as it was meant to.
    pub const fn fault(self) -> Option<Fault> {
        match self {
            Self::Ok | Self::Redirected | Self::StoreInactive => None,
            Self::UnknownHost
            | Self::BadRequest
            | Self::MethodRefused
            | Self::Limited
            | Self::RequestBroken
            | Self::ClientGone => Some(Fault::Client),
            Self::DirectoryUnavailable | Self::UnknownUpstream => Some(Fault::Database),
            Self::QueueFull
            | Self::QueueTimeout
            | Self::StoreFull
            | Self::ConnectionsFull
            | Self::SendTimeout
            | Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::TlsFailed
            | Self::TlsTimeout
            | Self::HeadTimeout
            | Self::HeadBroken
            | Self::BodyBroken
            | Self::AnswerTimeout => Some(Fault::App),
            Self::Drained | Self::Panicked => Some(Fault::Usher),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_that_end_a_phase_of_the_app_server_are_its_fault() {
        for outcome in Outcome::ALL {
            let name = outcome.as_str();
            let phases =
                ["queue_", "store_full", "connections_", "send_", "connect_", "tls_", "head_", "body_", "answer_"];
            let of_app = phases.iter().any(|phase| name.starts_with(phase));
            assert_eq!(outcome.fault() == Some(Fault::App), of_app, "{name}");
        }
    }

    #[test]
    fn a_visitor_is_not_blamed_for_what_usher_or_the_database_lacks() {
        assert_eq!(Outcome::Panicked.fault(), Some(Fault::Usher));
        assert_eq!(Outcome::DirectoryUnavailable.fault(), Some(Fault::Database));
        assert_eq!(Outcome::ClientGone.fault(), Some(Fault::Client));
        assert_eq!(Outcome::Ok.fault(), None);
    }
}
