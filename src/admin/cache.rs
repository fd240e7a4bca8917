//! `/api/v1/cache`: how much this instance remembers of the tables, and how look-ups were answered. Names are told to nobody:
//! they are the customers of all stores.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::Serialize;

use super::Parts;
use crate::directory::Event;

/// What is held, and what was asked since the start.
#[derive(Serialize)]
pub(super) struct Shown {
    /// Keys of stores that are remembered.
    found: u64,
    /// Keys of which it is remembered that nobody has them.
    absent: u64,
    /// Names in the tables, if all of them are known.
    names: Option<usize>,
    /// The memory that they take, in bytes.
    names_bytes: Option<usize>,
    /// Questions to the database that are under way.
    loads_in_flight: usize,
    /// Of `found`, those still to be compared with the database after changes may have been missed.
    unchecked: usize,
    /// Whether the database has not answered lately.
    database_away: bool,
    /// Queries sent.
    queries: u64,
    /// How look-ups ended, by the names that the metrics have for it.
    lookups: BTreeMap<&'static str, u64>,
}

/// All of it.
pub(super) async fn show(State(parts): State<Parts>) -> Json<Shown> {
    let (held, events) = (parts.cache.held(), parts.cache.stats().snapshot());
    let (names, names_bytes) = held.names.unzip();
    Json(Shown {
        found: held.found,
        absent: held.absent,
        names,
        names_bytes,
        loads_in_flight: held.loads,
        unchecked: held.unchecked,
        database_away: held.is_away,
        queries: events.count(Event::Queried),
        lookups: events.lookups().collect(),
    })
}
