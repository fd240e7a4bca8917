//! What the directory says of a route: found, absent, or an error where it could not be asked.

use std::time::Instant;

use super::error::Failure;
use crate::{
    directory::Reader,
    routing::{Route, Subject},
};

/// Asks for the key of `route` and, where that is absent, for the name without `www.`; asks nothing where nobody's
/// answer could matter.
pub(super) async fn look_up<'a>(directory: &Reader, route: Route<'a>, now: Instant) -> Result<Subject<'a>, Failure> {
    let (mut tenant, mut apex) = (None, None);
    if let Route::Tenant { key, without_www, .. } = route {
        tenant = directory.lookup(key, now).await?;
        if tenant.is_none()
            && let Some(without_www) = without_www
        {
            apex = directory.lookup(without_www, now).await?;
        }
    }
    Ok(Subject { route, tenant, apex })
}
