//! What usher's role may do in PostgreSQL.

use usher::{
    config::{Config, Problem},
    database::session::{Dialect, Error, Session},
    directory::feed::Follow,
};

use super::{Report, tables::problem};

/// Statements that bring the `GRANT` that is missing, or no row.
const WRITE_VERIFIED: &str = "\
SELECT format('GRANT UPDATE (%s) ON store_domains TO %I', string_agg(attname, ', ' ORDER BY attnum), current_user)
FROM pg_attribute WHERE attrelid = to_regclass('store_domains') AND attname IN ('is_verified', 'verified_at')
AND NOT attisdropped AND NOT has_column_privilege(attrelid, attnum, 'UPDATE') HAVING count(*) > 0";

const USE_SCHEMA: &str = "\
SELECT format('GRANT USAGE ON SCHEMA usher TO %I', current_user)
FROM pg_namespace WHERE nspname = 'usher' AND NOT has_schema_privilege(oid, 'USAGE')";

const WRITE_TABLES: &str = "\
SELECT format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA usher TO %I', current_user)
WHERE EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('usher') AND relkind IN ('r', 'p')
    AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
        AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE')))";

const READ_CHANGES: &str = "\
SELECT format('GRANT SELECT, DELETE ON usher.changes TO %I', current_user)
FROM pg_class WHERE relnamespace = to_regnamespace('usher') AND relname = 'changes'
AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'DELETE'))";

/// Looks for rights that `usher serve` will need with this configuration. SQLite knows none.
pub(super) async fn look(config: &Config, session: &Session, report: &mut Report) -> Result<(), Error> {
    if session.dialect() == Dialect::Postgres {
        for (purpose, statement) in wanted(config) {
            let rows = session.query(statement, &[]).await?;
            report.errors.extend(rows.iter().filter_map(|row| row[0].as_text()).map(|grant| missing(purpose, grant)));
        }
    }
    Ok(())
}

/// What rights are for, and what looks for them.
fn wanted(config: &Config) -> Vec<(&'static str, &'static str)> {
    let mut wanted = Vec::new();
    if config.domains.are_verified {
        wanted.push(("domains.verification", WRITE_VERIFIED));
    }
    if config.domains.are_verified || config.tls.keys.is_some() {
        wanted.extend([("the tables of usher", USE_SCHEMA), ("the tables of usher", WRITE_TABLES)]);
    } else if matches!(config.follow, Follow::Poll(_)) {
        wanted.extend([("directory.follow", USE_SCHEMA), ("directory.follow", READ_CHANGES)]);
    }
    wanted
}

fn missing(purpose: &str, grant: &str) -> Problem {
    let cause = "its role in the database lacks a right".to_owned();
    problem(purpose, cause, "the rights that README names", format!("as the owner of the tables: {grant};"))
}
