//! A block node without a device: the one thing that `x-blockdev-set-iothread` moves.

use anyhow::{Context, Result, ensure};
use iothread_it::hotplug::MoveError;
use iothread_it::pool::{DeviceId, IoThreadId, Placement};
use kata_test::kata_test;
use serde_json::json;

use super::alone::Alone;
use crate::evidence::{Gained, none, only};
use crate::fixture::{DISK_SIZE, soon};
use crate::raw::{self, job};

/// Bytes that are mirrored at once: so few that a thread gains tens of ticks.
const CHUNK: u64 = 4096;

/// Who works while the node is mirrored.
fn mirrored(alone: &Alone, node: &DeviceId) -> Result<Gained> {
    let qmp = &alone.qemu.qmp;
    alone.during(|| {
        let target = json!({"driver": "null-co", "node-name": "target", "size": DISK_SIZE});
        qmp.execute(&raw::BlockdevAdd(target), soon())?;
        let since = qmp.cursor();
        let mirror = json!({
            "job-id": "mirror", "device": node.as_str(), "target": "target", "sync": "full",
                "granularity": CHUNK, "buf-size": CHUNK,
        });
        qmp.execute(&raw::BlockdevMirror(mirror), soon())?;
        job(qmp, "mirror", "ready", since)?;
        let cancel = json!({"id": "mirror"});
        let cancelled = qmp.cursor();
        qmp.execute(&raw::JobCancel(cancel), soon())?;
        job(qmp, "mirror", "null", cancelled)?;
        let delete = json!({"node-name": "target"});
        qmp.execute(&raw::BlockdevDel(delete), soon())?;
        Ok(())
    })
}

#[kata_test(when = crate::fixture::qemu_and_guest)]
fn moves_from_thread_to_thread_and_to_the_main_loop() -> Result<()> {
    Alone::run(|alone| {
        let disk = alone.disk("node0")?;
        std::fs::write(&disk.path, vec![1; usize::try_from(DISK_SIZE)?])?;
        let [first, second] = [0, 1].map(IoThreadId::indep);
        let place = Placement::Pinned(first.clone());
        alone
            .hotplug
            .open_node(&alone.qemu.qmp, &disk, &place, soon())?;
        only(&first, &mirrored(alone, &disk.id)?)?;

        let place = Placement::Pinned(second.clone());
        let moved = alone
            .hotplug
            .move_node(&alone.qemu.qmp, &disk.id, &place, soon())?;
        ensure!(moved.assignment.thread() == Some(&second), "{moved:?}");
        only(&second, &mirrored(alone, &disk.id)?)?;

        let place = Placement::MainLoop;
        alone
            .hotplug
            .move_node(&alone.qemu.qmp, &disk.id, &place, soon())?;
        none(&mirrored(alone, &disk.id)?)?;
        alone
            .hotplug
            .close_node(&alone.qemu.qmp, &disk.id, soon())?;
        Ok(())
    })
}

/// QEMU would delete the thread: 7.2 then ends when it closes the node ("Assertion
/// `mutex->initialized' failed").
#[kata_test(when = crate::fixture::qemu_and_guest)]
fn keeps_its_thread_from_being_retired() -> Result<()> {
    Alone::run(|alone| {
        let qmp = &alone.qemu.qmp;
        let disk = alone.disk("node0")?;
        alone
            .hotplug
            .open_node(qmp, &disk, &Placement::First, soon())?;
        let thread = IoThreadId::indep(0);
        let busy = alone.hotplug.retire_thread(qmp, &thread).err();
        let busy = busy.context("a busy thread was retired")?.to_string();
        ensure!(busy.contains("still serves node0"), "{busy}");
        alone.hotplug.close_node(qmp, &disk.id, soon())?;
        alone.hotplug.retire_thread(qmp, &thread)?;
        Ok(())
    })
}

/// QEMU's own words, and what the pool has is what QEMU has.
#[kata_test(when = crate::fixture::qemu_and_guest)]
fn stays_where_it_is_if_qemu_refuses() -> Result<()> {
    Alone::run(|alone| {
        let qmp = &alone.qemu.qmp;
        let disk = alone.disk("node0")?;
        alone
            .hotplug
            .open_node(qmp, &disk, &Placement::First, soon())?;
        // Somebody deletes an idle thread behind the pool's back.
        let lost = IoThreadId::indep(2);
        let delete = json!({"id": lost.as_str()});
        qmp.execute(&raw::ObjectDel(delete), soon())?;
        let refused = alone
            .hotplug
            .move_node(qmp, &disk.id, &Placement::Pinned(lost), soon());
        let told = refused.err().context("it moved")?.to_string();
        ensure!(
            told == "QEMU refused x-blockdev-set-iothread: Cannot find iothread indep_iothread_2",
            "{told}"
        );
        let state = alone.hotplug.pool().state().to_string();
        ensure!(state.contains("indep_iothread_0: node0"), "{state}");
        let nothing = DeviceId::new("nothing")?;
        let place = Placement::MainLoop;
        let refused = alone.hotplug.move_node(qmp, &nothing, &place, soon());
        ensure!(
            matches!(refused, Err(MoveError::NoBareNode { .. })),
            "{refused:?}"
        );
        alone.hotplug.close_node(qmp, &disk.id, soon())?;
        Ok(())
    })
}
