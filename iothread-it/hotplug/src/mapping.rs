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

#[cfg(test)]
mod tests {
    use iothread_pool::IoThreadId;
    use serde_json::json;

    use super::*;

    #[test]
    fn another_mapping_is_refused() {
        let threads = [IoThreadId::indep(0), IoThreadId::indep(1)];
        let queues = threads.clone().into_iter().zip([vec![0], vec![1]]);
        let mapping = VqMapping::explicit(queues.collect()).unwrap();
        let same = json!([{"iothread": threads[0].as_str(), "vqs": [0]}, {"iothread": threads[1].as_str(), "vqs": [1]}]);
        assert!(compare(&mapping, &same).is_ok());
        for other in [
            json!([]),
            json!(null),
            json!([same[1].clone(), same[0].clone()]),
        ] {
            let error = compare(&mapping, &other).unwrap_err();
            assert!(
                matches!(error, StepError::VqMappingMismatch { .. }),
                "{other}"
            );
        }
    }
}
