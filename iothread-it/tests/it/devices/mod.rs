//! The devices that take a thread, beside hot-plugged virtio-blk disks.

mod alone;
mod balloon;
mod cold;
mod export;
mod nbd;
mod node;
mod scsi;
