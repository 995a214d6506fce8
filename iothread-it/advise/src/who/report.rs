//! The report, for a person and as JSON.

use std::fmt;

use qmp_client::command::IoThreadInfo;
use serde::{Deserialize, Serialize};

use super::activity::Activity;
use super::disks::{Disk, Server};
use super::process::Process;
use crate::table::table;

/// Which thread serves which disk, and what both did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The version of QEMU.
    pub qemu: String,
    /// Its process.
    pub pid: i32,
    /// Its disks.
    pub disks: Vec<DiskRow>,
    /// Its main loop, whose name is `main loop`, and its IOThreads.
    pub threads: Vec<ThreadRow>,
    /// The share of one CPU that all other threads used together: vCPUs and workers.
    pub other_cpu: f64,
    /// Block exports. QEMU does not report which threads serve them.
    pub exports: Vec<String>,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DiskRow {
    /// The id of its device, or its path without one.
    pub disk: String,
    /// The type of its device.
    pub device: String,
    /// Its file; empty without a medium.
    pub file: String,
    /// What serves it, by QEMU's configuration.
    pub served_by: Server,
    /// Operations per second: reads, writes, flushes and discards.
    pub operations_per_s: f64,
}

/// The main loop, or an IOThread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ThreadRow {
    /// Its id, or `main loop`.
    pub thread: String,
    /// The id of the thread on this host.
    pub tid: i32,
    /// The share of one CPU that it used.
    pub cpu: f64,
    /// The disks that it serves.
    pub disks: Vec<String>,
}

/// The name of the main loop.
const MAIN_LOOP: &str = "main loop";

/// Below this share of a CPU a thread counts as idle.
const IDLE: f64 = 0.0005;

impl Report {
    pub(super) fn new(
        qemu: String,
        process: &Process,
        iothreads: &[IoThreadInfo],
        disks: Vec<Disk>,
        exports: Vec<String>,
        activity: &Activity,
    ) -> Self {
        let served_by_main_loop = disks.iter().filter(|disk| disk.server == Server::MainLoop);
        let main_loop = ThreadRow {
            thread: MAIN_LOOP.to_owned(),
            tid: process.pid,
            cpu: activity.cpu.get(&process.pid).copied().unwrap_or_default(),
            disks: served_by_main_loop.map(|disk| disk.id.clone()).collect(),
        };
        let iothreads = iothreads.iter().map(|thread| {
            let tid = process.tid(thread.thread_id).unwrap_or(thread.thread_id);
            let served = |disk: &&Disk| disk.server.threads().any(|one| one == thread.id);
            ThreadRow {
                thread: thread.id.clone(),
                tid,
                cpu: activity.cpu.get(&tid).copied().unwrap_or_default(),
                disks: disks
                    .iter()
                    .filter(served)
                    .map(|disk| disk.id.clone())
                    .collect(),
            }
        });
        let threads: Vec<ThreadRow> = std::iter::once(main_loop).chain(iothreads).collect();
        let of_others = activity.cpu.iter();
        let of_others = of_others.filter(|(tid, _)| threads.iter().all(|row| row.tid != **tid));
        Self {
            qemu,
            pid: process.pid,
            other_cpu: of_others.map(|(_, cpu)| cpu).sum(),
            disks: disks.into_iter().map(|disk| row(disk, activity)).collect(),
            threads,
            exports,
        }
    }

    /// Returns the report as JSON, with a line break at its end.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a report has a JSON form");
        text.push('\n');
        text
    }

    /// Disks with I/O of which no serving thread used the CPU: what serves them is not what QEMU reports.
    fn contradictions(&self) -> impl Iterator<Item = String> {
        let busy = self.disks.iter().filter(|disk| disk.operations_per_s > 0.0);
        let idle = busy.filter(|disk| {
            let mut serving = self.threads.iter();
            serving.all(|thread| !thread.disks.contains(&disk.disk) || thread.cpu < IDLE)
        });
        idle.map(|disk| {
            let DiskRow {
                disk, served_by, ..
            } = disk;
            format!("{disk} did I/O, but {served_by} used no CPU time: something else serves it")
        })
    }
}

