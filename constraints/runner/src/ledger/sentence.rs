//! Says in words where the outcomes of a test differ.

use std::collections::BTreeMap;

use super::{LedgerPlace, and};
use crate::Outcome;
use kata_test::__runner::HERE;

type Cells<'a> = [(&'a LedgerPlace, Outcome)];

/// Says where outcomes differ: `fails on vm:5.10 only`, `passes only on vm:6.12 and newer`, or what became of
/// the test in which places.
pub(super) fn sentence(cells: &Cells<'_>) -> String {
    let mut groups: BTreeMap<(bool, Outcome), Vec<&LedgerPlace>> = BTreeMap::new();
    for (place, outcome) in cells {
        // What has not passed comes first.
        let group = groups.entry((*outcome == Outcome::Passed, *outcome));
        group.or_default().push(place);
    }
    let groups: Vec<(Outcome, Vec<&LedgerPlace>)> = groups
        .into_iter()
        .map(|((_, outcome), places)| (outcome, places))
        .collect();
    let found = match &groups[..] {
        [first, second] => only(first)
            .or_else(|| only(second))
            .or_else(|| by_kernel(first, second)),
        _ => None,
    };
    found.unwrap_or_else(|| {
        let parts = groups.iter().map(|(outcome, places)| {
            let names: Vec<String> = places.iter().map(|place| place.name.clone()).collect();
            format!("{} in {}", verb(*outcome), and(&names))
        });
        parts.collect::<Vec<_>>().join("; ")
    })
}

/// `fails on vm:5.10 only`
fn only((outcome, places): &(Outcome, Vec<&LedgerPlace>)) -> Option<String> {
    match places[..] {
        [place] => Some(format!("{} {} only", verb(*outcome), on(place))),
        _ => None,
    }
}

/// `passes only on vm:6.12 and newer`, if that divides the places. It is not `older`: kernels that are not
/// among the places may differ.
fn by_kernel(
    (outcome, places): &(Outcome, Vec<&LedgerPlace>),
    (other, others): &(Outcome, Vec<&LedgerPlace>),
) -> Option<String> {
    let oldest = |places: &[&LedgerPlace]| places.iter().map(|place| place.version()).min();
    let newest = |places: &[&LedgerPlace]| places.iter().map(|place| place.version()).max();
    // An unknown kernel is the least.
    let (first, second) = (oldest(places)??, oldest(others)??);
    if oldest(others)? > newest(places)? {
        Some(since(*other, "only ", others, &second))
    } else if oldest(places)? > newest(others)? {
        Some(since(*outcome, "", places, &first))
    } else {
        None
    }
}

fn since(outcome: Outcome, only: &str, places: &[&LedgerPlace], version: &[u64]) -> String {
    let mut boundary = places
        .iter()
        .filter(|place| place.version().as_deref() == Some(version));
    // Another place with the kernel of this host says more.
    let boundary = boundary
        .next_back()
        .map_or(String::new(), |place| on(place));
    let newer = match boundary.as_str() {
        HERE => "on newer kernels",
        _ => "newer",
    };
    format!("{} {only}{boundary} and {newer}", verb(outcome))
}

fn on(place: &LedgerPlace) -> String {
    match place.name.as_str() {
        HERE => HERE.to_owned(),
        name => format!("on {name}"),
    }
}

fn verb(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passes",
        Outcome::Failed => "fails",
        Outcome::TimedOut => "times out",
        Outcome::Lost => "is lost",
        Outcome::UnexpectedPass => "passes unexpectedly",
        Outcome::Undetermined => "is undetermined",
        Outcome::Unstable => "is unstable",
        Outcome::Flaky => "is flaky",
        Outcome::ExpectedFailure => "fails as expected",
        Outcome::SuspectedSkip => "is a suspected skip",
        Outcome::Skipped => "is skipped",
        Outcome::Ignored => "is ignored",
        Outcome::Nowhere => "runs nowhere",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says where the outcomes differ: `f` is failed, `t` timed out, `s` a suspected skip, others passed.
    fn of(cells: &[(&str, &str, char)]) -> String {
        let place = |name: &&str, kernel: &&str| LedgerPlace {
            name: (*name).to_owned(),
            about: String::new(),
            kernel: (!kernel.is_empty()).then(|| (*kernel).to_owned()),
        };
        let outcome = |letter| match letter {
            'f' => Outcome::Failed,
            't' => Outcome::TimedOut,
            's' => Outcome::SuspectedSkip,
            _ => Outcome::Passed,
        };
        let places: Vec<(LedgerPlace, Outcome)> = cells
            .iter()
            .map(|(name, kernel, letter)| (place(name, kernel), outcome(*letter)))
            .collect();
        let cells: Vec<(&LedgerPlace, Outcome)> = places
            .iter()
            .map(|(place, outcome)| (place, *outcome))
            .collect();
        sentence(&cells)
    }

    #[test]
    fn a_difference_is_a_plain_sentence() {
        let four = |letters: &str| {
            let kernels = ["5.10.0-46-cloud", "6.1.0-56", "6.12.94", "7.2"];
            let names = ["vm:5.10", "vm:6.1", "vm:6.12", "vm:7.2"];
            let cells = names.into_iter().zip(kernels).zip(letters.chars());
            of(&cells
                .into_iter()
                .map(|((a, b), c)| (a, b, c))
                .collect::<Vec<_>>())
        };
        assert_eq!(four("f..."), "fails on vm:5.10 only");
        assert_eq!(four(".t.."), "times out on vm:6.1 only");
        assert_eq!(four("fff."), "passes on vm:7.2 only");
        assert_eq!(four("ff.."), "passes only on vm:6.12 and newer");
        assert_eq!(four("..ff"), "fails on vm:6.12 and newer");
        assert_eq!(
            four("s..s"),
            "is a suspected skip in vm:5.10 and vm:7.2; passes in vm:6.1 and vm:6.12"
        );
        assert_eq!(
            four("ft.."),
            "fails in vm:5.10; times out in vm:6.1; passes in vm:6.12 and vm:7.2"
        );
        assert_eq!(
            of(&[("here", "6.8", 'f'), ("vm:a", "6.1", '.')]),
            "fails here only"
        );
        let with_here = [
            ("here", "6.1", 'f'),
            ("vm:b", "6.1", 'f'),
            ("vm:c", "7.0", '.'),
            ("vm:d", "7.1", '.'),
        ];
        assert_eq!(of(&with_here), "passes only on vm:c and newer");
        // The same kernel on both sides explains nothing, and an unknown one neither.
        let newer = [
            ("vm:b", "6.1", '.'),
            ("vm:c", "6.2", '.'),
            ("here", "7.0", 'f'),
            ("vm:d", "7.1", 'f'),
        ];
        assert_eq!(of(&newer), "fails here and on newer kernels");
        let same = [
            ("here", "7.0", 'f'),
            ("vm:b", "6.1", 'f'),
            ("vm:c", "7.0", '.'),
            ("vm:d", "7.1", '.'),
        ];
        assert_eq!(of(&same), "fails in here and vm:b; passes in vm:c and vm:d");
        let unknown = [
            ("a", "", 'f'),
            ("b", "6.1", 'f'),
            ("c", "7.0", '.'),
            ("d", "7.1", '.'),
        ];
        assert_eq!(of(&unknown), "fails in a and b; passes in c and d");
    }
}
