//! The nearest valid name to a mistyped one, also while a test is being compiled.

/// The longest name that is compared.
const LONGEST: usize = 40;

/// Returns the index of the name with the fewest edits, if there are few enough for a typing error.
///
/// An edit inserts, removes or replaces a letter, or swaps two neighbours; case does not count.
pub const fn nearest(written: &str, names: &[&str]) -> Option<usize> {
    let allowed = if written.len() < 4 {
        1
    } else {
        1 + written.len() / 4
    };
    let mut best = allowed + 1;
    let mut found = None;
    let mut index = 0;
    while index < names.len() {
        let length = names[index].len();
        // Each missing letter is an edit. Not to compare such names saves most of the time of a long list.
        if length + allowed < written.len() || written.len() + allowed < length {
            index += 1;
            continue;
        }
        let edits = edits(written.as_bytes(), names[index].as_bytes());
        if edits < best {
            best = edits;
            found = Some(index);
        }
        index += 1;
    }
    found
}

/// Returns the number of edits between two names; a large number if one is longer than any name.
const fn edits(a: &[u8], b: &[u8]) -> usize {
    if a.len() > LONGEST || b.len() > LONGEST {
        return usize::MAX;
    }
    // Three rows of the usual matrix: a swap looks back by two.
    let mut rows = [[0; LONGEST + 1]; 3];
    let mut column = 0;
    while column <= b.len() {
        rows[0][column] = column;
        column += 1;
    }
    let mut row = 1;
    while row <= a.len() {
        let (now, before, earlier) = (row % 3, (row + 2) % 3, (row + 1) % 3);
        rows[now][0] = row;
        let mut column = 1;
        while column <= b.len() {
            let (x, y) = (a[row - 1], b[column - 1]);
            let same = x.eq_ignore_ascii_case(&y);
            let mut least = rows[before][column - 1] + if same { 0 } else { 1 };
            least = min(least, rows[before][column] + 1);
            least = min(least, rows[now][column - 1] + 1);
            let swapped = row > 1
                && column > 1
                && x.eq_ignore_ascii_case(&b[column - 2])
                && y.eq_ignore_ascii_case(&a[row - 2]);
            if swapped {
                least = min(least, rows[earlier][column - 2] + 1);
            }
            rows[now][column] = least;
            column += 1;
        }
        row += 1;
    }
    rows[a.len() % 3][b.len()]
}

const fn min(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests {
    //! Scope: distances and the choice among names.

    use super::*;

    #[test]
    fn edits_are_counted() {
        for (a, b, expected) in [
            ("root", "root", 0),
            ("rot", "root", 1),
            ("roott", "root", 1),
            ("roto", "root", 1),
            ("ROOT", "root", 0),
            ("kernle_ge", "kernel_ge", 1),
            ("", "kvm", 3),
            ("kvm", "", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(edits(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        let names = ["root", "non_root", "kernel_ge", "kvm"];
        let near = |written| nearest(written, &names).map(|index| names[index]);
        assert_eq!(near("nonroot"), Some("non_root"));
        assert_eq!(near("kernle_ge"), Some("kernel_ge"));
        assert_eq!(near("kmv"), Some("kvm"));
        assert_eq!(near("elephant"), None);
        assert_eq!(near(&"x".repeat(100)), None);
    }
}
