//! Tests that need KVM, in a VM whose CPU has virtualization: the binary `kvm` of `examples/places`.

use std::fs;
use std::path::Path;

use anyhow::Result;
use cargo_kata_test::place::VmPlace;
use kata_test::kata_test;
use kata_test_runner::{
    Binary, CandidatePlace, Outcome, Place, PlanInput, Record, Reporter, Run, StopToken, plan,
};

use crate::run::RUNNER;
use crate::{build, commands, folder, outcome, place};

/// The place that has KVM.
const WITH_KVM: &str = "vm:6.1+kvm";

fn binary() -> Result<Binary> {
    build(commands::example(), "kvm")
}

/// Runs a binary's tests in VMs with and without KVM, planned as the command does.
fn run_in(binary: Binary, plain: VmPlace, with_kvm: VmPlace) -> Result<Vec<Record>> {
    let folder = folder()?;
    let records = folder.path().join("records");
    let run = Run::start(&records)?;
    let candidates = [plain, with_kvm].map(|place| CandidatePlace::Place(Box::new(place)));
    let mut candidates = Vec::from(candidates);
    let binaries = [binary];
    let print = &mut |text: &str| println!("{text}");
    let plan = plan(PlanInput::new(&binaries, &records), &mut candidates, print)?;
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
    let outcomes = run_in(binary()?, plain, with_kvm)?;
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
    let outcomes = run_in(binary()?, plain, without_svm)?;
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

/// The tests of a VM manager: `sample/tests/vmm.rs`.
#[kata_test(when = crate::artifacts_provided, not(kvm), timeout = "15m")]
fn a_vm_manager_finds_its_devices_and_a_guest_that_hangs_times_out() -> Result<()> {
    let folder = folder()?;
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/places/sample");
    let vmm = build(sample, "vmm")?;
    let plain = place("6.1", &folder)?;
    let with_kvm = plain.with_kvm();
    let outcomes = run_in(vmm, plain, with_kvm)?;
    for test in [
        "tun",
        "vhost_net",
        "vhost_vsock",
        "userfaultfd",
        "huge_pages",
        "vfio",
        "much_output_while_guests_run",
        "many_exits_in_a_short_time",
    ] {
        let found = outcome(&outcomes, test);
        let expected = (Outcome::Passed, WITH_KVM);
        assert_eq!((found.outcome, &*found.place), expected, "{found:#?}");
    }
    for test in ["a_guest_never_ends", "no_guest_and_never_ends"] {
        assert_eq!(outcome(&outcomes, test).outcome, Outcome::TimedOut);
    }
    Ok(())
}

/// A plain test that hangs, and its configuration.
const HANGING: [(&str, &str); 3] = [
    (
        "Cargo.toml",
        "[workspace]\n[package]\nname = \"hanging\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    ),
    (
        "src/lib.rs",
        "#[test] fn hangs() { loop { std::thread::park(); } }\n",
    ),
    (
        ".config/kata-test.toml",
        "[[tests]]\nfilter = 'all()'\nrequires = 'kvm'\ntimeout = '200ms'\n",
    ),
];

#[kata_test(when = crate::artifacts_provided, not(kvm), serial = "places-packages", timeout = "15m")]
fn a_plain_test_that_hangs_where_kvm_is_may_wait_for_a_guest() -> Result<()> {
    let folder = folder()?;
    for (name, text) in HANGING {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder"))?;
        fs::write(path, text)?;
    }
    let mut command = commands::in_package(RUNNER, folder.path())?;
    command.env_remove("LD_LIBRARY_PATH");
    command.args(["test", "--offline", "--places", "vm:bookworm"]);
    let ran = command.output()?;
    println!("{}", String::from_utf8_lossy(&ran.stderr));
    let outcomes = commands::outcomes()?;
    let hangs = outcome(&outcomes, "hangs");
    let found = (hangs.outcome, &*hangs.place);
    assert_eq!(found, (Outcome::TimedOut, "vm:bookworm+kvm"), "{hangs:#?}");
    let mut reasons = hangs.reasons.iter();
    let expected = "a guest of KVM that it runs may make no progress";
    assert!(
        reasons.any(|reason| reason.observed.contains(expected)),
        "{hangs:#?}"
    );
    Ok(())
}
