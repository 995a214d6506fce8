//! Tables of tests and places.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use comfy_table::Table;
use kata_test::constraint::Status;
use kata_test_runner::{
    Eligibility, Ledger, Outcome, Plan, PlannedPlain, PlannedTest, Record, Spread, UserKind, plural,
};

use super::table::with_headings;

/// Formats a plan: each test's requirement, its decision in each place, and where it runs. Plain tests are
/// counted.
pub(super) fn of_plan(plan: &Plan, plain: &[PlannedPlain], all: bool) -> String {
    let columns = columns(plan);
    let places = columns.iter().map(|at| plan.places[*at].name.clone());
    let header = ["test".to_owned(), "needs".to_owned()]
        .into_iter()
        .chain(places);
    let mut table = with_headings(header.chain(["runs".to_owned()]));
    let runs_first = |test: &PlannedTest| test.chosen() == Some(0);
    let is_shown = |test: &&PlannedTest| all || !test.needs.is_empty() || !runs_first(test);
    let tests: Vec<&PlannedTest> = plan.tests.iter().filter(is_shown).collect();
    // Two tests of a binary that differ only in their names share a row.
    let are_alike = |one: &PlannedTest, other: &PlannedTest| {
        one.id.binary == other.id.binary
            && one.needs == other.needs
            && marks(plan, one) == marks(plan, other)
    };
    for alike in tests.chunk_by(|one, other| !all && are_alike(one, other)) {
        let marks = marks(plan, alike[0]);
        let marks = columns.iter().map(|at| marks[*at].to_owned());
        let row = [names(alike), alike[0].needs.clone()]
            .into_iter()
            .chain(marks);
        table.add_row(row.chain([chosen(plan, alike[0])]));
    }
    let mut text = String::new();
    if !table.is_empty() {
        let _ = writeln!(text, "{table}");
    }
    let _ = writeln!(
        text,
        "✓ met, – unmet, ? a fact is not known, ! undetermined\n"
    );
    if tests.len() < plan.tests.len() {
        let more = plan.tests.len() - tests.len();
        let places = match plan.spread {
            Spread::First => "here",
            Spread::Everywhere => "in each place",
        };
        let _ = writeln!(
            text,
            "{more} more tests have no requirement and run {places}"
        );
    }
    text += &places_of(plan, plain);
    let run = match plan.places.iter().any(|place| place.name == "here") {
        true => "it runs here",
        false => "it does not run: add `here` to --places",
    };
    for binary in &plan.opaque {
        let _ = writeln!(
            text,
            "{binary}: has another harness, so its requirements are not known; {run}"
        );
    }
    text + &plain_tests(plan, plain) + &nowhere(plan)
}

/// Counts the plain tests of each binary, by the places where they run.
fn plain_tests(plan: &Plan, plain: &[PlannedPlain]) -> String {
    let name = |(place, user): &(usize, UserKind)| match plan.places[*place].name.as_str() {
        "here" => "here".to_owned(),
        name => format!("in {name} as {user}"),
    };
    let where_from = |test: &PlannedPlain| match &test.chosen[..] {
        _ if test.ignored => "ignored".to_owned(),
        [] => "nowhere".to_owned(),
        chosen => {
            let names: Vec<String> = chosen.iter().map(name).collect();
            let first = if test.next.is_empty() { "" } else { "first " };
            format!("{first}{}", names.join(" and "))
        }
    };
    let mut text = String::new();
    for of_binary in plain.chunk_by(|one, other| one.id.binary == other.id.binary) {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for test in of_binary {
            *counts.entry(where_from(test)).or_default() += 1;
        }
        let parts: Vec<String> = counts
            .iter()
            .map(|(where_from, count)| format!("{count} {where_from}"))
            .collect();
        let tests = plural(of_binary.len(), "plain test");
        let binary = &of_binary[0].id.binary;
        let _ = writeln!(text, "{binary}: {tests}: {}", parts.join("; "));
        let stated = of_binary.iter();
        for test in stated.filter(|test| !test.needs.is_empty() && !test.ignored) {
            let (id, needs) = (&test.id.test, &test.needs);
            let _ = writeln!(text, "  {id}: needs {needs}: {}", where_from(test));
            let reasons = test.unmet.iter().flat_map(|(_, verdict)| &verdict.reasons);
            for reason in reasons {
                let _ = writeln!(text, "    {reason}");
            }
        }
    }
    text
}

