//! What `cargo kata-test test` runs in other places than this host.

use anyhow::Result;
use kata_test_runner::{
    CandidatePlace, Config, PlainRun, PlainTest, Plan, PlanInput, Reporter, StopToken,
    TestSelection, Vms, Workspace, plan, run_plain,
};

use super::interrupt::Interrupts;
use super::plain::Binaries;
use super::test::{Options, print};

/// The places, and the plan for tests that state requirements if there are other places than this host.
pub(super) struct Elsewhere {
    pub(super) candidates: Vec<CandidatePlace>,
    pub(super) plan: Option<Plan>,
}

impl Elsewhere {
    /// Plans the tests for the places of the options, if there are others than this host.
    pub(super) fn plan(
        options: &Options,
        config: &Config,
        binaries: &Binaries,
        plain: &[PlainTest],
        selection: &TestSelection,
        workspace: &Workspace,
        stop: StopToken<'_>,
    ) -> Result<Self> {
        let mut candidates = (options.places).candidates(config, options.build.is_offline())?;
        if !options.places.has_others() {
            let plan = None;
            return Ok(Self { candidates, plan });
        }
        let records = workspace.target.join("kata-test");
        let print = &mut |text: &str| eprintln!("{text}");
        let others = binaries.others();
        let input = PlanInput {
            binaries: &others,
            plain,
            selection,
            spread: options.places.spread(),
            record_root: &records,
            stop,
        };
        let mut plan = plan(input, &mut candidates, print)?;
        plan.vms = Vms::new(options.vms);
        if selection.is_part() {
            // Whether a filter matches one of their tests is not known.
            plan.opaque.clear();
        }
        if options.places.has_here() {
            // Frees memory for the tests that run here first.
            candidates.iter_mut().for_each(CandidatePlace::rest);
        }
        let plan = Some(plan);
        Ok(Self { candidates, plan })
    }

    /// Runs the plain tests, here too, and what the plan assigns to other places.
    pub(super) fn run(
        &mut self,
        plain: &PlainRun<'_>,
        binaries: &Binaries,
        interrupts: &Interrupts,
    ) -> Result<()> {
        let mut reporter = Reporter {
            progress: &mut |text: &str| eprintln!("{text}"),
            output: &mut print,
            stop: interrupts.stop(),
        };
        run_plain(plain, &mut self.candidates, &mut reporter)?;
        if let Some(plan) = &self.plan {
            let others = binaries.others();
            plan.run_in_places(&others, &mut self.candidates, plain.run, &mut reporter)?;
        }
        Ok(())
    }
}
