//! **Scope**: what a monitor can say to a detach, played by a mock. That QEMU says it is the
//! suite's to show.

mod capabilities;
mod cold;
mod context;
#[cfg(feature = "tokio")]
mod driver;
mod fake;
mod late_events;
mod limits;
mod lost_answers;
mod many;
mod model;
mod moving;
mod reconciled;
#[cfg(feature = "serde")]
mod saved;
mod waits;

use std::collections::BTreeMap;
use std::time::Duration;

use super::blocking::{Guest, Hotplug};
use super::{
    AttachError, BlockOptions, DetachError, DiskSpec, DiskState, GuestDisk, GuestError, MoveError,
    Polling, ScsiController, Step, StepError, UnplugProgress,
};
use iothread_pool::{Allocation, DeviceId, IoThreadId, Lease, Placement, Pool, SlotTable};
use qmp_client::command::QueryIothreads;
use qmp_client::mock::{done, event, peer, refuses, returns};
use qmp_client::wait::Deadline;
use qmp_client::{QemuVersion, Qmp, QmpError};

/// A guest that has every disk at once.
struct Quick;

impl Guest for Quick {
    fn await_present(&self, _: &GuestDisk, _: Deadline) -> Result<(), GuestError> {
        Ok(())
    }

    fn await_absent(&self, _: &GuestDisk, _: Deadline) -> Result<(), GuestError> {
        Ok(())
    }
}

