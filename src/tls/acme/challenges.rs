//! Answers to a CA's questions, held by every instance: whichever it meets can answer. PostgreSQL tells of new ones where it is listened to,
//! and the table is looked at now and then. A question that nobody knows costs no query, unless somebody works for the name at the moment:
//! then the next look comes at once.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use rustls::sign::CertifiedKey;
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use super::{clock::Clock, failure::OrderError, lease::Lease, proof::Proof, table};
use crate::{
    database::{
        migrations::CHALLENGES,
        session::{self, Dialect, Session, Value},
    },
    telemetry::causes::one_line,
};

/// How often the database is asked for them by itself.
const LOOK: Duration = Duration::from_secs(1);

/// Between two looks where somebody asks what is not known: ten a second at most, however many ask.
const LOOK_MIN: Duration = Duration::from_millis(100);

/// How long such a question waits. One look may be under way that began before the answer was published.
const WITHIN: Duration = Duration::from_millis(800);
const LOOKS: u32 = 2;

/// After so long every instance has asked, and the CA may come; soon where new ones are told, with time for an instance that does not hear
/// of them at the moment.
const SPREAD: Duration = Duration::from_millis(2500);
const SPREAD_TOLD: Duration = Duration::from_millis(1100);

/// An order that has left its questions behind is long over then.
const KEPT_SECONDS: u32 = 60 * 60;

type Map<T> = HashMap<Box<str>, T, RandomState>;

/// What a CA may ask, over HTTP and over TLS.
#[derive(Default)]
pub(super) struct Challenges {
    open: ArcSwap<Open>,
    /// Somebody asks what is not known.
    wanted: Notify,
    /// Changes with every look.
    looks: watch::Sender<()>,
    /// Changes whenever it is told that there are new ones.
    tellings: watch::Sender<()>,
}

#[derive(Default)]
struct Open {
    /// What stands behind `/.well-known/acme-challenge/`, by token (RFC 8555 §8.3).
    answers: Map<Box<str>>,
    /// What is shown to those who speak `acme-tls/1`, by name (RFC 8737 §3).
    proofs: Map<Arc<Proof>>,
    /// Names that somebody works for.
    ordered: HashSet<Box<str>, RandomState>,
}

impl Open {
    /// Whether there may be a question for `name`; `www.` comes with the name behind it.
    fn may_ask(&self, name: &str) -> bool {
        self.ordered.contains(name) || name.strip_prefix("www.").is_some_and(|name| self.ordered.contains(name))
    }
}

impl Challenges {
    /// The answer to the question with this token, which was put to `name`.
    pub(super) async fn answer(&self, token: &str, name: &str) -> Option<String> {
        self.find(name, |open| open.answers.get(token).map(|answer| answer.to_string())).await
    }

    /// The certificate that answers whoever asks for `name` by `acme-tls/1`.
    pub(super) async fn proof(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.find(name, |open| open.proofs.get(name)?.key()).await
    }

    /// It is told that there are new ones.
    pub(super) fn be_told(&self) {
        self.tellings.send_replace(());
        self.wanted.notify_one();
    }

    /// What is published from now on, for [`Publication::spread`].
    pub(super) fn publication(&self) -> Publication {
        Publication(self.tellings.subscribe())
    }

    /// What is known, or is after another look where somebody works for `name`.
    async fn find<T>(&self, name: &str, find: impl Fn(&Open) -> Option<T>) -> Option<T> {
        let (found, may_ask) = {
            let open = self.open.load();
            (find(&open), open.may_ask(name))
        };
        if found.is_some() || !may_ask {
            return found;
        }
        let mut looks = self.looks.subscribe();
        let looking = async {
            for _ in 0..LOOKS {
                self.wanted.notify_one();
                looks.changed().await.ok()?;
                if let Some(found) = find(&self.open.load()) {
                    return Some(found);
                }
            }
            None
        };
        timeout(WITHIN, looking).await.ok().flatten()
    }

    /// Keeps them as they are in the database, for as long as the process runs.
    pub(super) async fn watch(&self, session: &Session, clock: &Clock) {
        loop {
            match read(session, clock).await {
                Ok((rows, ordered)) => self.keep(rows, ordered),
                Err(error) => {
                    let error = one_line(&error);
                    tracing::warn!(error, "the database cannot be asked for open challenges");
                }
            }
            self.looks.send_replace(());
            sleep(LOOK_MIN).await;
            let _woken = timeout(LOOK - LOOK_MIN, self.wanted.notified()).await;
        }
    }

