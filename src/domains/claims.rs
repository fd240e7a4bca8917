//! The table of claims: which domains are to be looked at, when, and by whom.
//!
//! A claim is a name together with a token: another domain in the same row is another claim, and so is another token. Who looks at
//! one has a lease, which runs out by the database's clock; whoever takes it next gets a higher number, and what is written under a
//! lower one is refused.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Standing, State};
use crate::database::{
    schema,
    session::{Dialect, Error, Row, Session, Value},
};

/// Longer than a look may take.
const LEASE_SECONDS: u32 = 60;

/// Rows of the app's table that are read at once: some milliseconds of the server's time.
const PAGE: u32 = 2000;

/// Over how long the first looks at domains are spread that are verified already: an installation may begin with a million.
const SPREAD_SECONDS: u32 = 24 * 60 * 60;

/// After a look a change of `is_verified` brings no other one for so long: it may be our own.
const REST_SECONDS: u32 = 10;

/// Octets of the longest name (RFC 1035 §2.3.4), and of a token that nobody would choose to copy; an index takes no longer keys.
const NAME_MAX: u32 = 253;
const TOKEN_MAX: u32 = 1000;

/// What a claim is called in the app's table.
const NAME: &str = "lower(rtrim(d.domain, '.'))";
const TOKEN: &str = "CAST(d.verification_token AS text)";
const ID: &str = "CAST(d.id AS text)";

/// The table.
pub(super) struct Claims {
    session: Session,
    table: &'static str,
    /// The database's time in seconds since the Unix epoch: the one clock that all instances share.
    now: &'static str,
    /// A number of seconds up to [`SPREAD_SECONDS`].
    chance: String,
    /// Of this instance, for people who read the table.
    holder: String,
}

/// A claim that this instance looks at.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) name: String,
    pub(super) token: String,
    pub(super) standing: Standing,
    /// By the database's clock.
    pub(super) now: SystemTime,
    fence: i64,
    /// The row's id, by which a changed row is known.
    row: String,
}

/// Which rows are meant: those of a name, that with an id, those of a page.
enum Rows<'a> {
    Of(&'a str),
    With(&'a str),
    Between(&'a str, &'a str),
}

/// What is done with rows.
#[derive(Clone, Copy)]
enum Step {
    /// Marks that nobody has proved are taken back.
    Unmark,
    /// Claims are made, replaced and hurried.
    Claim,
}

/// What was taken note of.
#[derive(Debug, Default)]
pub(super) struct Noticed {
    /// The names, canonical, that have lost their mark.
    pub(super) unmarked: Vec<String>,
    /// The id of a row that the database has refused to take note of, and why; the others were taken note of.
    pub(super) refused: Option<(String, Error)>,
}

/// What a look has changed.
pub(super) struct Verdict<'a> {
    pub(super) standing: Standing,
    /// In words, for people.
    pub(super) finding: &'a str,
    /// Until the next look.
    pub(super) pause: Duration,
    /// What `is_verified` is to be, where it is to be written.
    pub(super) is_verified: Option<bool>,
}

