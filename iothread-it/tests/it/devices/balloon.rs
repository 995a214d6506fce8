//! A balloon's free page hints have a thread.

use std::num::NonZeroUsize;

use anyhow::{Context, Result, ensure};
use guest_vm::qemu::Topology;
use iothread_pool::{DeviceId, IoThreadId, Placement};
use qmp_client::command::QomGet;

use crate::fixture::{Bench, on_each_machine, soon};

on_each_machine!(attaches_on_its_thread_and_detaches);

fn attaches_on_its_thread_and_detaches(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let free_slots = bench.vm.pool().free_slots();
        let balloon = DeviceId::new("balloon0")?;
        let (hotplug, qmp, _) = bench.vm.parts();
        let spread = Placement::Spread(NonZeroUsize::new(2).context("two")?);
        let refused = hotplug.attach_balloon(qmp, &balloon, &spread, soon());
        let message = format!(
            "{:#}",
            anyhow::Error::from(refused.err().context("spread")?)
        );
        ensure!(
            message.ends_with("a virtio-balloon-pci can use only one IOThread"),
            "{message}"
        );

        let placement = Placement::Pinned(IoThreadId::indep(2));
        hotplug.attach_balloon(qmp, &balloon, &placement, soon())?;
        let property = QomGet {
            path: "/machine/peripheral/balloon0",
            property: "iothread",
        };
        let link = qmp.execute(&property, soon())?;
        ensure!(link == "/objects/indep_iothread_2", "QEMU says {link}");
        // QEMU would delete the thread under it.
        let busy = hotplug.remove_thread(qmp, &IoThreadId::indep(2)).err();
        let busy = busy.context("a busy thread was retired")?.to_string();
        ensure!(busy.contains("still serves balloon0"), "{busy}");

        bench.vm.detach(&balloon)?;
        ensure!(bench.vm.pool().free_slots() == free_slots, "a slot is lost");
        bench.still_works()
    })
}
