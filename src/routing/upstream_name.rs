//! The upstream that a store's requests are for, as its row names it.

use std::fmt;

/// Characters of a name that is configured; a longer one names nothing, however it goes on.
const LENGTH_MAX: usize = 64;

/// A name out of a row. It chooses among the upstreams of the configuration and is never an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamName(Box<str>);

impl UpstreamName {
    /// The name that a row has; an empty one is none. Of what is too long only so much is kept that it stays unknown.
    pub fn new(text: &str) -> Option<Self> {
        let end = text.char_indices().nth(LENGTH_MAX + 1).map_or(text.len(), |(end, _)| end);
        (end > 0).then(|| Self(text[..end].into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UpstreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_name_is_none_and_a_long_one_stays_too_long() {
        assert_eq!(UpstreamName::new(""), None);
        assert_eq!(UpstreamName::new("canary").unwrap().as_str(), "canary");
        let longest = "ä".repeat(LENGTH_MAX);
        assert_eq!(UpstreamName::new(&longest).unwrap().as_str(), longest);
        let kept = UpstreamName::new(&"ä".repeat(1000)).unwrap();
        assert_eq!(kept.as_str().chars().count(), LENGTH_MAX + 1);
    }
}
