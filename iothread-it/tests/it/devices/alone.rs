//! A QEMU without a guest, with the threads of a pool: for what a guest has no part in.

use anyhow::{Context, Result};
use guest_vm::artifacts::Manifest;
use guest_vm::config::{Aio, HypervisorConfig};
use guest_vm::qemu::Trace;
use guest_vm::scratch::ScratchDir;
use iothread_hotplug::blocking::Hotplug;
use iothread_hotplug::{BlockOptions, DiskSpec};
use iothread_pool::{IoThreadId, Pool, SlotTable};

use crate::bare::Bare;
use crate::fixture::{empty_disk, scratch};

const THREADS: usize = 3;

pub(super) struct Alone {
    pub(super) qemu: Bare,
    pub(super) hotplug: Hotplug,
    pub(super) scratch: ScratchDir,
    /// Of reads from block nodes.
    pub(super) trace: Trace,
    _traces: ScratchDir,
}

impl Alone {
    /// Runs a case and ends QEMU. A case that fails shows what QEMU said.
    pub(super) fn run(case: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let mut alone = Self::start()?;
        case(&mut alone)
            .with_context(|| format!("the case failed; {}", alone.qemu.exit_report()))?;
        alone.qemu.quit()
    }

    fn start() -> Result<Self> {
        let threads: Vec<_> = (0..THREADS).map(IoThreadId::indep).collect();
        // An idle thread sleeps, so its CPU time shows what it did.
        let objects: Vec<String> = threads
            .iter()
            .map(|thread| format!("iothread,id={thread},poll-max-ns=0"))
            .collect();
        let mut arguments = vec!["-machine", "none"];
        for object in &objects {
            arguments.extend(["-object", object]);
        }
        let traces = scratch()?;
        let trace = Trace::new(traces.path().to_owned(), vec!["blk_co_preadv"]);
        let traced = trace.arguments();
        for argument in &traced {
            arguments.push(argument.to_str().context("the path is no text")?);
        }
        let config = HypervisorConfig {
            aio: Aio::Threads,
            ..HypervisorConfig::default()
        };
        let version = Manifest::find()?.qemu.parsed_version();
        let version = version.context("the manifest's QEMU has no version")?;
        let pool = Pool::new(threads, SlotTable::root_ports(0))?;
        Ok(Self {
            qemu: Bare::start(&arguments)?,
            hotplug: Hotplug::new(pool, BlockOptions::from(&config), version),
            scratch: scratch()?,
            trace,
            _traces: traces,
        })
    }

    pub(super) fn disk(&self, name: &str) -> Result<DiskSpec> {
        empty_disk(&self.scratch, name)
    }
}
