//! The two readings of a path.
