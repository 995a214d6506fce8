//! How many IOThreads, and which disk where: measured on a storage backend with a VM of its own.
//!
//! Each layout (threads × queues × placement × polling) is measured in each of several rounds, so that a slow moment of
//! the machine meets all of them, and layouts are compared round by round. The simplest layout that no other beats is
//! recommended, which can be the main loop; see `choice`.

mod choice;
mod layout;
mod measure;
mod report;

use std::error::Error as StdError;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use guest_vm::artifacts::{Manifest, Store};
use guest_vm::config::{HypervisorConfig, IoThreads};
use guest_vm::guest::protocol::Direction;
use guest_vm::qemu::{Topology, VmSpec};
use guest_vm::vm::{ExitReport, Vm};
use guest_vm::warm::WarmStore;
use qmp_client::QemuVersion;

use choice::{Measured, choose};
use layout::Limits;
use measure::{Bench, Sample};

pub use layout::Layout;
pub use report::Advice;

/// Every layout is measured at least so often, whatever the time limit.
const ROUNDS: usize = 7;

/// Measures how many IOThreads are worth their cost for hot-plugged virtio-blk disks, and prints a recommendation.
#[derive(Debug, Clone, clap::Args)]
// Flattened into the options of a command, which have this name too.
#[group(skip)]
pub struct Options {
    /// Where the files of the disks are created: a folder on the storage that VMs will use. The default is the
    /// target folder.
    #[arg(long, value_name = "FOLDER")]
    pub directory: Option<PathBuf>,

    /// The number of disks, which are loaded all at once.
    #[arg(long, value_name = "N", default_value = "4")]
    pub disks: NonZeroUsize,

    /// The maximum number of IOThreads to try. The default is the number of disks.
    #[arg(long, value_name = "N")]
    pub max_threads: Option<NonZeroUsize>,

    /// The size of a disk, in MiB.
    #[arg(long, value_name = "MIB", default_value = "64")]
    pub size: NonZeroU64,

    /// Writes instead of reading.
    #[arg(long)]
    pub write: bool,

    /// The bytes of an operation, a multiple of 512.
    #[arg(long, value_name = "BYTES", default_value = "4096")]
    pub block_size: u32,

    /// The number of operations in flight of each vCPU.
    #[arg(long, value_name = "N", default_value = "32")]
    pub depth: u32,

    /// For how long to measure, in seconds. Every layout is measured at least seven times.
    #[arg(long, value_name = "N", default_value = "150")]
    pub seconds: u64,
}

impl Options {
    fn size_bytes(&self) -> u64 {
        self.size.get() << 20
    }

    fn direction(&self) -> Direction {
        match self.write {
            true => Direction::Write,
            false => Direction::Read,
        }
    }
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdviseError {
    /// A step failed.
    #[error("cannot {doing}")]
    Step {
        /// What was attempted.
        doing: &'static str,
        /// Why it failed.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A load failed in the guest.
    #[error("a load in the guest failed: {0}")]
    Load(String),
    /// A layout could not be measured.
    #[error("cannot measure {layout}{report}")]
    Layout {
        /// The layout.
        layout: Layout,
        /// What QEMU and the guest wrote.
        report: ExitReport,
        /// Why.
        source: Box<AdviseError>,
    },
}

/// Names the step that failed.
trait Context<T> {
    fn doing(self, doing: &'static str) -> Result<T, AdviseError>;
}

impl<T, E: StdError + Send + Sync + 'static> Context<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, AdviseError> {
        self.map_err(|source| AdviseError::Step {
            doing,
            source: Box::new(source),
        })
    }
}

/// Measures with this QEMU and guest. `config` is the shape of the VM; its IOThreads are not used. `folder` is for
/// files where the options name none. `progress` is called with the number of finished runs and of those expected.
///
/// # Errors
/// If the VM does not start, a disk cannot be attached, or a load fails.
pub fn advise(
    options: &Options,
    manifest: &Manifest,
    config: HypervisorConfig,
    folder: &Path,
    mut progress: impl FnMut(usize, usize),
) -> Result<Advice, AdviseError> {
    let disks = options.disks.get();
    let threads = options.max_threads.map_or(disks, NonZeroUsize::get);
    let limits = Limits {
        disks,
        threads,
        vcpus: u16::try_from(config.vcpus).unwrap_or(u16::MAX),
        spreads: manifest.qemu.parsed_version() >= Some(QemuVersion::MAPS_QUEUES),
    };
    let vcpus = config.vcpus;
    let vm = start(manifest, config, &limits)?;
    let folder = options.directory.as_deref().unwrap_or(folder);
    let mut bench = Bench::new(vm, options, vcpus, folder)?;
    let layouts = Layout::all(&limits);
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); layouts.len()];
    let start = Instant::now();
    let limit = Duration::from_secs(options.seconds);
    let mut runs = 0;
    for round in 0.. {
        let has_time = start.elapsed() + start.elapsed() / round.max(1) < limit;
        if round as usize >= ROUNDS && !has_time {
            break;
        }
        // Forwards and backwards, so that drift meets all layouts alike.
        let mut order: Vec<usize> = (0..layouts.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for same in order.chunk_by(|one, next| layouts[*one].has_disks_of(&layouts[*next])) {
            let group: Vec<Layout> = same.iter().map(|index| layouts[*index]).collect();
            let measured = bench.measure(&group);
            let measured = measured.map_err(|source| AdviseError::Layout {
                layout: layouts[same[0]],
                report: bench.exit_report(),
                source: Box::new(source),
            })?;
            for (index, sample) in same.iter().zip(measured) {
                samples[*index].push(sample);
            }
            runs += same.len();
            let expected = expected(runs, layouts.len(), start.elapsed(), limit);
            progress(runs, expected);
        }
    }
    let measured = layouts.into_iter().zip(&samples);
    let measured: Vec<Measured> = measured
        .filter_map(|(layout, samples)| Measured::new(layout, samples))
        .collect();
    let choice = choose(&measured);
    Ok(Advice { measured, choice })
}

/// How many runs there will be: whole rounds, at least [`ROUNDS`], until the time is over.
fn expected(runs: usize, layouts: usize, elapsed: Duration, limit: Duration) -> usize {
    let each = elapsed.as_secs_f64() / runs.max(1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate of a small positive number"
    )]
    let rounds = (limit.as_secs_f64() / (each * layouts as f64)) as usize;
    rounds.max(ROUNDS).max(runs.div_ceil(layouts)) * layouts
}

fn start(
    manifest: &Manifest,
    config: HypervisorConfig,
    limits: &Limits,
) -> Result<Vm, AdviseError> {
    let config = HypervisorConfig {
        iothreads: IoThreads {
            count: limits.threads,
            ..IoThreads::default()
        },
        num_queues: None,
        ..config
    };
    let spec = VmSpec {
        topology: Topology::from(config.machine),
        root_ports: limits.disks + 1,
        ..VmSpec::new(config)
    };
    let store = WarmStore::of(&Store::of_user().doing("open the cache")?);
    Vm::restore_or_boot(manifest, &spec, &store).doing("start a VM")
}
