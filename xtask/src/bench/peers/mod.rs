//! The same tests by other tools that run tests in VMs.

mod installation;
mod left;
mod step;
mod tool;

use anyhow::{Result, bail};
use iothread_advise::Samples;

use super::figure::{Figure, Peer};
use super::{Bench, Setup};
use installation::{Installation, KERNELS};
use tool::Tool;

pub(super) const BENCHES: &[Bench] = &[Bench::new(
    "peers: other tools that run tests in VMs",
    measure,
)];

/// What cannot be measured without further machinery.
const LEFT_OUT: [(&str, &str); 2] = [
    ("vmrunner", "libkrun needs KVM"),
    ("little-vm-helper", "it needs Docker to fetch its images"),
];

const MANY: usize = 200;
/// What a further test costs follows from so many: the start of a VM varies by the time of hundreds of tests.
const MORE: usize = 1000;
/// For what was stopped before it had run 200.
const SOME: usize = 9;

/// Samples of a tool. A run that was stopped is a sample of the deadline.
#[derive(Clone)]
struct Measured {
    samples: Samples,
    /// Whether the median is the deadline.
    is_stopped: bool,
}

fn measure(setup: &Setup) -> Result<Vec<Figure>> {
    let kernels = if setup.quick {
        &KERNELS[..1]
    } else {
        &KERNELS[..]
    };
    let installation = Installation::provide(setup, kernels)?;
    let mut figures = Vec::new();
    let mut tools = vec![Tool::Ours, Tool::VirtmeNg, Tool::Script];
    if !setup.quick {
        let mut cold = Vec::new();
        for tool in &tools {
            eprintln!("  {}: the first test ever", tool.name());
            let samples = Samples::new(vec![installation.first_ever(*tool)?])?;
            cold.push(Measured {
                samples,
                is_stopped: false,
            });
        }
        figures.extend(row("first test ever", "s", &tools, &cold));
    }
    for tool in &tools {
        installation.ensure(*tool)?;
    }
    if !setup.quick {
        match installation
            .ensure(Tool::Vmtest)
            .and_then(|()| installation.run(Tool::Vmtest, 1, &kernels[..1]))
        {
            Ok(_) => tools.push(Tool::Vmtest),
            Err(error) => println!("vmtest cannot run here, which was tried: {error:#}"),
        }
    }
    for (tool, why) in LEFT_OUT {
        println!("{tool} is left out: {why}");
    }
    installation.build(1)?;
    for tool in &tools {
        eprintln!("  {}: a run that is not measured", tool.name());
        // What is made once, such as a saved VM, is no part of the first test of a day.
        installation.run(*tool, 1, kernels)?;
    }
    let today = interleave(setup, &installation, &tools, 1, &kernels[..1])?;
    let many = interleave(setup, &installation, &tools, MANY, &kernels[..1])?;
    let mut of_more = Vec::new();
    let mut more = Vec::new();
    for ((tool, one), many) in tools.iter().zip(&today).zip(&many) {
        let tests = if many.is_stopped { SOME } else { MORE };
        let measured = if one.is_stopped {
            None
        } else {
            let several = interleave(setup, &installation, &[*tool], tests, &kernels[..1])?;
            marginal(one, &several[0], tests)?
        };
        match measured {
            Some(measured) => {
                of_more.push(*tool);
                more.push(measured);
            }
            None => println!(
                "{} has no figure of one more test: its first test was stopped, or the spreads hide it",
                tool.name()
            ),
        }
    }
    figures.extend(row("first test today", "s", &tools, &today));
    if of_more.first() == Some(&Tool::Ours) {
        figures.extend(row("one more test", "ms", &of_more, &more));
    }
    figures.extend(row("200 tests", "s", &tools, &many));
    if !setup.quick {
        let five = interleave(setup, &installation, &tools, 1, kernels)?;
        figures.extend(row("one test on five kernels", "s", &tools, &five));
    }
    installation.clean()?;
    Ok(figures)
}

