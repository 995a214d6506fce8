//! `cargo xtask advise`: provisions QEMU and a guest, measures, and prints a recommendation.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use guest_vm::config::{Aio, HypervisorConfig};
use iothread_advise::advise;

use crate::{cargo, it, provision};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which QEMU: `auto`, `host`, `suite:NAME` or a path.
    #[arg(long, default_value = "auto", value_parser = it::qemus, value_name = "QEMU")]
    qemu: it::Qemus,

    /// The shape of the VM and how it opens disks, as Kata's configuration. The default is 2 vCPUs and
    /// `block_device_aio = "threads"`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    advise: advise::Options,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let config = match &options.config {
        Some(path) => it::read_config(path)?,
        None => HypervisorConfig {
            vcpus: 2,
            aio: Aio::Threads,
            ..HypervisorConfig::default()
        },
    };
    let folder = cargo::target_directory()?.join("kata-test");
    for qemu in &options.qemu.0 {
        let manifest = provision::provision(qemu, false)?;
        println!(
            "QEMU {}, {} disks, {} vCPUs",
            manifest.qemu.version, options.advise.disks, config.vcpus
        );
        let is_terminal = std::io::stderr().is_terminal();
        let progress = |runs: usize, expected: usize| {
            if is_terminal {
                eprint!("\r{runs} of about {expected} runs");
            }
        };
        let advice = advise::advise(
            &options.advise,
            &manifest,
            config.clone(),
            &folder,
            progress,
        )?;
        if is_terminal {
            eprint!("\r\x1b[K");
        }
        print!("{advice}");
    }
    Ok(ExitCode::SUCCESS)
}
