//! The known word that somebody probably meant.

/// The known word nearest to this one, if a slip of the finger or two lies between them.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Long input cannot be a slip, and the distance costs time in proportion to its length.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    known.into_iter().map(|k| (distance(&word, &k.to_lowercase()), k)).min().filter(|(d, _)| *d <= allowed).map(|(_, k)| k)
}

/// ` (did you mean WORD?)` or nothing, to be put behind the word in a message.
pub fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map(|k| format!(" (did you mean {k}?)")).unwrap_or_default()
}

/// How many letters have to be put in, taken out or changed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_a_slip_and_nothing_else() {
        let known = ["strategy", "delay", "spread", "min-grace"];
        assert_eq!(nearest("stratgy", known), Some("strategy"));
        assert_eq!(nearest("minGrace", known), Some("min-grace"));
        assert_eq!(nearest("dealy", known), None, "two letters of five are too many to be sure");
        assert_eq!(nearest("weather", known), None);
    }
}