/// Measures tests in a VM of each kernel, with each tool in turn.
fn interleave(
    setup: &Setup,
    installation: &Installation,
    tools: &[Tool],
    tests: usize,
    kernels: &[&str],
) -> Result<Vec<Measured>> {
    installation.build(tests)?;
    let rounds = if setup.quick { 1 } else { 3 };
    let deadline = installation.deadline(kernels).as_secs_f64();
    in_turn(tools, rounds, deadline, &mut |tool| {
        let took = with_second_try(tool, &mut || installation.run(tool, tests, kernels))?;
        let shown = took.map_or("stopped".to_owned(), |took| format!("{took:.1} s"));
        eprintln!(
            "  {}, {tests} tests, {} kernels: {shown}",
            tool.name(),
            kernels.len()
        );
        Ok(took)
    })
}

/// Runs a peer once more if it fails, so that the figures of all others are not lost.
fn with_second_try<T>(tool: Tool, run: &mut dyn FnMut() -> Result<T>) -> Result<T> {
    match run() {
        Err(error) if tool != Tool::Ours => {
            eprintln!("  {} failed, and runs once more: {error:#}", tool.name());
            run()
        }
        ended => ended,
    }
}

/// Runs each tool a round, in the opposite order every other round. A peer whose median is the deadline already is
/// not started again.
fn in_turn(
    tools: &[Tool],
    rounds: usize,
    deadline: f64,
    run: &mut dyn FnMut(Tool) -> Result<Option<f64>>,
) -> Result<Vec<Measured>> {
    let mut seconds = vec![Vec::new(); tools.len()];
    let mut stops = vec![0; tools.len()];
    let is_stopped = |stops: usize| stops * 2 > rounds;
    for round in 0..rounds {
        for turn in 0..tools.len() {
            let at = if round % 2 == 0 {
                turn
            } else {
                tools.len() - 1 - turn
            };
            if is_stopped(stops[at]) {
                continue;
            }
            let took = run(tools[at])?;
            if took.is_none() && tools[at] == Tool::Ours {
                bail!("cargo kata-test did not end within {deadline} s and was stopped");
            }
            stops[at] += usize::from(took.is_none());
            seconds[at].push(took.unwrap_or(deadline));
        }
    }
    let measured = seconds.into_iter().zip(stops).map(|(seconds, stops)| {
        Ok(Measured {
            samples: Samples::new(seconds)?,
            is_stopped: is_stopped(stops),
        })
    });
    measured.collect()
}

/// The milliseconds of each test after the first: of the medians, and the extremes that the spreads allow. `None` if
/// the spreads also allow that they take no time.
fn marginal(one: &Measured, many: &Measured, tests: usize) -> Result<Option<Measured>> {
    #[expect(clippy::cast_precision_loss, reason = "a count of tests")]
    let more = (tests - 1) as f64;
    let between = |of_one: f64, of_many: f64| {
        let from = one.samples.quantile(of_one);
        (many.samples.quantile(of_many) - from) * 1e3 / more
    };
    let least = between(1.0, 0.0);
    if least <= 0.0 {
        return Ok(None);
    }
    let samples = Samples::new(vec![least, between(0.5, 0.5), between(0.0, 1.0)])?;
    Ok(Some(Measured {
        samples,
        is_stopped: many.is_stopped,
    }))
}

