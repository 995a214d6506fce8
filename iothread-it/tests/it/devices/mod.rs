//! The devices that use a thread, other than hot-plugged virtio-blk disks.

mod alone;
mod balloon;
mod cold;
mod export;
mod nbd;
mod node;
pub(crate) mod scsi;
