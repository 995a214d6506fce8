//! The commands that are used here, in QEMU's own words (`qapi/*.json`).
//!
//! Replies are read leniently: members that a version adds are passed over.

mod device;
mod iothread;
mod options;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use device::{
    DeviceAdd, IoThreadVirtQueueMapping, PciAddress, ScsiHd, ServedBy, VirtioBalloon, VirtioBlk,
    VirtioScsi,
};
pub use iothread::{IoThreadInfo, IoThreadObject, IoThreadProperties, object_path, set_property};
pub use options::{DeviceOptions, NodeOptions, ReservedOption};

use crate::QemuVersion;

/// A command: its arguments are the value itself.
pub trait Command: Serialize {
    /// QEMU's name for it.
    const NAME: &'static str;
    /// What it returns.
    type Return: DeserializeOwned;
}

macro_rules! commands {
    ($($(#[$meta:meta])* $name:literal: $type:ident $(<$life:lifetime>)? -> $return:ty
        { $($(#[$field_meta:meta])* $field:ident: $field_type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub struct $type $(<$life>)? { $($(#[$field_meta])* pub $field: $field_type,)* }

        impl $(<$life>)? Command for $type $(<$life>)? {
            const NAME: &'static str = $name;
            type Return = $return;
        }
    )*};
}

commands! {
    /// Leaves negotiation mode.
    "qmp_capabilities": QmpCapabilities -> IgnoredAny {}

    /// Ends QEMU.
    "quit": Quit -> IgnoredAny {}

    /// Lets the CPUs run.
    "cont": Cont -> IgnoredAny {}

    /// Stops the CPUs.
    "stop": Stop -> IgnoredAny {}

    /// Resets the guest, as the button would.
    "system_reset": SystemReset -> IgnoredAny {}

    /// Queries QEMU's version.
    "query-version": QueryVersion -> VersionInfo {}

    /// Takes a descriptor that comes with the command.
    "getfd": GetFd<'a> -> IgnoredAny {
        /// What to call it.
        fdname: &'a str,
    }

    /// Adds a descriptor that comes with the command to a set. `/dev/fdset/N` is then a file name for
    /// QEMU.
    "add-fd": AddFd<'a> -> FdInfo {
        /// The set's number.
        fdset_id: i64,
        /// Text that `query-fdsets` shows.
        #[serde(skip_serializing_if = "Option::is_none")]
        opaque: Option<&'a str>,
    }

    /// Removes a set of descriptors. QEMU closes those that nothing uses.
    "remove-fd": RemoveFd -> IgnoredAny {
        /// The set's number.
        fdset_id: i64,
    }

    /// Lists the sets of descriptors.
    "query-fdsets": QueryFdsets -> Vec<FdsetInfo> {}

    /// Adds a character device.
    "chardev-add": ChardevAdd<'a> -> IgnoredAny {
        /// Its id.
        id: &'a str,
        /// What it is connected to.
        backend: &'a Value,
    }

    /// Runs a command of the monitor for people, and returns what it prints.
    "human-monitor-command": HumanMonitorCommand<'a> -> String {
        /// The command.
        #[serde(rename = "command-line")]
        command_line: &'a str,
    }

    /// Sets how the machine is saved or restored.
    "migrate-set-capabilities": MigrateSetCapabilities -> IgnoredAny {
        /// Each with its state.
        capabilities: Vec<MigrationCapability>,
    }

    /// Sets how fast the machine's state is sent.
    "migrate-set-parameters": MigrateSetParameters -> IgnoredAny {
        /// Bytes in a second.
        #[serde(rename = "max-bandwidth")]
        max_bandwidth: u64,
    }

    /// Saves the machine's state. It is done at the event MIGRATION.
    "migrate": Migrate<'a> -> IgnoredAny {
        /// Where to.
        uri: &'a str,
    }

    /// Cancels a migration. It is done at the event MIGRATION.
    "migrate_cancel": MigrateCancel -> IgnoredAny {}

    /// Restores the machine's state. It is done at the event MIGRATION.
    "migrate-incoming": MigrateIncoming<'a> -> IgnoredAny {
        /// Where from.
        uri: &'a str,
    }

    /// Tells all commands and events, in a line of some 250 kB. Properties of devices are not in it.
    "query-qmp-schema": QueryQmpSchema -> Vec<SchemaInfo> {}

    /// Lists the properties of a kind of device. One that QEMU does not have is refused with the
    /// class `DeviceNotFound`.
    "device-list-properties": DeviceListProperties<'a> -> Vec<QomProperty> {
        /// The kind of device, such as `virtio-blk-pci`.
        typename: &'a str,
    }

    /// Lists the IOThread objects. One that was deleted while in use is missing, though its
    /// thread goes on.
    "query-iothreads": QueryIothreads -> Vec<IoThreadInfo> {}

    /// Lists the block nodes.
    "query-named-block-nodes": QueryNamedBlockNodes -> Vec<BlockNode> {
        /// Leaves out each node's children.
        flat: bool,
    }

    /// Lists the users of block nodes that a guest can see.
    "query-block": QueryBlock -> Vec<BlockInfo> {}

    /// Lists the exports of block nodes.
    "query-block-exports": QueryBlockExports -> Vec<BlockExport> {}

    /// Reads a property.
    "qom-get": QomGet<'a> -> Value {
        /// The object's path, such as `/machine/peripheral/disk0`.
        path: &'a str,
        /// The property's name.
        property: &'a str,
    }

    /// Lists an object's properties. Those of `/machine/peripheral` are the devices that were given
    /// an id.
    "qom-list": QomList<'a> -> Vec<QomProperty> {
        /// The object's path.
        path: &'a str,
    }

    /// Changes a property.
    "qom-set": QomSet<'a> -> IgnoredAny {
        /// The object's path, such as `/objects/indep_iothread_0`.
        path: &'a str,
        /// The property's name.
        property: &'a str,
        /// Its new value.
        value: Value,
    }

    /// Creates an object of any type, such as `throttle-group`.
    "object-add": ObjectAdd<'a> -> IgnoredAny {
        /// Its type.
        qom_type: &'a str,
        /// Its id.
        id: &'a str,
        /// Its properties.
        #[serde(flatten)]
        properties: Map<String, Value>,
    }

    /// Deletes an object. QEMU also deletes an IOThread that is in use.
    "object-del": ObjectDel<'a> -> IgnoredAny {
        /// The object's id.
        id: &'a str,
    }

    /// Adds a block node.
    "blockdev-add": BlockdevAdd<'a> -> IgnoredAny {
        /// The node's name, at most 31 characters.
        node_name: &'a str,
        /// All the rest.
        #[serde(flatten)]
        options: NodeOptions,
    }

    /// Removes a block node that nothing uses.
    "blockdev-del": BlockdevDel<'a> -> IgnoredAny {
        /// The node's name.
        node_name: &'a str,
    }

    /// Starts QEMU's one NBD server.
    "nbd-server-start": NbdServerStart<'a> -> IgnoredAny {
        /// Where it listens.
        addr: SocketAddress<'a>,
    }

    /// Stops it, with its exports and connections.
    "nbd-server-stop": NbdServerStop -> IgnoredAny {}

    /// Exports a block node.
    "block-export-add": BlockExportAdd<'a> -> IgnoredAny {
        /// The kind of export, always `nbd` here.
        #[serde(rename = "type")]
        export_type: &'static str,
        /// Its id.
        id: &'a str,
        /// The node, whose name is also that of an NBD export.
        node_name: &'a str,
        /// Whether clients may write.
        writable: bool,
        /// The thread that serves it. Without one the node's does.
        #[serde(skip_serializing_if = "Option::is_none")]
        iothread: Option<&'a str>,
        /// Whether it is an error that the node cannot move there, and no other thread will do
        /// later.
        fixed_iothread: bool,
    }

    /// Ends an export that has no clients. It is done at BLOCK_EXPORT_DELETED.
    "block-export-del": BlockExportDel<'a> -> IgnoredAny {
        /// Its id.
        id: &'a str,
    }

    /// Moves a block node to an IOThread, or with `null` to the main loop. One that a device uses
    /// does not move, forced or not.
    "x-blockdev-set-iothread": XBlockdevSetIothread<'a> -> IgnoredAny {
        /// The node's name.
        node_name: &'a str,
        /// The thread.
        iothread: Option<&'a str>,
        /// Also if something uses the node.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        force: bool,
    }

    /// Requests the hot-unplug of a device. DEVICE_DELETED reports its completion.
    "device_del": DeviceDel<'a> -> IgnoredAny {
        /// The device's id.
        id: &'a str,
    }
}

