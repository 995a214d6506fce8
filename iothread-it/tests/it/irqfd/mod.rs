//! How interrupts of a disk on an IOThread reach the guest. With irqfd the thread signals an eventfd that QEMU has
//! given to KVM, and the main loop sleeps. Otherwise the main loop reads that eventfd and injects the interrupt.
//!
//! QEMU's event `virtio_notify_irqfd` is the signal, which is the same in both. What differs is counted beside
//! it: eventfds that KVM gets, interrupts that the main loop injects, and how often it wakes up.

mod blocked;
mod counts;
mod isolation;

use anyhow::{Result, ensure};
use guest_vm::qemu::{Accelerator, Topology, VmSpec};
use kata_test::Verdict;

use crate::fixture::{cases, on_each_machine, shape};
use counts::{Counts, counted, load_while_blocked};
use isolation::table_with_and_without_irqfd;

on_each_machine!(;
    needs (when = crate::irqfd::kvm, when = crate::fixture::qemu_and_guest):
        interrupts_bypass_the_main_loop_under_kvm,
        main_loop_injects_interrupts_without_msi,
        disk_works_beside_a_blocked_main_loop_under_kvm,
        disk_waits_for_a_blocked_main_loop_without_msi;
    needs (when = crate::irqfd::tcg, when = crate::fixture::qemu_and_guest):
        main_loop_injects_interrupts_under_tcg,
        disk_waits_for_a_blocked_main_loop_under_tcg;
    needs (
        when = crate::irqfd::tcg,
        when = crate::fixture::qemu_and_guest,
        unstable(reason = "with QEMU 7.2 and pc, the guest once got no interrupt for its last requests")
    ):
        load_ends_after_a_blocked_main_loop_under_tcg,
);

mod figures {
    use super::{cases, table_with_and_without_irqfd};

    cases!(q35 Q35; (when = crate::irqfd::kvm, when = crate::fixture::qemu_and_guest) table_with_and_without_irqfd);
}

/// The fewest signals of a load: one interrupt is for eight requests at most, or a few more.
const SIGNALS: usize = 50;

/// Where the decision for an accelerator comes from.
const PROBE: &str = "Accelerator::probe";

/// Whether QEMU runs under KVM here.
pub(crate) fn kvm() -> Verdict {
    match Accelerator::probe() {
        Accelerator::Kvm => Verdict::met("KVM", PROBE),
        Accelerator::Tcg { why, .. } => Verdict::unmet(why, PROBE),
    }
}

/// Whether QEMU emulates the guest's CPUs here.
pub(crate) fn tcg() -> Verdict {
    match Accelerator::probe() {
        Accelerator::Kvm => Verdict::unmet("QEMU runs under KVM", PROBE),
        Accelerator::Tcg { why, .. } => Verdict::met(why, PROBE),
    }
}

fn interrupts_bypass_the_main_loop_under_kvm(topology: Topology) -> Result<()> {
    let counts = counted(&shape(topology)?)?;
    signalled(&counts)?;
    ensure!(counts.eventfds > 0, "KVM got no eventfd: {counts:?}");
    let few = counts.signals / 10;
    ensure!(
        counts.injected <= few && counts.wake_ups <= few,
        "the main loop takes part: {counts:?}"
    );
    Ok(())
}

fn main_loop_injects_interrupts_without_msi(topology: Topology) -> Result<()> {
    crosses_the_main_loop(&without_irqfd(shape(topology)?))
}

fn main_loop_injects_interrupts_under_tcg(topology: Topology) -> Result<()> {
    crosses_the_main_loop(&shape(topology)?)
}

/// The shape with a guest that uses no MSI: QEMU has irqfd for nothing else. Interrupts are those of PCI's pins.
fn without_irqfd(shape: VmSpec) -> VmSpec {
    VmSpec {
        kernel_arguments: "pci=nomsi".to_owned(),
        ..shape
    }
}

fn crosses_the_main_loop(shape: &VmSpec) -> Result<()> {
    let counts = counted(shape)?;
    signalled(&counts)?;
    ensure!(counts.eventfds == 0, "KVM got an eventfd: {counts:?}");
    // The main loop may find several signals at once.
    let many = counts.signals / 4;
    ensure!(
        counts.injected >= many && counts.wake_ups >= many,
        "the main loop does not take part: {counts:?}"
    );
    Ok(())
}

fn disk_works_beside_a_blocked_main_loop_under_kvm(topology: Topology) -> Result<()> {
    let load = load_while_blocked(&shape(topology)?)?;
    ensure!(load.completed >= MANY && load.errors == 0, "{load:?}");
    Ok(())
}

fn disk_waits_for_a_blocked_main_loop_without_msi(topology: Topology) -> Result<()> {
    let load = load_while_blocked(&without_irqfd(shape(topology)?))?;
    ensure!(load.completed < MANY && load.errors == 0, "{load:?}");
    Ok(())
}

/// Without interrupts the guest only completes what it had begun, and what it finds completed when it begins more.
fn disk_waits_for_a_blocked_main_loop_under_tcg(topology: Topology) -> Result<()> {
    let load = load_while_blocked(&shape(topology)?)?;
    ensure!(load.completed < MANY, "{load:?}");
    Ok(())
}

/// A case of its own, since it failed once: whether QEMU or the guest lost the interrupt is not known.
fn load_ends_after_a_blocked_main_loop_under_tcg(topology: Topology) -> Result<()> {
    let load = load_while_blocked(&shape(topology)?)?;
    ensure!(load.errors == 0, "{load:?}");
    Ok(())
}

/// A number of requests that only a disk with interrupts completes.
const MANY: usize = 10 * counts::DEPTH as usize;

/// Checks that the disk's thread, and no other, completed requests and signalled.
fn signalled(counts: &Counts) -> Result<()> {
    let Counts {
        requests, signals, ..
    } = *counts;
    ensure!(
        requests >= signals && signals >= SIGNALS && counts.signals_of_others == 0,
        "the disk's thread is to signal: {counts:?}"
    );
    for (name, count) in [
        ("requests", requests),
        ("signals", signals),
        ("eventfds given to KVM", counts.eventfds),
        ("interrupts injected by the main loop", counts.injected),
        ("wake-ups of the main loop", counts.wake_ups),
    ] {
        kata_test::measure(name, count as f64);
    }
    Ok(())
}
