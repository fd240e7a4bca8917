//! What `[directory]` means for look-ups.

use std::time::Duration;

/// How much is held, for how long, and how much the database is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Found keys held at most; beyond it the least used go.
    pub found_max: u64,
    /// Absent keys held at most; their own cache, so that strangers' names never push out tenants.
    pub absent_max: u64,
    /// How long a found key is served without asking again while nobody tells of changes.
    pub fresh_for: Duration,
    /// The same while changes are told. Each key takes up to an eighth off it, so that they do not all end at once.
    pub fresh_for_followed: Duration,
    /// How long a found key is served at all while the database cannot be asked.
    pub usable_for: Duration,
    /// How long an absence is believed.
    pub absent_for: Duration,
    /// How long a request waits for a load.
    pub lookup_timeout: Duration,
    /// Loads in the air at once for keys of which nothing is known; beyond it they are shed.
    pub loads_max: usize,
    /// The same in a second; a tenth of them may come at once, and `loads_max` in any case.
    pub loads_per_second: usize,
    /// The same for keys that are known to exist, of which strangers take nothing.
    pub known_loads_max: usize,
    /// Names of the tables that are remembered, ten bytes each, so that others are absent without a query; with more of them, or
    /// with 0, none are.
    pub names_max: usize,
    /// Queries at once; what has to wait for one meanwhile is read by the next in one go.
    pub queries_max: usize,
    /// Platform domains, under each of which a label is a key of its own.
    pub platforms: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // 100,000 tenants with a domain and a subdomain each, in less than 100 MB.
            found_max: 200_000,
            // Enough for the names that scanners repeat; a longer list of them would be remembered for nothing.
            absent_max: 100_000,
            // What an operator is willing to wait for an edit, and one query a minute for each key in use.
            fresh_for: Duration::from_secs(60),
            // Against what nobody can tell, such as a trigger that somebody dropped.
            fresh_for_followed: Duration::from_hours(1),
            // The database may be away for a night and the morning after.
            usable_for: Duration::from_hours(24),
            // Whoever adds a domain tries it at once, and again after a few seconds.
            absent_for: Duration::from_secs(5),
            // A thousand times what an indexed query takes; people wait a second without leaving.
            lookup_timeout: Duration::from_millis(900),
            // Thirty-two for each connection of the pool: at a millisecond per query the last is answered well in time.
            loads_max: 256,
            // Most of what eight connections can ask: a flood of strangers leaves the database some room.
            loads_per_second: 5000,
            // After an edit of everything all busy tenants are asked for at once; read by the hundred they are all in time.
            known_loads_max: 16_384,
            // In 10 MB.
            names_max: 1_000_000,
            // The connections of the pool.
            queries_max: 8,
            platforms: 1,
        }
    }
}
