//! The package of `examples/places`, whose tests no single host runs: all but two of them run and
//! pass, whoever asks.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use cargo_kata_test::place::SUITES;
use kata_test::kata_test;
use kata_test_runner::{Binary, CandidatePlace, Outcome, Record, Reporter, Run, StopToken, plan};
use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};

use crate::{build, commands, folder, kind, outcome, place, room};

fn example() -> Result<Binary> {
    build(commands::example(), "needs")
}

/// What the commands do, but for cargo: not every user has one.
fn run_everywhere(binary: Binary) -> Result<Vec<Record>> {
    let folder = folder()?;
    let records = folder.path().join("records");
    let run = Run::start(&records)?;
    let mut candidates = vec![CandidatePlace::Here];
    for suite in SUITES {
        candidates.push(CandidatePlace::Place(Box::new(place(suite, &folder)?)));
    }
    let binaries = [binary];
    let told = &mut |text: &str| println!("{text}");
    let plan = plan(&binaries, &mut candidates, &records, StopToken::NEVER, told)?;
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

/// Makes the rest of this process nobody's. It has no threads yet.
pub(crate) fn become_nobody() -> Result<()> {
    let (uid, gid) = (Uid::from_raw(65534), Gid::from_raw(65534));
    std::fs::create_dir_all(room(uid))?;
    std::os::unix::fs::chown(room(uid), Some(uid.as_raw()), Some(gid.as_raw()))?;
    setgroups(&[gid])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    ensure!(geteuid() == uid, "still {}", geteuid());
    Ok(())
}

/// Every test where it has to be, by what this host is not.
pub(crate) fn check(outcomes: &[Record]) {
    for (test, place) in [
        ("needs_an_old_kernel", "vm:bookworm"),
        ("loads_a_module_itself", "vm:bookworm"),
        ("needs_this_kernel", "vm:trixie"),
        ("needs_a_new_kernel", "vm:sid"),
    ] {
        // A host of that very kernel runs it itself.
        let found = outcome(outcomes, test);
        assert!([place, "here"].contains(&found.place.as_str()), "{found:?}");
    }
    let nowhere = ["needs_arm", "needs_kvm"];
    for found in outcomes {
        if nowhere.contains(&found.test.as_str()) && found.outcome == Outcome::Nowhere {
            let told = |place: &str| {
                found
                    .reasons
                    .iter()
                    .any(|reason| reason.source.contains(place))
            };
            let all = ["here", "vm:bookworm", "vm:trixie", "vm:sid"];
            assert!(all.iter().all(|place| told(place)), "{found:?}");
        } else {
            assert_eq!(found.outcome, Outcome::Passed, "{found:#?}");
        }
    }
    if cfg!(target_arch = "x86_64") {
        assert_eq!(kind(outcomes, "needs_arm"), Outcome::Nowhere);
    }
    assert_eq!(outcomes.len(), 13);
}

#[kata_test(when = crate::supplied, timeout = "15m")]
fn all_but_two_run_whoever_asks() -> Result<()> {
    let outcomes = run_everywhere(example()?)?;
    check(&outcomes);
    let other_user = outcome(&outcomes, "needs_another_user");
    assert_eq!(other_user.place, "here");
    assert_ne!(other_user.as_uid, 0);
    Ok(())
}

#[kata_test(root, when = crate::supplied, timeout = "15m")]
fn all_but_two_run_for_nobody() -> Result<()> {
    let binary = example()?;
    become_nobody()?;
    let outcomes = run_everywhere(binary)?;
    check(&outcomes);
    assert_eq!(outcome(&outcomes, "needs_root").place, "vm:bookworm");
    assert_eq!(outcome(&outcomes, "needs_another_user").place, "here");
    Ok(())
}
