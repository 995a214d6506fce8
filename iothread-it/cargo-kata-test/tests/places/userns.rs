//! The place `userns`, for an unprivileged user and for root.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, ensure};
use kata_test::kata_test;
use kata_test_runner::{
    Binary, CandidatePlace, Config, Outcome, Place, PlainOptions, PlainRun, PlainTest, PlanInput,
    Record, Reporter, Run, StopToken, UsernsPlace, list_plain, plan, run_plain,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::commands::in_package;
use crate::crashes::await_record;
use crate::example::become_unprivileged;
use crate::run::RUNNER;
use crate::{build, folder, kind, outcome};

/// The tests of `sample/tests/userns.rs` that run there for every user.
const WORK: [&str; 10] = [
    "cannot_create_a_device_node",
    "cannot_load_modules_set_the_clock_or_raise_hard_limits",
    "cannot_mount_what_is_on_a_block_device",
    "cannot_write_settings_of_the_whole_kernel",
    "changes_owners",
    "changes_the_host_name_for_itself",
    "creates_network_devices",
    "mounts_a_tmpfs_and_binds_a_folder",
    "reaches_itself_and_nobody_else",
    "sees_no_process_of_the_host",
];

/// Those that run there for a user without further ids.
const WORK_ALONE: [&str; 2] = [
    "cannot_become_another_user",
    "cannot_open_files_of_other_users",
];

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/places/sample")
}

/// Changes this process's user to nobody. Then its files in /proc are root's, unless it asks for them.
pub(crate) fn become_unprivileged_user() -> Result<()> {
    become_unprivileged()?;
    Ok(nix::sys::prctl::set_dumpable(true)?)
}

/// Creates the place, with a configuration.
fn place(config: &str) -> Result<UsernsPlace> {
    let root = folder()?;
    fs::create_dir(root.path().join(".config"))?;
    fs::write(root.path().join(".config/kata-test.toml"), config)?;
    Ok(UsernsPlace::new(&Config::load(root.path())?)?)
}

/// Runs the tests of a binary here, as its harness does it, and in the place.
pub(crate) fn run_in(places: &mut Vec<CandidatePlace>, binary: &Binary) -> Result<Vec<Record>> {
    let folder = folder()?;
    let records = folder.path().join("records");
    let run = Run::start(&records)?;
    let binaries = std::slice::from_ref(binary);
    let print = &mut |text: &str| println!("{text}");
    let plan = plan(PlanInput::new(binaries, &records), places, print)?;
    plan.record(&run)?;
    let mut reporter = Reporter {
        progress: print,
        output: &mut |bytes| print!("{}", String::from_utf8_lossy(bytes)),
        stop: StopToken::NEVER,
    };
    plan.run_in_places(binaries, places, &run, &mut reporter)?;
    Ok(run.merge()?)
}

/// The names of the tests that passed in the place.
fn passed(outcomes: &[Record]) -> Vec<&str> {
    let there = outcomes.iter().filter(|one| one.place == "userns");
    let passed = there.filter(|one| one.outcome == Outcome::Passed);
    passed.map(|one| one.test.as_str()).collect()
}

