//! Which step of an attach or detach failed, and what is left of it.

use std::fmt;
use std::path::PathBuf;

use super::GuestError;
use iothread_pool::{DeviceId, PoolError};
use qmp_client::QmpError;
use qmp_client::capabilities::{CapabilityError, Unsupported};
use qmp_client::wait::Deadline;

/// A step of an attach or a detach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The pool gives a thread and a slot.
    Lease,
    /// QEMU opens the image.
    BlockdevAdd,
    /// The guest has no disk with that serial yet.
    AwaitAbsent,
    /// QEMU makes the device.
    DeviceAdd,
    /// The device has the mapping of queues that was asked for.
    VerifyVqMapping,
    /// The guest finds the disk.
    AwaitPresent,
    /// QEMU asks the guest to let go.
    DeviceDel,
    /// The guest has let go, and QEMU has removed the device.
    DeviceDeleted,
    /// QEMU closes the image.
    BlockdevDel,
    /// QEMU moves a block node to a thread.
    SetIothread,
    /// QEMU exports a block node.
    BlockExportAdd,
    /// QEMU is asked to end an export.
    BlockExportDel,
    /// QEMU has ended an export.
    BlockExportDeleted,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lease => "the pool's lease",
            Self::BlockdevAdd => "blockdev-add",
            Self::AwaitAbsent => "the guest's removal of the disk that had this serial before",
            Self::DeviceAdd => "device_add",
            Self::VerifyVqMapping => "the proof of its iothread-vq-mapping",
            Self::AwaitPresent => "the guest's discovery",
            Self::DeviceDel => "device_del",
            Self::DeviceDeleted => "DEVICE_DELETED",
            Self::BlockdevDel => "blockdev-del",
            Self::SetIothread => "x-blockdev-set-iothread",
            Self::BlockExportAdd => "block-export-add",
            Self::BlockExportDel => "block-export-del",
            Self::BlockExportDeleted => "BLOCK_EXPORT_DELETED",
        })
    }
}

/// Why a step of an attach failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The pool has nothing to give.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// QEMU refused, or did not answer.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// QEMU cannot do what is asked.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The device has another mapping than was asked for.
    #[error("the device has the mapping {found}")]
    VqMappingMismatch {
        /// What `qom-get` says.
        found: String,
    },
    /// Nobody could look into the guest.
    #[error(transparent)]
    Guest(GuestError),
    /// The guest did not find the disk in time.
    #[error("the guest has not found it within {within}; the last look says")]
    NotInGuest {
        /// How long it had.
        within: Deadline,
        /// What was seen instead.
        source: GuestError,
    },
    /// The guest ejected the device before it had found it, each time.
    #[error("the guest ejected it {times} times before it had found it")]
    Ejected {
        /// How often it was plugged in.
        times: u32,
    },
    /// The controller is on its way out.
    #[error("SCSI controller `{controller}` is being removed; detach it again before you use it")]
    ControllerRemovalPending {
        /// The controller.
        controller: DeviceId,
    },
    /// The configuration names a driver that is not attached here.
    #[error(
        "no disk can be attached with the configured block_device_driver; set it to \
         \"virtio-blk-pci\", \"virtio-blk\" or \"virtio-scsi\""
    )]
    UnsupportedDriver,
    /// The path cannot be written in QMP.
    #[error("the path {} is no valid UTF-8", path.display())]
    PathNotUtf8 {
        /// The path.
        path: PathBuf,
    },
}

impl From<CapabilityError> for StepError {
    fn from(error: CapabilityError) -> Self {
        match error {
            CapabilityError::Unsupported(missing) => Self::Unsupported(missing),
            CapabilityError::Qmp(error) => Self::Qmp(error),
        }
    }
}

/// An attach that failed.
#[derive(Debug, thiserror::Error)]
#[error("attach of `{device}` failed at {step}{}", left(.rollback))]
pub struct AttachError {
    /// The disk.
    pub device: DeviceId,
    /// Where it failed.
    pub step: Step,
    /// Why.
    pub source: StepError,
    /// Whether what was done before that step could be undone. If not, the disk keeps its thread
    /// and slot until a detach succeeds.
    pub rollback: Result<(), Box<DetachError>>,
}

fn left(rollback: &Result<(), Box<DetachError>>) -> String {
    match rollback {
        Ok(()) => String::new(),
        Err(error) => format!(", and what was done before is not undone ({error})"),
    }
}

/// A detach that failed.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// There is nothing to detach.
    #[error("`{device}` is not attached")]
    NotAttached {
        /// The disk.
        device: DeviceId,
    },
    /// A controller has disks: they go first.
    #[error("`{device}` has the disks {disks}; detach them first")]
    HasDisks {
        /// The controller.
        device: DeviceId,
        /// Its disks, for a person.
        disks: String,
    },
    /// The pool does not release what the device holds.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The guest said no (DEVICE_UNPLUG_GUEST_ERROR).
    #[error("the guest refused to let go of `{device}`")]
    GuestRejected {
        /// The disk.
        device: DeviceId,
    },
    /// The guest has not let go in time. It was asked and may still do so: the removal is pending.
    #[error("`{device}` is still in the guest, and its removal is pending")]
    Pending {
        /// The disk.
        device: DeviceId,
        /// What was awaited, and how long.
        source: QmpError,
    },
    /// A step failed.
    #[error("detach of `{device}` failed at {step}")]
    Failed {
        /// The disk.
        device: DeviceId,
        /// Where it failed.
        step: Step,
        /// Why.
        source: QmpError,
    },
}

/// A thread that could not be retired.
#[derive(Debug, thiserror::Error)]
pub enum RemoveThreadError {
    /// The pool does not let it go.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// QEMU refused, or did not answer.
    #[error(transparent)]
    Qmp(#[from] QmpError),
}
