//! What the directory is asked for a route, one question after the other.

use std::sync::Arc;

use super::{KeyRef, Route, Rules, Status, Subject, Tenant, decide::primary};

/// The questions that a route leads to, with the answers so far. Whoever has a directory asks until there is no question left;
/// [`Inquiry::subject`] is what came of it.
#[derive(Debug)]
pub struct Inquiry<'a> {
    rules: &'a Rules,
    subject: Subject<'a>,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Who has the key.
    Key,
    /// Who has the name without its `www.`.
    WithoutWww,
    /// Whether the domain is served for which the host is to stand back.
    Primary,
    Done,
}

impl<'a> Inquiry<'a> {
    /// Nothing has been asked yet. Where nobody's answer could matter there is no question.
    pub fn new(rules: &'a Rules, route: Route<'a>) -> Self {
        let step = if matches!(route, Route::Tenant { .. }) { Step::Key } else { Step::Done };
        Self { rules, subject: Subject { route, tenant: None, apex: None }, step }
    }

    /// The key to ask for next.
    pub fn question(&self) -> Option<KeyRef<'_>> {
        match (self.step, &self.subject.route) {
            (Step::Key, Route::Tenant { key, .. }) => Some(*key),
            (Step::WithoutWww, Route::Tenant { without_www, .. }) => *without_www,
            (Step::Primary, _) => self.subject.primary().map(KeyRef::CustomDomain),
            _ => None,
        }
    }

    /// Takes the answer to the question. That the directory could not be asked is an error, except for a primary domain: the host
    /// is served itself then.
    pub fn answer<E>(&mut self, answer: Result<Option<Arc<Tenant>>, E>) -> Result<(), E> {
        self.step = match self.step {
            Step::Key => {
                self.subject.tenant = answer?;
                if self.asks_without_www() { Step::WithoutWww } else { self.last_step() }
            }
            Step::WithoutWww => {
                self.subject.apex =
                    answer?.filter(|apex| self.subject.tenant.is_none() || apex.status == Status::Active);
                // Whoever has written down a name without proof takes it from nobody.
                self.subject.tenant.take_if(|_unverified| self.subject.apex.is_some());
                self.last_step()
            }
            Step::Primary => {
                self.weigh(answer.ok().flatten());
                Step::Done
            }
            Step::Done => Step::Done,
        };
        Ok(())
    }

    /// The route with the answers.
    pub fn subject(self) -> Subject<'a> {
        self.subject
    }

    fn asks_without_www(&self) -> bool {
        let is_anybodys = self.subject.tenant.as_ref().is_none_or(|found| found.status == Status::DomainUnverified);
        is_anybodys && matches!(self.subject.route, Route::Tenant { without_www: Some(_), .. })
    }

    fn last_step(&self) -> Step {
        let Route::Tenant { matched, .. } = self.subject.route else { return Step::Done };
        let stands_back = primary(self.rules, matched, self.subject.primary()).is_some();
        if stands_back && self.subject.refusal().is_none() { Step::Primary } else { Step::Done }
    }

    /// A host stands back for a domain only that is served, for the same store, and stands back for no other. So redirects end, and
    /// no visitor of one store comes to another, whatever rows were written since this one was read.
    fn weigh(&mut self, primary: Option<Arc<Tenant>>) {
        let is_shown = primary.is_some_and(|primary| {
            primary.status == Status::Active
                && primary.primary.is_none()
                && self.subject.found().is_some_and(|found| found.id == primary.id)
        });
        if !is_shown {
            self.subject.serve_here();
        }
    }
}
