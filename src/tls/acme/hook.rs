//! Records in the DNS of the platform, put there by a command of the operator's: how a CA is shown whose a wildcard is (RFC 8555 §8.4).

use std::{io, process::Stdio, sync::Arc};

use tokio::{io::AsyncReadExt, process::Command, time::timeout};

use super::settings::HookSettings;
use crate::telemetry::causes::one_line;

/// Of what a command says about its failure.
const COMPLAINT_MAX: u64 = 1024;

/// Puts records into the DNS; a cheap clone.
#[derive(Clone)]
pub(super) struct Hook {
    settings: Arc<HookSettings>,
}

impl Hook {
    pub(super) fn new(settings: HookSettings) -> Self {
        Self { settings: Arc::new(settings) }
    }

    pub(super) fn settings(&self) -> &HookSettings {
        &self.settings
    }

    /// Adds the TXT record that shows a CA that `domain` is ours; it is removed when what is returned is dropped.
    pub(super) async fn add(&self, domain: &str, value: &str) -> Result<Record, HookError> {
        let record = Record { hook: self.clone(), name: format!("_acme-challenge.{domain}"), value: value.to_owned() };
        self.run("add", &record.name, value).await?;
        Ok(record)
    }

    /// Runs the command, without a shell: what it is given is never read as anything but a word.
    async fn run(&self, verb: &str, name: &str, value: &str) -> Result<(), HookError> {
        let Some((program, arguments)) = self.settings.command.split_first() else { return Ok(()) };
        let mut child = Command::new(program)
            .args(arguments)
            .args([verb, name, value])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(HookError::NotStarted)?;
        let stderr = child.stderr.take();
        let ended = timeout(self.settings.timeout, async {
            let mut complaint = Vec::new();
            if let Some(stderr) = stderr {
                let mut limited = stderr.take(COMPLAINT_MAX);
                let _nothing_more = limited.read_to_end(&mut complaint).await;
                let _unread = tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await;
            }
            (child.wait().await, complaint)
        });
        let (status, complaint) = ended.await.map_err(|_| HookError::Late)?;
        match status.map_err(HookError::NotStarted)? {
            status if status.success() => Ok(()),
            status => {
                let complaint = String::from_utf8_lossy(&complaint).split_whitespace().collect::<Vec<_>>().join(" ");
                Err(HookError::Failed(format!("{status}: {complaint}")))
            }
        }
    }
}

/// A record that is there, and is removed when this is dropped.
pub(super) struct Record {
    hook: Hook,
    name: String,
    value: String,
}

impl Drop for Record {
    fn drop(&mut self) {
        let (hook, name, value) = (self.hook.clone(), std::mem::take(&mut self.name), std::mem::take(&mut self.value));
        tokio::spawn(async move {
            if let Err(error) = hook.run("remove", &name, &value).await {
                tracing::warn!(name, error = one_line(&error), "a DNS record could not be removed");
            }
        });
    }
}

/// Why a record is not there.
#[derive(Debug, thiserror::Error)]
pub(super) enum HookError {
    #[error("acme.dns_hook cannot be started")]
    NotStarted(#[source] io::Error),
    #[error("acme.dns_hook did not end in time")]
    Late,
    #[error("acme.dns_hook failed: {0}")]
    Failed(String),
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;

    fn hook(command: &[&str]) -> Hook {
        Hook::new(HookSettings {
            command: command.iter().map(ToString::to_string).collect(),
            timeout: Duration::from_millis(500),
            wait: Duration::ZERO,
            domains: Vec::new(),
        })
    }

    fn script(folder: &Path, text: &str) -> String {
        let path = folder.join("hook");
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    async fn said(log: &Path, lines: usize) -> String {
        loop {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            if text.lines().count() >= lines {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_record_is_there_until_it_is_dropped_and_no_word_is_read_by_a_shell() {
        let folder = tempfile::tempdir().unwrap();
        let (path, log) = (script(folder.path(), "echo \"$@\" >> \"$0.log\""), folder.path().join("hook.log"));
        let record = hook(&["sh", &path, "first"]).add("platform.com", "$(touch x); value").await.unwrap();
        assert_eq!(said(&log, 1).await, "first add _acme-challenge.platform.com $(touch x); value\n");
        drop(record);
        assert!(said(&log, 2).await.ends_with("first remove _acme-challenge.platform.com $(touch x); value\n"));
    }

    #[tokio::test]
    async fn a_command_that_fails_says_why_and_one_that_hangs_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = script(folder.path(), "echo no such zone >&2; exit 3");
        let failed = hook(&["sh", &path]).add("platform.com", "v").await.err().unwrap().to_string();
        assert_eq!(failed, "acme.dns_hook failed: exit status: 3: no such zone");
        let hangs = script(folder.path(), "exec sleep 60");
        assert!(matches!(hook(&["sh", &hangs]).add("platform.com", "v").await, Err(HookError::Late)));
        assert!(matches!(hook(&["/nonexistent"]).add("platform.com", "v").await, Err(HookError::NotStarted(_))));
    }
}
