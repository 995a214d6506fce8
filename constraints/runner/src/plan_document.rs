//! A plan as JSON.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::record::reasons;
use super::{
    Eligibility, ExpectedDurations, Plan, PlannedPlace, PlannedPlain, PlannedTest, Spread, TestId,
    UserKind,
};
use kata_test_host::reason::Reason;

/// The version of the form.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    /// The version of this form: 1.
    schema: u32,
    /// Whether each test runs in every place that takes it (`--everywhere`).
    everywhere: bool,
    /// The places, cheapest first.
    places: Vec<PlaceForm<'a>>,
    /// The tests: those with the attribute, then the plain ones.
    tests: Vec<TestForm<'a>>,
    /// The ids of binaries with another harness: their requirements are not known.
    opaque: &'a [String],
}

#[derive(Serialize)]
struct PlaceForm<'a> {
    /// Its name: `vm:6.1`.
    name: &'a str,
    /// What it is, for people.
    about: &'a str,
    /// The release of its kernel. Null if unknown.
    kernel: Option<&'a str>,
    /// About how long it takes until a first test runs there, in milliseconds. Null for recorded facts.
    cost_ms: Option<u64>,
}

#[derive(Serialize)]
struct TestForm<'a> {
    /// The test binary, by nextest's id.
    binary: &'a str,
    /// The test, by libtest's name.
    test: &'a str,
    /// Whether it is a plain test, without the attribute.
    plain: bool,
    /// Whether it has `#[ignore]`.
    ignored: bool,
    /// Its constraints, in the attribute's grammar.
    needs: &'a str,
    /// The issue that it cites.
    issue: Option<&'a str>,
    /// Why it has its constraints, or why it is ignored.
    reason: Option<&'a str>,
    /// What holds in each place. A plain test has the places that may run it, and those that lack something; an
    /// ignored test has none.
    places: Vec<CellForm<'a>>,
}

#[derive(Serialize)]
struct CellForm<'a> {
    /// The place, by its name.
    place: &'a str,
    /// Whether the requirement is met there: `met`, `unmet` or `undetermined`.
    verdict: &'a str,
    /// Whether facts that are not known yet may change the verdict.
    open: bool,
    /// Whether the test runs there.
    chosen: bool,
    /// The user of a plain test there: `root` or `unprivileged`.
    user: Option<&'static str>,
    /// How long it took in earlier runs, in milliseconds.
    expected_ms: Option<u64>,
    /// Why the verdict is not `met`.
    reasons: Reasons<'a>,
}

struct Reasons<'a>(&'a [Reason]);

impl Serialize for Reasons<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        reasons::serialize(self.0, to)
    }
}

impl Plan {
    /// Formats the plan, and that of plain tests for the same places, as a JSON document. The book's page
    /// `constraints/docs/records.md`, which is made from the types above, describes it.
    #[must_use]
    pub fn to_json(&self, plain: &[PlannedPlain], durations: &ExpectedDurations) -> String {
        let forms = Forms {
            plan: self,
            durations,
        };
        let tests = self.tests.iter().map(|test| forms.test(test));
        let plain = plain.iter().map(|test| forms.plain(test));
        let document = Document {
            schema: SCHEMA,
            everywhere: self.spread == Spread::Everywhere,
            places: self.places.iter().map(place).collect(),
            tests: tests.chain(plain).collect(),
            opaque: &self.opaque,
        };
        serde_json::to_string_pretty(&document).expect("texts and numbers")
    }
}

fn place(place: &PlannedPlace) -> PlaceForm<'_> {
    PlaceForm {
        name: &place.name,
        about: &place.about,
        kernel: place.kernel.as_deref(),
        cost_ms: place.cost.map(milliseconds),
    }
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

struct Forms<'a> {
    plan: &'a Plan,
    durations: &'a ExpectedDurations,
}

