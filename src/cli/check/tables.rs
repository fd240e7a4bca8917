//! The database: connection, tables, columns and indexes.

use usher::{
    catalog::Catalog,
    config::{Config, Problem},
    database::{
        migrations::{self, Plan, Tables, Watch},
        schema,
        session::{Dialect, Session},
    },
    directory::{OwnQueries, QueryFault, feed::Follow},
    routing::Rules,
    telemetry::causes::one_line,
};

use super::{Report, notices, rights, rows, upstreams};
use crate::cli::{Failure, database};

const NEEDED: &str = "the tables and columns that `usher migrate --print` shows";

/// Columns that only some of the commands need.
const OPTIONAL: [(&str, &str); 3] =
    [("stores", "name"), ("store_domains", "is_primary"), ("store_domains", "verification_token")];

pub(super) async fn check(config: &Config) -> Report {
    let mut report = Report::default();
    let session = database::session_over_rows(config).await;
    notices::look(config, session.is_ok(), &mut report).await;
    let looked = match session {
        Ok(session) => look(config, session, &mut report).await,
        Err(failure) => Err(failure),
    };
    if let Err(failure) = looked {
        report.errors.push(problem(
            &config.database_origin,
            one_line(&failure),
            "a database that answers",
            failure.remedy(),
        ));
    }
    report
}

async fn look(config: &Config, session: Session, report: &mut Report) -> Result<(), Failure> {
    report.good.push(format!("the database named by {} answers", config.database_origin));
    look_at_rights(config, &session, report).await?;
    if let Some(own) = &config.own_queries {
        look_at_own(own, &session, report).await.map_err(usher::catalog::Error::from)?;
        upstreams::look(config, &session, report).await.map_err(usher::catalog::Error::from)?;
        return look_at_triggers(config, &session, report)
            .await
            .map_err(|error| usher::catalog::Error::from(error).into());
    }
    look_at_columns(&config.plan, &session, report).await.map_err(usher::catalog::Error::from)?;
    if !report.errors.is_empty() {
        return Ok(());
    }
    look_at_triggers(config, &session, report).await.map_err(usher::catalog::Error::from)?;
    upstreams::look(config, &session, report).await.map_err(usher::catalog::Error::from)?;
    let catalog = Catalog::open(session, Rules::new(config.routing.clone())).await?;
    Ok(rows::look(&catalog, report).await?)
}

/// What usher writes goes where edits are listened for, if that is another server: its role is the one that needs rights. A server
/// that does not answer was told of with the notices.
async fn look_at_rights(config: &Config, session: &Session, report: &mut Report) -> Result<(), Failure> {
    let looked = match &config.listen {
        None => rights::look(config, session, report).await,
        Some(_) => match database::session(config).await {
            Ok(primary) => rights::look(config, &primary, report).await,
            Err(_told) => Ok(()),
        },
    };
    Ok(looked.map_err(usher::catalog::Error::from)?)
}

async fn look_at_columns(
    plan: &Plan,
    session: &Session,
    report: &mut Report,
) -> Result<(), usher::database::session::Error> {
    for table in migrations::missing_tables(session).await? {
        let remedy = "run `usher migrate`, which creates what is missing".into();
        report.errors.push(problem(table, "there is no such table".into(), NEEDED, remedy));
    }
    for (table, column) in migrations::missing_columns(session, plan).await? {
        let remedy = format!("add the column to the app's table: ALTER TABLE {table} ADD COLUMN {column} …");
        report.errors.push(problem(&format!("{table}.{column}"), "there is no such column".into(), NEEDED, remedy));
    }
    if !report.errors.is_empty() {
        return Ok(());
    }
    for (table, column) in OPTIONAL {
        if !schema::columns(session, table).await?.iter().any(|known| known.name == column) {
            let cause = "there is no such column; requests do not need it, `usher store` and `usher domain` do".into();
            let remedy = format!("leave it, or ALTER TABLE {table} ADD COLUMN {column} …");
            report.warnings.push(problem(&format!("{table}.{column}"), cause, NEEDED, remedy));
        }
    }
    for index in migrations::missing_indexes(session, plan).await? {
        let cause = "there is no such index, or it was left unfinished: every look-up reads the whole table".into();
        let remedy = "run `usher migrate`, which creates what is missing".into();
        report.warnings.push(problem(
            &format!("{}, index {}", index.table, index.name),
            cause,
            "all indexes of its look-ups",
            remedy,
        ));
    }
    Ok(())
}

