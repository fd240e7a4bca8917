//! `upstreams.NAME.probe_*`.

use std::{mem::take, time::Duration};

use http::{
    HeaderValue, StatusCode, Uri,
    uri::{Authority, PathAndQuery},
};

use super::{
    file,
    problems::{Refusal, Report},
    units::{Count, Timespan},
    written::Written,
};
use crate::upstream::Probe;

/// The keys that say how app servers are asked.
pub(super) struct Keys {
    path: Written<String>,
    host: Written<String>,
    interval: Written<Timespan<100>>,
    timeout: Written<Timespan<1>>,
    status: Written<Count<200, 599>>,
    rise: Written<Count<1, 100>>,
    fall: Written<Count<1, 100>>,
}

impl Keys {
    /// Takes them out of what was written for one upstream.
    pub(super) fn take(written: &mut file::Upstream) -> Self {
        Self {
            path: take(&mut written.probe_path),
            host: take(&mut written.probe_host),
            interval: take(&mut written.probe_interval),
            timeout: take(&mut written.probe_timeout),
            status: take(&mut written.probe_status),
            rise: take(&mut written.probe_rise),
            fall: take(&mut written.probe_fall),
        }
    }

    /// What they mean for the upstream at `section`; `None` without a path.
    pub(super) fn resolve(self, section: &str, report: &mut Report<'_>) -> Option<Probe> {
        let target = parsed(&format!("{section}.probe_path"), self.path, target, report);
        let host_path = format!("{section}.probe_host");
        let host_span = self.host.span();
        let host = parsed(&host_path, self.host, host, report);
        if let (None, Some(span)) = (&target, host_span) {
            let refusal =
                Refusal::new("nothing is asked for without a path", "a host beside probe_path", "add probe_path");
            report.warn(&host_path, Some(span), refusal);
        }
        Some(Probe {
            target: target?,
            host,
            interval: self.interval.or(Duration::from_secs(5)),
            timeout: self.timeout.or(Duration::from_secs(2)),
            status: self.status.given().map_or(StatusCode::OK, |written| status(written.into_inner().into())),
            rise: self.rise.or(2),
            fall: self.fall.or(3),
        })
    }
}

fn parsed<T>(
    path: &str,
    written: Written<String>,
    parse: fn(&str) -> Result<T, Refusal>,
    report: &mut Report<'_>,
) -> Option<T> {
    let written = written.given()?;
    parse(written.get_ref()).map_err(|refusal| report.refuse(path, written.span(), refusal)).ok()
}

fn target(text: &str) -> Result<Uri, Refusal> {
    let target = text.parse::<PathAndQuery>().ok().filter(|_| text.starts_with('/'));
    let remedy = "begin with a slash, and encode what a URL cannot hold";
    target.map(Uri::from).ok_or_else(|| Refusal::new("is no path", "a path, such as \"/health\"", remedy))
}

fn host(text: &str) -> Result<HeaderValue, Refusal> {
    let authority = text.parse::<Authority>().ok().filter(|authority| !authority.as_str().contains('@'));
    let refusal =
        || Refusal::new("is no host", "a host, such as \"health.platform.com\"", "write a name, and a port if need be");
    authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()).ok_or_else(refusal)
}

/// The file takes only numbers that are one.
fn status(number: usize) -> StatusCode {
    u16::try_from(number).ok().and_then(|number| StatusCode::from_u16(number).ok()).unwrap_or(StatusCode::OK)
}
