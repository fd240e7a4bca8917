//! `usher upstreams`.

mod ask;

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use usher::admin;

use super::{ConfigFile, Failure, Outcome, outcome::table, store::Common};

/// Show app servers as the running router finds them, or leave one alone
///
/// Asks the admin listener of the router that runs with this configuration, on this machine. Orders need the token that
/// admin.token_file names.
///
/// With --json: the answer of GET /api/v1/upstreams.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  usher upstreams --config usher.toml
  usher upstreams drain default 10.0.0.5:8000 --config usher.toml    before it is stopped
  usher upstreams resume default 10.0.0.5:8000 --config usher.toml   when it runs again"
)]
pub(crate) struct Upstreams {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    file: Option<ConfigFile>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Send no new requests to an app server; those that run go on
    Drain(One),
    /// Send it its share of the requests again, little by little
    Resume(One),
}

#[derive(Debug, Args)]
struct One {
    /// The name of the upstream
    upstream: String,
    /// The app server, as the list shows it
    endpoint: String,
    #[command(flatten)]
    common: Common,
}

impl Upstreams {
    pub(super) async fn run(self) -> Result<Outcome, Failure> {
        match (self.action, self.file) {
            (Some(Action::Drain(one)), _) => order(one, "drain").await,
            (Some(Action::Resume(one)), _) => order(one, "resume").await,
            (None, Some(file)) => list(&file.load()?.admin, self.json).await,
            // clap has asked for the configuration before.
            (None, None) => Ok(Outcome::default()),
        }
    }
}

async fn order(one: One, order: &str) -> Result<Outcome, Failure> {
    let One { upstream, endpoint, common } = one;
    // Sockets in the file system have slashes in their names.
    let endpoint = endpoint.replace('%', "%25").replace('/', "%2F");
    let path = format!("/api/v1/upstreams/{upstream}/endpoints/{endpoint}/{order}");
    let settings = common.file.load()?.admin;
    ask::ask(&settings, Method::POST, &path).await?;
    list(&settings, common.json).await
}

async fn list(settings: &admin::Settings, json: bool) -> Result<Outcome, Failure> {
    let answer = ask::ask(settings, Method::GET, "/api/v1/upstreams").await?;
    if json {
        return Outcome::json(&serde_json::from_slice::<serde_json::Value>(&answer).map_err(Failure::Json)?);
    }
    Ok(Outcome::answer(text(&serde_json::from_slice::<Vec<Upstream>>(&answer).map_err(Failure::Json)?)))
}

const ANSWERED: &str = "answered";

#[derive(Deserialize)]
struct Upstream {
    name: String,
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    endpoint: String,
    name: Option<String>,
    state: String,
    reason: Option<String>,
    in_flight: u64,
    latency_ms: Option<f64>,
    attempts: BTreeMap<String, u64>,
    connections: u64,
    connections_opened: u64,
    connections_reused: u64,
}

const HEAD: [&str; 10] = [
    "UPSTREAM",
    "SERVER",
    "STATE",
    "RUNNING",
    "LATENCY",
    "CONNECTIONS",
    "OPENED",
    "REUSED",
    "ANSWERED",
    "OTHER ATTEMPTS",
];

fn text(upstreams: &[Upstream]) -> String {
    let rows =
        upstreams.iter().flat_map(|upstream| upstream.endpoints.iter().map(|endpoint| row(&upstream.name, endpoint)));
    table(HEAD, rows)
}

fn row(upstream: &str, endpoint: &Endpoint) -> [String; 10] {
    let reason = endpoint.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    [
        upstream.to_owned(),
        endpoint.name.as_ref().map_or(endpoint.endpoint.clone(), |name| format!("{} ({name})", endpoint.endpoint)),
        format!("{}{reason}", endpoint.state),
        endpoint.in_flight.to_string(),
        endpoint.latency_ms.map_or("-".to_owned(), |latency| format!("{latency:.1} ms")),
        endpoint.connections.to_string(),
        endpoint.connections_opened.to_string(),
        share(endpoint.connections_reused, endpoint.connections_opened),
        endpoint.attempts.get(ANSWERED).copied().unwrap_or_default().to_string(),
        others(&endpoint.attempts),
    ]
}

/// What else became of attempts, each outcome that there was.
fn others(attempts: &BTreeMap<String, u64>) -> String {
    let others = attempts.iter().filter(|(outcome, count)| *outcome != ANSWERED && **count > 0);
    let others: Vec<_> = others.map(|(outcome, count)| format!("{count} {outcome}")).collect();
    if others.is_empty() { "-".to_owned() } else { others.join(", ") }
}

/// The share of `part` in both, as people write it. It is cut off and not rounded: one connection among a million is not lost.
fn share(part: u64, rest: u64) -> String {
    match u128::from(part) + u128::from(rest) {
        0 => "-".to_owned(),
        all => {
            let thousandths = u128::from(part) * 100_000 / all;
            format!("{}.{:03} %", thousandths / 1000, thousandths % 1000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_servers_are_shown_in_a_table() {
        let answer = r#"[{"name": "default", "balance": "least_loaded", "endpoints": [{"endpoint": "a:1", "weight": 1,
            "state": "ejected", "reason": "failures in a row", "in_flight": 2, "latency_ms": 12.34,
            "attempts": {"answered": 7, "broken": 2, "cancelled": 1, "refused": 0, "stale": 3}, "connections": 4,
            "connections_opened": 1, "connections_reused": 9}]}]"#;
        let shown = text(&serde_json::from_str::<Vec<Upstream>>(answer).unwrap());
        let expected = "UPSTREAM  SERVER  STATE                        RUNNING  LATENCY  CONNECTIONS  OPENED  REUSED    ANSWERED  OTHER ATTEMPTS\n\
                        default   a:1     ejected (failures in a row)  2        12.3 ms  4            1       90.000 %  7         2 broken, 1 cancelled, 3 stale\n";
        assert_eq!(shown, expected);
    }
    #[test]
    fn a_share_is_not_rounded_up_to_all() {
        assert_eq!([share(9996, 4), share(999_999, 1), share(3, 0)], ["99.960 %", "99.999 %", "100.000 %"]);
        assert_eq!(share(0, 0), "-");
    }
}