/// An address that a server can listen on.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", content = "data", rename_all = "kebab-case")]
pub enum SocketAddress<'a> {
    /// A Unix socket.
    Unix {
        /// Its path, at most 107 bytes.
        path: &'a str,
    },
}

/// QEMU's `MigrationCapabilityStatus`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MigrationCapability {
    /// Its name.
    pub capability: &'static str,
    /// Whether it is on.
    pub state: bool,
}

/// A file on the host, as a block node.
#[derive(Debug, Clone, Serialize)]
pub struct FileNode<'a> {
    /// `file`, or `host_device` for a block device of the host.
    pub driver: &'static str,
    /// Its path.
    pub filename: &'a str,
    /// How QEMU does the I/O.
    pub aio: &'static str,
    /// Caching on the host.
    pub cache: Cache,
}

/// QEMU's cache options.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cache {
    /// Past the host's page cache (O_DIRECT).
    pub direct: bool,
    /// Flush requests are ignored.
    pub no_flush: bool,
}

/// QEMU's version, as `query-version` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct VersionInfo {
    /// The three numbers.
    pub qemu: QemuVersion,
}

/// A descriptor that was added to a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FdInfo {
    /// The set's number.
    pub fdset_id: i64,
    /// The descriptor's number in QEMU.
    pub fd: i32,
}

