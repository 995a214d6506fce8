//! A disk goes from one thread to another: through the guest, since QEMU moves none that it has.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use guest_vm::qemu::Topology;
use iothread_hotplug::{DiskState, MoveError};
use iothread_pool::{IoThreadId, Placement};
use qmp_client::command::{Cont, ObjectDel, Stop, XBlockdevSetIothread};
use qmp_client::wait::Deadline;

use crate::bare::refusal;
use crate::evidence::{only, under_load};
use crate::fixture::{Bench, extent, is_outstanding, on_each_machine, soon};

on_each_machine!(
    a_disk_moves_with_its_data,
    rejected_unplug_leaves_the_disk_on_its_thread,
    impossible_move_is_refused_before_the_detach,
    failed_move_is_rolled_back,
    set_iothread_rejects_an_attached_disk,
);

fn pinned(number: usize) -> Placement {
    Placement::Pinned(IoThreadId::indep(number))
}

fn a_disk_moves_with_its_data(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        bench.attach(&disk, &pinned(1))?;
        only(&IoThreadId::indep(1), &under_load(&bench.vm, &disk, 0)?)?;
        let extent = extent(&disk.id, 4 << 20);
        bench.vm.agent().write(&extent, soon())?;
        let lease = bench.vm.move_disk(&disk, &pinned(2))?;
        let thread = IoThreadId::indep(2);
        ensure!(lease.assignment.thread() == Some(&thread), "{lease:?}");
        bench.vm.agent().verify(&extent, soon())?;
        only(&thread, &under_load(&bench.vm, &disk, 0)?)?;
        // The one that it left is free.
        let (hotplug, qmp, _) = bench.vm.parts();
        hotplug.remove_thread(qmp, &IoThreadId::indep(1))?;
        bench.detach(&disk)?;
        Ok(())
    })
}

/// A stopped guest does not complete an unplug. It keeps its thread, and once it goes on, what was asked
/// happens.
fn rejected_unplug_leaves_the_disk_on_its_thread(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        let (lease, _) = bench.attach(&disk, &pinned(1))?;
        let extent = extent(&disk.id, 1 << 20);
        bench.vm.agent().write(&extent, soon())?;
        bench.vm.qmp().execute(&Stop {}, soon())?;
        let short = Deadline::after(Duration::from_secs(1));
        let (hotplug, qmp, agent) = bench.vm.parts();
        match hotplug.move_disk(qmp, agent, &disk, &pinned(2), short) {
            Err(MoveError::Detach(error)) if is_outstanding(&error) => {}
            other => bail!("a stopped guest completed an unplug: {other:?}"),
        }
        ensure!(
            hotplug.pool().lease_of(&disk.id) == Some(&lease),
            "its lease changed"
        );
        ensure!(
            hotplug.state_of(&disk.id) == Some(DiskState::RemovalPending),
            "it is not pending"
        );
        qmp.execute(&Cont {}, soon())?;
        // The second move goes on where the first was.
        let lease = bench.vm.move_disk(&disk, &pinned(2))?;
        ensure!(
            lease.assignment.thread() == Some(&IoThreadId::indep(2)),
            "{lease:?}"
        );
        bench.vm.agent().verify(&extent, soon())?;
        bench.detach(&disk)?;
        Ok(())
    })
}

fn impossible_move_is_refused_before_the_detach(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        let (lease, _) = bench.attach(&disk, &pinned(1))?;
        let since = bench.vm.qmp().cursor();
        let nowhere = Placement::Pinned(IoThreadId::new("nowhere")?);
        let refused = bench.vm.move_disk(&disk, &nowhere);
        ensure!(matches!(refused, Err(MoveError::Pool(_))), "{refused:?}");
        let deleted = bench.vm.qmp().events_since(since, |events| {
            events
                .filter(|event| event.name == "DEVICE_DELETED")
                .count()
        });
        ensure!(deleted == Ok(0), "the guest lost its disk: {deleted:?}");
        ensure!(
            bench.vm.pool().lease_of(&disk.id) == Some(&lease),
            "its lease changed"
        );
        let absent = bench.disk("absent")?;
        let refused = bench.vm.move_disk(&absent, &pinned(1));
        ensure!(
            matches!(refused, Err(MoveError::NotAttached { .. })),
            "{refused:?}"
        );
        bench.detach(&disk)?;
        Ok(())
    })
}

/// The thread is deleted in QEMU without the pool: QEMU refuses the second half.
fn failed_move_is_rolled_back(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        bench.attach(&disk, &pinned(1))?;
        let extent = extent(&disk.id, 1 << 20);
        bench.vm.agent().write(&extent, soon())?;
        let lost = IoThreadId::indep(2);
        let delete = ObjectDel { id: lost.as_str() };
        bench.vm.qmp().execute(&delete, soon())?;
        let error = bench.vm.move_disk(&disk, &pinned(2)).err();
        let error = error.context("it moved to a thread that is not there")?;
        let message = error.to_string();
        let MoveError::Attach { source, back } = error else {
            bail!("{message}");
        };
        let message = format!("{:#}", anyhow::Error::from(*source));
        ensure!(
            message.contains("Device 'indep_iothread_2' not found"),
            "{message}"
        );
        let lease = back?;
        ensure!(
            lease.assignment.thread() == Some(&IoThreadId::indep(1)),
            "{lease:?}"
        );
        bench.vm.agent().verify(&extent, soon())?;
        bench.detach(&disk)?;
        Ok(())
    })
}

/// With and without force, running and stopped. The disk goes on all the same.
fn set_iothread_rejects_an_attached_disk(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        bench.attach(&disk, &pinned(1))?;
        let message = |force| {
            let command = XBlockdevSetIothread {
                node_name: "disk0",
                iothread: Some("indep_iothread_2"),
                force,
            };
            refusal(bench.vm.qmp().execute(&command, soon()))
        };
        let check = || -> Result<()> {
            let (asked, forced) = (message(false)?, message(true)?);
            let expected = "Node disk0 is associated with a BlockBackend and could be in use (use \
                            force=true to override this check)";
            ensure!(asked == expected, "{asked}");
            ensure!(
                forced == "Cannot change iothread of active block backend",
                "{forced}"
            );
            Ok(())
        };
        check()?;
        bench.vm.qmp().execute(&Stop {}, soon())?;
        check()?;
        bench.vm.qmp().execute(&Cont {}, soon())?;
        only(&IoThreadId::indep(1), &under_load(&bench.vm, &disk, 0)?)?;
        bench.detach(&disk)?;
        Ok(())
    })
}