    /// What was open before keeps what was made for it.
    fn keep(&self, rows: Vec<Question>, ordered: Vec<Box<str>>) {
        let before = self.open.load();
        let mut open = Open { ordered: ordered.into_iter().collect(), ..Open::default() };
        for Question { token, name, answer } in rows {
            let known = before.proofs.get(&name).filter(|proof| proof.is_of(&answer));
            let proof = known.map_or_else(|| Arc::new(Proof::new(&name, &answer)), Arc::clone);
            open.proofs.insert(name, proof);
            open.answers.insert(token, answer);
        }
        self.open.store(Arc::new(open));
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.open.load().proofs.keys()).finish()
    }
}

/// Answers that are being published.
pub(super) struct Publication(watch::Receiver<()>);

impl Publication {
    /// Waits until every instance has them.
    pub(super) async fn spread(mut self) {
        let _untold = timeout(SPREAD - SPREAD_TOLD, self.0.changed()).await;
        sleep(SPREAD_TOLD).await;
    }
}

struct Question {
    token: Box<str>,
    name: Box<str>,
    answer: Box<str>,
}

/// The open questions, and the names that somebody works for: both few, and found by indexes.
async fn read(session: &Session, clock: &Clock) -> Result<(Vec<Question>, Vec<Box<str>>), session::Error> {
    let [challenges, orders] = ["acme_challenges", "acme_orders"].map(|name| table(session.dialect(), name));
    let now = clock.sql(session.dialect());
    let open = format!(
        "SELECT token, name, answer, begun_at FROM {challenges} WHERE begun_at > {now} - {KEPT_SECONDS} UNION ALL \
         SELECT NULL, name, NULL, 0 FROM {orders} WHERE leased_until >= {now} ORDER BY begun_at"
    );
    let (mut questions, mut ordered) = (Vec::new(), Vec::new());
    for row in session.query(&open, &[]).await? {
        let text = |column: usize| row.get(column).and_then(Value::as_text).map(Box::from);
        match (text(0), text(1), text(2)) {
            (Some(token), Some(name), Some(answer)) => questions.push(Question { token, name, answer }),
            (_, name, _) => ordered.extend(name),
        }
    }
    Ok((questions, ordered))
}

/// Puts the answer of `name` where all instances will find it, as long as nobody else has taken the lease.
pub(super) async fn publish(
    session: &Session,
    clock: &Clock,
    lease: &Lease,
    name: &str,
    token: &str,
    answer: &str,
) -> Result<(), OrderError> {
    let [challenges, orders] = ["acme_challenges", "acme_orders"].map(|name| table(session.dialect(), name));
    let now = clock.sql(session.dialect());
    let insert = format!(
        "INSERT INTO {challenges} (token, name, answer, begun_at) \
         SELECT CAST($3 AS text), CAST($4 AS text), CAST($5 AS text), {now} \
         WHERE EXISTS (SELECT 1 FROM {orders} o WHERE o.name = $1 AND o.fence = CAST($2 AS bigint)) \
         ON CONFLICT (token) DO UPDATE SET answer = excluded.answer, begun_at = excluded.begun_at RETURNING token"
    );
    let sql = match session.dialect() {
        // A queue that is full would have the transaction fail.
        Dialect::Postgres => format!(
            "WITH published AS ({insert}) SELECT token, CASE WHEN pg_notification_queue_usage() < 0.5 \
             THEN CAST(pg_notify('{CHALLENGES}', '') AS text) END FROM published"
        ),
        Dialect::Sqlite => insert,
    };
    let mut values = fenced(lease).to_vec();
    values.extend([token, name, answer].map(Value::from));
    match session.query(&sql, &values).await?.is_empty() {
        true => Err(OrderError::LeaseLost),
        false => Ok(()),
    }
}

/// Removes the question with this token. Whoever has taken the lease goes on with the same order and the same question, and keeps it.
pub(super) async fn withdraw(session: &Session, lease: &Lease, token: &str) -> Result<(), session::Error> {
    let [challenges, orders] = ["acme_challenges", "acme_orders"].map(|name| table(session.dialect(), name));
    let sql = format!(
        "DELETE FROM {challenges} WHERE token = $3 \
         AND EXISTS (SELECT 1 FROM {orders} o WHERE o.name = $1 AND o.fence = CAST($2 AS bigint))"
    );
    let mut values = fenced(lease).to_vec();
    values.push(Value::from(token));
    session.query(&sql, &values).await.map(drop)
}

fn fenced(lease: &Lease) -> [Value; 2] {
    [Value::from(lease.name.as_str()), Value::Int(lease.fence)]
}

