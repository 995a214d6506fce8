//! A block node without a device: the one thing that `x-blockdev-set-iothread` moves.

use anyhow::{Context, Result, ensure};
use iothread_hotplug::MoveError;
use iothread_pool::{DeviceId, IoThreadId, Placement};
use kata_test::kata_test;
use qmp_client::command::QueryIothreads;
use serde_json::json;

use super::alone::Alone;
use super::export;
use super::nbd::Nbd;
use crate::evidence::{Gained, none, only};
use crate::fixture::soon;
use crate::raw;

/// Checks which thread has a node, `None` for the main loop.
///
/// From 9.0 on any thread may read from a node, and what shows is an export without a thread of its
/// own: its clients are served where the node is. Before, a read is done there.
fn is_at(alone: &Alone, node: &DeviceId, thread: Option<&IoThreadId>) -> Result<()> {
    if !export::can_be_on_threads()? {
        return reads_at(alone, node, thread);
    }
    let gained = while_exported(alone, node)?;
    match thread {
        Some(thread) => only(thread, &gained),
        None => none(&gained),
    }
}

fn while_exported(alone: &Alone, node: &DeviceId) -> Result<Gained> {
    let qmp = &alone.qemu.qmp;
    let export = json!({"type": "nbd", "id": "probe", "node-name": node.as_str()});
    qmp.execute(&raw::BlockExportAdd(export), soon())?;
    let mut client = Nbd::connect(&alone.scratch.path().join("nbd"), node.as_str())?;
    let gained = export::while_reading(alone, &mut client)?;
    let since = qmp.cursor();
    // With its client, which does not matter here.
    let delete = json!({"id": "probe", "mode": "hard"});
    qmp.execute(&raw::BlockExportDel(delete), soon())?;
    qmp.wait_event("the end of the export", since, soon(), |event| {
        (event.name == "BLOCK_EXPORT_DELETED").then_some(())
    })?;
    Ok(gained)
}

/// One read, by QEMU's trace of it.
fn reads_at(alone: &Alone, node: &DeviceId, thread: Option<&IoThreadId>) -> Result<()> {
    let qmp = &alone.qemu.qmp;
    let before = alone.trace.events()?;
    let read = json!({"command-line": format!("qemu-io {node} \"read 0 512\"")});
    qmp.execute(&raw::HumanMonitor(read), soon())?;
    let after = alone.trace.events()?;
    let grown = after
        .iter()
        .filter(|(thread, count)| before.get(thread) != Some(count));
    let readers: Vec<i32> = grown.map(|(thread, _)| *thread).collect();
    let threads = qmp.execute(&QueryIothreads {}, soon())?;
    let named = thread.and_then(|id| threads.iter().find(|info| info.id == id.as_str()));
    let expected = named.map_or(alone.qemu.process().pid(), |info| info.thread_id);
    ensure!(readers == [expected], "{thread:?}: {readers:?} read");
    Ok(())
}

#[kata_test(when = crate::fixture::qemu_and_guest)]
fn moves_from_thread_to_thread_and_to_the_main_loop() -> Result<()> {
    Alone::run(|alone| {
        export::server(alone)?;
        let disk = alone.disk("node0")?;
        let [first, second] = [0, 1].map(IoThreadId::indep);
        let place = Placement::Pinned(first.clone());
        alone
            .hotplug
            .open_node(&alone.qemu.qmp, &disk, &place, soon())?;
        is_at(alone, &disk.id, Some(&first))?;

        let place = Placement::Pinned(second.clone());
        let moved = alone
            .hotplug
            .move_node(&alone.qemu.qmp, &disk.id, &place, soon())?;
        ensure!(moved.assignment.thread() == Some(&second), "{moved:?}");
        is_at(alone, &disk.id, Some(&second))?;

        let place = Placement::MainLoop;
        alone
            .hotplug
            .move_node(&alone.qemu.qmp, &disk.id, &place, soon())?;
        is_at(alone, &disk.id, None)?;
        Ok(alone
            .hotplug
            .close_node(&alone.qemu.qmp, &disk.id, soon())?)
    })
}

/// QEMU would delete the thread: 7.2 then ends when it closes the node ("Assertion
/// `mutex->initialized' failed").
#[kata_test(when = crate::fixture::qemu_and_guest)]
fn thread_with_a_node_is_not_removed() -> Result<()> {
    Alone::run(|alone| {
        let qmp = &alone.qemu.qmp;
        let disk = alone.disk("node0")?;
        alone
            .hotplug
            .open_node(qmp, &disk, &Placement::First, soon())?;
        let thread = IoThreadId::indep(0);
        let busy = alone.hotplug.remove_thread(qmp, &thread).err();
        let busy = busy.context("a busy thread was retired")?.to_string();
        ensure!(busy.contains("still serves node0"), "{busy}");
        alone.hotplug.close_node(qmp, &disk.id, soon())?;
        alone.hotplug.remove_thread(qmp, &thread)?;
        Ok(())
    })
}

/// QEMU's own words, and what the pool has is what QEMU has.
#[kata_test(when = crate::fixture::qemu_and_guest)]
fn node_keeps_its_thread_if_qemu_refuses_the_move() -> Result<()> {
    Alone::run(|alone| {
        let qmp = &alone.qemu.qmp;
        let disk = alone.disk("node0")?;
        alone
            .hotplug
            .open_node(qmp, &disk, &Placement::First, soon())?;
        // An idle thread is deleted in QEMU without the pool.
        let lost = IoThreadId::indep(2);
        let delete = json!({"id": lost.as_str()});
        qmp.execute(&raw::ObjectDel(delete), soon())?;
        let refused = alone
            .hotplug
            .move_node(qmp, &disk.id, &Placement::Pinned(lost), soon());
        let message = refused.err().context("it moved")?.to_string();
        ensure!(
            message
                == "QEMU refused x-blockdev-set-iothread: Cannot find iothread indep_iothread_2",
            "{message}"
        );
        let state = alone.hotplug.pool().state().to_string();
        ensure!(state.contains("indep_iothread_0: node0"), "{state}");
        let nothing = DeviceId::new("nothing")?;
        let place = Placement::MainLoop;
        let refused = alone.hotplug.move_node(qmp, &nothing, &place, soon());
        ensure!(
            matches!(refused, Err(MoveError::NoFreeNode { .. })),
            "{refused:?}"
        );
        alone.hotplug.close_node(qmp, &disk.id, soon())?;
        Ok(())
    })
}
