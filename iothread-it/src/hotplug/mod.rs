//! Disks come and go while the guest runs.
//!
//! An attach goes through four steps, a detach back through three; what each needs of the others
//! is in `Stage`. A failed attach is rolled back by the very code that detaches, from the stage
//! that was reached. A detach that did not come to its end can be called again and goes on where
//! it was: until then the disk keeps its thread and its slot.

mod error;
mod guest;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::{AttachError, DetachError, Step, StepError};
pub use guest::{Guest, GuestError};

use crate::config::HypervisorConfig;
use crate::pool::{DeviceId, Lease, Placement, Pool};
use crate::qmp::command::{BlockdevAdd, BlockdevDel, Cache, DeviceAdd, DeviceDel, FileNode};
use crate::qmp::{Cursor, Event, Qmp, QmpError};
use crate::wait::Deadline;

/// How long a single QMP reply may take. QEMU answers at once, if its main loop is not blocked.
const REPLY_SPAN: Duration = Duration::from_secs(10);

/// How long the guest may take to let go of a disk whose attach failed.
const ROLLBACK_SPAN: Duration = Duration::from_secs(15);

/// A disk to attach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSpec {
    /// Its id: of the device, of the block node, and the serial in the guest.
    pub id: DeviceId,
    /// A raw image, or a block device of the host.
    pub path: PathBuf,
    /// Whether the guest may only read it.
    pub read_only: bool,
}

/// How disks are opened on the host, from Kata's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockOptions {
    aio: &'static str,
    cache_direct: bool,
    cache_no_flush: bool,
}

impl From<&HypervisorConfig> for BlockOptions {
    fn from(config: &HypervisorConfig) -> Self {
        Self {
            aio: config.aio.as_str(),
            cache_direct: config.cache_direct,
            cache_no_flush: config.cache_no_flush,
        }
    }
}

/// How much of a disk QEMU has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A block node, and no device on it.
    NodeOnly,
    /// A device on its node.
    Plugged,
    /// The guest was asked to let go. The event may come at any time from here on.
    Leaving(Cursor),
}

/// The disks of one VM, and the pool that they draw from.
#[derive(Debug)]
pub struct Hotplug {
    pool: Pool,
    options: BlockOptions,
    disks: BTreeMap<DeviceId, Stage>,
}

impl Hotplug {
    /// Starts with no disk.
    pub fn new(pool: Pool, options: BlockOptions) -> Self {
        Self {
            pool,
            options,
            disks: BTreeMap::new(),
        }
    }

