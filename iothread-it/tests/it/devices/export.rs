//! A block export: who serves its clients.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use guest_vm::artifacts::Manifest;
use iothread_hotplug::{DetachError, DiskSpec, Step};
use iothread_pool::{DeviceId, IoThreadId, Placement};
use kata_test::kata_test;
use qmp_client::QemuVersion;
use qmp_client::command::{NbdServerStart, NbdServerStop, QueryVersion, SocketAddress};
use serde_json::json;

use super::alone::Alone;
use super::nbd::Nbd;
use crate::evidence::{Gained, none, only, until_shown};
use crate::fixture::soon;
use crate::raw;

/// Bytes that a client reads at a time.
const BLOCK: u32 = 64 << 10;

/// Number of reads between two checks of the ticks.
const SLICE: usize = 100;

/// Whether this QEMU survives the clients of an export on a thread.
pub(super) fn can_be_on_threads() -> Result<bool> {
    let version = Manifest::find()?.qemu.parsed_version();
    let version = version.context("the manifest's QEMU has no version")?;
    Ok(version >= QemuVersion::EXPORTS_ON_THREADS)
}

/// Starts QEMU's NBD server and returns its socket.
pub(super) fn server(alone: &Alone) -> Result<PathBuf> {
    let socket = alone.scratch.path().join("nbd");
    let start = NbdServerStart {
        addr: SocketAddress::Unix {
            path: socket.to_str().context("the path is no text")?,
        },
    };
    alone.qemu.qmp.execute(&start, soon())?;
    Ok(socket)
}

/// Who works while a client reads.
pub(super) fn while_reading(alone: &Alone, client: &mut Nbd) -> Result<Gained> {
    let mut blocks = (0..client.size / u64::from(BLOCK)).cycle();
    let qemu = &alone.qemu;
    until_shown(&qemu.qmp, qemu.process(), || {
        for block in blocks.by_ref().take(SLICE) {
            client.read(block * u64::from(BLOCK), BLOCK)?;
        }
        Ok(())
    })
}

