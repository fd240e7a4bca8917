//! What the database tells of a committed edit.

use crate::routing::TenantId;

/// One committed edit to the directory's data, as the database told us: whatever was read before it about what it names is
/// worth nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Who is behind this custom domain, in its canonical form.
    Domain(Box<str>),
    /// Who is behind this label in its canonical form, under whichever platform domain.
    Label(Box<str>),
    /// Everything that leads to this tenant.
    Tenant(TenantId),
    /// Anything may have changed.
    Everything,
}

impl Change {
    /// Reads a notice: lines of a kind and what it names, such as `domain shop.example` or `everything`.
    ///
    /// A line that cannot be read (a later version of the triggers, an id that no header can carry) stands for everything: a
    /// change that is not understood must not be missed.
    pub fn read(notice: &str) -> Vec<Self> {
        notice.lines().map(Self::read_line).collect()
    }

    fn read_line(line: &str) -> Self {
        match line.split_once(' ') {
            Some(("domain", name)) => Self::Domain(name.into()),
            Some(("label", name)) => Self::Label(name.into()),
            Some(("tenant", id)) => TenantId::parse(id).map_or(Self::Everything, Self::Tenant),
            _ => Self::Everything,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_names_one_change_per_line() {
        let id = TenantId::parse("17").unwrap();
        let changes = Change::read("domain shop.example\nlabel store1\ntenant 17\neverything");
        let expected = [
            Change::Domain("shop.example".into()),
            Change::Label("store1".into()),
            Change::Tenant(id),
            Change::Everything,
        ];
        assert_eq!(changes, expected);
    }

    #[test]
    fn what_is_not_understood_stands_for_everything() {
        for notice in ["merchant 7", "domain", "tenant a b", "", "DOMAIN x"] {
            let expected = if notice.is_empty() { vec![] } else { vec![Change::Everything] };
            assert_eq!(Change::read(notice), expected, "{notice:?}");
        }
    }
}
