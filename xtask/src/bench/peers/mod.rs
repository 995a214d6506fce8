//! The same tests by other tools that run tests in VMs.

mod ground;
mod step;
mod tool;

use anyhow::Result;
use iothread_advise::Samples;

use super::figure::{Figure, Peer};
use super::{Bench, Setup};
use ground::{Ground, KERNELS};
use tool::Tool;

pub(super) const BENCHES: &[Bench] = &[Bench {
    name: "peers: other tools that run tests in VMs",
    measure,
}];

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

/// Samples of a tool, or the deadline at which it was stopped.
#[derive(Clone)]
struct Measured {
    samples: Samples,
    is_stopped: bool,
}

fn measure(setup: &Setup) -> Result<Vec<Figure>> {
    let kernels = if setup.quick {
        &KERNELS[..1]
    } else {
        &KERNELS[..]
    };
    let ground = Ground::provide(setup, kernels)?;
    let mut figures = Vec::new();
    let mut tools = vec![Tool::Ours, Tool::VirtmeNg, Tool::Script];
    if !setup.quick {
        let mut cold = Vec::new();
        for tool in &tools {
            eprintln!("  {}: the first test ever", tool.name());
            let samples = Samples::new(vec![ground.first_ever(*tool)?])?;
            cold.push(Measured {
                samples,
                is_stopped: false,
            });
        }
        figures.extend(row("first test ever", "s", &tools, &cold));
    }
    for tool in &tools {
        ground.ensure(*tool)?;
    }
    if !setup.quick {
        match ground
            .ensure(Tool::Vmtest)
            .and_then(|()| ground.run(Tool::Vmtest, 1, &kernels[..1]))
        {
            Ok(_) => tools.push(Tool::Vmtest),
            Err(error) => println!("vmtest cannot run here, which was tried: {error:#}"),
        }
    }
    for (tool, why) in LEFT_OUT {
        println!("{tool} is left out: {why}");
    }
    let today = interleave(setup, &ground, &tools, 1, &kernels[..1])?;
    let many = interleave(setup, &ground, &tools, MANY, &kernels[..1])?;
    let mut more = Vec::new();
    for ((tool, one), many) in tools.iter().zip(&today).zip(&many) {
        let tests = if many.is_stopped { SOME } else { MORE };
        let several = interleave(setup, &ground, &[*tool], tests, &kernels[..1])?;
        more.push(marginal(one, &several[0], tests)?);
    }
    figures.extend(row("first test today", "s", &tools, &today));
    figures.extend(row("one more test", "ms", &tools, &more));
    figures.extend(row("200 tests", "s", &tools, &many));
    if !setup.quick {
        let five = interleave(setup, &ground, &tools, 1, kernels)?;
        figures.extend(row("one test on five kernels", "s", &tools, &five));
    }
    ground.clean()?;
    Ok(figures)
}

/// Measures each tool in turn. One that was stopped is not started again.
fn interleave(
    setup: &Setup,
    ground: &Ground,
    tools: &[Tool],
    tests: usize,
    kernels: &[&str],
) -> Result<Vec<Measured>> {
    let deadline = ground.deadline.as_secs_f64();
    ground.build(tests)?;
    let mut seconds = vec![Vec::new(); tools.len()];
    let mut stopped = vec![false; tools.len()];
    for round in 0..if setup.quick { 1 } else { 3 } {
        for turn in 0..tools.len() {
            let at = if round % 2 == 0 {
                turn
            } else {
                tools.len() - 1 - turn
            };
            if stopped[at] {
                continue;
            }
            let took = ground.run(tools[at], tests, kernels)?;
            stopped[at] = took.is_none();
            let shown = took.map_or("stopped".to_owned(), |took| format!("{took:.1} s"));
            eprintln!(
                "  {}, {tests} tests, {} kernels: {shown}",
                tools[at].name(),
                kernels.len()
            );
            seconds[at].push(took.unwrap_or(deadline));
        }
    }
    let measured = seconds
        .into_iter()
        .zip(stopped)
        .map(|(seconds, is_stopped)| {
            let seconds = if is_stopped { vec![deadline] } else { seconds };
            Ok(Measured {
                samples: Samples::new(seconds)?,
                is_stopped,
            })
        });
    measured.collect()
}

/// The milliseconds of each test after the first: of the medians, and the extremes that the spreads allow; at least
/// 0.01, which is below what can be measured.
fn marginal(one: &Measured, many: &Measured, tests: usize) -> Result<Measured> {
    #[expect(clippy::cast_precision_loss, reason = "a count of tests")]
    let more = (tests - 1) as f64;
    let between = |of_one: f64, of_many: f64| {
        let from = one.samples.quantile(of_one);
        ((many.samples.quantile(of_many) - from) * 1e3 / more).max(0.01)
    };
    let samples = Samples::new(vec![
        between(1.0, 0.0),
        between(0.5, 0.5),
        between(0.0, 1.0),
    ])?;
    Ok(Measured {
        samples,
        is_stopped: many.is_stopped,
    })
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
        let name = if theirs.is_stopped {
            tool.stopped()
        } else {
            tool.name()
        };
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
        let more = more.unwrap().samples;
        assert_eq!(
            (more.quantile(0.0), more.median(), more.quantile(1.0)),
            (800.0, 1000.0, 1200.0)
        );
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