#[kata_test(root, namespace = "user", command = "ip", timeout = "5m")]
fn an_unprivileged_user_is_root_there_for_tests_that_accept_it() -> Result<()> {
    let binary = build(sample(), "userns")?;
    become_unprivileged_user()?;
    let userns = || Ok::<_, anyhow::Error>(CandidatePlace::Place(Box::new(place("")?)));
    let outcomes = run_in(&mut vec![CandidatePlace::Here, userns()?], &binary)?;
    let mut expected = [&WORK[..], &WORK_ALONE, &["needs_a_capability"]].concat();
    expected.sort_unstable();
    assert_eq!(passed(&outcomes), expected, "{outcomes:#?}");
    assert!(
        outcomes
            .iter()
            .all(|one| one.place != "userns" || one.as_uid == 0)
    );
    // It runs here, where it is an unprivileged user's.
    assert!(outcomes.iter().all(|one| one.test != "needs_another_user"));
    for (test, why) in [
        (
            "needs_root",
            "needs root: it is root in a user namespace only; state `root_in_userns` instead if that \
             suffices, or configure `root-in-userns` (user_namespaces(7); userns)",
        ),
        (
            "needs_real_root",
            "needs real_root: effective uid is 0, but not in the initial user namespace",
        ),
    ] {
        let nowhere = outcome(&outcomes, test);
        let reasons: Vec<String> = nowhere.reasons.iter().map(ToString::to_string).collect();
        assert_eq!(nowhere.outcome, Outcome::Nowhere, "{nowhere:?}");
        assert!(
            reasons.iter().any(|reason| reason.starts_with(why)),
            "{reasons:#?}"
        );
    }
    // Without this host, the test lacks its user.
    let outcomes = run_in(&mut vec![userns()?], &binary)?;
    assert_eq!(kind(&outcomes, "needs_another_user"), Outcome::Nowhere);

    let config = "[[tests]]\nfilter = 'test(needs_root)'\nroot-in-userns = true\n";
    let accepting = CandidatePlace::Place(Box::new(place(config)?));
    let outcomes = run_in(&mut vec![CandidatePlace::Here, accepting], &binary)?;
    assert_eq!(outcome(&outcomes, "needs_root").place, "userns");
    assert_eq!(kind(&outcomes, "needs_root"), Outcome::Passed);
    assert_eq!(kind(&outcomes, "needs_real_root"), Outcome::Nowhere);
    Ok(())
}

#[kata_test(root, namespace = "user", command = "ip", timeout = "5m")]
fn root_has_users_there() -> Result<()> {
    let binary = build(sample(), "userns")?;
    let place = place("")?;
    assert_eq!(
        place.about(),
        "this host, as root in a user namespace with 65536 user and group ids"
    );
    let outcomes = run_in(&mut vec![CandidatePlace::Place(Box::new(place))], &binary)?;
    let mut expected = [&WORK[..], &["needs_a_capability", "needs_another_user"]].concat();
    expected.sort_unstable();
    let passed: Vec<&str> = outcomes
        .iter()
        .filter(|one| one.outcome == Outcome::Passed)
        .map(|one| one.test.as_str())
        .collect();
    assert_eq!(passed, expected, "{outcomes:#?}");
    assert_eq!(outcome(&outcomes, "needs_another_user").as_uid, 65534);
    Ok(())
}

/// The user has subordinate ids in the mount namespace of this test only.
#[kata_test(
    root,
    namespace = "mnt",
    command = "newuidmap",
    command = "newgidmap",
    timeout = "5m"
)]
fn subordinate_ids_are_users_there() -> Result<()> {
    let binary = build(sample(), "userns")?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let nothing = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing)?;
    let folder = folder()?;
    let ids = folder.path().join("ids");
    fs::write(&ids, "65534:200000:65536\n")?;
    fs::set_permissions(&ids, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    for file in ["/etc/subuid", "/etc/subgid"] {
        mount(Some(&ids), file, nothing, MsFlags::MS_BIND, nothing)?;
    }
    become_unprivileged_user()?;
    let place = place("")?;
    assert_eq!(
        place.about(),
        "this host, as root in a user namespace with 65537 user ids and 65537 group ids"
    );
    let outcomes = run_in(&mut vec![CandidatePlace::Place(Box::new(place))], &binary)?;
    for test in ["changes_owners", "needs_another_user"] {
        assert_eq!(kind(&outcomes, test), Outcome::Passed, "{outcomes:#?}");
    }
    Ok(())
}

