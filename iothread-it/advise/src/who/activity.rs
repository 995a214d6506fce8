//! What disks and threads did between two moments.

use std::collections::BTreeMap;
use std::time::Duration;

use qmp_client::command::Command;
use qmp_client::wait::Deadline;
use qmp_client::{Qmp, QmpError};
use serde::{Deserialize, Serialize};

use super::process::Process;

/// The counters of disks and threads at one moment.
pub(super) struct Counters {
    /// Operations of each disk, by QEMU's name of its device.
    operations: BTreeMap<String, u64>,
    /// CPU time of each thread, by its id here.
    cpu: BTreeMap<i32, Duration>,
}

/// What was done per second.
pub(super) struct Activity {
    pub(super) operations: BTreeMap<String, f64>,
    /// The share of one CPU that each thread used.
    pub(super) cpu: BTreeMap<i32, f64>,
}

#[derive(Serialize)]
struct QueryBlockStats {}

impl Command for QueryBlockStats {
    const NAME: &'static str = "query-blockstats";
    type Return = Vec<BlockStats>;
}

#[derive(Deserialize)]
struct BlockStats {
    #[serde(default)]
    qdev: Option<String>,
    stats: Operations,
}

#[derive(Deserialize)]
struct Operations {
    rd_operations: u64,
    wr_operations: u64,
    #[serde(default)]
    flush_operations: u64,
    #[serde(default)]
    unmap_operations: u64,
}

impl Counters {
    pub(super) fn read(process: &Process, qmp: &Qmp, deadline: Deadline) -> Result<Self, QmpError> {
        let stats = qmp.execute(&QueryBlockStats {}, deadline)?;
        let operations = stats.into_iter().filter_map(|one| {
            let Operations {
                rd_operations,
                wr_operations,
                flush_operations,
                unmap_operations,
            } = one.stats;
            let counts = [
                rd_operations,
                wr_operations,
                flush_operations,
                unmap_operations,
            ];
            Some((one.qdev?, counts.into_iter().fold(0, u64::saturating_add)))
        });
        let cpu = process.threads().iter();
        let cpu = cpu.filter_map(|thread| Some((thread.tid, process.cpu_time(thread.tid)?)));
        Ok(Self {
            operations: operations.collect(),
            cpu: cpu.collect(),
        })
    }

    /// What was done since an earlier moment. Disks and threads that are new or gone are left out.
    pub(super) fn since(&self, before: &Self, span: Duration) -> Activity {
        let seconds = span.as_secs_f64();
        let operations = self.operations.iter().filter_map(|(disk, now)| {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a rate is shown in a few digits"
            )]
            let done = now.saturating_sub(*before.operations.get(disk)?) as f64;
            Some((disk.clone(), done / seconds))
        });
        let cpu = self.cpu.iter().filter_map(|(thread, now)| {
            let used = now.saturating_sub(*before.cpu.get(thread)?);
            Some((*thread, used.as_secs_f64() / seconds))
        });
        Activity {
            operations: operations.collect(),
            cpu: cpu.collect(),
        }
    }
}
