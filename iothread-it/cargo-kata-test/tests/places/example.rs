//! The package `examples/places`: all of its tests but two run and pass, for root and other users.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use kata_test::kata_test;
use kata_test_runner::{
    Binary, CandidatePlace, Outcome, PlanInput, Record, Reporter, Run, StopToken, plan,
};
use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};

use crate::{KERNELS, build, commands, folder, kind, outcome, place, shared, user_folder};

fn example() -> Result<Binary> {
    build(commands::example(), "needs")
}

/// Plans and runs as the command does, but without cargo, which an unprivileged user may not have.
fn run_everywhere(binary: Binary) -> Result<Vec<Record>> {
    let folder = folder()?;
    let records = folder.path().join("records");
    let run = Run::start(&records)?;
    let mut candidates = vec![CandidatePlace::Here];
    for kernel in KERNELS {
        candidates.push(CandidatePlace::Place(Box::new(place(kernel, &folder)?)));
    }
    let binaries = [binary];
    let told = &mut |text: &str| println!("{text}");
    let plan = plan(PlanInput::new(&binaries, &records), &mut candidates, told)?;
    let leave = plan.exclude_elsewhere(&candidates, &run)?;
    let status = Command::new(&binaries[0].executable)
        .current_dir(&binaries[0].folder)
        .envs(binaries[0].env.iter().map(|(name, value)| (name, value)))
        .envs(run.env())
        .env(leave.0, leave.1)
        .stdin(Stdio::null())
        .status()
        .context("the tests cannot be run here")?;
    ensure!(status.success(), "the tests failed here: {status}");
    let mut reporter = Reporter {
        progress: told,
        output: &mut |bytes| print!("{}", String::from_utf8_lossy(bytes)),
        stop: StopToken::NEVER,
    };
    plan.run_in_places(&binaries, &mut candidates, &run, &mut reporter)?;
    Ok(run.merge()?)
}

/// Changes this process's user to nobody. It has no threads yet.
pub(crate) fn become_unprivileged() -> Result<()> {
    let (uid, gid) = (Uid::from_raw(65534), Gid::from_raw(65534));
    std::fs::create_dir_all(user_folder(uid))?;
    std::os::unix::fs::chown(user_folder(uid), Some(uid.as_raw()), Some(gid.as_raw()))?;
    setgroups(&[gid])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    ensure!(geteuid() == uid, "still {}", geteuid());
    Ok(())
}

/// The number of tests in `tests/needs.rs`.
const NEEDS: usize = 12;

/// Checks that every test ran where its requirement is met.
pub(crate) fn check(outcomes: &[Record]) {
    let old = ["vm:5.10", "vm:6.1"];
    for test in ["needs_an_old_kernel", "loads_a_module_itself"] {
        // A host of such a kernel runs it itself.
        let found = outcome(outcomes, test);
        assert!(
            found.place == "here" || old.contains(&found.place.as_str()),
            "{found:?}"
        );
    }
    let this = outcome(outcomes, "needs_this_kernel");
    assert!(
        ["here", "vm:6.12"].contains(&this.place.as_str()),
        "{this:?}"
    );
    let new = outcome(outcomes, "needs_a_new_kernel");
    let others = [&old[..], &["vm:6.12"]].concat();
    assert!(!others.contains(&new.place.as_str()), "{new:?}");
    let nowhere = ["needs_arm"];
    for found in outcomes {
        if found.binary != "places::needs" {
            continue;
        }
        if nowhere.contains(&found.test.as_str()) && found.outcome == Outcome::Nowhere {
            let told = |place: &str| {
                found
                    .reasons
                    .iter()
                    .any(|reason| reason.source.contains(place))
            };
            let all = ["here", "vm:5.10", "vm:6.1", "vm:6.12"];
            assert!(all.iter().all(|place| told(place)), "{found:?}");
        } else {
            assert_eq!(found.outcome, Outcome::Passed, "{found:#?}");
        }
    }
    if cfg!(target_arch = "x86_64") {
        assert_eq!(kind(outcomes, "needs_arm"), Outcome::Nowhere);
    }
    let of_needs = outcomes.iter().filter(|one| one.binary == "places::needs");
    assert_eq!(of_needs.count(), NEEDS);
}

#[kata_test(when = crate::artifacts_provided, timeout = "15m")]
fn the_example_runs_as_this_user() -> Result<()> {
    let outcomes = run_everywhere(example()?)?;
    check(&outcomes);
    let other_user = outcome(&outcomes, "needs_another_user");
    assert_eq!(other_user.place, "here");
    assert_ne!(other_user.as_uid, 0);
    Ok(())
}

#[kata_test(root, when = crate::artifacts_provided, timeout = "15m")]
fn the_example_runs_as_an_unprivileged_user() -> Result<()> {
    let binary = example()?;
    shared::share_with(Uid::from_raw(65534))?;
    become_unprivileged()?;
    let outcomes = run_everywhere(binary)?;
    check(&outcomes);
    let root = outcome(&outcomes, "needs_root");
    assert!(root.place.starts_with("vm:"), "{root:?}");
    assert_eq!(outcome(&outcomes, "needs_another_user").place, "here");
    Ok(())
}
