//! Which domains were edited since somebody asked.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Names that are remembered one by one; whoever edits more at once has all rows read, which costs less.
const NAMES_MAX: usize = 256;

/// What has been told of edits and not been asked for yet; a cheap clone.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    told: Mutex<Told>,
    notify: Notify,
}

/// What was edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// These names, canonical.
    Names(HashSet<Box<str>>),
    /// Perhaps everything.
    Everything,
}

impl Default for Told {
    fn default() -> Self {
        Self::Names(HashSet::new())
    }
}

impl Edits {
    /// The row of this custom domain, in its canonical form, was edited.
    pub fn tell(&self, name: &str) {
        let mut told = self.told();
        match &mut *told {
            Told::Names(names) if names.len() < NAMES_MAX => drop(names.insert(name.into())),
            _ => *told = Told::Everything,
        }
        self.shared.notify.notify_one();
    }

    /// Any row may have been edited.
    pub fn tell_everything(&self) {
        *self.told() = Told::Everything;
        self.shared.notify.notify_one();
    }

    /// What was edited since the last call, as soon as there is something.
    pub(super) async fn next(&self) -> Told {
        loop {
            let told = mem::take(&mut *self.told());
            if told != Told::default() {
                return told;
            }
            self.shared.notify.notified().await;
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.shared.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_told_once_and_many_of_them_are_everything() {
        let edits = Edits::default();
        edits.tell("a.example");
        edits.tell("a.example");
        assert_eq!(edits.next().await, Told::Names(HashSet::from(["a.example".into()])));
        (0..=NAMES_MAX).for_each(|number| edits.tell(&format!("{number}.example")));
        assert_eq!(edits.next().await, Told::Everything);
        edits.tell_everything();
        edits.tell("a.example");
        assert_eq!(edits.next().await, Told::Everything);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_first_waits_for_an_edit() {
        let edits = Edits::default();
        let waiting = tokio::spawn({
            let edits = edits.clone();
            async move { edits.next().await }
        });
        tokio::task::yield_now().await;
        edits.tell("a.example");
        assert_eq!(waiting.await.unwrap(), Told::Names(HashSet::from(["a.example".into()])));
    }
}
