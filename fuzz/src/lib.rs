//! What must hold for any bytes from a client or an app server. The fuzz targets look for an input that breaks it; `tests/corpora.rs` includes
//! this file and replays the corpora in every test run.

pub mod answer;
pub mod authority;
pub mod facts;
pub mod hygiene;
pub mod proxy_protocol;

/// Takes any input and panics where an invariant does not hold.
pub type Check = fn(&[u8]);

/// Each target by the name of its corpus.
pub const TARGETS: [(&str, Check); 5] = [
    ("answer", answer::check),
    ("authority", authority::check),
    ("facts", facts::check),
    ("hygiene", hygiene::check),
    ("proxy_protocol", proxy_protocol::check),
];