async fn look_at_triggers(
    config: &Config,
    session: &Session,
    report: &mut Report,
) -> Result<(), usher::database::session::Error> {
    if config.follow != Follow::Off && !migrations::is_watched(session, &config.plan.watched).await? {
        let tables: Vec<_> = config.plan.watched.iter().map(|watch| watch.table.as_str()).collect();
        let cause =
            "one is missing, disabled or older than a column: edits show only when what is held is no longer fresh"
                .into();
        let remedy = "run `usher migrate`, which creates what is missing".into();
        report.warnings.push(problem(&format!("triggers of {}", tables.join(", ")), cause, "all of them", remedy));
    }
    for watch in &config.plan.watched {
        look_at_watched(watch, config, session, report).await?;
    }
    if !matches!(config.follow, Follow::Poll(_)) && keeps_changes(session).await? {
        let cause = "the triggers write each edit down, and nobody who polls removes it: the table only grows".into();
        let remedy = "DROP TABLE usher.changes, if no other instance has directory.follow = \"poll\"".into();
        report.warnings.push(problem("usher.changes", cause, "no such table", remedy));
    }
    Ok(())
}

/// Triggers compare the columns that there were when they were made: what is misspelled or was added since is left out.
async fn look_at_watched(
    watch: &Watch,
    config: &Config,
    session: &Session,
    report: &mut Report,
) -> Result<(), usher::database::session::Error> {
    let known = schema::columns(session, &watch.table).await?;
    let is_known = |name: &str| known.iter().any(|column| column.name == name);
    for name in watch.compared() {
        let subject = format!("{}.{name}", watch.table);
        // Of the default tables some columns may be missing; those that may not are asked for elsewhere.
        if !is_known(name) && config.plan.tables == Tables::Own {
            let cause = "directory.watch names it, and there is no such column: no edit of it would be told".to_owned();
            let accepted = known.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
            let accepted = if accepted.is_empty() { "columns of tables that exist".to_owned() } else { accepted };
            let remedy = "correct the name, then run `usher migrate`".to_owned();
            report.errors.push(problem(&subject, cause, &accepted, remedy));
        } else if is_known(name)
            && config.follow != Follow::Off
            && !migrations::tells_of(session, &watch.table, name).await?
        {
            let cause = "its edits are not told: the triggers are older than the column".to_owned();
            let remedy = "run `usher migrate`, which makes them anew".to_owned();
            report.warnings.push(problem(&subject, cause, "triggers that compare this column", remedy));
        }
    }
    Ok(())
}

/// Whether edits are kept for those who ask for them.
async fn keeps_changes(session: &Session) -> Result<bool, usher::database::session::Error> {
    if session.dialect() == Dialect::Sqlite {
        return Ok(false);
    }
    // Not by to_regclass, which needs rights on the schema.
    let sql = "SELECT 1 FROM pg_class WHERE relnamespace = to_regnamespace('usher') AND relname = 'changes'";
    Ok(!session.query(sql, &[]).await?.is_empty())
}

async fn look_at_own(
    own: &OwnQueries,
    session: &Session,
    report: &mut Report,
) -> Result<(), usher::database::session::Error> {
    for QueryFault { query, cause } in own.faults(session).await? {
        let accepted = "rows with store_id, and perhaps subdomain, is_active, is_verified, upstream and primary_domain, of the tables that exist";
        let remedy = "correct the statement, or give its columns these names with AS".into();
        report.errors.push(problem(&format!("directory.queries.{query}"), cause, accepted, remedy));
    }
    Ok(())
}

