//! Tests that need KVM, in a VM whose CPU has virtualization: the binary `kvm` of `examples/places`.

use anyhow::Result;
use cargo_kata_test::place::VmPlace;
use kata_test::kata_test;
use kata_test_runner::{
    Binary, CandidatePlace, Outcome, Place, Record, Reporter, Run, Spread, StopToken, plan,
};

use crate::{build, commands, folder, outcome, place};

/// The place that has KVM.
const WITH_KVM: &str = "vm:6.1+kvm";

fn binary() -> Result<Binary> {
    build(commands::example(), "kvm")
}

/// Runs the binary's tests in VMs with and without KVM, planned as the command does.
fn run_in(plain: VmPlace, with_kvm: VmPlace) -> Result<Vec<Record>> {
    let folder = folder()?;
    let records = folder.path().join("records");
    let run = Run::start(&records)?;
    let mut candidates = [plain, with_kvm].map(|place| CandidatePlace::Place(Box::new(place)));
    let binaries = [binary()?];
    let print = &mut |text: &str| println!("{text}");
    let plan = plan(
        &binaries,
        &mut candidates,
        Spread::First,
        &records,
        StopToken::NEVER,
        print,
    )?;
    let mut reporter = Reporter {
        progress: print,
        output: &mut |bytes| print!("{}", String::from_utf8_lossy(bytes)),
        stop: StopToken::NEVER,
    };
    plan.run_in_places(&binaries, &mut candidates, &run, &mut reporter)?;
    Ok(run.merge()?)
}

/// The CPU is emulated here, unless this host has nested virtualization.
#[kata_test(when = crate::artifacts_provided, not(kvm), timeout = "10m")]
fn tests_that_need_kvm_run_where_it_is_and_slow_kvm_is_not_hardware() -> Result<()> {
    let folder = folder()?;
    let plain = place("6.1", &folder)?;
    let with_kvm = plain.with_kvm();
    let outcomes = run_in(plain, with_kvm)?;
    for test in ["runs_code_in_a_guest", "another_user_may_open_it"] {
        let found = outcome(&outcomes, test);
        assert_eq!(
            (found.outcome, found.place.as_str()),
            (Outcome::Passed, WITH_KVM),
            "{found:#?}"
        );
    }
    assert_ne!(outcome(&outcomes, "another_user_may_open_it").as_uid, 0);
    let fast = outcome(&outcomes, "needs_fast_kvm");
    assert_eq!(fast.outcome, Outcome::Nowhere, "{fast:#?}");
    let expected = "KVM works, emulated: it is far slower than hardware";
    assert!(is_a_reason(fast, expected), "{fast:#?}");
    Ok(())
}

fn is_a_reason(record: &Record, text: &str) -> bool {
    let mut of_place = record
        .reasons
        .iter()
        .filter(|reason| reason.source.contains(WITH_KVM));
    of_place.any(|reason| reason.observed.contains(text))
}

#[kata_test(when = crate::artifacts_provided, not(kvm), timeout = "10m")]
fn a_cpu_without_virtualization_is_a_clear_reason() -> Result<()> {
    let folder = folder()?;
    let plain = place("6.1", &folder)?;
    let without_svm = plain.with_kvm_on(Some("max,-svm"));
    let outcomes = run_in(plain, without_svm)?;
    let found = outcome(&outcomes, "runs_code_in_a_guest");
    assert_eq!(found.outcome, Outcome::Nowhere, "{found:#?}");
    let expected = "there is no /dev/kvm: the CPUs have neither Intel's nor AMD's virtualization";
    assert!(is_a_reason(found, expected), "{found:#?}");
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, timeout = "5m")]
fn a_place_with_kvm_says_what_kind_it_is() -> Result<()> {
    let folder = folder()?;
    let plain = place("6.1", &folder)?;
    let with_kvm = plain.with_kvm();
    assert_eq!(with_kvm.name(), WITH_KVM);
    assert!(with_kvm.is_for_kvm() && !plain.is_for_kvm());
    assert_ne!(with_kvm.key(), plain.key(), "one template for two shapes");
    assert!(!plain.about().contains("KVM"), "{}", plain.about());
    let about = with_kvm.about();
    let expected = ["KVM (emulated, slow)", "KVM (nested)"];
    assert!(expected.iter().any(|text| about.contains(text)), "{about}");
    Ok(())
}
