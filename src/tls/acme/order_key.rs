//! Private keys of certificates that are being ordered: in the database, sealed, before the CA hears of them. So an order is of use to whoever
//! goes on with it, however far it has come.

use instant_acme::Order;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::{failure::OrderError, lease::Lease, shared::Shared, table};
use crate::{database::session::Value, telemetry::causes::one_line, tls::Sealed};

/// What a key is sealed for, in front of its name: it does not open as that of a certificate.
pub(in crate::tls) const CONTEXT: &str = "order key ";

/// A key, as PEM.
pub(super) struct OrderKey(String);

impl OrderKey {
    /// That of the order with this URL, where there is one that can be opened: the name is not to wait for a key of the keyring that may
    /// never come back.
    pub(super) async fn find(shared: &Shared, lease: &Lease, order_url: &str) -> Result<Option<Self>, OrderError> {
        let keys = table(shared.session.dialect(), "acme_order_keys");
        let sql = format!("SELECT key_id, sealed_key FROM {keys} WHERE name = $1 AND order_url = $2");
        let rows = shared.session.query(&sql, &[lease.name.as_str(), order_url].map(Value::from)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let text = |column: usize| row.get(column).and_then(Value::as_text).unwrap_or_default().to_owned();
        let opened =
            shared.keys.open(&Sealed { key_id: text(0), text: text(1) }, &context(lease)).inspect_err(|error| {
                tracing::warn!(
                    name = lease.name,
                    error = one_line(error),
                    "the key of an order that was begun is of no use"
                );
            });
        Ok(opened.ok().map(|plain| Self(String::from_utf8_lossy(&plain).into_owned())))
    }

    /// A new one, kept where the next instance will find it, as long as nobody else has taken the lease.
    pub(super) async fn make(shared: &Shared, lease: &Lease, order_url: &str) -> Result<Self, OrderError> {
        let key = Self(KeyPair::generate().map_err(OrderError::Key)?.serialize_pem());
        let Sealed { key_id, text } = shared.keys.seal(key.0.as_bytes(), &context(lease))?;
        let [keys, orders] = ["acme_order_keys", "acme_orders"].map(|name| table(shared.session.dialect(), name));
        let sql = format!(
            "INSERT INTO {keys} (name, order_url, key_id, sealed_key) \
             SELECT CAST($1 AS text), CAST($3 AS text), CAST($4 AS text), CAST($5 AS text) \
             WHERE EXISTS (SELECT 1 FROM {orders} o WHERE o.name = CAST($1 AS text) AND o.fence = CAST($2 AS bigint)) \
             ON CONFLICT (name) DO UPDATE SET order_url = excluded.order_url, key_id = excluded.key_id, \
             sealed_key = excluded.sealed_key RETURNING name"
        );
        let [name, order_url, key_id, text] = [&lease.name, order_url, &key_id, &text].map(Value::from);
        match shared.session.query(&sql, &[name, Value::Int(lease.fence), order_url, key_id, text]).await?.is_empty() {
            true => Err(OrderError::LeaseLost),
            false => Ok(key),
        }
    }

    /// Asks the CA to issue for the names of `order`.
    pub(super) async fn finalize(&self, order: &mut Order) -> Result<(), OrderError> {
        let mut names = Vec::new();
        let mut identifiers = order.identifiers();
        while let Some(identifier) = identifiers.next().await {
            names.push(identifier?.to_string());
        }
        let mut params = CertificateParams::new(names).map_err(OrderError::Key)?;
        params.distinguished_name = DistinguishedName::new();
        let key = KeyPair::from_pem(&self.0).map_err(OrderError::Key)?;
        let request = params.serialize_request(&key).map_err(OrderError::Key)?;
        Ok(order.finalize_csr(request.der()).await?)
    }

    /// As PEM.
    pub(super) fn into_pem(self) -> String {
        self.0
    }
}

/// The statement that forgets the key of the name in `$1`, which has its certificate; with the fence of the lease.
pub(super) fn forget(shared: &Shared) -> String {
    let [keys, orders] = ["acme_order_keys", "acme_orders"].map(|name| table(shared.session.dialect(), name));
    format!(
        "DELETE FROM {keys} WHERE name = CAST($1 AS text) \
         AND EXISTS (SELECT 1 FROM {orders} o WHERE o.name = CAST($1 AS text) AND o.fence = CAST($2 AS bigint))"
    )
}

/// Removes keys of orders that nobody goes on with.
pub(super) async fn sweep(shared: &Shared) -> Result<(), OrderError> {
    let [keys, orders] = ["acme_order_keys", "acme_orders"].map(|name| table(shared.session.dialect(), name));
    let sql = format!(
        "DELETE FROM {keys} WHERE NOT EXISTS \
         (SELECT 1 FROM {orders} o WHERE o.name = {keys}.name AND o.order_url = {keys}.order_url)"
    );
    shared.session.query(&sql, &[]).await?;
    Ok(())
}

fn context(lease: &Lease) -> String {
    format!("{CONTEXT}{}", lease.name)
}
