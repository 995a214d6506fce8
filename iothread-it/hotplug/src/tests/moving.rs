//! **Scope**: moves that are refused or fail, and where the disk is then.

use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use super::fake::Fault;
use super::lost_answers::{Stage, disk, name};
use super::*;
use iothread_pool::PoolError;

/// The commands of a move before the `device_add` of its second half.
const BEFORE_DEVICE_ADD: usize = 3;

fn with_queues(queues: Option<u16>) -> DiskSpec {
    DiskSpec {
        queues,
        ..disk("disk0")
    }
}

fn pinned(thread: usize) -> Placement {
    Placement::Pinned(IoThreadId::indep(thread))
}

impl Stage {
    /// A disk with four queues.
    fn with_disk(placement: &Placement) -> Self {
        let mut stage = Self::new();
        let disk = with_queues(Some(4));
        let attached = stage
            .hotplug
            .attach(&stage.qmp, &Quick, &disk, placement, soon());
        attached.unwrap();
        stage
    }

    fn move_disk(
        &mut self,
        disk: &DiskSpec,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<Lease, MoveError> {
        self.hotplug
            .move_disk(&self.qmp, &Quick, disk, placement, deadline)
    }

    /// What QEMU has of the disk's device.
    fn device(&self) -> serde_json::Value {
        self.fake.has().devices["disk0"].clone()
    }
}

#[test]
fn move_to_more_threads_than_queues_is_refused_before_the_detach() {
    let mut stage = Stage::with_disk(&Placement::First);
    let heard = stage.fake.has().heard;
    let spread = Placement::Spread(NonZeroUsize::new(2).unwrap());
    let error = stage.move_disk(&with_queues(Some(1)), &spread, soon());
    let refused = matches!(
        error,
        Err(MoveError::Pool(PoolError::TooFewQueues { queues: 1, .. }))
    );
    assert!(refused, "{error:?}");
    // The query for the device's properties.
    assert_eq!(stage.fake.has().heard, heard + 1);
}

#[test]
fn move_of_a_path_that_is_not_utf8_is_refused_before_the_detach() {
    let mut stage = Stage::with_disk(&Placement::First);
    let heard = stage.fake.has().heard;
    let disk = DiskSpec {
        path: PathBuf::from(std::ffi::OsString::from_vec(vec![0xff])),
        ..disk("disk0")
    };
    let error = stage.move_disk(&disk, &pinned(1), soon());
    let refused = matches!(
        error,
        Err(MoveError::Unsupported(StepError::PathNotUtf8 { .. }))
    );
    assert!(refused, "{error:?}");
    assert_eq!(stage.fake.has().heard, heard);
}

#[test]
fn move_keeps_the_number_of_queues_that_the_spec_does_not_state() {
    let mut stage = Stage::with_disk(&Placement::First);
    let lease = stage.move_disk(&with_queues(None), &pinned(1), soon());
    assert_eq!(lease.unwrap().queues, 4);
    assert_eq!(stage.device()["num-queues"], 4);
}

#[test]
fn failed_move_restores_the_queues_and_the_dedicated_thread() {
    let mut stage = Stage::with_disk(&Placement::Dedicated);
    stage.fake.arm(BEFORE_DEVICE_ADD, Fault::Refused);
    let error = stage.move_disk(&with_queues(Some(2)), &pinned(2), soon());
    let Err(MoveError::Attach { back: Ok(back), .. }) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(back.queues, 4);
    assert_eq!(back.assignment.thread(), Some(&IoThreadId::indep(0)));
    assert_eq!(stage.device()["num-queues"], 4);
    let state = stage.hotplug.pool().state();
    assert_eq!(state.threads[0].dedicated_to, Some(name("disk0")));
}

#[test]
fn failed_move_restores_a_thread_that_was_not_dedicated() {
    let mut stage = Stage::with_disk(&pinned(1));
    stage.fake.arm(BEFORE_DEVICE_ADD, Fault::Refused);
    let error = stage.move_disk(&with_queues(None), &pinned(2), soon());
    let Err(MoveError::Attach { back: Ok(back), .. }) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(back.assignment.thread(), Some(&IoThreadId::indep(1)));
    let state = stage.hotplug.pool().state();
    assert!(state.threads.iter().all(|t| t.dedicated_to.is_none()));
}

#[test]
fn move_whose_rollback_is_pending_keeps_the_new_lease() {
    let mut stage = Stage::with_disk(&Placement::First);
    stage.fake.arm(BEFORE_DEVICE_ADD, Fault::ReplyLost);
    let error = stage.move_disk(&with_queues(None), &pinned(2), at_once());
    assert!(
        matches!(error, Err(MoveError::RollbackPending(_))),
        "{error:?}"
    );
    let id = name("disk0");
    assert_eq!(stage.hotplug.state_of(&id), Some(DiskState::RemovalPending));
    let lease = stage.hotplug.pool().lease_of(&id).unwrap();
    assert_eq!(lease.assignment.thread(), Some(&IoThreadId::indep(2)));
    stage.hotplug.detach(&stage.qmp, &id, soon()).unwrap();
    assert!(stage.fake.has().devices.is_empty());
    assert_eq!(stage.hotplug.pool().free_slots(), 4);
}

#[test]
fn balloon_is_not_moved_as_a_disk() {
    let mut stage = Stage::new();
    let (hotplug, qmp) = (&mut stage.hotplug, &stage.qmp);
    let id = name("disk0");
    hotplug
        .attach_balloon(qmp, &id, &Placement::First, soon())
        .unwrap();
    let error = stage.move_disk(&disk("disk0"), &pinned(1), soon());
    assert!(
        matches!(error, Err(MoveError::NotAttached { .. })),
        "{error:?}"
    );
}
