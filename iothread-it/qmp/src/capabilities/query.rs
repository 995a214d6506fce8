//! Checks that query QEMU for what is not known yet.

use super::{Capabilities, Driver, Unsupported};
use crate::command::{Command, DeviceListProperties, QueryQmpSchema};
use crate::wait::Deadline;
use crate::{Qmp, QmpError};

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
    /// Checks that QEMU has a command.
    ///
    /// # Errors
    /// If QEMU lacks it, or the query fails.
    pub fn command<C: Command>(
        &mut self,
        qmp: &Qmp,
        deadline: Deadline,
    ) -> Result<(), CapabilityError> {
        loop {
            if let Some(known) = self.has_command::<C>() {
                return Ok(known?);
            }
            self.note_schema(qmp.execute(&QueryQmpSchema {}, deadline)?);
        }
    }

    /// Checks that a kind of device has a property.
    ///
    /// # Errors
    /// If it has not, or the query fails.
    pub fn property(
        &mut self,
        qmp: &Qmp,
        driver: Driver,
        property: &'static str,
        deadline: Deadline,
    ) -> Result<(), CapabilityError> {
        loop {
            if let Some(known) = self.has_property(driver, property) {
                return Ok(known?);
            }
            self.query_properties(qmp, driver, deadline)?;
        }
    }

    /// Checks that the queues of a kind of device can be mapped to several threads with
    /// `device_add`.
    ///
    /// # Errors
    /// If they cannot, or the query fails.
    pub fn mapping(
        &mut self,
        qmp: &Qmp,
        driver: Driver,
        deadline: Deadline,
    ) -> Result<(), CapabilityError> {
        loop {
            if let Some(known) = self.maps_queues(driver) {
                return Ok(known?);
            }
            self.query_properties(qmp, driver, deadline)?;
        }
    }

    fn query_properties(
        &mut self,
        qmp: &Qmp,
        driver: Driver,
        deadline: Deadline,
    ) -> Result<(), QmpError> {
        let command = DeviceListProperties {
            typename: driver.as_str(),
        };
        let properties = match qmp.execute(&command, deadline) {
            Ok(properties) => Some(properties),
            Err(error) if error.class() == Some("DeviceNotFound") => None,
            Err(error) => return Err(error),
        };
        self.note_properties(driver, properties);
        Ok(())
    }
}
