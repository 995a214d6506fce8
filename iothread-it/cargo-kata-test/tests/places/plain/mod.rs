//! Plain tests in a VM, each in a process of its own.

mod fixture;

use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Result;
use kata_test::kata_test;
use kata_test_runner::{Place, ProcessEnd, Session, SessionCommand, StopToken, UserKind};

use crate::folder;
use fixture::{Fixture, TRIVIAL_TESTS};

const LIMIT: Duration = Duration::from_secs(60);

/// Runs a test. Returns how it ended, and its output.
fn run(session: &mut dyn Session, test: &str) -> Result<(ProcessEnd, String)> {
    run_until(session, test, LIMIT, StopToken::NEVER, &mut || {})
}

fn run_until(
    session: &mut dyn Session,
    test: &str,
    limit: Duration,
    stop: StopToken<'_>,
    on_output: &mut dyn FnMut(),
) -> Result<(ProcessEnd, String)> {
    let arguments = ["--exact", test, "--nocapture"].map(OsStr::new);
    let command = SessionCommand {
        artifacts: None,
        program: None,
        arguments: &arguments,
        env: &[],
        limit,
        stop,
    };
    let mut output = Vec::new();
    let end = session.run(&command, &mut |bytes| {
        output.extend_from_slice(bytes);
        on_output();
    });
    let end = end.map_err(|error| anyhow::anyhow!("{test}: {error}"))?;
    Ok((end, String::from_utf8_lossy(&output).into_owned()))
}

/// Runs a test, which must pass and leave nothing behind.
fn passes(session: &mut dyn Session, test: &str) -> Result<String> {
    let (end, output) = run(session, test)?;
    assert_eq!(end, ProcessEnd::Exited(0), "{test}: {output}");
    assert!(output.contains("1 passed"), "{output}");
    assert!(session.is_clean(), "{test} left something behind");
    Ok(output)
}

