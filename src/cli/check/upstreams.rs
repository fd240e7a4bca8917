//! The upstreams that rows name: whether each exists.

use usher::{
    catalog::named_upstreams,
    config::{Config, Problem},
    database::{
        migrations::Watch,
        schema,
        session::{Error, Session},
    },
};

use super::{Report, tables::problem};

/// Where rows name one.
const COLUMN: &str = "upstream";

/// Looks at the tables whose column `upstream` is watched; those of the user's own queries cannot be known otherwise.
pub(super) async fn look(config: &Config, session: &Session, report: &mut Report) -> Result<(), Error> {
    for watch in config.plan.watched.iter().filter(|watch| watch.columns.iter().any(|column| column == COLUMN)) {
        if schema::columns(session, &watch.table).await?.iter().any(|column| column.name == COLUMN) {
            look_at(watch, config, session, report).await?;
        }
    }
    Ok(())
}

async fn look_at(watch: &Watch, config: &Config, session: &Session, report: &mut Report) -> Result<(), Error> {
    let subject = format!("{}.{COLUMN}", watch.table);
    let known: Vec<_> = config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    for (name, rows) in named_upstreams(session, &watch.table).await? {
        if !known.contains(&name.as_str()) {
            report.errors.push(unknown(&subject, name, rows, &known));
        }
    }
    Ok(())
}

fn unknown(subject: &str, name: String, rows: i64, known: &[&str]) -> Problem {
    let cause = format!("there is no such upstream, and {} it", super::count_naming(rows));
    let remedy = format!("add [upstreams.{name}], or correct the rows; meanwhile routing.unknown_upstream counts");
    Problem { value: Some(name), ..problem(subject, cause, &known.join(", "), remedy) }
}