#[kata_test(root, namespace = "user", command = "mount", timeout = "5m")]
fn a_plain_test_that_lacks_privileges_runs_there() -> Result<()> {
    let binary = build(sample(), "plain_root")?;
    become_unprivileged_user()?;
    let folder = folder()?;
    let mut tests: Vec<PlainTest> = list_plain(&binary, StopToken::NEVER)?;
    tests.iter_mut().for_each(|test| test.runs = true);
    let run = Run::start(folder.path())?;
    let options = PlainOptions::default();
    let plain = PlainRun {
        binaries: std::slice::from_ref(&binary),
        tests: &tests,
        run: &run,
        options: &options,
        program: None,
    };
    let mut places = [
        CandidatePlace::Here,
        CandidatePlace::Place(Box::new(place("")?)),
    ];
    let mut reporter = Reporter {
        progress: &mut |text| println!("{text}"),
        output: &mut |bytes| print!("{}", String::from_utf8_lossy(bytes)),
        stop: StopToken::NEVER,
    };
    run_plain(&plain, &mut places, &mut reporter)?;
    let outcomes = run.merge()?;
    let seen = |test: &str| {
        let one = outcome(&outcomes, test);
        (one.outcome, one.place.clone())
    };
    for test in ["mounts", "does_nothing_without_root"] {
        assert_eq!(
            seen(test),
            (Outcome::Passed, "userns".to_owned()),
            "{outcomes:#?}"
        );
    }
    assert_eq!(seen("passes"), (Outcome::Passed, "here".to_owned()));
    assert_eq!(seen("fails").0, Outcome::Failed);
    assert_eq!(seen("creates_a_node").0, Outcome::Failed);
    let tried = |test: &str| {
        let text = fs::read_dir(run.dir())?
            .flatten()
            .map(|entry| fs::read_to_string(entry.path()));
        let text: String = text.map(Result::unwrap_or_default).collect();
        let name = format!("\"test\":\"{test}\"");
        let lines = text.lines().filter(|line| line.contains(&name));
        anyhow::Ok(lines.filter(|line| line.contains("\"userns\"")).count() > 0)
    };
    assert!(tried("creates_a_node")? && !tried("fails")?);
    Ok(())
}

/// Returns a command for a program in the place.
fn command(program: &[&str]) -> Result<Command> {
    let mut command = in_package(RUNNER, &sample())?;
    command
        .args(["run", "--place", "userns", "--"])
        .args(program);
    Ok(command)
}

#[kata_test(root, namespace = "user", timeout = "2m")]
fn a_program_has_its_streams_its_status_and_signals() -> Result<()> {
    become_unprivileged_user()?;
    let script = "read line; echo out $line; echo err >&2; exit 200";
    let mut child = command(&["sh", "-c", script])?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    std::io::Write::write_all(&mut child.stdin.take().context("no input")?, b"in\n")?;
    let output = child.wait_with_output()?;
    let texts = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert_eq!(
        (output.status.code(), texts),
        (Some(200), ["out in\n".into(), "err\n".into()])
    );
    let killed = command(&["sh", "-c", "kill -SEGV $$"])?.status()?;
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&killed),
        Some(Signal::SIGSEGV as i32)
    );
    let missing = command(&["./missing"])?.output()?;
    assert_eq!(missing.status.code(), Some(125));

    let script = "trap 'echo caught; exit 3' TERM; echo ready; read line";
    let mut child = command(&["sh", "-c", script])?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    assert_eq!(lines.next().transpose()?.as_deref(), Some("ready"));
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
    assert_eq!(lines.next().transpose()?.as_deref(), Some("caught"));
    assert_eq!(child.wait()?.code(), Some(3));
    Ok(())
}

/// Nothing of the runner's reaches the program but its streams and its environment.
#[kata_test(root, namespace = "user", timeout = "2m")]
fn a_program_inherits_no_descriptor_and_no_way_out() -> Result<()> {
    become_unprivileged_user()?;
    let script = "
        ls /proc/self/fd
        echo descriptors
        cat /proc/self/setgroups
        for ns in user mnt net pid ipc uts cgroup; do readlink /proc/self/ns/$ns; done
        cd /proc && echo [0-9]* | wc -w
        kill -0 $OUTSIDE 2>/dev/null && echo the runner is seen
        mount -o remount,rw / 2>/dev/null; umount /proc && ls /proc/$OUTSIDE/root 2>/dev/null
        true";
    let output = command(&["sh", "-c", script])?
        .env("OUTSIDE", std::process::id().to_string())
        .stderr(Stdio::inherit())
        .output()?;
    let here = in_package("sh", &sample())?
        .args(["-c", "ls /proc/self/fd"])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (descriptors, rest) = text.split_once("descriptors\n").context("no descriptors")?;
    // Those that this process leaves to its children.
    assert_eq!(descriptors, String::from_utf8_lossy(&here.stdout));
    let lines: Vec<&str> = rest.lines().collect();
    assert_eq!(lines[0], "deny", "{text}");
    for (line, kind) in lines[1..8]
        .iter()
        .zip(["user", "mnt", "net", "pid", "ipc", "uts", "cgroup"])
    {
        let outside = fs::read_link(format!("/proc/self/ns/{kind}"))?;
        assert_ne!(Path::new(line), outside, "{text}");
    }
    assert!(lines[8].parse::<u32>()? <= 5, "{text}");
    assert_eq!(lines.len(), 9, "{text}");
    Ok(())
}