/// Removes what was left behind long ago.
pub(super) async fn sweep(session: &Session, clock: &Clock) -> Result<(), session::Error> {
    let (table, now) = (table(session.dialect(), "acme_challenges"), clock.sql(session.dialect()));
    session.query(&format!("DELETE FROM {table} WHERE begun_at < {now} - {KEPT_SECONDS}"), &[]).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{super::lease::Leases, *};
    use crate::database::{migrations, sqlite::Database};

    fn question(name: &str, answer: &str) -> Question {
        Question { token: format!("token of {answer}").into(), name: name.into(), answer: answer.into() }
    }

    #[tokio::test]
    async fn what_is_open_is_answered_in_both_ways_and_made_once() {
        let challenges = Challenges::default();
        challenges.keep(vec![question("a.example", "one"), question("b.example", "two")], Vec::new());
        assert_eq!(challenges.answer("token of one", "a.example").await.as_deref(), Some("one"));
        let certificate = challenges.proof("a.example").await.unwrap();
        challenges.keep(vec![question("a.example", "one")], Vec::new());
        assert!(Arc::ptr_eq(&challenges.proof("a.example").await.unwrap(), &certificate));
        challenges.keep(vec![question("a.example", "three")], Vec::new());
        assert!(!Arc::ptr_eq(&challenges.proof("a.example").await.unwrap(), &certificate));
        assert!(challenges.proof("b.example").await.is_none());
        assert!(challenges.answer("token of one", "a.example").await.is_none());
    }

    #[tokio::test]
    async fn a_question_for_a_name_that_somebody_works_for_is_looked_up_at_once_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let session = Session::sqlite(&Database::create(&folder.path().join("usher.db")).unwrap());
        migrations::run(&session, &migrations::Plan::default()).await.unwrap();
        let (clock, challenges) = (Clock::default(), Challenges::default());
        let lease = Leases::new(clock.clone()).take(&session, "a.example").await.unwrap().unwrap();
        let asking = async {
            let mut looks = challenges.looks.subscribe();
            looks.changed().await.unwrap();
            publish(&session, &clock, &lease, "www.a.example", "token", "answer").await.unwrap();
            let begun = Instant::now();
            assert_eq!(challenges.answer("token", "www.a.example").await.as_deref(), Some("answer"));
            assert!(begun.elapsed() < LOOK / 2, "{:?}", begun.elapsed());
            // Of no use, but bounded; and what nobody works for is not looked up.
            assert!(challenges.proof("a.example").await.is_none());
            looks.mark_unchanged();
            for _ in 0..10 {
                assert!(challenges.answer("odd", "stranger.example").await.is_none());
            }
            assert!(!looks.has_changed().unwrap());
        };
        tokio::select! {
            () = challenges.watch(&session, &clock) => unreachable!(),
            () = asking => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_told_looks_at_once_and_the_ca_may_come_sooner() {
        let challenges = Challenges::default();
        let took = async |publication: Publication| {
            let begun = tokio::time::Instant::now();
            publication.spread().await;
            begun.elapsed()
        };
        assert!((SPREAD..SPREAD + LOOK_MIN).contains(&took(challenges.publication()).await));
        let publication = challenges.publication();
        challenges.be_told();
        assert!((SPREAD_TOLD..SPREAD_TOLD + LOOK_MIN).contains(&took(publication).await));
        timeout(LOOK_MIN, challenges.wanted.notified()).await.unwrap();
    }

    #[tokio::test]
    async fn an_instance_that_was_too_slow_neither_asks_nor_takes_back_what_the_next_one_has_asked() {
        let folder = tempfile::tempdir().unwrap();
        let session = Session::sqlite(&Database::create(&folder.path().join("usher.db")).unwrap());
        migrations::run(&session, &migrations::Plan::default()).await.unwrap();
        let (clock, leases) = (Clock::default(), Leases::new(Clock::default()));
        let slow = leases.take(&session, "a.example").await.unwrap().unwrap();
        let put = async |lease: &Lease, name: &str, token: &str| {
            publish(&session, &clock, lease, name, token, "answer").await
        };
        put(&slow, "a.example", "same").await.unwrap();
        put(&slow, "www.a.example", "beside").await.unwrap();
        session.batch("UPDATE usher_acme_orders SET leased_until = 0").await.unwrap();
        let next = leases.take(&session, "a.example").await.unwrap().unwrap();
        put(&next, "a.example", "same").await.unwrap();
        assert!(matches!(put(&slow, "a.example", "late").await, Err(OrderError::LeaseLost)));
        withdraw(&session, &slow, "same").await.unwrap();
        assert_eq!(read(&session, &clock).await.unwrap().0.len(), 2);
        withdraw(&session, &next, "same").await.unwrap();
        let (left, _) = read(&session, &clock).await.unwrap();
        assert_eq!(left.iter().map(|question| &*question.token).collect::<Vec<_>>(), ["beside"]);
    }
}
