//! Attaches that cannot work: each says which step failed with QEMU's own words, undoes what was
//! done, and leaves a VM that goes on working.

use anyhow::{Context, Result, bail, ensure};
use guest_vm::qemu::{Topology, slots};
use iothread_hotplug::blocking::Guest;
use iothread_hotplug::{AttachError, DiskSpec, GuestDisk, GuestError, Step};
use iothread_pool::{DeviceId, IoThreadId, Placement};
use qmp_client::command::{DeviceAdd, DeviceOptions, ObjectDel, PciAddress, ServedBy, VirtioBlk};
use qmp_client::wait::Deadline;

use crate::fixture::{Bench, on_each_machine, shape, soon};

on_each_machine!(
    a_missing_file,
    an_image_in_use,
    a_node_in_use,
    a_thread_that_does_not_exist,
    thread_deleted_in_qemu,
    disk_not_seen_by_the_guest,
);

fn a_missing_file(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let missing = DiskSpec::new(DeviceId::new("missing")?, bench.path("missing"));
        fails(
            bench,
            &missing,
            &Placement::First,
            Step::BlockdevAdd,
            "No such file or directory",
        )?;
        bench.still_works()
    })
}

/// QEMU locks images, also against itself.
fn an_image_in_use(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        bench.attach(&disk, &Placement::First)?;
        let second = DiskSpec {
            id: DeviceId::new("second")?,
            serial: Some("second".into()),
            ..disk.clone()
        };
        fails(
            bench,
            &second,
            &Placement::First,
            Step::DeviceAdd,
            "\"write\" lock",
        )?;
        bench.detach(&disk)?;
        bench.still_works()
    })
}

/// Past the pool, which gives an id to one disk only.
fn a_node_in_use(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        bench.attach(&disk, &Placement::First)?;
        let again = bench.vm.attach(&disk, &Placement::First);
        ensure!(again.is_err_and(|error| error.step == Step::Lease));
        let slots = slots(&shape(topology)?);
        let free = slots.all().last().context("there is no slot")?;
        let second = DeviceAdd::VirtioBlk(VirtioBlk {
            id: "second",
            address: PciAddress {
                bus: free.bus(),
                addr: free.addr(),
            },
            drive: "disk0",
            serial: Some("second"),
            options: DeviceOptions::default(),
            num_queues: 1,
            served_by: ServedBy {
                iothread: Some("indep_iothread_1"),
                ..ServedBy::default()
            },
        });
        let error = bench.vm.qmp().execute(&second, soon()).err();
        let error = error.context("QEMU took a node twice")?.to_string();
        // QEMU 7.2 names the two users, later versions the thread.
        let texts = ["onflicts with use by", "Cannot change iothread"];
        ensure!(texts.iter().any(|text| error.contains(text)), "{error}");
        bench.detach(&disk)?;
        bench.still_works()
    })
}

fn a_thread_that_does_not_exist(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        let nowhere = Placement::Pinned(IoThreadId::new("nowhere")?);
        fails(
            bench,
            &disk,
            &nowhere,
            Step::Lease,
            "no IOThread `nowhere`; it has indep_iothread_0",
        )?;
        bench.still_works()
    })
}

/// An idle thread is deleted in QEMU without the pool. The block node of the attach that then
/// fails must not stay.
fn thread_deleted_in_qemu(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let lost = IoThreadId::indep(1);
        let delete = ObjectDel { id: lost.as_str() };
        bench.vm.qmp().execute(&delete, soon())?;
        let disk = bench.disk("disk0")?;
        let text = "Device 'indep_iothread_1' not found";
        fails(
            bench,
            &disk,
            &Placement::Pinned(lost),
            Step::DeviceAdd,
            text,
        )?;
        bench.still_works()
    })
}

/// The disk is plugged in, and the `Guest` reports it as absent. All three
/// steps are undone.
fn disk_not_seen_by_the_guest(topology: Topology) -> Result<()> {
    struct Blind;
    impl Guest for Blind {
        fn await_present(&self, _: &GuestDisk, _: Deadline) -> Result<(), GuestError> {
            Err("no disk to be seen".into())
        }

        fn await_absent(&self, _: &GuestDisk, _: Deadline) -> Result<(), GuestError> {
            Ok(())
        }
    }
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        let (hotplug, qmp, _) = bench.vm.parts();
        let outcome = hotplug.attach(qmp, &Blind, &disk, &Placement::First, soon());
        check(
            bench,
            outcome.err(),
            &disk,
            Step::AwaitPresent,
            "no disk to be seen",
        )?;
        bench.still_works()
    })
}

fn fails(
    bench: &mut Bench,
    disk: &DiskSpec,
    placement: &Placement,
    step: Step,
    text: &str,
) -> Result<()> {
    let error = bench.vm.attach(disk, placement).err();
    check(bench, error, disk, step, text)
}

/// Checks the error, and that nothing is left of the attempt.
fn check(
    bench: &Bench,
    error: Option<AttachError>,
    disk: &DiskSpec,
    step: Step,
    text: &str,
) -> Result<()> {
    let Some(error) = error else {
        bail!("the attach succeeded");
    };
    let rolled_back = error.rollback.is_ok();
    let (at, message) = (error.step, format!("{:#}", anyhow::Error::new(error)));
    ensure!(at == step, "failed at {at} and not at {step}: {message}");
    ensure!(message.contains(text), "QEMU's words are not in: {message}");
    ensure!(rolled_back, "not rolled back: {message}");
    ensure!(
        bench.vm.pool().lease_of(&disk.id).is_none(),
        "the lease is left"
    );
    ensure!(
        !bench.nodes()?.contains(&disk.id.to_string()),
        "the node is left"
    );
    Ok(())
}