/// A set of descriptors, as `query-fdsets` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FdsetInfo {
    /// Its number.
    pub fdset_id: i64,
}

/// An entry of the schema.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SchemaInfo {
    /// The name of a command or event. That of a type is a number.
    pub name: String,
    /// Its kind, such as `command` or `event`.
    pub meta_type: String,
}

/// A property, as `qom-list` and `device-list-properties` show it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct QomProperty {
    /// Its name.
    pub name: String,
    /// Its type, such as `child<virtio-blk-pci>` or `uint16`.
    #[serde(default, rename = "type")]
    pub property_type: String,
}

/// A block node, as `query-named-block-nodes` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockNode {
    /// Its name. QEMU makes up one, starting with `#`, for a node that was given none.
    pub node_name: Option<String>,
    /// Its block driver, such as `raw` or `file`.
    #[serde(default)]
    pub drv: String,
}

/// A user of a block node, as `query-block` shows it. A disk that `qom-list` lists no more is one until
/// QEMU releases the node and sends DEVICE_DELETED.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BlockInfo {
    /// How its device is named in statistics: by its id, or by its path. A drive without a device has none.
    #[serde(default)]
    pub qdev: Option<String>,
    /// What is inserted. An empty drive has nothing.
    #[serde(default)]
    pub inserted: Option<InsertedNode>,
}

/// A block node, as `query-block` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InsertedNode {
    /// Its name.
    #[serde(default)]
    pub node_name: Option<String>,
    /// The file, or what QEMU shows in its place.
    #[serde(default)]
    pub file: String,
}

/// An export, as `query-block-exports` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockExport {
    /// Its id.
    pub id: String,
    /// The node that it exports.
    #[serde(default)]
    pub node_name: String,
    /// Whether it was requested to end, and has not yet.
    pub shutting_down: bool,
}