#[kata_test(root, namespace = "user", timeout = "2m")]
fn a_killed_runner_leaves_nothing() -> Result<()> {
    let binary = build(sample(), "userns")?;
    become_unprivileged_user()?;
    // Whatever loses its parent below comes here.
    set_child_subreaper(true)?;
    let script = "setsid sleep 1000 & sleep 1000 & echo ready; wait";
    let mut runner = command(&["sh", "-c", script])?
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(runner.stdout.take().context("no output")?).read_line(&mut line)?;
    assert_eq!(line, "ready\n");
    runner.kill()?;
    all_end()?;

    let mut runner = Command::new(std::env::current_exe()?);
    let folder = folder()?;
    let records = folder.path().join("records");
    runner
        .args([
            "--exact",
            "--include-ignored",
            "userns::runner_that_is_killed",
        ])
        .env_remove("KATA_TEST_RUN")
        .env("KATA_TEST_ALLOW", "blocks")
        .env("KATA_TEST_RECORD_DIR", folder.path().join("own"))
        .env("PLACES_USERNS_BINARY", &binary.executable)
        .env(BLOCK, &records);
    let mut runner = runner.spawn()?;
    await_record(&records.join("latest"), "blocks");
    runner.kill()?;
    all_end()
}

/// Waits until no child is left. One that stays runs into the time limit of the test.
fn all_end() -> Result<()> {
    while waitpid(None::<Pid>, None).is_ok() {}
    let left = fs::read_to_string(format!("/proc/self/task/{}/children", Pid::this()))?;
    ensure!(left.is_empty(), "{left} are left");
    Ok(())
}

/// Enables a runner that another test kills: its folder.
const BLOCK: &str = "PLACES_USERNS_BLOCK";

#[kata_test]
#[ignore = "another test runs it"]
fn runner_that_is_killed() -> Result<()> {
    let records = std::env::var_os(BLOCK).context("no folder for the records")?;
    let binary = Binary {
        id: "places-sample::userns".to_owned(),
        executable: std::env::var_os("PLACES_USERNS_BINARY")
            .context("no binary")?
            .into(),
        folder: sample(),
        ..Binary::default()
    };
    let run = Run::start(Path::new(&records))?;
    let job = kata_test_runner::Job {
        tests: vec![kata_test_runner::JobTest {
            name: "blocks".to_owned(),
            limit: None,
            attempts: 1,
            own_machine: false,
        }],
        binary: &binary,
        run: &run,
        questions: &[],
        steps_per_ms: 0.0,
        stop: StopToken::NEVER,
    };
    let ran = place("")?.run(&job, &mut |_| {});
    ran.map_err(|error| anyhow!("{error}"))
}

/// The kernel of a VM permits it, and then does not.
#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn a_kernel_that_forbids_it_is_named_with_the_setting() -> Result<()> {
    let script = format!(
        "
        there() {{ {RUNNER} kata-test run --place userns -- sh -c 'echo it runs'; echo $?; }}
        there
        echo 0 > /proc/sys/user/max_user_namespaces
        there"
    );
    let output = in_package(RUNNER, &sample())?
        .args(["run", "--place", "vm:bookworm", "--user", "root"])
        .args(["--with", RUNNER, "--", "sh", "-c", &script])
        .output()?;
    insta::assert_snapshot!(format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ));
    Ok(())
}