/// A figure for each peer; the first tool is ours.
fn row<'a>(
    what: &'a str,
    unit: &'static str,
    tools: &'a [Tool],
    measured: &'a [Measured],
) -> impl Iterator<Item = Figure> + 'a {
    let peers = tools.iter().zip(measured).skip(1);
    peers.map(move |(tool, theirs)| {
        let stopped = if theirs.is_stopped { ", stopped" } else { "" };
        let name = format!("{}{stopped}", tool.name());
        let peer = Peer::new(name, theirs.samples.clone());
        let title = format!("peers: {what}, {}", tool.name());
        Figure::new(title, unit, measured[0].samples.clone(), peer)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(seconds: &[f64], is_stopped: bool) -> Measured {
        Measured {
            samples: Samples::new(seconds.to_vec()).unwrap(),
            is_stopped,
        }
    }

    #[test]
    fn a_further_test_costs_what_many_cost_beyond_one() {
        let more = marginal(
            &measured(&[1.0, 2.0, 3.0], false),
            &measured(&[11.0, 12.0, 13.0], false),
            11,
        );
        let more = more.unwrap().unwrap().samples;
        assert_eq!(
            (more.quantile(0.0), more.median(), more.quantile(1.0)),
            (800.0, 1000.0, 1200.0)
        );
    }

    #[test]
    fn a_further_test_that_the_spreads_hide_has_no_figure() {
        let one = measured(&[1.0, 2.0, 10.0], false);
        let many = measured(&[9.0, 12.0, 13.0], false);
        assert!(marginal(&one, &many, 11).unwrap().is_none());
    }

    /// The samples of the script, which takes these times, with the deadline 100, and whether it is stopped.
    fn script_in_turn(took: [Option<f64>; 3]) -> (Vec<f64>, bool) {
        let mut took = took.into_iter();
        let tools = [Tool::Ours, Tool::Script];
        let measured = in_turn(&tools, 3, 100.0, &mut |tool| match tool {
            Tool::Ours => Ok(Some(1.0)),
            _ => Ok(took.next().unwrap()),
        });
        let measured = measured.unwrap();
        assert_eq!(measured[0].samples.count(), 3);
        let samples = &measured[1].samples;
        let quantiles = [0.0, 0.5, 1.0].map(|part| samples.quantile(part));
        (quantiles.to_vec(), measured[1].is_stopped)
    }

    #[test]
    fn a_peer_is_over_the_deadline_only_if_its_median_is() {
        let (ten, twelve) = (Some(10.0), Some(12.0));
        assert_eq!(
            script_in_turn([ten, None, twelve]),
            (vec![10.0, 12.0, 100.0], false)
        );
        assert_eq!(
            script_in_turn([None, ten, None]),
            (vec![10.0, 100.0, 100.0], true)
        );
        assert_eq!(
            script_in_turn([None, None, ten]),
            (vec![100.0, 100.0, 100.0], true)
        );
    }

    #[test]
    fn ours_at_the_deadline_is_an_error() {
        let error = in_turn(&[Tool::Ours], 3, 100.0, &mut |_| Ok(None)).err();
        let error = error.unwrap().to_string();
        assert!(error.contains("did not end within 100 s"), "{error}");
    }

    #[test]
    fn a_peer_that_fails_runs_once_more_and_ours_does_not() {
        let runs = |tool, failures: usize| {
            let mut runs = 0;
            let ended = with_second_try(tool, &mut || {
                runs += 1;
                anyhow::ensure!(runs > failures, "the guest crashed");
                Ok(())
            });
            (runs, ended.is_ok())
        };
        assert_eq!(runs(Tool::Script, 0), (1, true));
        assert_eq!(runs(Tool::Script, 1), (2, true));
        assert_eq!(runs(Tool::Script, 2), (2, false));
        assert_eq!(runs(Tool::Ours, 1), (1, false));
    }

    #[test]
    fn a_stopped_peer_is_named_so() {
        let tools = [Tool::Ours, Tool::Script];
        let figures: Vec<_> = row(
            "x",
            "s",
            &tools,
            &[measured(&[1.0], false), measured(&[300.0], true)],
        )
        .collect();
        assert_eq!(figures.len(), 1);
        assert_eq!(figures[0].name, "peers: x, nextest with a VM script");
        assert_eq!(figures[0].peer.name, "nextest with a VM script, stopped");
    }
}