fn options() -> BlockOptions {
    BlockOptions {
        aio: "io_uring",
        cache_direct: false,
        cache_no_flush: false,
        queues: 1,
        queue_size: None,
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

/// For what is not to come.
fn at_once() -> Deadline {
    Deadline::after(Duration::from_millis(100))
}

fn id() -> DeviceId {
    DeviceId::new("disk0").unwrap()
}

/// An attached disk, and a monitor that answers with `reply`: with a command's name, how often it
/// was sent before, and its id. Where that is `None`, the command is done.
fn attached(
    mut reply: impl FnMut(&str, usize, u64) -> Option<String> + Send + 'static,
) -> (Hotplug, Qmp) {
    let mut counts = BTreeMap::<String, usize>::new();
    let stream = peer(move |name, id| {
        let count = counts.entry(name.to_owned()).or_default();
        *count += 1;
        reply(name, *count - 1, id).unwrap_or_else(|| done(id))
    });
    let qmp = Qmp::negotiate(stream, soon()).unwrap();
    let pool = Pool::new(vec![IoThreadId::indep(0)], SlotTable::root_ports(1)).unwrap();
    let options = options();
    let mut hotplug = Hotplug::new(pool, options, QemuVersion::OLDEST);
    let disk = DiskSpec::new(id(), "/image");
    hotplug
        .attach(&qmp, &Quick, &disk, &Placement::First, soon())
        .unwrap();
    (hotplug, qmp)
}

/// Checks that a disk has what it had.
fn keeps(hotplug: &Hotplug, state: DiskState) {
    assert_eq!(hotplug.state_of(&id()), Some(state));
    assert_eq!(hotplug.pool().free_slots(), 0);
    assert!(hotplug.pool().lease_of(&id()).is_some());
}

fn is_gone(hotplug: &Hotplug) {
    assert_eq!(hotplug.state_of(&id()), None);
    assert_eq!(hotplug.pool().free_slots(), 1);
    assert!(hotplug.pool().lease_of(&id()).is_none());
}

#[test]
fn rejected_unplug_can_be_retried() {
    let (mut hotplug, qmp) = attached(|name, before, id| {
        (name == "device_del").then(|| {
            let news = ["DEVICE_UNPLUG_GUEST_ERROR", "DEVICE_DELETED"][before];
            done(id) + &event(news, "disk0")
        })
    });
    let error = hotplug.detach(&qmp, &id(), soon()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the guest rejected the unplug of `disk0`"
    );
    keeps(&hotplug, DiskState::Attached);
    hotplug.detach(&qmp, &id(), soon()).unwrap();
    is_gone(&hotplug);
}

#[test]
fn late_rejection_does_not_fail_the_next_unplug() {
    let (mut hotplug, qmp) = attached(|name, before, id| match (name, before) {
        ("query-iothreads", _) => {
            Some(event("DEVICE_UNPLUG_GUEST_ERROR", "disk0") + &returns(id, "[]"))
        }
        ("device_del", 1) => Some(done(id) + &event("DEVICE_DELETED", "disk0")),
        _ => None,
    });
    let error = hotplug.detach(&qmp, &id(), at_once()).unwrap_err();
    assert!(matches!(error, DetachError::Pending { .. }), "{error}");
    keeps(&hotplug, DiskState::RemovalPending);
    qmp.execute(&QueryIothreads {}, soon()).unwrap();
    hotplug.detach(&qmp, &id(), soon()).unwrap();
    is_gone(&hotplug);
}

#[test]
fn processing_unplug_events_reports_removed_and_rejected_without_waiting() {
    let (mut hotplug, qmp) = attached(|name, before, id| {
        let news = ["DEVICE_UNPLUG_GUEST_ERROR", "DEVICE_DELETED"];
        (name == "query-iothreads").then(|| event(news[before], "disk0") + &returns(id, "[]"))
    });
    for (rejected, removed) in [(vec![id()], vec![]), (vec![], vec![id()])] {
        hotplug.detach(&qmp, &id(), at_once()).unwrap_err();
        assert_eq!(
            hotplug.process_unplug_events(&qmp, soon()).unwrap(),
            UnplugProgress::default()
        );
        keeps(&hotplug, DiskState::RemovalPending);
        qmp.execute(&QueryIothreads {}, soon()).unwrap();
        let progress = hotplug.process_unplug_events(&qmp, soon()).unwrap();
        let expected = UnplugProgress {
            removed,
            rejected,
            in_use: Vec::new(),
        };
        assert_eq!(progress, expected);
    }
    is_gone(&hotplug);
}

#[test]
fn disk_ejected_by_the_guest_is_removed_from_the_pool() {
    let (mut hotplug, qmp) = attached(|name, _, id| {
        (name == "query-iothreads").then(|| event("DEVICE_DELETED", "disk0") + &returns(id, "[]"))
    });
    qmp.execute(&QueryIothreads {}, soon()).unwrap();
    assert_eq!(
        hotplug.process_unplug_events(&qmp, soon()).unwrap().removed,
        [id()]
    );
    is_gone(&hotplug);
}

#[test]
fn repeated_device_del_accepts_unplug_in_progress() {
    let (mut hotplug, qmp) = attached(|name, before, id| match (name, before) {
        ("device_del", 0) => None,
        ("device_del", 1) => Some(refuses(id, "GenericError", "once is enough")),
        ("device_del", _) => {
            let refusal = refuses(id, "GenericError", "once is enough");
            Some(refusal + &event("DEVICE_DELETED", "disk0"))
        }
        _ => None,
    });
    hotplug.detach(&qmp, &id(), at_once()).unwrap_err();
    let error = hotplug.detach(&qmp, &id(), at_once()).unwrap_err();
    assert!(
        matches!(
            &error,
            DetachError::Pending {
                source: QmpError::Refused { .. },
                ..
            }
        ),
        "{error:?}"
    );
    keeps(&hotplug, DiskState::RemovalPending);
    hotplug.detach(&qmp, &id(), soon()).unwrap();
    is_gone(&hotplug);
}

#[test]
fn refused_device_del_leaves_the_disk_attached() {
    let (mut hotplug, qmp) = attached(|name, before, id| match (name, before) {
        ("device_del", 0) => Some(refuses(id, "NeverHeardOf", "not while migrating")),
        ("device_del", 1) => Some(done(id) + &event("DEVICE_DELETED", "disk0")),
        _ => None,
    });
    let error = hotplug.detach(&qmp, &id(), soon()).unwrap_err();
    assert!(
        matches!(
            &error,
            DetachError::Failed {
                step: Step::DeviceDel,
                ..
            }
        ),
        "{error}"
    );
    keeps(&hotplug, DiskState::Attached);
    hotplug.detach(&qmp, &id(), soon()).unwrap();
}

/// More events than the log keeps, and the one that counts is the first of them.
#[test]
fn removal_is_queried_if_its_event_was_dropped() {
    let (mut hotplug, qmp) = attached(|name, _, id| match name {
        "device_del" => {
            let flood = event("NOISE", "other").repeat(20_000);
            Some(done(id) + &event("DEVICE_DELETED", "disk0") + &flood)
        }
        "qom-list" => Some(returns(id, "[{\"name\":\"type\",\"type\":\"string\"}]")),
        _ => None,
    });
    hotplug.detach(&qmp, &id(), soon()).unwrap();
    is_gone(&hotplug);
}

#[test]
fn blockdev_del_is_retried_while_the_node_is_in_use() {
    let (mut hotplug, qmp) = attached(|name, before, id| match (name, before) {
        ("device_del", _) => Some(refuses(id, "DeviceNotFound", "Device 'disk0' not found")),
        ("blockdev-del", 0) => Some(refuses(id, "GenericError", "not yet")),
        ("query-named-block-nodes", 0) => Some(returns(id, "[{\"node-name\":\"disk0\"}]")),
        ("query-block", 0) => Some(returns(id, limits::USED) + &event("DEVICE_DELETED", "disk0")),
        _ => None,
    });
    hotplug.detach(&qmp, &id(), soon()).unwrap();
    is_gone(&hotplug);
}

#[test]
fn pending_removal_completes_on_a_new_connection() {
    let (mut hotplug, first) = attached(|_, _, _| None);
    hotplug.detach(&first, &id(), at_once()).unwrap_err();
    drop(first);
    let stream = peer(|name, id| match name {
        "qom-list" => returns(id, "[]"),
        _ => done(id),
    });
    let second = Qmp::negotiate(stream, soon()).unwrap();
    assert_eq!(
        hotplug
            .process_unplug_events(&second, soon())
            .unwrap()
            .removed,
        [id()]
    );
    is_gone(&hotplug);
}

#[test]
fn rejected_unplug_aborts_a_move() {
    let (mut hotplug, qmp) = attached(|name, _, id| {
        let refusal = || done(id) + &event("DEVICE_UNPLUG_GUEST_ERROR", "disk0");
        (name == "device_del").then(refusal)
    });
    let before = hotplug.pool().lease_of(&id()).cloned();
    let disk = DiskSpec::new(id(), "/image");
    let moved = hotplug.move_disk(&qmp, &Quick, &disk, &Placement::MainLoop, soon());
    let refused = matches!(
        moved,
        Err(MoveError::Detach(DetachError::GuestRejected { .. }))
    );
    assert!(refused, "{moved:?}");
    assert_eq!(hotplug.pool().lease_of(&id()).cloned(), before);
    keeps(&hotplug, DiskState::Attached);
}

/// As when the guest powers a controller's slot off: its disks go with it.
#[test]
fn ejected_controller_releases_its_disks() {
    let stream = peer(|name, id| match name {
        "query-iothreads" => event("DEVICE_DELETED", "scsi0") + &returns(id, "[]"),
        _ => done(id),
    });
    let qmp = Qmp::negotiate(stream, soon()).unwrap();
    let pool = Pool::new(vec![IoThreadId::indep(0)], SlotTable::root_ports(1)).unwrap();
    let options = options();
    let mut hotplug = Hotplug::new(pool, options, QemuVersion::OLDEST);
    let controller = ScsiController::new(DeviceId::new("scsi0").unwrap());
    hotplug
        .attach_controller(&qmp, &controller, &Placement::First, soon())
        .unwrap();
    let disk = DiskSpec::new(id(), "/image");
    hotplug
        .attach_on(&qmp, &Quick, &controller.id, &disk, soon())
        .unwrap();
    qmp.execute(&QueryIothreads {}, soon()).unwrap();
    let progress = hotplug.process_unplug_events(&qmp, soon()).unwrap();
    assert_eq!(progress.removed, [id(), controller.id.clone()]);
    assert!(hotplug.pool().allocation_of(&controller.id).is_none());
    is_gone(&hotplug);
}

/// QEMU 7.2 would silently ignore the mapping of a controller, so `device_add` is not sent.
#[test]
fn unsupported_mapping_allocates_nothing() {
    let (mut hotplug, qmp) = attached(|_, _, _| None);
    let controller = ScsiController::new(DeviceId::new("scsi0").unwrap());
    let spread = Placement::Spread(std::num::NonZeroUsize::MIN);
    let error = hotplug.attach_controller(&qmp, &controller, &spread, soon());
    let error = error.unwrap_err();
    assert_eq!((error.step, error.rollback.is_ok()), (Step::Lease, true));
    assert!(hotplug.pool().allocation_of(&controller.id).is_none());
}

/// A guest that finds a disk at the *n*th look, and until then looks as long as it may.
struct Slow(std::cell::Cell<usize>);

impl Guest for Slow {
    fn await_present(&self, _: &GuestDisk, deadline: Deadline) -> Result<(), GuestError> {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        if left == 0 {
            return Ok(());
        }
        std::thread::sleep(deadline.remaining());
        Err("it is not there".into())
    }

    fn await_absent(&self, _: &GuestDisk, _: Deadline) -> Result<(), GuestError> {
        Ok(())
    }
}

/// What an attach comes to with a guest that ejects a device as soon as it is there, so many times,
/// and finds it after so many looks.
fn attached_after(
    ejections: usize,
    looks: usize,
    deadline: Deadline,
) -> (Hotplug, Result<Lease, AttachError>) {
    let mut plugged = 0;
    let stream = peer(move |name, id| match name {
        "device_add" if plugged < ejections => {
            plugged += 1;
            done(id) + &event("DEVICE_DELETED", "disk0")
        }
        "qom-list" => returns(id, "[]"),
        _ => done(id),
    });
    let qmp = Qmp::negotiate(stream, soon()).unwrap();
    let pool = Pool::new(vec![IoThreadId::indep(0)], SlotTable::root_ports(1)).unwrap();
    let options = options();
    let mut hotplug = Hotplug::new(pool, options, QemuVersion::OLDEST);
    let disk = DiskSpec::new(id(), "/image");
    let guest = Slow(looks.into());
    let lease = hotplug.attach(&qmp, &guest, &disk, &Placement::First, deadline);
    (hotplug, lease)
}

#[test]
fn device_ejected_before_discovery_is_plugged_again() {
    let (hotplug, lease) = attached_after(1, 1, soon());
    assert_eq!(lease.ok(), hotplug.pool().lease_of(&id()).cloned());
    keeps(&hotplug, DiskState::Attached);
}

#[test]
fn repeated_ejects_end_the_attach() {
    let (hotplug, lease) = attached_after(usize::MAX, usize::MAX, soon());
    let error = lease.unwrap_err();
    assert!(matches!(error.source, StepError::Ejected { times: 3 }));
    assert!(error.rollback.is_ok());
    is_gone(&hotplug);
}

/// The device stays in QEMU, and the error includes the guest's last reply.
#[test]
fn missing_disk_error_includes_the_guest_view() {
    let (hotplug, lease) = attached_after(0, usize::MAX, at_once());
    let error = anyhow::Error::from(lease.unwrap_err());
    let message = format!("{error:#}");
    let expected = "the disk did not appear in the guest within 0.1 s: it is not there";
    assert!(message.contains(expected), "{message}");
    keeps(&hotplug, DiskState::RemovalPending);
}
