//! The agent's channel: a reset ends what was outstanding, and the next boot greets.

use anyhow::{Result, ensure};
use guest_vm::guest::AgentError;
use guest_vm::qemu::Topology;
use iothread_pool::Placement;
use qmp_client::command::SystemReset;

use crate::fixture::{Bench, on_each_machine, soon};
use crate::regressions::load::load;

on_each_machine!(reset_fails_outstanding_requests);

fn reset_fails_outstanding_requests(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        bench.attach(&disk, &Placement::First)?;
        let before = bench.vm.greeting().boot_id.clone();
        let (agent, qmp) = (bench.vm.agent(), bench.vm.qmp());
        // It has started in the guest, and ends long after the deadlines of this case.
        let running = agent.start_load(&load(&disk, 600_000), soon())?;
        qmp.execute(&SystemReset {}, soon())?;
        let outcome = running.finish(soon());
        ensure!(
            matches!(outcome, Err(AgentError::Reset { .. })),
            "{outcome:?}"
        );
        let after = agent.greeting_after(&before, soon())?;
        ensure!(after.boot_id != before, "the same boot greets again");
        bench.still_works()
    })
}
