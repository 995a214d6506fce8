//! Which thread serves which disk, in any running QEMU.

mod activity;
mod disks;
mod monitor;
mod process;
mod report;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use qmp_client::command::{QueryIothreads, QueryVersion};
use qmp_client::wait::Deadline;

use crate::Error;
use activity::Counters;
use monitor::Monitor;
use process::Process;

pub use disks::Server;
pub use report::{DiskRow, Report, ThreadRow};

/// How long QEMU may take for a reply.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shows which thread of a running QEMU serves which disk: what QEMU is configured with, and what disks and
/// threads do for a while. Only queries are sent.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The process id of QEMU.
    pub pid: i32,

    /// A QMP socket of this QEMU. The default is each one of its command line, until one answers.
    #[arg(long, value_name = "SOCKET")]
    pub qmp: Option<PathBuf>,

    /// For how long to observe, in seconds.
    #[arg(long, value_name = "N", default_value = "1")]
    pub seconds: NonZeroU32,

    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

/// Observes, and prints the report.
///
/// # Errors
/// As for [`observe`], and if standard output cannot be written.
pub fn run(options: &Options) -> Result<(), Error> {
    let report = observe(options)?;
    let text = match options.json {
        true => report.to_json(),
        false => report.to_string(),
    };
    let mut out = std::io::stdout().lock();
    std::io::Write::write_all(&mut out, text.as_bytes()).map_err(Error::Print)
}

/// Observes a QEMU.
///
/// # Errors
/// If there is no such process, no monitor of it answers, or QEMU refuses a query.
pub fn observe(options: &Options) -> Result<Report, Error> {
    let process = Process::of(options.pid)?;
    let monitor = Monitor::connect(&process, options.qmp.as_deref())?;
    let soon = || Deadline::after(PATIENCE);
    let version = monitor.qmp.execute(&QueryVersion {}, soon())?;
    let threads = monitor.qmp.execute(&QueryIothreads {}, soon())?;
    if let Some(stranger) = threads
        .iter()
        .find(|one| !process.has_thread(one.thread_id))
    {
        return Err(Error::OtherProcess {
            pid: options.pid,
            path: monitor.path,
            thread: stranger.thread_id,
        });
    }
    let disks = disks::disks(&monitor.qmp, soon)?;
    let start = Instant::now();
    let before = Counters::read(&process, &monitor.qmp, soon())?;
    sleep(Duration::from_secs(options.seconds.get().into()));
    let after = Counters::read(&process, &monitor.qmp, soon())?;
    let exports = disks::exports(&monitor.qmp, soon())?;
    Ok(Report::new(
        version.qemu.to_string(),
        &process,
        &threads,
        disks,
        exports,
        &after.since(&before, start.elapsed()),
    ))
}
