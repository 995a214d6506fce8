//! The disks of a QEMU, and which thread it is configured to serve each by.

use qmp_client::command::{IoThreadVirtQueueMapping, QomGet, QueryBlock, QueryBlockExports};
use qmp_client::wait::Deadline;
use qmp_client::{Qmp, QmpError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A disk of the guest.
#[derive(Debug)]
pub(super) struct Disk {
    /// How QEMU names its device in statistics: an id, or a path.
    pub(super) qdev: String,
    pub(super) id: String,
    /// The type of the device, such as `virtio-blk-pci`.
    pub(super) device: String,
    /// The file, or what QEMU shows in its place; empty without a medium.
    pub(super) file: String,
    pub(super) server: Server,
}

/// What serves a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Server {
    /// QEMU's main loop.
    MainLoop,
    /// This IOThread.
    Thread(String),
    /// Several IOThreads, each with its virtqueues. Without numbers they are assigned in turn.
    Queues(Vec<(String, Option<Vec<u16>>)>),
}

impl Server {
    /// The IOThreads.
    pub fn threads(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Self::MainLoop => (None, &[][..]),
            Self::Thread(thread) => (Some(thread), &[][..]),
            Self::Queues(queues) => (None, &queues[..]),
        };
        let many = many.iter().map(|(thread, _)| thread);
        one.into_iter().chain(many).map(String::as_str)
    }
}

/// Returns the disks, in QEMU's order. A vhost-user disk, which another process serves, is not among them.
pub(super) fn disks(qmp: &Qmp, soon: impl Fn() -> Deadline) -> Result<Vec<Disk>, QmpError> {
    let qom = Qom { qmp, soon: &soon };
    let mut disks = Vec::new();
    for block in qmp.execute(&QueryBlock {}, soon())? {
        let Some(qdev) = block.qdev.filter(|qdev| !qdev.is_empty()) else {
            continue;
        };
        let path = device_path(&qdev);
        let kind = qom.text(&path, "type")?;
        disks.push(Disk {
            id: id(&path).to_owned(),
            device: kind.unwrap_or_default(),
            file: block.inserted.map(|node| node.file).unwrap_or_default(),
            server: qom.server(&path)?,
            qdev,
        });
    }
    Ok(disks)
}

/// Returns the ids of block exports. QEMU does not report their threads.
pub(super) fn exports(qmp: &Qmp, deadline: Deadline) -> Result<Vec<String>, QmpError> {
    let exports = qmp.execute(&QueryBlockExports {}, deadline)?;
    Ok(exports.into_iter().map(|export| export.id).collect())
}

/// The path of the device that a user makes. That of virtio is its parent.
fn device_path(qdev: &str) -> String {
    let path = match qdev.starts_with('/') {
        true => qdev.to_owned(),
        false => format!("/machine/peripheral/{qdev}"),
    };
    match path.strip_suffix("/virtio-backend") {
        Some(parent) => parent.to_owned(),
        None => path,
    }
}

/// The id, or, of a device without one, what QEMU calls it.
fn id(path: &str) -> &str {
    let given = path.strip_prefix("/machine/peripheral/");
    let made = || path.strip_prefix("/machine/peripheral-anon/");
    given.or_else(made).unwrap_or(path)
}

/// Properties of devices.
struct Qom<'a> {
    qmp: &'a Qmp,
    soon: &'a dyn Fn() -> Deadline,
}

impl Qom<'_> {
    fn server(&self, path: &str) -> Result<Server, QmpError> {
        // That of a SCSI disk is its controller's.
        let bus = self.text(path, "parent_bus")?;
        let controller = bus.as_deref().and_then(|bus| Some(bus.rsplit_once('/')?.0));
        let owner = match controller.map(device_path) {
            Some(controller) if self.has(path, "scsi-id")? => controller,
            _ => path.to_owned(),
        };
        if let Some(mapping) = self.get(&owner, "iothread-vq-mapping")? {
            let queues = Vec::<IoThreadVirtQueueMapping>::deserialize(mapping).unwrap_or_default();
            if !queues.is_empty() {
                let queues = queues.into_iter().map(|one| (one.iothread, one.vqs));
                return Ok(Server::Queues(queues.collect()));
            }
        }
        let link = self.text(&owner, "iothread")?.unwrap_or_default();
        Ok(match link.rsplit('/').next() {
            Some(thread) if !thread.is_empty() => Server::Thread(thread.to_owned()),
            _ => Server::MainLoop,
        })
    }

    fn has(&self, path: &str, property: &str) -> Result<bool, QmpError> {
        Ok(self.get(path, property)?.is_some())
    }

    fn text(&self, path: &str, property: &str) -> Result<Option<String>, QmpError> {
        let value = self.get(path, property)?;
        Ok(value.and_then(|value| value.as_str().map(str::to_owned)))
    }

    /// A property; nothing if the device does not have it.
    fn get(&self, path: &str, property: &str) -> Result<Option<Value>, QmpError> {
        match self.qmp.execute(&QomGet { path, property }, (self.soon)()) {
            Ok(value) => Ok(Some(value)),
            Err(QmpError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_by_id_and_by_path() {
        let of = |qdev| {
            let path = device_path(qdev);
            (id(&path).to_owned(), path)
        };
        let pair = |id: &str, path: &str| (id.to_owned(), path.to_owned());
        assert_eq!(of("sd0"), pair("sd0", "/machine/peripheral/sd0"));
        assert_eq!(
            of("/machine/peripheral/d0/virtio-backend"),
            pair("d0", "/machine/peripheral/d0")
        );
        assert_eq!(
            of("/machine/peripheral-anon/device[1]/virtio-backend"),
            pair("device[1]", "/machine/peripheral-anon/device[1]")
        );
        assert_eq!(
            of("/machine/unattached/device[7]"),
            pair(
                "/machine/unattached/device[7]",
                "/machine/unattached/device[7]"
            )
        );
    }
}
