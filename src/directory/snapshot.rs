//! What is held, as lines of a snapshot: a start without the database serves what the last run knew.
//!
//! What comes out of it counts as read when it was, so it is asked for again as soon as the database is there.

use std::{borrow::Cow, io, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Directory, Event};
use crate::{
    lifecycle::{Content, Lines, SnapshotError, SnapshotFile},
    routing::{KeyRef, PlatformId, Status, Tenant, TenantId, TenantKey, UpstreamName},
};

/// A line for one tenant.
#[derive(Debug, Deserialize, Serialize)]
struct Line<'a> {
    /// `None` for a custom domain, else the position of the platform domain, or -1 where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    label_under: Option<i32>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    status: Status,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    upstream: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    primary: Option<Cow<'a, str>>,
    /// How long ago it was read when the snapshot was written.
    age_s: u64,
}

impl Content for Directory {
    const EVERY: Duration = Duration::from_mins(5);

    fn restore(&self, file: &SnapshotFile) -> Result<Option<usize>, SnapshotError> {
        let mut records = Vec::new();
        let opened = file.read(self.shared.loader.cache.lifetimes.usable_for, |_, line| {
            records.push(parse(line)?);
            Ok(())
        })?;
        let Some(opened) = opened else { return Ok(None) };
        // A clock that was set back makes nothing younger than it was.
        let since = opened.written_at.elapsed().unwrap_or_default();
        let now = super::now();
        let restore = |(key, tenant, age): (TenantKey, Tenant, Duration)| {
            let Some(read_at) = now.checked_sub(age + since) else { return false };
            self.shared.loader.keep(key, Arc::new(tenant), read_at)
        };
        Ok(Some(records.into_iter().map(restore).filter(|kept| *kept).count()))
    }

    /// Moves with whatever is held: what was found, and what is no longer.
    fn changes(&self) -> u64 {
        let counts = self.stats().snapshot();
        counts.count(Event::LoadFound) + counts.count(Event::LoadAbsent)
    }

    fn fill(&self, lines: &mut Lines<'_>) -> io::Result<()> {
        let (now, mut outcome) = (super::now(), Ok(()));
        self.shared.loader.cache.each_found(now, |key, entry| {
            let Some(tenant) = entry.tenant.as_deref().filter(|_| outcome.is_ok()) else { return };
            outcome = lines.line(&Line::of(key, tenant, now.saturating_duration_since(entry.read_at)));
        });
        outcome
    }
}

fn parse(line: &[u8]) -> Result<(TenantKey, Tenant, Duration), SnapshotError> {
    let line: Option<Line<'_>> = serde_json::from_slice(line).ok();
    line.and_then(|line| line.record()).ok_or(SnapshotError::Damaged)
}

impl<'a> Line<'a> {
    fn of(key: &'a TenantKey, tenant: &'a Tenant, age: Duration) -> Self {
        let (label_under, name) = match key.as_ref() {
            KeyRef::CustomDomain(name) => (None, name),
            KeyRef::Label { platform, label } => (Some(platform.map_or(-1, |platform| platform.0.into())), label),
        };
        let Tenant { id, status, upstream, primary } = tenant;
        Self {
            label_under,
            name: name.into(),
            id: id.as_str().into(),
            status: *status,
            upstream: upstream.as_ref().map(|name| name.as_str().into()),
            primary: primary.as_deref().map(Cow::Borrowed),
            age_s: age.as_secs(),
        }
    }

    fn record(&self) -> Option<(TenantKey, Tenant, Duration)> {
        let platform = |position: i32| u16::try_from(position).ok().map(PlatformId);
        let key: TenantKey = match self.label_under {
            None => KeyRef::CustomDomain(&self.name).into(),
            Some(position) => KeyRef::Label { platform: platform(position), label: &self.name }.into(),
        };
        let id = TenantId::parse(&self.id).ok()?;
        let upstream = self.upstream.as_deref().and_then(UpstreamName::new);
        let tenant = Tenant { id, status: self.status, upstream, primary: self.primary.as_deref().map(Box::from) };
        Some((key, tenant, Duration::from_secs(self.age_s)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = (TenantKey, Tenant, Duration)> {
        let statuses = [Status::Active, Status::StoreInactive, Status::DomainInactive, Status::DomainUnverified];
        let parts = (
            "[a-z0-9.]{1,20}",
            0_u16..4,
            "[!-~]{1,20}",
            "[a-z]{0,2}",
            prop::sample::select(statuses.to_vec()),
            0_u64..100_000,
        );
        parts.prop_map(|(name, kind, id, upstream, status, age)| {
            let key = match kind {
                0 => KeyRef::CustomDomain(&name).into(),
                1 => KeyRef::Label { platform: None, label: &name }.into(),
                _ => KeyRef::Label { platform: Some(PlatformId(kind)), label: &name }.into(),
            };
            let primary = (status == Status::Active).then(|| "primary.example".into());
            let upstream = UpstreamName::new(&upstream);
            let tenant = Tenant { id: TenantId::parse(&id).unwrap(), status, upstream, primary };
            (key, tenant, Duration::from_secs(age))
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read((key, tenant, age) in record()) {
            let line = serde_json::to_vec(&Line::of(&key, &tenant, age)).unwrap();
            prop_assert_eq!(parse(&line).unwrap(), (key, tenant, age));
        }
    }
}
