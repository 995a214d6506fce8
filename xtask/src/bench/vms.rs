//! What the VM benchmarks share.

use std::time::Duration;

use anyhow::Result;
use guest_vm::artifacts::Manifest;
use guest_vm::config::{HypervisorConfig, IoThreads};
use guest_vm::qemu::{Accelerator, Topology, VmSpec};
use qmp_client::wait::Deadline;

use super::Setup;
use super::figure::{Figure, Peer};
use crate::provision;
use iothread_advise::Samples;

/// Runs a benchmark with each selected QEMU.
pub(super) fn each(
    setup: &Setup,
    measure: fn(&Setup, &Vms) -> Result<Vec<Figure>>,
) -> Result<Vec<Figure>> {
    let mut all = Vec::new();
    for qemu in &setup.qemus {
        let manifest = provision::provision(qemu, false)?;
        let accelerator = Accelerator::probe();
        eprintln!("  QEMU {}, {accelerator}", manifest.qemu.version);
        let vms = Vms {
            manifest,
            accelerator,
        };
        all.extend(measure(setup, &vms)?);
    }
    Ok(all)
}

/// A QEMU, a guest and an accelerator.
pub(super) struct Vms {
    pub(super) manifest: Manifest,
    pub(super) accelerator: Accelerator,
}

impl Vms {
    /// Returns a figure whose name has the version of QEMU.
    pub(super) fn figure(
        &self,
        what: &str,
        unit: &'static str,
        ours: Samples,
        peer: Peer,
    ) -> Figure {
        let name = match self.manifest.qemu.parsed_version() {
            Some(version) => format!("{what} (QEMU {version})"),
            None => what.to_owned(),
        };
        Figure::new(name, unit, ours, peer)
    }
}

/// A VM with four IOThreads that do not poll.
pub(super) fn shape(topology: Topology, vcpus: u32) -> VmSpec {
    let mut iothreads = IoThreads {
        count: 4,
        ..IoThreads::default()
    };
    iothreads.properties.poll_max_ns = Some(0);
    let config = HypervisorConfig {
        vcpus,
        iothreads,
        ..HypervisorConfig::default()
    };
    VmSpec {
        topology,
        ..VmSpec::new(config)
    }
}

/// Returns the deadline of one operation.
pub(super) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}
