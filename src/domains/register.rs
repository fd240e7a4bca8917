//! What is known of domains, for people and programs.

use serde::Serialize;

use crate::database::session::{Dialect, Error, Row, Session, Value};

/// What is known of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its name, canonical.
    pub name: String,
    /// `pending`, `verified`, `live`, `drifting` or `lost`.
    pub state: String,
    /// Since when, in seconds since the Unix epoch.
    pub since: i64,
    /// When it was looked at last; none before the first look.
    pub looked_at: Option<i64>,
    /// When it is looked at next.
    pub due_at: i64,
    /// What the last look has shown.
    pub finding: Option<String>,
}

const COLUMNS: &str = "name, state, since, looked_at, due_at, finding";

/// What is known of `name`, canonical, together with `token`; nothing where nobody has taken note of it yet.
pub async fn find(session: &Session, name: &str, token: &str) -> Result<Option<Entry>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM {} WHERE name = $1 AND token = $2", table(session));
    let rows = session.query(&sql, &[name, token].map(Value::from)).await?;
    Ok(rows.first().and_then(entry))
}

/// So many of the domains that come after `name` in alphabetical order, and more where the last one has several tokens: a token, by which
/// to go on in their midst, is told to nobody.
pub async fn list(session: &Session, after: &str, count: usize) -> Result<Vec<Entry>, Error> {
    let table = table(session);
    let sql = format!(
        "SELECT {COLUMNS} FROM {table} WHERE name > $1 AND name <= \
         (SELECT max(name) FROM (SELECT name FROM {table} WHERE name > $1 ORDER BY name LIMIT {count}) AS page) \
         ORDER BY name, token"
    );
    let rows = session.query(&sql, &[Value::from(after)]).await?;
    Ok(rows.iter().filter_map(entry).collect())
}

fn table(session: &Session) -> &'static str {
    match session.dialect() {
        Dialect::Postgres => "usher.domain_claims",
        Dialect::Sqlite => "usher_domain_claims",
    }
}

fn entry(row: &Row) -> Option<Entry> {
    let [Value::Text(name), Value::Text(state), Value::Int(since), Value::Int(looked_at), Value::Int(due_at), finding] =
        row.as_slice()
    else {
        return None;
    };
    Some(Entry {
        name: name.clone(),
        state: state.clone(),
        since: *since,
        looked_at: Some(*looked_at).filter(|looked_at| *looked_at > 0),
        due_at: *due_at,
        finding: finding.as_text().map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::{migrations, sqlite::Database};

    #[tokio::test]
    async fn no_page_ends_between_two_tokens_of_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let session = Session::sqlite(&Database::create(&folder.path().join("usher.db")).unwrap());
        migrations::run(&session, &migrations::Plan::default()).await.unwrap();
        let columns = "name, token, row_id, state, since, looks, fence, holder, leased_until, looked_at, due_at";
        for (name, token) in [("a.example", "t"), ("b.example", "t"), ("b.example", "u"), ("c.example", "t")] {
            let sql = format!(
                "INSERT INTO usher_domain_claims ({columns}) VALUES ('{name}', '{token}', '', '', 0, 0, 0, '', 0, 0, 0)"
            );
            session.batch(&sql).await.unwrap();
        }
        let (mut after, mut pages) = (String::new(), Vec::new());
        while let Some(page) = Some(list(&session, &after, 2).await.unwrap()).filter(|page| !page.is_empty()) {
            pages.push(page.len());
            after = page.last().unwrap().name.clone();
        }
        assert_eq!(pages, [3, 1]);
    }
}
