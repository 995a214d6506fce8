//! The proof of a mapping of queues to threads.
//!
//! A successful `device_add` proves nothing: QEMU before 9.2 silently ignores it. Only the device's
//! own property does.

use serde::Deserialize;

use super::StepError;
use super::wire::vq_mapping;
use iothread_pool::{DeviceId, VqMapping};
use qmp_client::Qmp;
use qmp_client::command::{IoThreadVirtQueueMapping, QomGet};
use qmp_client::wait::Deadline;

/// Reads the device's property and compares.
pub(super) fn verify(
    qmp: &Qmp,
    device: &DeviceId,
    mapping: &VqMapping,
    deadline: Deadline,
) -> Result<(), StepError> {
    let property = QomGet {
        path: &format!("/machine/peripheral/{device}"),
        property: "iothread-vq-mapping",
    };
    let found = qmp.execute(&property, deadline)?;
    let same = Vec::<IoThreadVirtQueueMapping>::deserialize(&found)
        .is_ok_and(|f| f == vq_mapping(mapping));
    if same {
        Ok(())
    } else {
        Err(StepError::VqMappingMismatch {
            found: found.to_string(),
        })
    }
}
