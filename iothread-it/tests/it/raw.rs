//! Commands with raw arguments, which the libraries do not send.

use anyhow::Result;
use qmp_client::{Command, Cursor, Qmp, QmpError};
use serde::Serialize;
use serde_json::Value;

use crate::fixture::soon;

macro_rules! raw {
    ($($name:literal $type:ident)*) => {$(
        #[derive(Serialize)]
        #[serde(transparent)]
        pub(crate) struct $type(pub(crate) Value);

        impl Command for $type {
            const NAME: &'static str = $name;
            type Return = Value;
        }
    )*};
}

raw! {
    "block-commit" BlockCommit
    "block-export-add" BlockExportAdd
    "block-export-del" BlockExportDel
    "block-job-cancel" BlockJobCancel
    "block-job-complete" BlockJobComplete
    "block-stream" BlockStream
    "block_resize" BlockResize
    "blockdev-add" BlockdevAdd
    "blockdev-backup" BlockdevBackup
    "blockdev-create" BlockdevCreate
    "blockdev-del" BlockdevDel
    "blockdev-mirror" BlockdevMirror
    "blockdev-reopen" BlockdevReopen
    "blockdev-snapshot-sync" BlockdevSnapshotSync
    "device_add" DeviceAdd
    "device_del" DeviceDel
    "human-monitor-command" HumanMonitor
    "job-dismiss" JobDismiss
    "nbd-server-start" NbdServerStart
    "object-add" ObjectAdd
    "object-del" ObjectDel
    "qom-set" QomSet
    "query-blockstats" QueryBlockstats
    "query-hotpluggable-cpus" QueryHotpluggableCpus
    "query-jobs" QueryJobs
    "query-status" QueryStatus
    "system_reset" SystemReset
    "transaction" Transaction
    "x-blockdev-set-iothread" SetIothread
}

/// Waits until a device is gone.
pub(crate) fn deleted(qmp: &Qmp, device: &str, since: Cursor) -> Result<(), QmpError> {
    let awaited = format!("DEVICE_DELETED of {device}");
    qmp.wait_event(&awaited, since, soon(), |event| {
        (event.name == "DEVICE_DELETED" && event.str("device") == Some(device)).then_some(())
    })
}

/// Waits until a job has this status, such as `ready` or `concluded`.
pub(crate) fn job(qmp: &Qmp, id: &str, status: &str, since: Cursor) -> Result<(), QmpError> {
    let awaited = format!("job {id} to be {status}");
    qmp.wait_event(&awaited, since, soon(), |event| {
        let about = event.name == "JOB_STATUS_CHANGE" && event.str("id") == Some(id);
        (about && event.str("status") == Some(status)).then_some(())
    })
}
