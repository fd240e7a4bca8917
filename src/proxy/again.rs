//! May a request be sent again? Decided here and nowhere else.
//!
//! What an app server cannot have processed goes on whatever its method. Anything else may have been processed, and is
//! repeated only where that cannot be noticed: a method that may be applied twice (RFC 9110 §9.2.2), and no body or one that
//! is held whole. Nothing is repeated once a head of an answer was passed on.

use super::body::RequestBody;

/// How an attempt ended without an answer to pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The app server cannot have processed the request: there was no connection, nothing was written, or it said so (HTTP/2).
    Unprocessed,
    /// A kept connection ended under the request, and so soon that the app server was closing it at the same moment.
    Crossed,
    /// Any other end: the connection broke, no head came in time, what came was no answer, or it says that the server failed.
    Failed,
}

/// What may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Nothing: the client is told what happened.
    No,
    /// Another attempt, at the same app server too where its connection was to blame.
    Free,
    /// Another attempt at another app server, out of the budget: it is work that is done twice.
    Paid,
}

/// What may follow an attempt that ended so.
pub(super) fn again(ending: Ending, is_repeatable: bool) -> Again {
    match (ending, is_repeatable) {
        (Ending::Unprocessed, _) | (Ending::Crossed, true) => Again::Free,
        (Ending::Failed, true) => Again::Paid,
        (Ending::Crossed | Ending::Failed, false) => Again::No,
    }
}

/// Whether a request may be applied twice without harm, and has no body or one that is held whole.
pub(super) fn is_repeatable(request: &http::Request<RequestBody>) -> bool {
    request.method().is_idempotent() && matches!(request.body(), RequestBody::Empty | RequestBody::Whole(_))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn only_what_may_be_applied_twice_is_repeatable() {
        let is = |method: &str| is_repeatable(&Request::builder().method(method).body(RequestBody::Empty).unwrap());
        assert!(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"].into_iter().all(is));
        assert!(!["POST", "PATCH", "FETCH"].into_iter().any(is));
    }

    #[test]
    fn what_cannot_have_been_processed_goes_on_whatever_it_is() {
        assert_eq!([true, false].map(|repeatable| again(Ending::Unprocessed, repeatable)), [Again::Free; 2]);
    }

    #[test]
    fn what_may_have_been_processed_goes_on_only_where_it_may_be_applied_twice() {
        assert_eq!([Ending::Crossed, Ending::Failed].map(|ending| again(ending, false)), [Again::No; 2]);
        assert_eq!([Ending::Crossed, Ending::Failed].map(|ending| again(ending, true)), [Again::Free, Again::Paid]);
    }
}
