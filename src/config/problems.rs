//! What is wrong with a configuration: everything at once, each with place, value, what is accepted and what to do.

use std::{fmt, io, ops::Range};

use super::{Config, secrets::without_userinfo};

/// Characters of a value that are shown at most; a longer one is cut.
const VALUE_MAX_CHARS: usize = 80;

/// All problems of one configuration; nothing is started while there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// One problem (or warning), ready to be shown; holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `usher.toml:12:7` (line and column, from 1), `usher.toml` or `environment`.
    pub place: String,
    /// The dotted path of the key or the name of the variable; empty where the whole file is meant.
    pub subject: String,
    /// The value as it was written, where there is one to show.
    pub value: Option<String>,
    /// What is wrong with it.
    pub cause: String,
    /// What would be accepted.
    pub accepted: String,
    /// What to do.
    pub remedy: String,
}

impl Problems {
    /// The problems in the order of the file; never empty.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}error: {problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        match (self.subject.as_str(), &self.value) {
            ("", _) => {}
            (subject, Some(value)) => write!(f, "{subject} = {value}: ")?,
            (subject, None) => write!(f, "{subject}: ")?,
        }
        write!(f, "{}\n       accepted: {}\n       remedy:   {}", self.cause, self.accepted, self.remedy)
    }
}

/// Why a value is refused; [`Report`] adds where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) cause: String,
    pub(super) accepted: String,
    pub(super) remedy: String,
}

impl Refusal {
    pub(super) fn new(cause: impl Into<String>, accepted: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { cause: cause.into(), accepted: accepted.into(), remedy: remedy.into() }
    }

    fn into_problem(self, place: String, subject: String, value: Option<String>) -> Problem {
        let Self { cause, accepted, remedy } = self;
        Problem { place, subject: without_userinfo(&subject), value, cause, accepted, remedy }
    }
}

/// Collects problems and warnings while one text is read.
pub(super) struct Report<'a> {
    origin: &'a str,
    text: &'a str,
    found: Vec<(usize, Problem)>,
    warnings: Vec<Problem>,
}

impl<'a> Report<'a> {
    pub(super) fn new(origin: &'a str, text: &'a str) -> Self {
        Self { origin, text, found: Vec::new(), warnings: Vec::new() }
    }

    /// Refuses the value that stands at `span`, and shows it. A default stands nowhere, and its span is empty.
    pub(super) fn refuse(&mut self, path: &str, span: Range<usize>, refusal: Refusal) {
        if span.is_empty() {
            return self.refuse_absence(path, None, refusal);
        }
        let value = shown(self.text.get(span.clone()).unwrap_or_default());
        self.add(span.start, path, Some(value), refusal);
    }

    /// Refuses the value that stands at `span` without showing it.
    pub(super) fn refuse_secret(&mut self, path: &str, span: Range<usize>, refusal: Refusal) {
        self.add(span.start, path, Some("***".to_owned()), refusal);
    }

    /// Refuses what stands at `span`, where the key itself or the syntax is wrong.
    pub(super) fn refuse_key(&mut self, path: &str, span: Range<usize>, refusal: Refusal) {
        self.add(span.start, path, None, refusal);
    }

    /// Refuses the absence of a key. What was written for it and cut out as wrong has been reported already.
    pub(super) fn refuse_absence(&mut self, path: &str, span: Option<Range<usize>>, refusal: Refusal) {
        let reported =
            |subject: &str| path.strip_prefix(subject).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        match span {
            _ if self.found.iter().any(|(_, problem)| reported(&problem.subject)) => {}
            Some(span) => self.refuse_key(path, span, refusal),
            None => {
                let problem = refusal.into_problem(self.origin.to_owned(), path.to_owned(), None);
                self.found.push((usize::MAX, problem));
            }
        }
    }