impl<'a> Forms<'a> {
    fn test(&self, test: &'a PlannedTest) -> TestForm<'a> {
        let chosen = self.plan.chosen(test);
        let cells = test.eligibilities.iter().enumerate();
        let cells = cells.filter(|(_, there)| !there.is_for_others());
        let cell = |(at, there): (usize, &'a Eligibility)| CellForm {
            verdict: there.status.word(),
            open: there.is_open,
            reasons: Reasons(&there.reasons),
            ..self.cell(&test.id, at, chosen.contains(&at), None)
        };
        TestForm {
            binary: &test.id.binary,
            test: &test.id.test,
            plain: false,
            ignored: test.ignored,
            needs: &test.needs,
            issue: test.issue.as_deref(),
            reason: test.reason.as_deref(),
            places: cells.map(cell).collect(),
        }
    }

    /// The places of a plain test are those that may run it, and those that lack something.
    fn plain(&self, test: &'a PlannedPlain) -> TestForm<'a> {
        let mut places: BTreeMap<usize, CellForm<'a>> = BTreeMap::new();
        for (chosen, list) in [(true, &test.chosen), (false, &test.next)] {
            for (at, user) in list {
                let cell = || self.cell(&test.id, *at, chosen, Some(*user));
                places.entry(*at).or_insert_with(cell);
            }
        }
        for (at, verdict) in &test.unmet {
            let unmet = CellForm {
                verdict: verdict.status.word(),
                reasons: Reasons(&verdict.reasons),
                ..self.cell(&test.id, *at, false, None)
            };
            places.entry(*at).or_insert(unmet);
        }
        TestForm {
            binary: &test.id.binary,
            test: &test.id.test,
            plain: true,
            ignored: test.ignored,
            needs: &test.needs,
            issue: None,
            reason: None,
            places: places.into_values().collect(),
        }
    }

    /// A place that takes a test.
    fn cell(&self, id: &TestId, at: usize, chosen: bool, user: Option<UserKind>) -> CellForm<'a> {
        let place = self.plan.places[at].name.as_str();
        CellForm {
            place,
            verdict: "met",
            open: false,
            chosen,
            user: user.map(|user| match user {
                UserKind::Root => "root",
                UserKind::Unprivileged => "unprivileged",
            }),
            expected_ms: self.durations.of(id, place).map(milliseconds),
            reasons: Reasons(&[]),
        }
    }
}

#[cfg(test)]
mod tests {
    //! Scope: the form of the document. Which verdicts a plan has is tested with real binaries.

    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use kata_test_host::constraint::Status;

    fn plan(spread: Spread) -> Plan {
        let place = |name: &str, kernel: Option<&str>, cost| PlannedPlace {
            name: name.to_owned(),
            is_variant: false,
            about: format!("about {name}"),
            kernel: kernel.map(str::to_owned),
            cost,
        };
        let met = Eligibility {
            status: Status::Met,
            is_open: false,
            reasons: Vec::new(),
        };
        let unmet = Eligibility {
            status: Status::Unmet,
            reasons: vec![Reason::constraint(
                "root",
                "effective uid is 1000",
                "geteuid",
            )],
            ..met.clone()
        };
        let open = Eligibility::unknown();
        let test = |name: &str, eligibilities: [&Eligibility; 3]| PlannedTest {
            id: id(name),
            needs: "root".to_owned(),
            demand: kata_test_host::constraint::Demand::default(),
            issue: Some("x/1".to_owned()),
            reason: None,
            limit: None,
            retries: 0,
            own_machine: false,
            ignored: false,
            eligibilities: eligibilities.map(Clone::clone).into(),
        };
        Plan {
            places: vec![
                place("here", Some("6.8.0"), Some(Duration::ZERO)),
                place(
                    "vm:6.1",
                    Some("6.1.0-56"),
                    Some(Duration::from_millis(2500)),
                ),
                place("far-away", None, None),
            ],
            tests: vec![
                test("needs_root", [&unmet, &met, &open]),
                test("anywhere", [&met, &met, &open]),
            ],
            spread,
            binaries: BTreeMap::new(),
            vms: crate::Vms::default(),
            opaque: vec!["p::foreign".to_owned()],
        }
    }

    fn id(test: &str) -> TestId {
        TestId {
            binary: "p::it".to_owned(),
            test: test.to_owned(),
        }
    }

    fn plain() -> Vec<PlannedPlain> {
        let test = |name: &str| PlannedPlain {
            id: id(name),
            needs: String::new(),
            ignored: false,
            chosen: vec![(0, UserKind::Unprivileged)],
            next: vec![(1, UserKind::Unprivileged), (1, UserKind::Root)],
            unmet: Vec::new(),
        };
        let unmet = Eligibility {
            status: Status::Unmet,
            is_open: false,
            reasons: vec![Reason::constraint("kvm", "there is none", "/dev/kvm")],
        };
        vec![
            test("plain"),
            PlannedPlain {
                chosen: vec![(1, UserKind::Root)],
                next: Vec::new(),
                needs: "kvm".to_owned(),
                unmet: vec![(0, unmet)],
                ..test("requires_kvm")
            },
            PlannedPlain {
                ignored: true,
                chosen: Vec::new(),
                next: Vec::new(),
                ..test("ignored")
            },
        ]
    }

    #[test]
    fn a_plan_is_a_document_of_schema_1() {
        let durations = ExpectedDurations::default();
        insta::assert_snapshot!(plan(Spread::First).to_json(&plain(), &durations));
    }

    #[test]
    fn with_everywhere_each_place_that_takes_a_test_is_chosen() {
        let text = plan(Spread::Everywhere).to_json(&[], &ExpectedDurations::default());
        let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let chosen = |test: usize| {
            let places = document["tests"][test]["places"]
                .as_array()
                .expect("places");
            let chosen = places.iter().filter(|place| place["chosen"] == true);
            chosen
                .map(|place| place["place"].as_str().expect("a name").to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(document["everywhere"], true);
        assert_eq!(chosen(0), ["vm:6.1", "far-away"]);
        assert_eq!(chosen(1), ["here", "vm:6.1", "far-away"]);
    }
}