    /// Returns the pool.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Attaches a disk and waits until the guest has it.
    ///
    /// # Errors
    /// If a step fails. What was done until then is undone, and the error says if that failed too.
    pub fn attach(
        &mut self,
        qmp: &Qmp,
        guest: &dyn Guest,
        disk: &DiskSpec,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<Lease, AttachError> {
        let id = &disk.id;
        let failed = |step, source, rollback| AttachError {
            device: id.clone(),
            step,
            source,
            rollback,
        };
        let lease = self
            .pool
            .lease(id, placement)
            .map_err(|source| failed(Step::Lease, source.into(), Ok(())))?;
        match self.plug(qmp, guest, disk, &lease, deadline) {
            Ok(()) => Ok(lease),
            Err((step, source)) => {
                let rollback = self
                    .remove(qmp, id, Deadline::after(ROLLBACK_SPAN))
                    .map_err(Box::new);
                Err(failed(step, source, rollback))
            }
        }
    }

    /// Detaches a disk and frees its thread and slot.
    ///
    /// # Errors
    /// If a step fails. The disk then keeps what it has, and the call can be repeated.
    pub fn detach(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        deadline: Deadline,
    ) -> Result<(), DetachError> {
        if self.pool.lease_of(id).is_none() {
            return Err(DetachError::NotAttached { device: id.clone() });
        }
        self.remove(qmp, id, deadline)
    }

    fn plug(
        &mut self,
        qmp: &Qmp,
        guest: &dyn Guest,
        disk: &DiskSpec,
        lease: &Lease,
        deadline: Deadline,
    ) -> Result<(), (Step, StepError)> {
        let id = &disk.id;
        let filename = path_text(&disk.path).map_err(|source| (Step::BlockdevAdd, source))?;
        let added = qmp.execute(&self.node(disk, filename), reply_deadline());
        self.reach(id, Stage::NodeOnly, added)
            .map_err(|source| (Step::BlockdevAdd, source))?;
        let added = qmp.execute(&device(id, lease), reply_deadline());
        self.reach(id, Stage::Plugged, added)
            .map_err(|source| (Step::DeviceAdd, source))?;
        guest
            .await_present(id, deadline)
            .map_err(|source| (Step::GuestHasDisk, source.into()))
    }

    /// Notes the stage that a command leads to. Only a refusal tells that it did nothing: without
    /// an answer it may have been carried out.
    fn reach<T>(
        &mut self,
        id: &DeviceId,
        stage: Stage,
        outcome: Result<T, QmpError>,
    ) -> Result<(), StepError> {
        if !matches!(outcome, Err(QmpError::Refused { .. })) {
            self.disks.insert(id.clone(), stage);
        }
        outcome?;
        Ok(())
    }

    fn node<'a>(&self, disk: &'a DiskSpec, filename: &'a str) -> BlockdevAdd<'a> {
        BlockdevAdd {
            driver: "raw",
            node_name: disk.id.as_str(),
            read_only: disk.read_only,
            file: FileNode {
                driver: file_driver(&disk.path),
                filename,
                aio: self.options.aio,
                cache: Cache {
                    direct: self.options.cache_direct,
                    no_flush: self.options.cache_no_flush,
                },
            },
        }
    }

    /// Takes away what QEMU has of a disk, from whatever stage, and then its lease.
    fn remove(&mut self, qmp: &Qmp, id: &DeviceId, deadline: Deadline) -> Result<(), DetachError> {
        let failed = |step, source: QmpError| DetachError::Failed {
            device: id.clone(),
            step,
            source,
        };
        match self.disks.get(id).copied() {
            None => {}
            Some(Stage::NodeOnly) => self.remove_node(qmp, id)?,
            Some(Stage::Plugged) => {
                let since = qmp.cursor();
                self.disks.insert(id.clone(), Stage::Leaving(since));
                match request_removal(qmp, id) {
                    Ok(Removal::Gone) => {}
                    Ok(Removal::Requested) => await_removal(qmp, id, since, deadline)?,
                    Err(source) => {
                        self.disks.insert(id.clone(), Stage::Plugged);
                        return Err(failed(Step::DeviceDel, source));
                    }
                }
                self.remove_node(qmp, id)?;
            }
            Some(Stage::Leaving(since)) => {
                // The event of an earlier call may be here by now, and then the device is gone.
                match request_removal(qmp, id).map_err(|e| failed(Step::DeviceDel, e))? {
                    Removal::Gone => {}
                    Removal::Requested => await_removal(qmp, id, since, deadline)?,
                }
                self.remove_node(qmp, id)?;
            }
        }
        self.disks.remove(id);
        self.pool.release(id);
        Ok(())
    }

    fn remove_node(&mut self, qmp: &Qmp, id: &DeviceId) -> Result<(), DetachError> {
        self.disks.insert(id.clone(), Stage::NodeOnly);
        let command = BlockdevDel {
            node_name: id.as_str(),
        };
        match qmp.execute(&command, reply_deadline()) {
            Ok(_) => Ok(()),
            // It was never made, or an earlier call removed it and its reply was lost.
            Err(QmpError::Refused { desc, .. }) if desc.contains("Failed to find node") => Ok(()),
            Err(source) => Err(DetachError::Failed {
                device: id.clone(),
                step: Step::BlockdevDel,
                source,
            }),
        }
    }
}

enum Removal {
    Requested,
    Gone,
}

/// Asks the guest to let go. That it was asked before is no error, nor that the device is gone.
fn request_removal(qmp: &Qmp, id: &DeviceId) -> Result<Removal, QmpError> {
    let command = DeviceDel { id: id.as_str() };
    match qmp.execute(&command, reply_deadline()) {
        Ok(_) => Ok(Removal::Requested),
        Err(QmpError::Refused { class, .. }) if class == "DeviceNotFound" => Ok(Removal::Gone),
        // QEMU has no class of its own for this.
        Err(QmpError::Refused { desc, .. }) if desc.contains("in the process of unplug") => {
            Ok(Removal::Requested)
        }
        Err(error) => Err(error),
    }
}

/// Waits for the end of the device. QEMU sends two DEVICE_DELETED: the first, of the device's
/// child, carries a path only.
fn await_removal(
    qmp: &Qmp,
    id: &DeviceId,
    since: Cursor,
    deadline: Deadline,
) -> Result<(), DetachError> {
    let awaited = format!("DEVICE_DELETED of {id}");
    let about = |event: &Event| event.str("device") == Some(id.as_str());
    let outcome = qmp.wait_event(&awaited, since, deadline, |event| {
        match event.name.as_str() {
            "DEVICE_DELETED" if about(event) => Some(Ok(())),
            "DEVICE_UNPLUG_GUEST_ERROR" if about(event) => Some(Err(())),
            _ => None,
        }
    });
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(())) => Err(DetachError::GuestRefused { device: id.clone() }),
        Err(source) => Err(DetachError::Failed {
            device: id.clone(),
            step: Step::DeviceDeleted,
            source,
        }),
    }
}

fn device<'a>(id: &'a DeviceId, lease: &'a Lease) -> DeviceAdd<'a> {
    DeviceAdd {
        driver: "virtio-blk-pci",
        id: id.as_str(),
        bus: lease.slot.bus(),
        addr: lease.slot.addr(),
        drive: id.as_str(),
        serial: id.as_str(),
        iothread: lease.thread.as_ref().map(|thread| thread.as_str()),
    }
}

/// QEMU has a driver of its own for the host's block devices.
fn file_driver(path: &Path) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let is_block_device =
        std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device());
    if is_block_device {
        "host_device"
    } else {
        "file"
    }
}

/// QMP is JSON, so a path must be text.
fn path_text(path: &Path) -> Result<&str, StepError> {
    path.to_str().ok_or_else(|| StepError::PathNotText {
        path: path.to_owned(),
    })
}

fn reply_deadline() -> Deadline {
    Deadline::after(REPLY_SPAN)
}
