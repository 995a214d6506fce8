//! `advise` with a real VM, as short as it can be.

use std::fs;
use std::num::{NonZeroU64, NonZeroUsize};

use anyhow::Result;
use guest_vm::artifacts::Manifest;
use guest_vm::config::{Aio, HypervisorConfig};
use iothread_advise::advise::{Options, advise};
use kata_test::{Verdict, kata_test};

kata_test::main!();

fn has_qemu() -> Verdict {
    match Manifest::find() {
        Ok(manifest) => Verdict::met(format!("QEMU {}", manifest.qemu.version), "artifacts.json"),
        Err(error) => Verdict::unmet(error.to_string(), "artifacts.json"),
    }
}

#[kata_test(when = has_qemu)]
fn every_layout_is_measured_and_nothing_is_left() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let options = Options {
        directory: Some(folder.path().to_owned()),
        disks: NonZeroUsize::MIN,
        max_threads: None,
        size: NonZeroU64::MIN,
        write: true,
        block_size: 4096,
        depth: 4,
        seconds: 0,
    };
    let config = HypervisorConfig {
        aio: Aio::Threads,
        ..HypervisorConfig::default()
    };
    let mut finished = Vec::new();
    let progress = |runs, expected| finished.push((runs, expected));
    let advice = advise(
        &options,
        &Manifest::find()?,
        config,
        folder.path(),
        progress,
    )?;
    // Three layouts, seven times each.
    assert_eq!(finished.last(), Some(&(21, 21)));
    let text = advice.to_string();
    for layout in [
        "main loop, 1 queue",
        "1 thread, 1 queue",
        "1 thread, 1 queue, no polling",
    ] {
        assert!(text.contains(&format!("│ {layout} ")), "{text}");
    }
    let answer = match advice.recommended() {
        Some(layout) => format!("recommended: {layout}"),
        None => "no recommendation: the figures spread too much".to_owned(),
    };
    assert!(text.contains(&answer), "{text}");
    let scratch = folder.path().join("iothread-it-scratch");
    let left = fs::read_dir(scratch)?.filter_map(Result::ok);
    let left = left.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    assert_eq!(left.count(), 0);
    Ok(())
}
