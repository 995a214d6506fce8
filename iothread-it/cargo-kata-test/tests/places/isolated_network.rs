//! Tests with a network of their own, here, in a user namespace and in a VM: `sample/tests/network.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use kata_test::kata_test;
use kata_test_runner::{Binary, CandidatePlace, Config, Outcome, UsernsPlace};
use nix::unistd::Uid;

use crate::userns::{become_unprivileged_user, run_in};
use crate::{build, folder, outcome, place, shared};

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/places/sample")
}

/// Runs a test binary here, and returns whether it succeeded, and its output.
fn run_here(binary: &Binary) -> Result<(bool, String)> {
    let records = folder()?;
    let own = fs::read_link("/proc/self/ns/net")?;
    let ran = Command::new(&binary.executable)
        .current_dir(&binary.folder)
        .arg("--test-threads=1")
        .env("KATA_TEST_RECORD_DIR", records.path())
        .env("PLACES_NETWORK", own)
        .env_remove("NEXTEST")
        .output()
        .context("the tests cannot be run")?;
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    println!("{text}{}", String::from_utf8_lossy(&ran.stderr));
    Ok((ran.status.success(), text))
}

#[kata_test(root, namespace = "net", command = "ip", timeout = "5m")]
fn root_has_networks_for_tests_of_both_harnesses() -> Result<()> {
    let (passed, text) = run_here(&build(sample(), "network")?)?;
    assert!(
        passed && text.contains("4 passed; 0 failed; 0 ignored"),
        "{text}"
    );
    let (passed, text) = run_here(&build(sample(), "network_libtest")?)?;
    assert!(passed && text.contains("3 passed; 0 failed"), "{text}");
    Ok(())
}

#[kata_test(root, namespace = "user", command = "ip", when = crate::artifacts_provided, timeout = "10m")]
fn others_have_them_in_a_user_namespace_and_in_a_vm() -> Result<()> {
    let binary = build(sample(), "network")?;
    shared::share_with(Uid::from_raw(65534))?;
    become_unprivileged_user()?;
    let folder = folder()?;
    let userns = UsernsPlace::new(&Config::default())?;
    let vm = place("6.1", &folder)?;
    let mut places = vec![
        CandidatePlace::Here,
        CandidatePlace::Place(Box::new(userns)),
    ];
    let outcomes = run_in(&mut places, &binary)?;
    let expected =
        "isolated_network: EPERM, this user may not create one (unshare of a net namespace; here";
    for (test, place) in [
        ("only_lo_and_what_it_creates", "userns"),
        ("a_port_is_its_own", "userns"),
    ] {
        let found = outcome(&outcomes, test);
        assert_eq!(
            (found.outcome, &*found.place),
            (Outcome::Passed, place),
            "{found:#?}"
        );
    }
    // There is no other user in that namespace.
    let nowhere = outcome(&outcomes, "without_privileges");
    assert_eq!(nowhere.outcome, Outcome::Nowhere, "{nowhere:#?}");
    let reasons: Vec<String> = nowhere.reasons.iter().map(ToString::to_string).collect();
    assert!(
        reasons.iter().any(|reason| reason.contains(expected)),
        "{reasons:#?}"
    );

    let outcomes = run_in(&mut vec![CandidatePlace::Place(Box::new(vm))], &binary)?;
    assert_eq!(outcomes.len(), 4);
    for found in &outcomes {
        assert_eq!(
            (found.outcome, &*found.place),
            (Outcome::Passed, "vm:6.1"),
            "{found:#?}"
        );
    }
    assert_eq!(outcome(&outcomes, "without_privileges").as_uid, 65534);
    Ok(())
}
