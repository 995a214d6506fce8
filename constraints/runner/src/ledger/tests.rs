//! Scope: what a ledger finds in the records of unlike machines.

use std::fs;
use std::path::Path;

use crate::{AllowedNowhere, Outcome, Run, RunStatus, Shards, run_status};
use kata_test::__runner::Measures;
use kata_test::__runner::{Phase, RecordLine};
use kata_test_host::reason::Reason;

fn reason(constraint: &str, observed: &str) -> Reason {
    Reason::constraint(constraint, observed, "uname")
}

/// A machine that leaves records.
struct Machine {
    name: &'static str,
    lines: String,
}

impl Machine {
    fn new(name: &'static str) -> Self {
        let lines = String::new();
        Self { name, lines }
    }

    fn tell(
        &mut self,
        test: &str,
        place: &str,
        attempt: u32,
        outcome: Outcome,
        reasons: &[Reason],
    ) {
        self.line(test, place, Phase::Run, attempt, outcome, reasons);
    }

    fn line(
        &mut self,
        test: &str,
        place: &str,
        phase: Phase,
        attempt: u32,
        outcome: Outcome,
        reasons: &[Reason],
    ) {
        let record = RecordLine {
            binary: "pkg::it",
            test,
            phase,
            attempt,
            outcome,
            reasons,
            issue: test.starts_with("cites").then_some("https://example.com/1"),
            reason: None,
            signal: None,
            as_uid: None,
            duration_ms: 1.0,
            measures: &Measures::new(),
            artifacts: None,
        };
        self.lines += &record.to_line("run", place, 1000);
    }

    /// Leaves the records of a run in which each test was to run in every place.
    fn leave_everywhere(&self, below: &Path) -> Run {
        let run = Run::start(below).expect("a run");
        let noted = run.update_info(|about| {
            about.everywhere = true;
            about.host = "a made-up host".to_owned();
            about.started = 0;
            for (place, kernel) in KERNELS {
                about
                    .places
                    .insert(place.to_owned(), format!("kernel {kernel}"));
                about.kernels.insert(place.to_owned(), kernel.to_owned());
            }
            // No test needs KVM, so this one has no column.
            let text = "with an emulated KVM".to_owned();
            about.places.insert("vm:6.12+kvm".to_owned(), text);
        });
        noted.expect("a note");
        fs::write(run.dir().join("it-1.jsonl"), &self.lines).expect("records");
        run
    }

    fn leave(&self, below: &Path) {
        let root = below.join(self.name);
        fs::create_dir_all(&root).expect("a folder");
        let run = Run::start(&root).expect("a run");
        let (name, what) = ("vm:sid".to_owned(), "the newest kernel".to_owned());
        run.update_info(|about| drop(about.places.insert(name, what)))
            .expect("a note");
        fs::write(run.dir().join("it-1.jsonl"), &self.lines).expect("records");
    }
}

/// The places of a run in which each test was to run everywhere, by their kernels.
const KERNELS: [(&str, &str); 4] = [
    ("here", "6.8.0-1013"),
    ("vm:5.10", "5.10.0-46-cloud-amd64"),
    ("vm:6.1", "6.1.0-56-cloud-amd64"),
    ("vm:6.12", "6.12.94+deb13-cloud-amd64"),
];

/// Tests in four places. A letter is an outcome: `p`assed, `f`ailed, `s`kipped or `n`one.
fn four_places() -> Machine {
    let mut machine = Machine::new("four");
    let old = [reason("kernel >= 6.1", "kernel is 5.10")];
    let tests = [
        ("a_new_call", "pfpp"),
        ("another_new_call", "pfpp"),
        ("cites_a_newer_call", "pffp"),
        ("fails", "ffff"),
        ("flaky", "ppnp"),
        ("killed", "ppnn"),
        ("needs_new", "pspp"),
        ("passes", "pppp"),
        ("passes_too", "pppp"),
        ("unmet", "ssss"),
    ];
    for (test, letters) in tests {
        for ((place, _), letter) in KERNELS.iter().zip(letters.chars()) {
            match letter {
                'p' => machine.tell(test, place, 1, Outcome::Passed, &[]),
                'f' => machine.tell(test, place, 1, Outcome::Failed, &[]),
                's' => machine.line(test, place, Phase::List, 1, Outcome::Skipped, &old),
                _ => {}
            }
        }
    }
    machine.tell("flaky", "vm:6.1", 1, Outcome::Failed, &[]);
    machine.tell("flaky", "vm:6.1", 2, Outcome::Passed, &[]);
    for (place, _) in KERNELS {
        machine.tell("passes", place, 0, Outcome::Lost, &[]);
    }
    machine.tell("killed", "vm:6.1", 0, Outcome::Lost, &[]);
    machine.tell("killed", "vm:6.12", 1, Outcome::Passed, &[]);
    machine.tell("unmet", "nowhere", 1, Outcome::Nowhere, &old);
    machine
}

