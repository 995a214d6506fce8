//! The place `userns`: from the start of a program in namespaces of its own to its end.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use kata_test_runner::{
    Binary, Config, Place, ProcessEnd, Session, SessionCommand, StopToken, UserKind, UsernsPlace,
};

use super::figure::{Figure, Goal, Peer};
use super::vms::since;
use super::{Bench, Setup};
use iothread_advise::Samples;

/// The limit, in milliseconds.
const LIMIT_MS: f64 = 20.0;

pub(super) const BENCHES: &[Bench] = &[Bench {
    name: "userns: start of a place",
    measure,
}];

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
        .interleave([&mut || start(&mut *session), &mut || unshare()])?;
    let figure = |what, peer, goal| Figure {
        name: format!("userns: start of a place and of a program, {what}"),
        unit: "ms",
        ours: ours.clone(),
        peer,
        floor: None,
        goal,
    };
    let unshare = Peer {
        name: "unshare(1), without /sys and loopback",
        samples: unshare,
    };
    let limit = Peer {
        name: "the limit of 20 ms",
        samples: Samples::new(vec![LIMIT_MS])?,
    };
    Ok(vec![
        figure("unshare", unshare, None),
        figure("limit", limit, Some(Goal::AtMost(1.0))),
    ])
}

/// Runs a program that does nothing there, and returns its duration in milliseconds.
fn start(session: &mut dyn Session) -> Result<f64> {
    let command = SessionCommand {
        program: None,
        arguments: &[],
        env: &[],
        artifacts: None,
        limit: Duration::from_secs(60),
        stop: StopToken::NEVER,
    };
    let start = Instant::now();
    let end = session.run(&command, &mut |_| {});
    let took = since(start);
    let end = end.map_err(|error| anyhow!("{error}"))?;
    ensure!(end == ProcessEnd::Exited(0), "true ended with {end}");
    Ok(took)
}

fn unshare() -> Result<f64> {
    let start = Instant::now();
    let status = Command::new("unshare")
        .args([
            "--map-root-user",
            "--mount",
            "--net",
            "--pid",
            "--ipc",
            "--uts",
        ])
        .args(["--cgroup", "--fork", "--mount-proc", "true"])
        .stdin(Stdio::null())
        .status()?;
    ensure!(status.success(), "unshare ended with {status}");
    Ok(since(start))
}
