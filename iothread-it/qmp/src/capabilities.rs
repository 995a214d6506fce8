//! What a running QEMU can do, by its own account.
//!
//! Two of QEMU's commands tell: `query-qmp-schema` has the commands, in a line of some 250 kB, and
//! `device-list-properties` the properties of a device. (The schema does not contain those: of
//! `device_add` it says `driver`, `bus` and `id`.) Each is asked when it is needed first, and its
//! answer kept.
//!
//! Neither tells of an `iothread-vq-mapping` that QEMU would drop, as 9.0 and 9.1 do with
//! `device_add`: so the version counts too, and in the end the device's own property.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::QemuVersion;
use crate::command::{DeviceListProperties, QueryQmpSchema};
use crate::wait::Deadline;
use crate::{Command, Qmp, QmpError};

/// What one QEMU can do, as far as it was asked.
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

/// A failed check of a capability.
#[derive(Debug, thiserror::Error)]
pub enum CapabilityError {
    /// This QEMU lacks the capability.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The query failed.
    #[error(transparent)]
    Qmp(#[from] QmpError),
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

    /// Checks that QEMU has a command.
    ///
    /// # Errors
    /// If QEMU lacks it, or the query fails.
    pub fn command<C: Command>(
        &mut self,
        qmp: &Qmp,
        deadline: Deadline,
    ) -> Result<(), CapabilityError> {
        if self.commands.is_none() {
            let schema = qmp.execute(&QueryQmpSchema {}, deadline)?;
            let commands = schema
                .into_iter()
                .filter(|entry| entry.meta_type == "command");
            self.commands = Some(commands.map(|entry| entry.name).collect());
        }
        let known = self.commands.as_ref().is_some_and(|c| c.contains(C::NAME));
        if known {
            return Ok(());
        }
        Err(CapabilityError::Unsupported(Unsupported::Command {
            command: C::NAME,
            qemu: self.version,
        }))
    }

    /// Checks that an export can be on a thread.
    ///
    /// # Errors
    /// If it cannot.
    pub fn export_on_thread(&self) -> Result<(), CapabilityError> {
        let qemu = self.version;
        if qemu < QemuVersion::EXPORTS_ON_THREADS {
            return Err(Unsupported::ExportOnThread { qemu }.into());
        }
        Ok(())
    }

    /// Checks that a kind of device has a property.
    ///
    /// # Errors
    /// If it has not, or QEMU does not say.
    pub fn property(
        &mut self,
        qmp: &Qmp,
        driver: Driver,
        property: &'static str,
        deadline: Deadline,
    ) -> Result<(), CapabilityError> {
        let qemu = self.version;
        let known = match self.devices.entry(driver) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(properties(qmp, driver, deadline)?),
        };
        let missing = match known {
            Some(properties) if properties.contains(property) => return Ok(()),
            Some(_) => Unsupported::Property {
                driver,
                property,
                qemu,
            },
            None => Unsupported::Device { driver, qemu },
        };
        Err(missing.into())
    }

    /// Checks that the queues of a kind of device can be mapped to several threads with
    /// `device_add`.
    ///
    /// # Errors
    /// If they cannot, or QEMU does not say.
    pub fn mapping(
        &mut self,
        qmp: &Qmp,
        driver: Driver,
        deadline: Deadline,
    ) -> Result<(), CapabilityError> {
        let qemu = self.version;
        if driver
            .maps_queues_since()
            .is_none_or(|oldest| qemu < oldest)
        {
            return Err(Unsupported::Mapping { driver, qemu }.into());
        }
        self.property(qmp, driver, "iothread-vq-mapping", deadline)
    }
}

/// `None` if there is no such device.
fn properties(
    qmp: &Qmp,
    driver: Driver,
    deadline: Deadline,
) -> Result<Option<BTreeSet<String>>, QmpError> {
    let command = DeviceListProperties {
        typename: driver.as_str(),
    };
    match qmp.execute(&command, deadline) {
        Ok(properties) => Ok(Some(properties.into_iter().map(|p| p.name).collect())),
        Err(error) if error.class() == Some("DeviceNotFound") => Ok(None),
        Err(error) => Err(error),
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