#[test]
fn a_retry_hides_no_failure_of_a_cell() {
    let root = tempfile::tempdir().expect("a folder");
    let run = four_places().leave_everywhere(root.path());
    let outcomes = run.merge().expect("outcomes");
    let flaky = outcomes.iter().filter(|one| one.test == "flaky");
    let flaky: Vec<_> = flaky
        .map(|one| (one.place.as_str(), one.outcome, one.attempt))
        .collect();
    assert_eq!(
        flaky,
        [
            ("here", Outcome::Passed, 1),
            ("vm:5.10", Outcome::Passed, 1),
            ("vm:6.1", Outcome::Failed, 1),
            ("vm:6.12", Outcome::Passed, 1),
        ]
    );
    assert_eq!(run_status(&outcomes), RunStatus::Failed(6));
}

#[test]
fn a_retry_that_was_asked_for_makes_a_cell_flaky() {
    let root = tempfile::tempdir().expect("a folder");
    let mut machine = Machine::new("m");
    machine.tell("t", "here", 1, Outcome::Failed, &[]);
    machine.tell("t", "here", 2, Outcome::Flaky, &[]);
    let run = machine.leave_everywhere(root.path());
    let outcomes = run.merge().expect("outcomes");
    let found: Vec<_> = outcomes.iter().map(|one| one.outcome).collect();
    assert_eq!(found, [Outcome::Flaky]);
    assert_eq!(run_status(&outcomes), RunStatus::Passed);
}

#[test]
fn an_outcome_is_one_of_a_test_and_a_place() {
    let root = tempfile::tempdir().expect("a folder");
    let run = four_places().leave_everywhere(root.path());
    let outcomes = run.merge().expect("outcomes");
    let of = |test: &str| {
        let of_test = outcomes.iter().filter(|one| one.test == test);
        of_test
            .map(|one| format!("{}: {}", one.place, one.outcome))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("unmet"), ["nowhere: nowhere"]);
    // It was about to run there when the runner was killed.
    assert_eq!(
        of("killed"),
        [
            "here: passed",
            "vm:5.10: passed",
            "vm:6.1: lost",
            "vm:6.12: passed"
        ]
    );
    assert_eq!(of("needs_new")[1], "vm:5.10: skipped");
    let list = AllowedNowhere::default();
    let missing = list.missing(&outcomes);
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert_eq!(missing[0].test, "unmet");
}

#[test]
fn rows_that_differ_come_first_in_every_report() {
    let root = tempfile::tempdir().expect("a folder");
    let run = four_places().leave_everywhere(root.path());
    run.merge().expect("outcomes");
    let read = |name: &str| fs::read_to_string(run.dir().join(name)).expect("a report");
    insta::assert_snapshot!("everywhere_summary", read("summary.md"));
    insta::assert_snapshot!("everywhere_junit", read("junit.xml"));
    let page = read("report.html");
    let section = page.split("<section id=\"differences\"").nth(1);
    let section = section.and_then(|rest| rest.split("</section>").next());
    let section = section.expect("a section").replace("><", ">\n<");
    insta::assert_snapshot!("everywhere_html", section);
    let after = |text: &str| page.find(text).expect("a section");
    assert!(after("id=\"differences\"") < after("id=\"failures\""));
}

