//! Where edits are listened for: whether it can be, and whether notices arrive.

use usher::{
    config::{Config, Database, Problem},
    database::{
        migrations::CHANNEL,
        postgres::{self, Listener, Pool},
    },
    directory::feed::Follow,
    telemetry::causes::one_line,
};

use super::{Report, tables::problem};

const ACCEPTED: &str = "a PostgreSQL server itself, with the database that the rows are in";

/// Listens as `usher serve` would. `rows_answer` says whether the database of the rows can be asked, without which no notice comes.
pub(super) async fn look(config: &Config, rows_answer: bool, report: &mut Report) {
    let (Database::Postgres(rows), Follow::Listen) = (&config.database, config.follow) else { return };
    let (server, subject) = match &config.listen {
        Some(listen) => (listen, "directory.listen_url"),
        None if rows_answer => (rows, config.database_origin.as_str()),
        // Told already.
        None => return,
    };
    match listen(server, Some(rows).filter(|_| rows_answer)).await {
        Ok(Some(true)) => report.good.push(format!("edits are heard by way of {subject}")),
        Ok(Some(false)) => report.warnings.push(deaf(subject)),
        Ok(None) => report.good.push(format!("the server named by {subject} can be listened to")),
        Err(error) => report.errors.push(unheard(subject, &error)),
    }
}

/// Whether a notice that is sent where the rows are arrives; nothing where none can be sent.
async fn listen(
    server: &postgres::Settings,
    rows: Option<&postgres::Settings>,
) -> Result<Option<bool>, postgres::Error> {
    let mut listener = Listener::connect(server, &[CHANNEL]).await?;
    match rows {
        Some(rows) => listener.hears(&Pool::new(rows.clone())?).await.map(Some),
        None => Ok(None),
    }
}

fn deaf(subject: &str) -> Problem {
    let cause =
        "notices do not arrive, as behind a pooler or from another database: edits show when what is held is old";
    let remedy = "name the server itself in directory.listen_url, or set directory.follow = \"poll\"";
    problem(subject, cause.to_owned(), ACCEPTED, remedy.to_owned())
}

fn unheard(subject: &str, error: &postgres::Error) -> Problem {
    let remedy = "see that the server runs, and that the URL with its role and password is right";
    problem(subject, format!("cannot be listened to: {}", one_line(error)), ACCEPTED, remedy.to_owned())
}