/// Ends an export whose client has left. QEMU notes that a moment after it has closed the
/// connection, and there is no event.
fn close(alone: &mut Alone, disk: &DiskSpec) -> Result<()> {
    let deadline = soon();
    loop {
        match alone
            .hotplug
            .close_node(&alone.qemu.qmp, &disk.id, deadline)
        {
            Ok(()) => return Ok(()),
            Err(DetachError::Failed {
                step: Step::BlockExportDel,
                source,
                ..
            }) if source.to_string().contains("still in use") && !deadline.has_passed() => {
                alone.qemu.qmp.execute(&QueryVersion {}, deadline)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// With a negative control: an export of the main loop, which no thread of the pool serves.
#[kata_test(when = crate::fixture::qemu_and_guest)]
fn only_its_thread_serves_its_clients() -> Result<()> {
    Alone::run(|alone| {
        let socket = server(alone)?;
        let control = alone.disk("export1")?;
        let main_loop = Placement::MainLoop;
        alone
            .hotplug
            .export(&alone.qemu.qmp, &control, &main_loop, soon())?;
        let mut client = Nbd::connect(&socket, "export1")?;
        none(&while_reading(alone, &mut client)?)?;
        client.disconnect()?;

        let thread = IoThreadId::indep(1);
        let disk = alone.disk("export0")?;
        let pinned = Placement::Pinned(thread.clone());
        let exported = alone
            .hotplug
            .export(&alone.qemu.qmp, &disk, &pinned, soon());
        if !can_be_on_threads()? {
            let message = anyhow::Error::from(exported.err().context("it was exported")?);
            let expected = "crashes when a client of an export on an IOThread disconnects; needs \
                            9.0.0 or newer";
            ensure!(format!("{message:#}").ends_with(expected), "{message:#}");
            return close(alone, &control);
        }
        exported?;
        let mut client = Nbd::connect(&socket, "export0")?;
        let data = vec![0xa5; usize::try_from(BLOCK)?];
        client.write(0, &data)?;
        only(&thread, &while_reading(alone, &mut client)?)?;
        ensure!(client.read(0, BLOCK)? == data, "other data is read");
        client.disconnect()?;

        for disk in [&disk, &control] {
            close(alone, disk)?;
        }
        let on_host = std::fs::read(&disk.path)?;
        ensure!(on_host.starts_with(&data), "the image has other data");
        alone.qemu.qmp.execute(&NbdServerStop {}, soon())?;
        Ok(())
    })
}

/// Its end is refused while it has a client, and can be tried again.
#[kata_test(when = crate::fixture::qemu_and_guest)]
fn export_with_a_client_keeps_its_thread() -> Result<()> {
    let on_threads = can_be_on_threads()?;
    Alone::run(|alone| {
        let socket = server(alone)?;
        let disk = alone.disk("export0")?;
        let thread = IoThreadId::indep(0);
        let placement = match on_threads {
            true => Placement::First,
            false => Placement::MainLoop,
        };
        let qmp = &alone.qemu.qmp;
        alone.hotplug.export(qmp, &disk, &placement, soon())?;
        let client = Nbd::connect(&socket, "export0")?;
        let refused = alone.hotplug.close_node(qmp, &disk.id, soon()).err();
        let refused = anyhow::Error::from(refused.context("it was closed under its client")?);
        let message = format!("{refused:#}");
        ensure!(
            message.ends_with("QEMU refused block-export-del: export 'export0' still in use"),
            "{message}"
        );
        let state = alone.hotplug.pool().state().to_string();
        ensure!(state.contains("export0 (1 queue"), "{state}");
        if on_threads {
            let busy = alone.hotplug.remove_thread(qmp, &thread).err();
            let busy = busy.context("a busy thread was retired")?.to_string();
            ensure!(busy.contains("still serves export0"), "{busy}");
        }
        client.disconnect()?;
        close(alone, &disk)?;
        Ok(alone.hotplug.remove_thread(&alone.qemu.qmp, &thread)?)
    })
}

/// Why an older QEMU is refused: it ends with the client's connection.
#[kata_test(when = crate::fixture::qemu_and_guest)]
fn qemu_7_2_does_not_survive_the_client_of_a_thread() -> Result<()> {
    let on_threads = can_be_on_threads()?;
    let mut message = String::new();
    let survived = Alone::run(|alone| {
        let socket = server(alone)?;
        let node = json!({"driver": "null-co", "node-name": "node0"});
        let export = json!({
            "type": "nbd", "id": "node0", "node-name": "node0", "iothread": "indep_iothread_0",
        });
        let qmp = &alone.qemu.qmp;
        qmp.execute(&raw::BlockdevAdd(node), soon())?;
        qmp.execute(&raw::BlockExportAdd(export), soon())?;
        Nbd::connect(&socket, "node0")?.disconnect()?;
        message = alone.qemu.exit_report();
        qmp.execute(&QueryVersion {}, soon())?;
        Ok(())
    });
    if on_threads {
        return survived;
    }
    let assertion = "nbd_blockdev_client_closed: Assertion `qemu_in_main_thread()";
    ensure!(
        survived.is_err() && message.contains(assertion),
        "{message}"
    );
    Ok(())
}

/// What fails half-way is undone, and says where.
#[kata_test(when = crate::fixture::qemu_and_guest)]
fn failed_export_leaks_nothing() -> Result<()> {
    Alone::run(|alone| {
        let qmp = &alone.qemu.qmp;
        // No server yet.
        let disk = alone.disk("export0")?;
        let place = Placement::MainLoop;
        let failed = alone.hotplug.export(qmp, &disk, &place, soon());
        let error = failed.err().context("it was exported without a server")?;
        ensure!(error.step == Step::BlockExportAdd, "{error}");
        let message = format!("{:#}", anyhow::Error::from(error));
        ensure!(message.ends_with("NBD server not running"), "{message}");
        let missing = DiskSpec::new(DeviceId::new("missing")?, alone.scratch.path().join("no"));
        let failed = alone.hotplug.export(qmp, &missing, &place, soon());
        let error = failed.err().context("nothing was exported")?;
        ensure!(error.step == Step::BlockdevAdd, "{error}");
        let state = alone.hotplug.pool().state().to_string();
        ensure!(state.contains("main loop: idle"), "{state}");

        // The same id is free for the next.
        server(alone)?;
        let qmp = &alone.qemu.qmp;
        alone.hotplug.export(qmp, &disk, &place, soon())?;
        Ok(alone.hotplug.close_node(qmp, &disk.id, soon())?)
    })
}
