//! The series of certificates that are asked for.

use std::{fmt, time::Duration};

use prometheus_client::{encoding::DescriptorEncoder, metrics::MetricType, registry::Unit};

use super::series::{counter, family, gauge, labelled};

/// How it stands with certificates that are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcmeCounts {
    /// Work for names that ended since the start, by outcome.
    pub orders: Vec<(&'static str, u64)>,
    /// Handshakes that answered a CA since the start.
    pub answered: u64,
    /// Handshakes since the start that asked for a name while as many as may be were worked for.
    pub full: u64,
    /// Names in the database that have to wait, `waiting` or the reason.
    pub names: Vec<(&'static str, u64)>,
    /// The Unix time at which the first certificate in the database ends to be valid that is still renewed.
    pub earliest_expiry: Option<Duration>,
    /// Whether all orders that the limits allow have been made.
    pub is_limited: bool,
}

/// Writes them.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, counts: &AcmeCounts) -> fmt::Result {
    // Does the CA issue what is asked for, and where not, whose fault is it?
    let mut orders = family(encoder, "acme_orders", "Work for certificates that ended", MetricType::Counter)?;
    for (outcome, count) in &counts.orders {
        labelled(&mut orders, &[("outcome", *outcome)], *count)?;
    }
    counter(encoder, "acme_proofs_shown", "Handshakes that answered a CA", counts.answered)?;
    // Does somebody name domains in handshakes that do not lead here, or is the self check slow?
    counter(encoder, "acme_demands_full", "Handshakes whose name waits for its turn among those due", counts.full)?;
    // Who waits? A name that is waiting for hours is more than the limits allow; one that is astray has no DNS record.
    let mut names = family(encoder, "acme_names", "Names without a certificate that lasts", MetricType::Gauge)?;
    for (state, count) in &counts.names {
        names.encode_family(&[("state", *state)])?.encode_gauge(count)?;
    }
    // Will a customer's certificate run out, whatever the reason?
    if let Some(expiry) = counts.earliest_expiry {
        let help = "When the first certificate in the database ends to be valid, since the Unix epoch";
        gauge(encoder, "acme_earliest_expiry", help, Some(Unit::Seconds), expiry.as_secs_f64())?;
    }
    // Are the limits on orders too low, or is somebody adding names?
    let help = "1 while all orders that the limits allow have been made";
    gauge(encoder, "acme_limited", help, None, u32::from(counts.is_limited))
}
