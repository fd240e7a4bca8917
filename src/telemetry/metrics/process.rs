//! What the system knows of the process.

use std::{
    fs,
    time::{Duration, SystemTime},
};

/// The process itself.
#[derive(Debug)]
pub(super) struct Process {
    /// Since the Unix epoch.
    pub(super) started: Duration,
}

impl Process {
    /// Called once, while the process starts.
    pub(super) fn starting() -> Self {
        Self { started: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() }
    }

    pub(super) fn resident_bytes(&self) -> Option<u64> {
        parse_resident_bytes(&fs::read_to_string("/proc/self/status").ok()?)
    }

    /// Without the one that this look itself opens.
    pub(super) fn open_fds(&self) -> Option<u64> {
        let open = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
        u64::try_from(open).ok()
    }
}

/// The line `VmRSS:  1234 kB` of `/proc/self/status` (proc_pid_status(5)).
fn parse_resident_bytes(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = value.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(parse_resident_bytes("Name:\tusher\nVmRSS:\t    2048 kB\nVmData:\t 1 kB\n"), Some(2_097_152));
        assert_eq!(parse_resident_bytes("Name:\tusher\n"), None);
        assert_eq!(parse_resident_bytes("VmRSS:\tmuch kB\n"), None);
    }
}