/// A problem of the database.
pub(super) fn problem(subject: &str, cause: String, accepted: &str, remedy: String) -> Problem {
    Problem {
        place: "database".into(),
        subject: subject.to_owned(),
        value: None,
        cause,
        accepted: accepted.to_owned(),
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use usher::database::sqlite::Database;

    use super::*;

    async fn check_over(sql: &str) -> Report {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usher.db");
        let session = Session::sqlite(&Database::create(&path).unwrap());
        session.batch(sql).await.unwrap();
        let text = format!(
            "[routing]\nplatform_domains = ['platform.com']\n[directory]\nurl = 'sqlite://{}'\n\
             [upstreams.default]\nservers = ['http://127.0.0.1:8000']\n",
            path.display()
        );
        check(&Config::parse(&text, "usher.toml", &|_| None).unwrap()).await
    }

    fn subjects(problems: &[Problem]) -> Vec<&str> {
        problems.iter().map(|problem| problem.subject.as_str()).collect()
    }

    #[tokio::test]
    async fn missing_tables_and_columns_are_told_together() {
        let report = check_over("CREATE TABLE stores (id INTEGER PRIMARY KEY)").await;
        assert_eq!(subjects(&report.errors), ["store_domains", "stores.subdomain", "stores.is_active"]);
    }

    #[tokio::test]
    async fn optional_columns_and_indexes_are_warnings() {
        let report = check_over(
            "CREATE TABLE stores (id INTEGER PRIMARY KEY, subdomain TEXT, name TEXT, is_active INT);
             CREATE TABLE store_domains (id INTEGER PRIMARY KEY, store_id INT, domain TEXT, is_active INT, is_verified INT, is_primary INT)",
        )
        .await;
        assert_eq!(subjects(&report.errors), Vec::<&str>::new());
        assert_eq!(
            subjects(&report.warnings),
            [
                "store_domains.verification_token",
                "store_domains, index usher_store_domains_canonical",
                "stores, index usher_stores_subdomain_canonical",
            ]
        );
    }

    #[tokio::test]
    async fn upstreams_that_rows_name_have_to_exist() {
        let report = check_over(
            "CREATE TABLE stores (id INTEGER PRIMARY KEY, subdomain TEXT, name TEXT, is_active INT, upstream TEXT);
             CREATE TABLE store_domains (id INTEGER PRIMARY KEY, store_id INT, domain TEXT, is_active INT, is_verified INT);
             INSERT INTO stores VALUES (1, 'a', 'A', 1, NULL), (2, 'b', 'B', 1, 'default'), (3, 'c', 'C', 1, ''),
                                       (4, 'd', 'D', 1, 'canary'), (5, 'e', 'E', 1, 'canary')",
        )
        .await;
        assert_eq!(subjects(&report.errors), ["stores.upstream"]);
        let told = report.errors[0].to_string();
        assert!(told.contains("stores.upstream = canary: there is no such upstream, and 2 rows name it"), "{told}");
    }

    #[tokio::test]
    async fn odd_rows_are_warnings_and_rows_that_contend_are_errors() {
        let report = check_over(&format!(
            "{} INSERT INTO stores (subdomain, name) VALUES ('a', 'A'), ('api', 'B');
             INSERT INTO store_domains (store_id, domain) VALUES (1, 'X.com.'), (2, 'x.com'), (1, 'y.platform.com')",
            migrations::sql(usher::database::session::Dialect::Sqlite, &migrations::Plan::default())
                .replace("BEGIN;", "")
                .replace("COMMIT;", "")
        ))
        .await;
        assert_eq!(subjects(&report.errors), ["store_domains.domain"]);
        let values: Vec<_> = report.warnings.iter().filter_map(|problem| problem.value.as_deref()).collect();
        assert_eq!(values, ["api", "X.com.", "y.platform.com"]);
    }
}
