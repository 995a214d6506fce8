//! Scope: places get variants for what tests ask for, with a made-up place. VMs are in `tests/places/shapes.rs` of
//! cargo-kata-test.

use std::time::Duration;

use crate::{
    Binary, CandidatePlace, FactsProgram, Fit, Job, Place, PlaceError, PlainTest, PlanInput,
    Reason, Spread, StopToken, TestId, TestSelection, TestSettings, plan, plan_plain,
};
use kata_test_host::constraint::{Demand, parse};

/// A place with two CPUs, or as many as it was made for, and eight at most.
struct Machine {
    name: String,
    made_for: Option<u32>,
    kvm: bool,
}

impl Place for Machine {
    fn name(&self) -> &str {
        &self.name
    }

    fn base_name(&self) -> &str {
        "machine"
    }

    fn variants(&self, demands: &[&Demand]) -> Vec<Box<dyn Place>> {
        let cpus = demands.iter().map(|demand| demand.cpus);
        let variant = |cpus| -> Box<dyn Place> {
            Box::new(Self {
                name: format!("{}+{cpus}cpus", self.name),
                made_for: Some(cpus),
                kvm: self.kvm,
            })
        };
        let most = cpus.filter(|cpus| (3..=8).contains(cpus)).max();
        most.map(variant).into_iter().collect()
    }

    fn fit(&self, demand: &Demand) -> Fit {
        match (demand.cpus, self.made_for) {
            (0..=2, None) => Fit::Fits,
            (9.., None) => Fit::Lacks(Reason::constraint("cpus", "there are 8 at most", "here")),
            (cpus @ 3..=8, Some(all)) if cpus <= all => Fit::Fits,
            _ => Fit::ForOthers,
        }
    }

    fn is_for_kvm(&self) -> bool {
        self.kvm
    }

    fn about(&self) -> String {
        "made up".to_owned()
    }

    fn cost(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn key(&self) -> Option<String> {
        None
    }

    fn list(&mut self, _: &Binary, _: &[String], _: StopToken<'_>) -> Result<String, PlaceError> {
        panic!("there are plain tests only")
    }

    fn run(&mut self, _: &Job<'_>, _: &mut dyn FnMut(&[u8])) -> Result<(), PlaceError> {
        panic!("nothing runs")
    }
}

fn test(name: &str, requires: &str, runs: bool) -> PlainTest {
    let settings = TestSettings {
        requires: parse(requires).expect("constraints"),
        requires_texts: vec![requires.to_owned()],
        places: Some(vec!["machine".to_owned()]),
        ..TestSettings::default()
    };
    let id = TestId {
        binary: "p::it".to_owned(),
        test: name.to_owned(),
    };
    PlainTest {
        id,
        ignored: None,
        runs,
        settings,
    }
}

#[test]
fn a_place_is_varied_for_tests_that_run_and_ask_for_more() {
    let machine = |name: &str, kvm| {
        let (name, made_for) = (name.to_owned(), None);
        let place = Machine {
            name,
            made_for,
            kvm,
        };
        CandidatePlace::Place(Box::new(place))
    };
    let mut candidates = vec![machine("machine", false), machine("machine+kvm", true)];
    let tests = [
        test("few", "cpus_ge = 2", true),
        test("four", "cpus_ge = 4", true),
        test("eight", "cpus_ge = 8", false),
        test("six_with_kvm", "kvm, cpus_ge = 6", true),
        test("too_many", "cpus_ge = 9", true),
        test("four_or_root", "any(cpus_ge = 4, root)", true),
        test("too_many_or_root", "any(cpus_ge = 9, root)", true),
    ];
    let records = tempfile::tempdir().expect("a folder");
    let progress = &mut |_: &str| {};
    let (spread, stop) = (Spread::First, StopToken::NEVER);
    let input = PlanInput {
        binaries: &[],
        plain: &tests,
        selection: &TestSelection::default(),
        spread,
        record_root: records.path(),
        stop,
    };
    let plan = plan(input, &mut candidates, progress);
    let plan = plan.expect("a plan");
    let places = plan
        .places
        .iter()
        .map(|place| (&*place.name, place.is_variant));
    let expected = [
        ("machine", false),
        ("machine+4cpus", true),
        ("machine+kvm", true),
        ("machine+kvm+6cpus", true),
    ];
    assert!(places.eq(expected), "{:?}", plan.places);

    let program = FactsProgram {
        executable: "/a/program".into(),
        arguments: Vec::new(),
        records: records.path().to_owned(),
    };
    let planned = plan_plain(&tests, &mut candidates, spread, &program, stop, progress);
    let planned = planned.expect("a plan");
    // No verdict is known there, so each runs as root where it fits.
    let places = |at: usize| -> Vec<usize> {
        let all = planned[at].chosen.iter().chain(&planned[at].next);
        all.map(|(place, _)| *place).collect()
    };
    assert_eq!(places(0), [0]);
    assert_eq!(places(1), [1]);
    assert_eq!(places(3), [3]);
    assert!(places(4).is_empty());
    assert_eq!(places(5), [0, 1]);
    assert_eq!(places(6), [0]);
    let (place, verdict) = &planned[4].unmet[0];
    assert_eq!(
        (*place, verdict.reasons[0].observed.as_str()),
        (0, "there are 8 at most")
    );
}
