//! A block export: who serves its clients.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use iothread_it::hotplug::{DiskSpec, Step};
use iothread_it::pool::{DeviceId, IoThreadId, Placement};
use iothread_it::qmp::command::{NbdServerStart, NbdServerStop, SocketAddress};
use kata_test::kata_test;

use super::alone::Alone;
use super::nbd::Nbd;
use crate::evidence::{none, only};
use crate::fixture::soon;

/// How long a client reads, so that the serving thread gains tens of ticks.
const READING: Duration = Duration::from_secs(1);

const BLOCK: u32 = 64 << 10;

/// Starts QEMU's NBD server and returns its socket.
fn server(alone: &Alone) -> Result<PathBuf> {
    let socket = alone.scratch.path().join("nbd");
    let start = NbdServerStart {
        addr: SocketAddress::Unix {
            path: socket.to_str().context("the path is no text")?,
        },
    };
    alone.qemu.qmp.execute(&start, soon())?;
    Ok(socket)
}

fn read_for_a_while(client: &mut Nbd) -> Result<()> {
    let start = Instant::now();
    let blocks = client.size / u64::from(BLOCK);
    for block in (0..blocks).cycle() {
        if start.elapsed() >= READING {
            break;
        }
        client.read(block * u64::from(BLOCK), BLOCK)?;
    }
    Ok(())
}

/// With a negative control: an export of the main loop, which no thread of the pool serves.
#[kata_test(when = crate::fixture::qemu_and_guest)]
fn its_thread_serves_its_clients_and_no_other_does() -> Result<()> {
    Alone::run(|alone| {
        let socket = server(alone)?;
        let thread = IoThreadId::indep(1);
        let (on_thread, on_main_loop) = (alone.disk("export0")?, alone.disk("export1")?);
        for (disk, placement) in [
            (&on_thread, Placement::Pinned(thread.clone())),
            (&on_main_loop, Placement::MainLoop),
        ] {
            alone
                .hotplug
                .export(&alone.qemu.qmp, disk, &placement, soon())?;
        }

        let mut client = Nbd::connect(&socket, "export0")?;
        let data = vec![0xa5; usize::try_from(BLOCK)?];
        client.write(0, &data)?;
        let gained = alone.during(|| read_for_a_while(&mut client))?;
        only(&thread, &gained)?;
        ensure!(client.read(0, BLOCK)? == data, "other data is read");
        client.disconnect()?;

        let mut control = Nbd::connect(&socket, "export1")?;
        none(&alone.during(|| read_for_a_while(&mut control))?)?;
        control.disconnect()?;

        for disk in [&on_thread, &on_main_loop] {
            alone
                .hotplug
                .close_node(&alone.qemu.qmp, &disk.id, soon())?;
        }
        let on_host = std::fs::read(&on_thread.path)?;
        ensure!(on_host.starts_with(&data), "the image has other data");
        alone.qemu.qmp.execute(&NbdServerStop {}, soon())?;
        Ok(())
    })
}

/// Its end is refused while it has a client, and can be tried again.
#[kata_test(when = crate::fixture::qemu_and_guest)]
fn with_a_client_it_keeps_its_thread() -> Result<()> {
    Alone::run(|alone| {
        let socket = server(alone)?;
        let disk = alone.disk("export0")?;
        let thread = IoThreadId::indep(0);
        let qmp = &alone.qemu.qmp;
        alone
            .hotplug
            .export(qmp, &disk, &Placement::First, soon())?;
        let client = Nbd::connect(&socket, "export0")?;
        let refused = alone.hotplug.close_node(qmp, &disk.id, soon()).err();
        let refused = anyhow::Error::from(refused.context("it was closed under its client")?);
        let told = format!("{refused:#}");
        ensure!(
            told.ends_with("QEMU refused block-export-del: export 'export0' still in use"),
            "{told}"
        );
        let busy = alone.hotplug.retire_thread(qmp, &thread).err();
        let busy = busy.context("a busy thread was retired")?.to_string();
        ensure!(busy.contains("still serves export0"), "{busy}");

        client.disconnect()?;
        alone.hotplug.close_node(qmp, &disk.id, soon())?;
        alone.hotplug.retire_thread(qmp, &thread)?;
        Ok(())
    })
}

/// What fails half-way is undone, and says where.
#[kata_test(when = crate::fixture::qemu_and_guest)]
fn one_that_fails_leaves_nothing() -> Result<()> {
    Alone::run(|alone| {
        let qmp = &alone.qemu.qmp;
        // No server yet.
        let disk = alone.disk("export0")?;
        let failed = alone.hotplug.export(qmp, &disk, &Placement::First, soon());
        let error = failed.err().context("it was exported without a server")?;
        ensure!(error.step == Step::BlockExportAdd, "{error}");
        let told = format!("{:#}", anyhow::Error::from(error));
        ensure!(told.ends_with("NBD server not running"), "{told}");
        let missing = DiskSpec::new(DeviceId::new("missing")?, alone.scratch.path().join("no"));
        let failed = alone
            .hotplug
            .export(qmp, &missing, &Placement::First, soon());
        let error = failed.err().context("nothing was exported")?;
        ensure!(error.step == Step::BlockdevAdd, "{error}");

        let state = alone.hotplug.pool().state().to_string();
        ensure!(state.starts_with("indep_iothread_0: idle"), "{state}");
        // The same id is free for the next.
        server(alone)?;
        let qmp = &alone.qemu.qmp;
        alone
            .hotplug
            .export(qmp, &disk, &Placement::First, soon())?;
        alone.hotplug.close_node(qmp, &disk.id, soon())?;
        Ok(())
    })
}
