//! `usher check`: everything that can be found out before traffic comes.

mod certificates;
mod files;
mod notices;
mod rights;
mod rows;
mod tables;
mod upstreams;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use clap::Args;
use tokio::{task::JoinSet, time::Instant};
use usher::{
    config::{Config, Problem},
    telemetry::causes::one_line,
    upstream::{self, Endpoint, TlsError, Upstream},
};

use super::{ConfigFile, Failure, Outcome};

/// For an app server to accept a connection, look-up of its name and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Validate the configuration, then connect to everything it names
///
/// Reports every problem at once, with its place, the value, what is accepted and what to do. Looks at the file; at the
/// certificates of [tls]; at the files that usher writes; at the database: connection, notices of edits (also where
/// directory.listen_url leads), tables, columns, rights, triggers, indexes, rows that could never be found, name an upstream that
/// does not exist or are spelled oddly; and connects to every app server. Changes nothing.
///
/// Ends with 1 where there is an error. Warnings are told, and do not count.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  usher check --config usher.toml
  usher check --config usher.toml && systemctl restart usher")]
pub(crate) struct Check {
    #[command(flatten)]
    file: ConfigFile,
}

/// What was found out.
#[derive(Debug, Default)]
struct Report {
    /// What is well.
    good: Vec<String>,
    /// What must be repaired.
    errors: Vec<Problem>,
    /// What should be looked at.
    warnings: Vec<Problem>,
}

impl Check {
    pub(super) async fn run(self) -> Result<Outcome, Failure> {
        let config = self.file.load()?;
        let place = self.file.config.display().to_string();
        let mut report = Report { warnings: config.warnings.clone(), ..Report::default() };
        report.good.push(format!("{place} is valid"));
        let (database, servers) = tokio::join!(tables::check(&config), check_servers(&config, &place));
        report.add(files::check(&config, &place));
        report.add(certificates::check(&config.tls.certificates, &place, SystemTime::now()));
        report.add(database);
        report.add(servers);
        Ok(report.outcome())
    }
}

impl Report {
    fn add(&mut self, other: Self) {
        self.good.extend(other.good);
        self.errors.extend(other.errors);
        self.warnings.extend(other.warnings);
    }

    fn outcome(&self) -> Outcome {
        let mut answer: String = self.good.iter().map(|line| format!("ok: {line}\n")).collect();
        answer += &format!("{} and {}\n", count(self.errors.len(), "error"), count(self.warnings.len(), "warning"));
        let errors = self.errors.iter().map(|problem| format!("error: {problem}\n"));
        let warnings = self.warnings.iter().map(|problem| format!("warning: {problem}\n"));
        Outcome { answer, complaints: errors.chain(warnings).collect(), is_negative: !self.errors.is_empty() }
    }
}

/// All servers of all upstreams at the same time, told in the order of the file.
async fn check_servers(config: &Config, place: &str) -> Report {
    let mut report = Report::default();
    let mut connects = JoinSet::new();
    for settings in &config.upstreams {
        match Upstream::new(settings.clone()) {
            Ok(upstream) => {
                for (name, error) in upstream::resolve(&upstream).await {
                    report.errors.push(unreachable(place, &settings.name, name, one_line(&error)));
                }
                for endpoint in upstream.members().endpoints() {
                    let (index, settings, endpoint) = (connects.len(), settings.clone(), Arc::clone(endpoint));
                    connects.spawn(async move { (index, connect(&endpoint).await, settings, endpoint) });
                }
            }
            Err(error) => report.errors.push(unusable(place, &settings.name, &error)),
        }
    }
    let mut answers = connects.join_all().await;
    answers.sort_by_key(|(index, ..)| *index);
    for (_, answer, settings, endpoint) in answers {
        let (name, url) = (&settings.name, settings.url(endpoint.address()));
        match answer {
            Ok(()) => report.good.push(format!("upstreams.{name}: {url} accepts connections")),
            Err(cause) => report.errors.push(unreachable(place, name, url, cause)),
        }
    }
    report
}

async fn connect(endpoint: &Endpoint) -> Result<(), String> {
    upstream::reach(endpoint, Instant::now() + CONNECT_TIMEOUT).await.map_err(|error| one_line(&error))
}

fn unusable(place: &str, upstream: &str, error: &TlsError) -> Problem {
    Problem {
        place: place.to_owned(),
        subject: format!("upstreams.{upstream}"),
        value: None,
        cause: format!("TLS to its servers cannot be set up: {}", one_line(error)),
        accepted: "files with certificates and a key as PEM".into(),
        remedy: "correct ca_file, client_certificate, client_key or server_name".into(),
    }
}

fn unreachable(place: &str, upstream: &str, server: String, cause: String) -> Problem {
    Problem {
        place: place.to_owned(),
        subject: format!("upstreams.{upstream}.servers"),
        value: Some(server),
        cause,
        accepted: "a server that accepts connections, and TLS for its name where it is https:// or h2://".into(),
        remedy: "start the app server, or correct its address".into(),
    }
}

fn count_naming(rows: i64) -> String {
    if rows == 1 { "1 row names".to_owned() } else { format!("{rows} rows name") }
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(servers: &str) -> Config {
        let text = format!(
            "[routing]\nplatform_domains = ['platform.com']\n[directory]\nurl = 'sqlite://x.db'\n\
             [upstreams.default]\nservers = [{servers}]\n"
        );
        Config::parse(&text, "usher.toml", &|_| None).unwrap()
    }

    #[tokio::test]
    async fn servers_are_told_in_the_order_of_the_file() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let report = check_servers(&config(&format!("'http://{closed}', 'http://{open}'")), "usher.toml").await;
        assert_eq!(report.good, [format!("upstreams.default: http://{open} accepts connections")]);
        let values: Vec<_> = report.errors.iter().map(|problem| problem.value.clone()).collect();
        assert_eq!(values, [Some(format!("http://{closed}"))]);
        assert!(report.outcome().is_negative);
    }

    #[test]
    fn warnings_alone_are_no_failure() {
        let problem = unreachable("f", "default", "http://[::1]:1".into(), "is odd".into());
        let outcome = Report { warnings: vec![problem], ..Report::default() }.outcome();
        assert!(!outcome.is_negative);
        assert!(outcome.complaints.starts_with("warning: f: upstreams.default.servers = http://[::1]:1: is odd\n"));
        assert_eq!(outcome.answer, "0 errors and 1 warning\n");
    }
}