#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn an_unprivileged_plain_test_finds_its_package_and_no_privileges() -> Result<()> {
    let folder = folder()?;
    let fixture = Fixture::new(&folder)?;
    let mut place = crate::place("6.1", &folder)?;
    let mut session = place
        .open(&fixture.binary, UserKind::Unprivileged, StopToken::NEVER)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let session = &mut *session;
    let output = passes(session, "is_an_unprivileged_user")?;
    assert!(
        output.contains(&format!("user {}:", session.uid())),
        "{output}"
    );
    let began = Instant::now();
    passes(session, "reads_the_large_fixture")?;
    kata_test::measure("read_200_mib_ms", began.elapsed().as_secs_f64() * 1e3);
    for test in [
        "reads_all_kinds_of_files",
        "writes_where_its_user_may",
        "finds_no_processes",
        "reaches_itself_by_ipv4_and_ipv6",
    ] {
        passes(session, test)?;
    }
    let output = passes(session, "prints_to_both_streams_in_turn")?;
    let in_turn = (0..100).map(|number| format!("out {number}\nerr {number}\n"));
    assert!(output.contains(&in_turn.collect::<String>()), "{output}");
    let mut times: Vec<_> = (0..30)
        .map(|number| {
            let began = Instant::now();
            passes(session, &format!("trivial::t{number}")).map(|_| began.elapsed())
        })
        .collect::<Result<_>>()?;
    times.sort();
    // `cargo xtask bench` has the goal: other tests may run at the same time here.
    kata_test::measure("median_ms", times[15].as_secs_f64() * 1e3);

    let (end, output) = run(session, "fails")?;
    assert_eq!(end, ProcessEnd::Exited(101));
    assert!(output.contains("expected failure"), "{output}");
    let (end, _) = run(session, "aborts")?;
    assert_eq!(end, ProcessEnd::Signaled(6));
    let (end, output) = run_until(
        session,
        "hangs",
        Duration::from_secs(1),
        StopToken::NEVER,
        &mut || {},
    )?;
    assert_eq!(end, ProcessEnd::TimedOut(Duration::from_secs(1)));
    assert!(output.contains("it hangs"), "{output}");
    let (end, output) = run(session, "prints_a_gigabyte")?;
    assert_eq!(end, ProcessEnd::Exited(0));
    assert!(output.len() < 10 << 20, "{} bytes", output.len());
    assert!(output.contains("bytes of output were dropped]\n") && output.contains("the end"));
    assert!(session.is_clean());
    let (end, _) = run(session, "leaves_processes")?;
    assert_eq!(end, ProcessEnd::Exited(0));
    assert!(!session.is_clean());
    let (end, output) = run(session, "finds_no_processes")?;
    assert_eq!(end, ProcessEnd::Exited(0), "{output}");
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn a_plain_test_of_root_changes_its_guest_and_no_other() -> Result<()> {
    let folder = folder()?;
    let fixture = Fixture::new(&folder)?;
    let mut place = crate::place("6.1", &folder)?;
    let mut open = |body: &dyn Fn(&mut dyn Session) -> Result<()>| {
        let session = place.open(&fixture.binary, UserKind::Root, StopToken::NEVER);
        let mut session = session.map_err(|error| anyhow::anyhow!("{error}"))?;
        assert_eq!(session.uid(), 0);
        body(&mut *session)
    };
    open(&|session| {
        passes(session, "is_root")?;
        let (end, output) = run(session, "leaves_a_host_name")?;
        assert_eq!(end, ProcessEnd::Exited(0), "{output}");
        assert!(!session.is_clean());
        let (end, output) = run(session, "panics_the_kernel")?;
        let ProcessEnd::Crashed(why) = end else {
            panic!("{end:?}: {output}");
        };
        assert!(why.contains("Kernel panic - not syncing"), "{why}");
        assert!(output.contains("before the panic"), "{output}");
        let (end, _) = run(session, "trivial::t0")?;
        assert!(matches!(end, ProcessEnd::Crashed(_)), "{end:?}");
        Ok(())
    })?;
    open(&|session| passes(session, "trivial::t0").map(drop))?;
    let (stop_reader, mut stop_writer) = std::io::pipe()?;
    let stop = StopToken::when_readable(stop_reader.as_fd());
    let session = place.open(&fixture.binary, UserKind::Root, StopToken::NEVER);
    let mut session = session.map_err(|error| anyhow::anyhow!("{error}"))?;
    let began = Instant::now();
    let mut asks = || stop_writer.write_all(b"!").expect("a byte");
    let (end, _) = run_until(&mut *session, "hangs", 10 * LIMIT, stop, &mut asks)?;
    assert_eq!(end, ProcessEnd::Stopped);
    assert!(began.elapsed() < LIMIT);
    assert!(!session.is_clean());
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn every_kernel_mounts_a_package_and_its_binary() -> Result<()> {
    let folder = folder()?;
    let fixture = Fixture::new(&folder)?;
    for kernel in crate::KERNELS {
        let mut place = crate::place(kernel, &folder)?;
        let session = place.open(&fixture.binary, UserKind::Unprivileged, StopToken::NEVER);
        let mut session = session.map_err(|error| anyhow::anyhow!("{kernel}: {error}"))?;
        passes(&mut *session, "reads_all_kinds_of_files")?;
        passes(&mut *session, "writes_where_its_user_may")?;
    }
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn a_plain_binary_lists_its_tests() -> Result<()> {
    let folder = folder()?;
    let fixture = Fixture::new(&folder)?;
    let mut place = crate::place("6.1", &folder)?;
    let session = place.open(&fixture.binary, UserKind::Unprivileged, StopToken::NEVER);
    let mut session = session.map_err(|error| anyhow::anyhow!("{error}"))?;
    let arguments = ["--list", "--format", "terse"].map(OsStr::new);
    let mut output = Vec::new();
    let command = SessionCommand {
        artifacts: None,
        program: None,
        arguments: &arguments,
        env: &[],
        limit: LIMIT,
        stop: StopToken::NEVER,
    };
    let end = session.run(&command, &mut |bytes| output.extend_from_slice(bytes));
    assert_eq!(
        end.map_err(|error| anyhow::anyhow!("{error}"))?,
        ProcessEnd::Exited(0)
    );
    let trivial = |line: &&str| line.starts_with("trivial::t") && line.ends_with(": test");
    let text = String::from_utf8(output)?;
    assert_eq!(text.lines().filter(trivial).count(), TRIVIAL_TESTS);
    let missing = SessionCommand {
        program: Some("/no/such/program".as_ref()),
        ..command
    };
    let error = session.run(&missing, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("/no/such/program"), "{error}");
    Ok(())
}
