//! The proof of a mapping of queues to threads.
//!
//! A successful `device_add` proves nothing: QEMU before 9.2 silently ignores it. Only the device's
//! own property does.

use iothread_pool::VqMapping;
use qmp_client::command::{IoThreadVirtQueueMapping, QomGet};
use serde::Deserialize;
use serde_json::Value;

use crate::error::StepError;
use crate::wire::vq_mapping;

/// Returns the query for the property of the device at a path.
pub(crate) fn query(path: &str) -> QomGet<'_> {
    QomGet {
        path,
        property: "iothread-vq-mapping",
    }
}

/// Compares the device's property.
pub(crate) fn compare(mapping: &VqMapping, found: &Value) -> Result<(), StepError> {
    let same = Vec::<IoThreadVirtQueueMapping>::deserialize(found)
        .is_ok_and(|found| found == vq_mapping(mapping));
    if same {
        Ok(())
    } else {
        Err(StepError::VqMappingMismatch {
            found: found.to_string(),
        })
    }
}
