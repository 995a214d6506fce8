//! The place `userns`: from the start of a program in namespaces of its own to its end.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use kata_test_runner::{
    Binary, Config, Place, ProcessEnd, Session, SessionCommand, StopToken, UserKind, UsernsPlace,
};

use super::figure::{Figure, Goal, Peer};
use super::interleave::since;
use super::{Bench, Setup};

/// The limit, in milliseconds.
const LIMIT_MS: f64 = 20.0;

pub(super) const BENCHES: &[Bench] = &[Bench::new("userns: start of a place", measure)];

fn measure(setup: &Setup) -> Result<Vec<Figure>> {
    let binary = Binary {
        executable: "true".into(),
        folder: "/".into(),
        ..Binary::default()
    };
    let mut place = UsernsPlace::new(&Config::default())?;
    let session = place.open(&binary, UserKind::Root, StopToken::NEVER);
    let mut session = session.map_err(|error| anyhow!("{error}"))?;
    let [ours, unshare] = setup
        .rounds()
        .interleave([&mut || Ok(run(&mut *session, &[])?.0), &mut || unshare()])?;
    let figure = |what, peer| {
        let name = format!("userns: start of a place and of a program, {what}");
        Figure::new(name, "ms", ours.clone(), peer)
    };
    let unshare = Peer::new("unshare(1), without /sys and loopback", unshare);
    let limit = Peer::limit("the limit of 20 ms", LIMIT_MS)?;
    Ok(vec![
        figure("unshare", unshare),
        figure("limit", limit).with_goal(Goal::AtMost(1.0)),
    ])
}

/// Runs a session's program, and returns its duration in milliseconds and its output.
pub(super) fn run(session: &mut dyn Session, arguments: &[&OsStr]) -> Result<(f64, String)> {
    let command = SessionCommand {
        program: None,
        arguments,
        env: &[],
        artifacts: None,
        limit: Duration::from_secs(60),
        stop: StopToken::NEVER,
    };
    let mut output = Vec::new();
    let start = Instant::now();
    let end = session.run(&command, &mut |bytes| output.extend_from_slice(bytes));
    let took = since(start);
    let end = end.map_err(|error| anyhow!("{error}"))?;
    let output = String::from_utf8_lossy(&output).into_owned();
    ensure!(end == ProcessEnd::Exited(0), "ended with {end}: {output}");
    Ok((took, output))
}

fn unshare() -> Result<f64> {
    let arguments =
        "--map-root-user --mount --net --pid --ipc --uts --cgroup --fork --mount-proc true";
    let start = Instant::now();
    let status = Command::new("unshare")
        .args(arguments.split(' '))
        .stdin(Stdio::null())
        .status()?;
    ensure!(status.success(), "unshare ended with {status}");
    Ok(since(start))
}