/// Formats outcomes: their counts for each binary and place, with the places in the order of the ledger.
pub(super) fn of_outcomes(outcomes: &[Record], ledger: &Ledger) -> Table {
    let places: BTreeSet<&str> = outcomes
        .iter()
        .map(|outcome| outcome.place.as_str())
        .collect();
    let mut places: Vec<&str> = places.into_iter().collect();
    // `nowhere`, which is no place, comes last.
    let position = |name: &str| ledger.places.iter().position(|place| place.name == name);
    places.sort_by_key(|place| position(place).unwrap_or(usize::MAX));
    let mut table = with_headings(["binary"].iter().chain(&places));
    for binary in outcomes.chunk_by(|one, other| one.binary == other.binary) {
        let cell = |place: &&str| {
            let there = binary.iter().filter(|outcome| outcome.place == **place);
            let mut counts: BTreeMap<Outcome, usize> = BTreeMap::new();
            there.for_each(|outcome| *counts.entry(outcome.outcome).or_default() += 1);
            let texts: Vec<String> = counts
                .iter()
                .map(|(kind, count)| format!("{count} {kind}"))
                .collect();
            texts.join(", ")
        };
        let cells = places.iter().map(cell);
        table.add_row(std::iter::once(binary[0].binary.clone()).chain(cells));
    }
    table
}

/// Formats the tests of a row: the first name and the number of others.
fn names(alike: &[&PlannedTest]) -> String {
    match alike.len() {
        1 => alike[0].id.to_string(),
        count => format!("{} and {} more", alike[0].id, count - 1),
    }
}

/// Formats the places: number of tests, cost and description.
fn places_of(plan: &Plan, plain: &[PlannedPlain]) -> String {
    let mut text = String::new();
    for (index, place) in plan.places.iter().enumerate() {
        let tests = plan
            .tests
            .iter()
            .filter(|test| plan.chosen(test).contains(&index))
            .count();
        let is_here = |test: &&PlannedPlain| test.chosen.iter().any(|(place, _)| *place == index);
        let tests = tests + plain.iter().filter(is_here).count();
        if tests == 0 && !columns(plan).contains(&index) {
            continue;
        }
        let cost = match place.cost {
            Some(cost) if cost.is_zero() => "no start-up time".to_owned(),
            Some(cost) if cost.as_millis() < 100 => {
                format!("starts in about {} ms", cost.as_millis())
            }
            Some(cost) => format!("starts in about {:.1} s", cost.as_secs_f64()),
            None => "recorded facts only".to_owned(),
        };
        let tests = plural(tests, "test");
        let _ = writeln!(text, "{}: {tests}, {cost}: {}", place.name, place.about);
    }
    text
}

/// Formats the tests that no place can run, with the unmet constraints.
fn nowhere(plan: &Plan) -> String {
    let mut text = String::new();
    let without = plan
        .tests
        .iter()
        .filter(|test| plan.chosen(test).is_empty() && !test.ignored);
    let without: Vec<&PlannedTest> = without.collect();
    let lacks_the_same = |one: &&PlannedTest, other: &&PlannedTest| {
        one.id.binary == other.id.binary
            && one.issue == other.issue
            && one.eligibilities == other.eligibilities
    };
    for (count, alike) in without.chunk_by(lacks_the_same).enumerate() {
        if count == 0 {
            text += "\nnowhere:\n";
        }
        let issue = alike[0].issue.as_ref();
        let issue = issue.map_or(String::new(), |issue| format!(" [issue {issue}]"));
        let _ = writeln!(text, "  {}{issue}", names(alike));
        for reason in plan.missing(alike[0]) {
            let _ = writeln!(text, "    {reason}");
        }
    }
    text
}

fn chosen(plan: &Plan, test: &PlannedTest) -> String {
    let names = plan
        .chosen(test)
        .into_iter()
        .map(|place| &*plan.places[place].name);
    let names: Vec<&str> = names.collect();
    match names.is_empty() {
        false => names.join(", "),
        true if test.ignored => "ignored".to_owned(),
        true => "nowhere".to_owned(),
    }
}

/// Returns the places that are not for other tests than those of the plan.
fn columns(plan: &Plan) -> Vec<usize> {
    let is_shown = |at: &usize| {
        let mut there = plan
            .tests
            .iter()
            .filter_map(|test| test.eligibilities.get(*at));
        !plan.places[*at].is_variant || there.any(|there| !there.is_for_others())
    };
    (0..plan.places.len()).filter(is_shown).collect()
}

/// Returns a mark for each place of the plan.
fn marks(plan: &Plan, test: &PlannedTest) -> Vec<&'static str> {
    if test.ignored {
        return vec!["ignored"; plan.places.len()];
    }
    test.eligibilities.iter().map(mark).collect()
}

fn mark(eligibility: &Eligibility) -> &'static str {
    match eligibility.status {
        Status::Met => "✓",
        Status::Unmet => "–",
        Status::Undetermined if eligibility.is_open => "?",
        Status::Undetermined => "!",
    }
}
