//! The process's own log, on stderr.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::{EnvFilter, filter::ParseError, fmt::MakeWriter, util::SubscriberInitExt, util::TryInitError};

/// What `[log]` means.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A tracing filter: `info`, `usher=debug`, …
    pub filter: String,
    /// JSON lines instead of text.
    pub json: bool,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter has no meaning.
    #[error("the log filter {filter:?} is not understood; write a level such as \"info\", or \"info,usher=debug\"")]
    Filter {
        /// As configured.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// The process has a log already.
    #[error("the log was set up before")]
    Installed(#[source] TryInitError),
}

/// Starts the log of the process. Once per process, before anything is logged.
pub fn init(settings: &Settings) -> Result<(), Error> {
    subscriber(settings, stderr, stderr().is_terminal())?.try_init().map_err(Error::Installed)
}

type Subscriber = Box<dyn tracing::Subscriber + Send + Sync>;

/// Colours only where a person looks: escape sequences in a collected log are noise.
fn subscriber<W>(settings: &Settings, writer: W, terminal: bool) -> Result<Subscriber, Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&settings.filter)
        .map_err(|source| Error::Filter { filter: settings.filter.clone(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(terminal);
    Ok(if settings.json { Box::new(builder.json().flatten_event(true).finish()) } else { Box::new(builder.finish()) })
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, json: bool, terminal: bool) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let settings = Settings { filter: filter.into(), json };
        let subscriber = subscriber(&settings, move || writer.clone(), terminal).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(listeners = 2, "ready");
            tracing::debug!("detail");
        });
        String::from_utf8(captured.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn the_filter_decides_what_is_logged() {
        assert!(logged("info", false, false).contains("ready listeners=2\n"));
        assert!(!logged("info", false, false).contains("detail"));
        assert!(logged("warn,usher=debug", false, false).contains("detail"));
        assert_eq!(logged("warn", false, false), "");
    }

    #[test]
    fn json_lines_carry_facts_as_fields() {
        let line: serde_json::Value = serde_json::from_str(logged("info", true, false).trim_end()).unwrap();
        assert_eq!(
            (&line["message"], &line["listeners"], &line["level"]),
            (&"ready".into(), &2.into(), &"INFO".into())
        );
    }

    #[test]
    fn only_a_terminal_gets_colours() {
        assert!(logged("info", false, true).contains('\u{1b}'));
        assert!(!logged("info", false, false).contains('\u{1b}'));
    }

    #[test]
    fn a_filter_without_meaning_is_refused_with_a_remedy() {
        let settings = Settings { filter: "usher=loud".into(), json: false };
        let Err(error) = subscriber(&settings, stderr, false) else { panic!("accepted") };
        assert!(error.to_string().contains(r#""usher=loud""#) && error.to_string().contains("info,usher=debug"));
    }
}