impl Claims {
    pub(super) fn new(session: Session) -> Self {
        let (table, now, chance) = match session.dialect() {
            Dialect::Postgres => {
                let now = "CAST(extract(epoch FROM now()) AS bigint)";
                ("usher.domain_claims", now, format!("CAST(random() * {SPREAD_SECONDS} AS bigint)"))
            }
            Dialect::Sqlite => {
                let now = "CAST(strftime('%s', 'now') AS INTEGER)";
                ("usher_domain_claims", now, format!("abs(random() % {SPREAD_SECONDS})"))
            }
        };
        let holder = format!("{:x}-{}", fastrand::u32(..), std::process::id());
        Self { session, table, now, chance, holder }
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Takes note of the rows of `name`, canonical.
    pub(super) async fn notice(&self, name: &str) -> Result<Noticed, Error> {
        let noticed = self.notice_rows(&Rows::Of(name)).await?;
        self.session.query(&self.hurry_abandoned("c.name = $1"), &[Value::from(name)]).await?;
        Ok(noticed)
    }

    /// Takes note of what has become of the row of `claim`, where there is still one.
    pub(super) async fn notice_row_of(&self, claim: &Claim) -> Result<Noticed, Error> {
        self.notice_rows(&Rows::With(&claim.row)).await
    }

    /// Takes note of all rows, page by page; each page comes under the deadline of a query. No mark waits for a claim.
    pub(super) async fn notice_all(&self) -> Result<Noticed, Error> {
        let mut noticed = Noticed::default();
        for step in [Step::Unmark, Step::Claim] {
            let mut after = String::new();
            while let Some(last) = self.page(&after).await? {
                self.go_through(step, &Rows::Between(&after, &last), &mut noticed).await?;
                after = last;
            }
        }
        self.notice_abandoned().await?;
        Ok(noticed)
    }

    async fn notice_abandoned(&self) -> Result<(), Error> {
        let page = format!(
            "SELECT max(name) FROM (SELECT name FROM {} WHERE name > $1 ORDER BY name LIMIT {PAGE}) AS page",
            self.table
        );
        let hurry = self.hurry_abandoned("c.name > $1 AND c.name <= $2");
        let mut after = String::new();
        loop {
            let rows = self.session.query(&page, &[Value::from(after.as_str())]).await?;
            let Some(last) = rows.first().and_then(text) else { return Ok(()) };
            self.session.query(&hurry, &[after.as_str(), last].map(Value::from)).await?;
            last.clone_into(&mut after);
        }
    }

    /// The last domain of the page behind `after`.
    async fn page(&self, after: &str) -> Result<Option<String>, Error> {
        let sql = format!(
            "SELECT CAST(max(domain) AS text) FROM (SELECT domain FROM store_domains d WHERE d.domain > $1 \
             ORDER BY d.domain LIMIT {PAGE}) AS page"
        );
        let rows = self.session.query(&sql, &[Value::from(after)]).await?;
        Ok(rows.first().and_then(text).map(str::to_owned))
    }

    /// Each statement can be the last one, and the next call goes on: a changed row loses its mark before its new claim is made, and
    /// its old claim, by which the change is known, goes last.
    async fn notice_rows(&self, rows: &Rows<'_>) -> Result<Noticed, Error> {
        let mut noticed = Noticed::default();
        for step in [Step::Unmark, Step::Claim] {
            self.go_through(step, rows, &mut noticed).await?;
        }
        Ok(noticed)
    }

    /// Where the database refuses a row, the rows are taken one by one, and that one is passed over.
    async fn go_through(&self, step: Step, rows: &Rows<'_>, noticed: &mut Noticed) -> Result<(), Error> {
        match self.take_step(step, rows, noticed).await {
            Err(error) if error.is_refused_row() => {}
            done => return done,
        }
        let (condition, values) = rows.condition();
        let sql = format!("SELECT {ID} FROM store_domains d WHERE {condition}");
        let ids = self.session.query(&sql, &values).await?;
        for id in ids.iter().filter_map(text) {
            match self.take_step(step, &Rows::With(id), noticed).await {
                Err(error) if error.is_refused_row() => noticed.refused = Some((id.to_owned(), error)),
                done => done?,
            }
        }
        Ok(())
    }

    async fn take_step(&self, step: Step, rows: &Rows<'_>, noticed: &mut Noticed) -> Result<(), Error> {
        let (condition, values) = rows.condition();
        let statements = match step {
            Step::Unmark => vec![self.unmark(&condition)],
            Step::Claim => vec![self.make(&condition), self.replace(&condition), self.hurry(&condition)],
        };
        for sql in statements {
            // Only the first step says anything.
            let unmarked = self.session.query(&sql, &values).await?;
            noticed.unmarked.extend(unmarked.iter().filter_map(text).map(str::to_owned));
        }
        Ok(())
    }

    /// A verified row that names another domain or another token than before, or no token any more: nobody has proved these.
    fn unmark(&self, condition: &str) -> String {
        let is_known = self.is_known();
        format!(
            "UPDATE store_domains AS d SET is_verified = FALSE WHERE {condition} AND d.is_verified AND {} AND NOT {is_known} \
             RETURNING lower(rtrim(domain, '.'))",
            self.is_changed()
        )
    }

    /// New claims. What was verified before anybody looked is believed, and looked at some time within a day.
    fn make(&self, condition: &str) -> String {
        let Self { table, now, chance, .. } = self;
        let (is_known, is_changed) = (self.is_known(), self.is_changed());
        format!(
            "INSERT INTO {table} (name, token, row_id, state, since, looks, fence, holder, leased_until, looked_at, due_at) \
             SELECT {NAME}, {TOKEN}, {ID}, CASE WHEN d.is_verified THEN 'verified' ELSE 'pending' END, {now}, 0, 0, '', 0, 0, \
             CASE WHEN d.is_verified THEN {now} + {chance} ELSE {now} END FROM store_domains d \
             WHERE {condition} AND {TOKEN} <> '' AND octet_length({NAME}) <= {NAME_MAX} AND octet_length({TOKEN}) <= {TOKEN_MAX} \
             AND NOT {is_known} AND NOT (d.is_verified IS TRUE AND {is_changed}) \
             ON CONFLICT (name, token) DO NOTHING"
        )
    }

    /// Removes the claims that a row has left behind.
    fn replace(&self, condition: &str) -> String {
        let table = self.table;
        format!(
            "DELETE FROM {table} WHERE (name, token) IN (SELECT c.name, c.token FROM store_domains d \
             JOIN {table} n ON n.name = {NAME} AND n.token = {TOKEN} AND n.row_id = {ID} \
             JOIN {table} c ON c.row_id = n.row_id WHERE {condition} AND (c.name <> n.name OR c.token <> n.token))"
        )
    }

    /// Somebody has vouched for a name, or taken their word back.
    fn hurry(&self, condition: &str) -> String {
        let Self { table, now, .. } = self;
        format!(
            "UPDATE {table} AS c SET due_at = {now} FROM store_domains d \
             WHERE c.name = {NAME} AND c.token = {TOKEN} AND {condition} AND c.due_at > {now} \
             AND c.looked_at < {now} - {REST_SECONDS} AND CASE WHEN d.is_verified THEN c.state = 'pending' \
             ELSE c.state IN ('verified', 'live', 'drifting') END"
        )
    }

    /// Claims that no row makes any more are looked at now, and forgotten: SQLite gives the id of the newest row, once that is removed,
    /// to the next one, which would pass for the same row with another domain.
    fn hurry_abandoned(&self, condition: &str) -> String {
        let Self { table, now, .. } = self;
        format!(
            "UPDATE {table} AS c SET due_at = {now} WHERE {condition} AND c.due_at > {now} \
             AND NOT EXISTS (SELECT 1 FROM store_domains d WHERE {NAME} = c.name AND {TOKEN} = c.token)"
        )
    }

    /// Whether there is a claim for what the row says.
    fn is_known(&self) -> String {
        format!("EXISTS (SELECT 1 FROM {} c WHERE c.name = {NAME} AND c.token = {TOKEN})", self.table)
    }

    /// Whether the row has a claim for something else.
    fn is_changed(&self) -> String {
        let table = self.table;
        format!(
            "EXISTS (SELECT 1 FROM {table} o WHERE o.row_id = {ID} AND (o.name <> {NAME} OR o.token <> coalesce({TOKEN}, '')))"
        )
    }

    /// Takes the leases of so many claims that are due. Three quarters of them are the newest, whose customers are waiting; the others have
    /// waited longest, so that those who fail by the thousand keep nobody from being looked at.
    pub(super) async fn take(&self, count: usize) -> Result<Vec<Claim>, Error> {
        let Self { table, now, .. } = self;
        let lock = match self.session.dialect() {
            Dialect::Postgres => "FOR UPDATE SKIP LOCKED",
            Dialect::Sqlite => "",
        };
        // In the long run, however few are taken at once.
        let waiting = (count + fastrand::usize(0..4)) / 4;
        let due = |order: &str, others: &str, count: usize| {
            format!(
                "MATERIALIZED (SELECT name AS due_name, token AS due_token FROM {table} \
                 WHERE due_at <= {now} AND leased_until < {now} {others} ORDER BY {order} LIMIT {count} {lock})"
            )
        };
        let others = "AND (name, token) NOT IN (SELECT due_name, due_token FROM newest)";
        let (newest, longest) = (due("since DESC", "", count - waiting), due("due_at", others, waiting));
        let sql = format!(
            "WITH newest AS {newest}, longest AS {longest}, due AS (SELECT * FROM newest UNION ALL SELECT * FROM longest) \
             UPDATE {table} SET fence = fence + 1, holder = $1, leased_until = {now} + {LEASE_SECONDS} \
             FROM due WHERE name = due_name AND token = due_token \
             RETURNING name, token, row_id, state, since, looks, fence, {now}"
        );
        let rows = self.session.query(&sql, &[Value::from(self.holder.as_str())]).await?;
        Ok(rows.iter().filter_map(claim).collect())
    }

    /// What the rows of the claim say of `is_verified`; none where there is no such row any more.
    pub(super) async fn told(&self, claim: &Claim) -> Result<Option<bool>, Error> {
        let sql = format!("SELECT d.is_verified FROM store_domains d WHERE {NAME} = $1 AND {TOKEN} = $2");
        let rows = self.session.query(&sql, &claim.key()).await?;
        let is_verified = rows.iter().any(|row| row.first().is_some_and(Value::is_true));
        Ok((!rows.is_empty()).then_some(is_verified))
    }

    /// Forgets a claim that has no row.
    pub(super) async fn forget(&self, claim: &Claim) -> Result<(), Error> {
        let sql = format!("DELETE FROM {} WHERE {OWN}", self.table);
        self.session.query(&sql, &claim.fenced()).await.map(drop)
    }

    /// Writes what a look has shown, and gives the lease back; nothing is written by whoever has lost it. `is_verified` is written
    /// in the same transaction, so that no claim counts as proved whose row does not; and after the claim, which nobody can take until
    /// the transaction ends.
    pub(super) async fn settle(&self, claim: &Claim, verdict: &Verdict<'_>) -> Result<(), Error> {
        let Self { table, now, .. } = self;
        let settle = format!(
            "UPDATE {table} SET state = $4, since = CAST($5 AS bigint), looks = CAST($6 AS bigint), finding = $7, \
             looked_at = {now}, due_at = {now} + CAST($8 AS bigint), leased_until = 0 WHERE {OWN}"
        );
        let Verdict { standing, finding, pause, is_verified } = verdict;
        let mut values = claim.fenced().to_vec();
        values.extend([
            standing.state.as_str().into(),
            Value::Int(seconds(standing.since)),
            Value::Int(standing.looks.into()),
            Value::from(*finding),
            Value::Int(i64::try_from(pause.as_secs()).unwrap_or(i64::MAX)),
        ]);
        let Some(is_verified) = is_verified else { return self.session.query(&settle, &values).await.map(drop) };
        let mark = self.mark(*is_verified).await?;
        self.session.transaction(&[(&settle, values), (&mark, claim.fenced().to_vec())]).await.map(drop)
    }

    /// The statement that writes `is_verified`, and `verified_at` where there is such a column.
    async fn mark(&self, is_verified: bool) -> Result<String, Error> {
        let columns = schema::columns(&self.session, "store_domains").await?;
        let column = columns.iter().find(|column| column.name == "verified_at");
        let moment = match is_verified {
            true => column.and_then(|column| self.moment(&column.kind)),
            false => column.map(|_column| "NULL"),
        };
        let verified_at = moment.map(|moment| format!(", verified_at = {moment}")).unwrap_or_default();
        let (table, value) = (self.table, if is_verified { "TRUE" } else { "FALSE" });
        Ok(format!(
            "UPDATE store_domains AS d SET is_verified = {value}{verified_at} WHERE {NAME} = $1 AND {TOKEN} = $2 \
             AND d.is_verified IS NOT {value} AND EXISTS (SELECT 1 FROM {table} WHERE {OWN})"
        ))
    }

    /// Now, as a column of this type has it; none where only the app can know how.
    fn moment(&self, kind: &str) -> Option<&'static str> {
        let is = |prefixes: &[&str]| prefixes.iter().any(|prefix| kind.starts_with(prefix));
        match self.session.dialect() {
            _ if is(&["timestamp", "datetime", "date"]) => Some("CURRENT_TIMESTAMP"),
            Dialect::Sqlite if is(&["text"]) => Some("CURRENT_TIMESTAMP"),
            _ if is(&["bigint", "integer"]) => Some(self.now),
            _ => None,
        }
    }
}

