//! Errors as text, made where they are shown and nowhere before.

use std::error::Error;

use tokio_postgres::error::DbError;

/// An error and all of its causes, on one line. What PostgreSQL adds to a message is left out: "Failing row contains" shows whole
/// rows, with tokens of customers among them.
pub fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = match error.downcast_ref::<DbError>() {
            Some(answer) => format!("{}: {} (SQLSTATE {})", answer.severity(), answer.message(), answer.code().code()),
            None => error.to_string(),
        };
        // Some errors already say what their cause says.
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect")]
    struct Outer(#[source] io::Error);

    #[test]
    fn causes_follow_one_another_on_one_line() {
        assert_eq!(one_line(&Outer(io::Error::other("first\nsecond"))), "cannot connect: first second");
    }
}