/// A laptop without root, and a CI host without a new kernel.
fn two_machines(below: &Path) {
    let (old, arm) = (
        reason("kernel >= 7.0", "kernel is 6.1"),
        reason("arch = aarch64", "it is x86_64"),
    );
    let user = reason("root", "effective uid is 1000");
    let mut laptop = Machine::new("laptop");
    let mut ci = Machine::new("ci");
    for machine in [&mut laptop, &mut ci] {
        machine.tell("plain", "here", 1, Outcome::Passed, &[]);
        machine.tell(
            "needs_arm",
            "here",
            1,
            Outcome::Skipped,
            &[arm.clone(), user.clone()],
        );
        machine.tell("is_ignored", "here", 1, Outcome::Ignored, &[]);
    }
    ci.lines = ci
        .lines
        .replace("effective uid is 1000", "effective uid is 7");
    laptop.tell(
        "cites_root",
        "here",
        1,
        Outcome::Skipped,
        std::slice::from_ref(&user),
    );
    ci.tell("cites_root", "here", 1, Outcome::Passed, &[]);
    laptop.tell(
        "cites_new",
        "here",
        1,
        Outcome::Skipped,
        &[old.clone(), user.clone()],
    );
    ci.tell(
        "cites_new",
        "here",
        1,
        Outcome::Skipped,
        std::slice::from_ref(&old),
    );
    laptop.tell(
        "old_only",
        "vm:bookworm",
        1,
        Outcome::Skipped,
        std::slice::from_ref(&old),
    );
    ci.tell("unskipped", "here", 1, Outcome::Passed, &[old]);
    ci.tell("flaky", "here", 1, Outcome::TimedOut, &[]);
    ci.tell("flaky", "here", 2, Outcome::Passed, &[]);
    // Listed by the laptop as one that can run there, and then not in its shard.
    laptop.line("cut_off", "here", Phase::List, 1, Outcome::Lost, &[]);
    ci.line("cut_off", "here", Phase::List, 1, Outcome::Skipped, &[user]);
    laptop.leave(below);
    ci.leave(below);
}

#[test]
fn what_no_single_machine_can_tell_is_found() {
    let below = tempfile::tempdir().expect("a folder");
    two_machines(below.path());
    let shards = Shards::merge(below.path()).expect("shards");
    insta::assert_snapshot!("findings", shards.ledger.findings());
    let summary = fs::read_to_string(below.path().join("summary.md")).expect("a summary");
    insta::assert_snapshot!("summary", summary);
}

#[test]
fn a_test_that_is_skipped_on_every_machine_ran_nowhere() {
    let below = tempfile::tempdir().expect("a folder");
    two_machines(below.path());
    let shards = Shards::merge(below.path()).expect("shards");
    let list = below.path().join("nowhere.txt");
    fs::write(&list, "pkg::it needs_arm # no such host\npkg::it plain\n").expect("a list");
    let list = AllowedNowhere::read(&list).expect("a list");
    let names = |ids: Vec<crate::TestId>| ids.into_iter().map(|id| id.test).collect::<Vec<_>>();
    assert_eq!(
        names(list.missing(&shards.outcomes)),
        ["cites_new", "cut_off", "old_only"]
    );
    assert_eq!(names(list.stale(&shards.outcomes)), ["plain"]);
}

#[test]
fn one_process_may_tell_of_many_places_and_binaries() {
    let below = tempfile::tempdir().expect("a folder");
    let mut machine = Machine::new("m");
    let why = [reason("root", "no")];
    machine.tell("a", "here", 1, Outcome::Skipped, &why);
    machine.tell("a", "vm:sid", 1, Outcome::Passed, &[]);
    let other = machine.lines.replace("pkg::it", "pkg::other");
    machine.lines += &other;
    machine.leave(below.path());
    let ledger = Shards::merge(below.path()).expect("shards").ledger;
    let kinds: Vec<Vec<Option<Outcome>>> = ledger
        .tests
        .iter()
        .map(|test| {
            let seen = test.seen.iter();
            seen.map(|seen| seen.as_ref().map(|seen| seen.outcome.outcome))
                .collect()
        })
        .collect();
    let both = vec![Some(Outcome::Skipped), Some(Outcome::Passed)];
    assert_eq!(kinds, [both.clone(), both]);
    // What one place has skipped is no use of it.
    let unused = ledger.findings().unused;
    assert_eq!((unused.len(), unused[0].place.name.as_str()), (1, "m"));
}