/// The claim, as long as nobody else has taken its lease.
const OWN: &str = "name = $1 AND token = $2 AND fence = CAST($3 AS bigint)";

impl fmt::Debug for Claim {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, token: _, standing, now, fence, row } = self;
        let mut claim = f.debug_struct("Claim");
        claim.field("name", name).field("standing", standing).field("now", now).field("fence", fence).field("row", row);
        claim.finish_non_exhaustive()
    }
}

impl Claim {
    fn key(&self) -> [Value; 2] {
        [self.name.as_str(), self.token.as_str()].map(Value::from)
    }

    fn fenced(&self) -> [Value; 3] {
        let [name, token] = self.key();
        [name, token, Value::Int(self.fence)]
    }
}

impl Rows<'_> {
    fn condition(&self) -> (String, Vec<Value>) {
        match self {
            Self::Of(name) => (format!("{NAME} = $1"), vec![Value::from(*name)]),
            Self::With(id) => ("d.id = $1".to_owned(), vec![Value::from(*id)]),
            Self::Between(after, last) => {
                ("d.domain > $1 AND d.domain <= $2".to_owned(), vec![Value::from(*after), Value::from(*last)])
            }
        }
    }
}

fn claim(row: &Row) -> Option<Claim> {
    let [names @ .., Value::Int(since), Value::Int(looks), Value::Int(fence), Value::Int(now)] = row.as_slice() else {
        return None;
    };
    let [Value::Text(name), Value::Text(token), Value::Text(row), Value::Text(state)] = names else { return None };
    // What an older or newer version wrote and this one cannot read is proved anew.
    let state = State::parse(state).unwrap_or(State::Pending);
    let standing = Standing { state, since: moment(*since), looks: u32::try_from(*looks).unwrap_or(u32::MAX) };
    let (name, token, row) = (name.clone(), token.clone(), row.clone());
    Some(Claim { name, token, row, standing, now: moment(*now), fence: *fence })
}

fn text(row: &Row) -> Option<&str> {
    row.first().and_then(Value::as_text)
}

fn moment(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

fn seconds(moment: SystemTime) -> i64 {
    let age = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(age.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
