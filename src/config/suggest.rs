//! "Did you mean …?"

/// The word of `known` that `written` was most likely meant to be; `None` where none is close.
pub(super) fn closest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    let edits_max = (written.chars().count() / 3).clamp(1, 3);
    let (edits, word) = known.iter().map(|word| (edits(written, word), *word)).min_by_key(|(edits, _)| *edits)?;
    (edits <= edits_max).then_some(word)
}

/// How many characters must be put in, taken out or exchanged to get from `a` to `b` (Levenshtein, one row at a time).
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.chars().enumerate() {
            let substituted = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        let counted = [("", ""), ("abc", "abc"), ("abc", "abd"), ("abc", "ab"), ("", "abc"), ("kitten", "sitting")];
        assert_eq!(counted.map(|(a, b)| edits(a, b)), [0, 0, 1, 1, 3, 3]);
    }

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["listen", "routing", "directory"];
        assert_eq!(closest("directry", &known), Some("directory"));
        assert_eq!(closest("Listen", &known), Some("listen"));
        assert_eq!(closest("tls", &known), None);
    }
}
