//! The whole product with nothing installed.
