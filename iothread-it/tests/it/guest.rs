//! The agent's channel: a reset ends what was outstanding, and the next boot greets.

use anyhow::{Result, ensure};
use guest_vm::guest::AgentError;
use guest_vm::guest::protocol::{Presence, Serial};
use guest_vm::qemu::Topology;
use qmp_client::command::SystemReset;

use crate::fixture::{Bench, on_each_machine, soon};

on_each_machine!(reset_fails_outstanding_requests);

fn reset_fails_outstanding_requests(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let before = bench.vm.greeting().boot_id.clone();
        let (agent, qmp) = (bench.vm.agent(), bench.vm.qmp());
        let outcome = std::thread::scope(|scope| -> Result<_> {
            let never = Serial("never".into());
            let waiting = scope.spawn(move || agent.await_disk(&never, Presence::Present, soon()));
            // A second request that is answered shows that the agent has read the first.
            agent.disks(soon())?;
            qmp.execute(&SystemReset {}, soon())?;
            Ok(waiting.join().expect("the waiting thread does not panic"))
        })?;
        ensure!(
            matches!(outcome, Err(AgentError::Reset { .. })),
            "{outcome:?}"
        );
        let after = agent.greeting_after(&before, soon())?;
        ensure!(after.boot_id != before, "the same boot greets again");
        bench.still_works()
    })
}
