//! What a running QEMU can do, by its own account.
//!
//! Two of QEMU's commands tell: `query-qmp-schema` has the commands, in a line of some 250 kB, and
//! `device-list-properties` the properties of a device. (The schema does not contain those: of
//! `device_add` it says `driver`, `bus` and `id`.) Each is sent when it is needed first, and its
//! result kept.
//!
//! Neither shows an `iothread-vq-mapping` that QEMU would drop, as 9.0 and 9.1 do with
//! `device_add`: so the version counts too, and in the end the device's own property.

#[cfg(feature = "client")]
mod query;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::QemuVersion;
use crate::command::{Command, QomProperty, SchemaInfo};

#[cfg(feature = "client")]
pub use query::CapabilityError;

/// What one QEMU can do, as far as it was queried.
#[derive(Debug, Clone)]
pub struct Capabilities {
    version: QemuVersion,
    commands: Option<BTreeSet<String>>,
    /// The properties of each kind of device, `None` for one that this QEMU does not have.
    devices: BTreeMap<Driver, Option<BTreeSet<String>>>,
}

/// A kind of device that an IOThread can serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Driver {
    /// A disk.
    VirtioBlk,
    /// A SCSI controller.
    VirtioScsi,
    /// A balloon.
    VirtioBalloon,
}

impl Driver {
    /// Returns QEMU's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VirtioBlk => "virtio-blk-pci",
            Self::VirtioScsi => "virtio-scsi-pci",
            Self::VirtioBalloon => "virtio-balloon-pci",
        }
    }

    /// Returns the oldest QEMU whose `device_add` maps the queues of such a device to several
    /// threads. `None`: none does.
    pub fn maps_queues_since(self) -> Option<QemuVersion> {
        match self {
            Self::VirtioBlk => Some(QemuVersion::MAPS_QUEUES),
            Self::VirtioScsi => Some(QemuVersion::MAPS_SCSI_QUEUES),
            Self::VirtioBalloon => None,
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A feature that this QEMU lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// A command.
    #[error("QEMU {qemu} has no command {command}")]
    Command {
        /// The command.
        command: &'static str,
        /// QEMU's version.
        qemu: QemuVersion,
    },
    /// A device type.
    #[error("QEMU {qemu} has no device {driver}")]
    Device {
        /// The device.
        driver: Driver,
        /// QEMU's version.
        qemu: QemuVersion,
    },
    /// A device's property.
    #[error("the {driver} of QEMU {qemu} has no property {property}")]
    Property {
        /// The device.
        driver: Driver,
        /// The property.
        property: &'static str,
        /// QEMU's version.
        qemu: QemuVersion,
    },
    /// An export on a thread.
    #[error(
        "QEMU {qemu} crashes when a client of an export on an IOThread disconnects; needs {} or newer",
        QemuVersion::EXPORTS_ON_THREADS
    )]
    ExportOnThread {
        /// QEMU's version.
        qemu: QemuVersion,
    },
    /// A mapping of queues.
    #[error("{}", no_mapping(*.driver, *.qemu))]
    Mapping {
        /// The device.
        driver: Driver,
        /// QEMU's version.
        qemu: QemuVersion,
    },
}

fn no_mapping(driver: Driver, qemu: QemuVersion) -> String {
    match driver.maps_queues_since() {
        // From 9.2 on `device_add` refuses unknown properties.
        Some(oldest) if qemu >= QemuVersion::MAPS_QUEUES => format!(
            "the {driver} of QEMU {qemu} has no iothread-vq-mapping; needs {oldest} or newer"
        ),
        Some(oldest) => format!(
            "QEMU {qemu} silently ignores the iothread-vq-mapping of a {driver} in device_add; needs \
             {oldest} or newer"
        ),
        None => format!("a {driver} can use only one IOThread"),
    }
}

impl Capabilities {
    /// Creates a cache without query results.
    pub fn new(version: QemuVersion) -> Self {
        Self {
            version,
            commands: None,
            devices: BTreeMap::new(),
        }
    }

    /// Returns QEMU's version.
    pub fn version(&self) -> QemuVersion {
        self.version
    }

    /// Notes what [`QueryQmpSchema`](crate::command::QueryQmpSchema) returned.
    pub fn note_schema(&mut self, schema: Vec<SchemaInfo>) {
        let commands = schema
            .into_iter()
            .filter(|entry| entry.meta_type == "command");
        self.commands = Some(commands.map(|entry| entry.name).collect());
    }

    /// Notes what [`DeviceListProperties`](crate::command::DeviceListProperties) returned for a kind of
    /// device, or `None` if QEMU refused it with the class `DeviceNotFound`.
    pub fn note_properties(&mut self, driver: Driver, properties: Option<Vec<QomProperty>>) {
        let names = properties.map(|properties| properties.into_iter().map(|p| p.name).collect());
        self.devices.insert(driver, names);
    }

    /// Checks that QEMU has a command. `None`: the schema is not known yet.
    pub fn has_command<C: Command>(&self) -> Option<Result<(), Unsupported>> {
        let known = self.commands.as_ref()?.contains(C::NAME);
        let missing = Unsupported::Command {
            command: C::NAME,
            qemu: self.version,
        };
        Some(known.then_some(()).ok_or(missing))
    }

    /// Checks that a kind of device has a property. `None`: its properties are not known yet.
    pub fn has_property(
        &self,
        driver: Driver,
        property: &'static str,
    ) -> Option<Result<(), Unsupported>> {
        let qemu = self.version;
        Some(match self.devices.get(&driver)? {
            Some(properties) if properties.contains(property) => Ok(()),
            Some(_) => Err(Unsupported::Property {
                driver,
                property,
                qemu,
            }),
            None => Err(Unsupported::Device { driver, qemu }),
        })
    }

    /// Checks that the queues of a kind of device can be mapped to several threads with `device_add`.
    /// `None`: its properties are not known yet.
    pub fn maps_queues(&self, driver: Driver) -> Option<Result<(), Unsupported>> {
        let qemu = self.version;
        let oldest = driver.maps_queues_since();
        if oldest.is_none_or(|oldest| qemu < oldest) {
            return Some(Err(Unsupported::Mapping { driver, qemu }));
        }
        self.has_property(driver, "iothread-vq-mapping")
    }

    /// Checks that an export can be on a thread.
    ///
    /// # Errors
    /// If it cannot.
    pub fn export_on_thread(&self) -> Result<(), Unsupported> {
        let qemu = self.version;
        if qemu < QemuVersion::EXPORTS_ON_THREADS {
            return Err(Unsupported::ExportOnThread { qemu });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsupported_mapping_message_depends_on_the_version() {
        let no_mapping = |version: &str| Unsupported::Mapping {
            driver: Driver::VirtioScsi,
            qemu: QemuVersion::parse(&format!("version {version}")).unwrap(),
        };
        let message = no_mapping("9.1.2").to_string();
        assert!(
            message.starts_with("QEMU 9.1.2 silently ignores the"),
            "{message}"
        );
        assert_eq!(
            no_mapping("9.2.3").to_string(),
            "the virtio-scsi-pci of QEMU 9.2.3 has no iothread-vq-mapping; needs 10.0.0 or newer"
        );
    }
}
