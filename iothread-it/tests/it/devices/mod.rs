//! The devices that take a thread, beside hot-plugged virtio-blk disks.

mod balloon;
mod scsi;