    /// Refuses the value of an environment variable without showing it.
    pub(super) fn refuse_variable(&mut self, name: &str, refusal: Refusal) {
        let problem = refusal.into_problem("environment".to_owned(), name.to_owned(), Some("***".to_owned()));
        self.found.push((usize::MAX, problem));
    }

    /// Notes something that is accepted and hardly meant; `span` is that of the value, where one was written.
    pub(super) fn warn(&mut self, path: &str, span: Option<Range<usize>>, refusal: Refusal) {
        let place = span.as_ref().map_or(self.origin.to_owned(), |span| self.place(span.start));
        let value = span.map(|span| shown(self.text.get(span).unwrap_or_default()));
        self.warnings.push(refusal.into_problem(place, path.to_owned(), value));
    }

    /// `config` with the warnings where nothing was refused, else all problems in the order of the file.
    pub(super) fn finish(mut self, config: Option<Config>) -> Result<Config, Problems> {
        match config {
            Some(config) if self.found.is_empty() => Ok(Config { warnings: self.warnings, ..config }),
            _ => {
                self.found.sort_by_key(|(offset, _)| *offset);
                Err(Problems(self.found.into_iter().map(|(_, problem)| problem).collect()))
            }
        }
    }

    fn add(&mut self, offset: usize, path: &str, value: Option<String>, refusal: Refusal) {
        let problem = refusal.into_problem(self.place(offset), path.to_owned(), value);
        self.found.push((offset, problem));
    }

    fn place(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{}:{line}:{column}", self.origin)
    }
}

/// The file itself cannot be read.
pub(super) fn unreadable(origin: &str, error: &io::Error) -> Problems {
    let remedy = "check path and rights; `usher config default` prints a file to start from";
    let refusal = Refusal::new(format!("cannot be read: {error}"), "a readable file in UTF-8", remedy);
    Problems(vec![refusal.into_problem(origin.to_owned(), String::new(), None)])
}

/// A value on one line, without passwords and not too long.
fn shown(source: &str) -> String {
    let line = source.split_whitespace().collect::<Vec<_>>().join(" ");
    let safe = without_userinfo(&line);
    match safe.char_indices().nth(VALUE_MAX_CHARS) {
        Some((end, _)) => format!("{}…", &safe[..end]),
        None => safe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> Refusal {
        Refusal::new("is odd", "even numbers", "add one")
    }

    #[test]
    fn a_problem_names_place_key_value_cause_and_remedy() {
        let text = "[a]\nkey = 3\n";
        let mut report = Report::new("usher.toml", text);
        report.refuse("a.key", 10..11, refusal());
        let printed = report.finish(None).unwrap_err().to_string();
        assert_eq!(
            printed,
            "error: usher.toml:2:7: a.key = 3: is odd\n       accepted: even numbers\n       remedy:   add one"
        );
    }

    #[test]
    fn problems_come_in_the_order_of_the_file_and_absences_last() {
        let mut report = Report::new("f", "a\nb\nc");
        report.refuse_absence("missing", None, refusal());
        report.refuse("later", 4..5, refusal());
        report.refuse("sooner", 2..3, refusal());
        let problems = report.finish(None).unwrap_err();
        let subjects: Vec<_> = problems.iter().map(|problem| problem.subject.as_str()).collect();
        assert_eq!(subjects, ["sooner", "later", "missing"]);
    }

    #[test]
    fn columns_count_characters_and_not_bytes() {
        let mut report = Report::new("f", "ä = 1");
        report.refuse("ä", 5..6, refusal());
        assert!(report.finish(None).unwrap_err().to_string().starts_with("error: f:1:5: ä = 1: is odd"));
    }

    #[test]
    fn a_long_value_is_cut_and_kept_on_one_line() {
        let text = format!("[\n{}]", "1,\n".repeat(100));
        let value = shown(&text);
        assert!(value.ends_with('…') && !value.contains('\n'), "{value}");
        assert_eq!(value.chars().count(), VALUE_MAX_CHARS + 1);
    }
}