fn row(disk: Disk, activity: &Activity) -> DiskRow {
    let operations = activity.operations.get(&disk.qdev).copied();
    DiskRow {
        disk: disk.id,
        device: disk.device,
        file: disk.file,
        served_by: disk.server,
        operations_per_s: operations.unwrap_or_default(),
    }
}

/// Writes `io0`, or `io0 (queues 0, 2), io1 (queues 1, 3)`.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MainLoop => f.write_str(MAIN_LOOP),
            Self::Thread(thread) => f.write_str(thread),
            Self::Queues(queues) => {
                let each = queues
                    .iter()
                    .map(|(thread, numbers)| match numbers.as_deref() {
                        None => thread.clone(),
                        Some([number]) => format!("{thread} (queue {number})"),
                        Some(numbers) => {
                            let numbers: Vec<String> = numbers.iter().map(u16::to_string).collect();
                            format!("{thread} (queues {})", numbers.join(", "))
                        }
                    });
                f.write_str(&each.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "QEMU {}, process {}", self.qemu, self.pid)?;
        let mut disks = table(&["disk", "device", "file", "served by", "I/O per s"], &[4]);
        for row in &self.disks {
            disks.add_row([
                row.disk.clone(),
                row.device.clone(),
                row.file.clone(),
                row.served_by.to_string(),
                format!("{:.0}", row.operations_per_s),
            ]);
        }
        let mut threads = table(&["thread", "tid", "CPU", "serves"], &[1, 2]);
        for row in &self.threads {
            let disks = match row.disks.is_empty() {
                true => "no disk".to_owned(),
                false => row.disks.join(", "),
            };
            threads.add_row([
                row.thread.clone(),
                row.tid.to_string(),
                percent(row.cpu),
                disks,
            ]);
        }
        let others = [
            "other threads".to_owned(),
            String::new(),
            percent(self.other_cpu),
            String::new(),
        ];
        threads.add_row(others);
        writeln!(f, "{disks}\n{threads}")?;
        for contradiction in self.contradictions() {
            writeln!(f, "warning: {contradiction}")?;
        }
        if !self.exports.is_empty() {
            let exports = self.exports.join(", ");
            writeln!(
                f,
                "note: QEMU does not report which threads serve its block exports ({exports})"
            )?;
        }
        Ok(())
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let disk = |disk: &str, device: &str, served_by, operations_per_s| DiskRow {
            disk: disk.to_owned(),
            device: device.to_owned(),
            file: format!("/images/{disk}.raw"),
            served_by,
            operations_per_s,
        };
        let thread = |thread: &str, tid, cpu, disks: &[&str]| ThreadRow {
            thread: thread.to_owned(),
            tid,
            cpu,
            disks: disks.iter().map(|&disk| disk.to_owned()).collect(),
        };
        let queues = vec![
            ("io0".to_owned(), Some(vec![0, 2])),
            ("io1".to_owned(), Some(vec![1])),
        ];
        Report {
            qemu: "10.0.13".to_owned(),
            pid: 4711,
            disks: vec![
                disk("mapped", "virtio-blk-pci", Server::Queues(queues), 1234.5),
                disk("sd0", "scsi-hd", Server::Thread("io2".to_owned()), 7.0),
                disk("ide", "ide-hd", Server::MainLoop, 0.0),
            ],
            threads: vec![
                thread(MAIN_LOOP, 4711, 0.021, &["ide"]),
                thread("io0", 4712, 0.5, &["mapped"]),
                thread("io1", 4713, 0.0, &["mapped"]),
                thread("io2", 4714, 0.0, &["sd0"]),
                thread("io3", 4715, 0.0, &[]),
            ],
            other_cpu: 1.5,
            exports: vec!["nbd0".to_owned()],
        }
    }

    #[test]
    fn a_person_reads_tables_and_what_contradicts_them() {
        insta::assert_snapshot!(report());
    }

    #[test]
    fn json_is_read_back() {
        let read: Report = serde_json::from_str(&report().to_json()).expect("valid JSON");
        assert_eq!(read, report());
    }
}
