//! What a command leaves on the terminal, and its exit code.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use serde::Serialize;

use super::Failure;

/// What a command has to say when it has come to its end.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// For stdout.
    pub(super) answer: String,
    /// For stderr.
    pub(super) complaints: String,
    /// The answer is no, although nothing failed: exit code 1.
    pub(super) is_negative: bool,
}

impl Outcome {
    pub(super) fn answer(answer: impl Into<String>) -> Self {
        Self { answer: answer.into(), ..Self::default() }
    }

    /// The value as JSON, on several lines for people who read it too.
    pub(super) fn json(value: &impl Serialize) -> Result<Self, Failure> {
        let text = serde_json::to_string_pretty(value).map_err(Failure::Json)?;
        Ok(Self::answer(text + "\n"))
    }
}

/// Writes what is to be said, and chooses the exit code.
pub(crate) fn finish(outcome: Result<Outcome, Failure>) -> ExitCode {
    match outcome.and_then(|outcome| say(&outcome)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            // Where stderr itself cannot be written to, the exit code is all that is left.
            let _ = io::stderr().write_all(failure.report().as_bytes());
            ExitCode::FAILURE
        }
    }
}

/// Whether the answer was yes.
fn say(outcome: &Outcome) -> Result<bool, Failure> {
    io::stderr().write_all(outcome.complaints.as_bytes()).map_err(Failure::Output)?;
    match io::stdout().write_all(outcome.answer.as_bytes()) {
        // The reader has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(!outcome.is_negative),
        written => written.map(|()| !outcome.is_negative).map_err(Failure::Output),
    }
}

/// Rows in columns as wide as their widest cell.
pub(super) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let shown = |line: &[String; N]| {
        let cells: Vec<_> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(shown).collect()
}

/// How a truth value is shown in a table.
pub(super) fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let shown = table(["ID", "NAME"], [["1".to_owned(), "Ä".to_owned()], ["100".to_owned(), String::new()]]);
        assert_eq!(shown, "ID   NAME\n1    Ä\n100\n");
    }
}
