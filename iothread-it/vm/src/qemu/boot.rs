//! Options that shorten a cold boot, with measurements.
//!
//! Each option was left out in turn: q35, one vCPU, TCG, QEMU 11.1, Debian's cloud kernel 6.1. The values
//! are medians of nine, in seconds of CPU time to the greeting of the agent, on a busy machine. All but
//! the first few differ by little more than the noise. `cargo xtask bench boot` compares all options with
//! a plain boot of the same kernel and image.
//!
//! | option | without it | reason |
//! |---|---|---|
//! | none of them: `vmlinuz`, `quiet panic=-1` | 3.10 | |
//! | all of them | 1.86 | |
//! | `init_on_alloc=0` (of another run, 2.04 without it) | 1.77 | memory is not cleared twice |
//! | `cryptomgr.notests audit=0 apparmor=0` | 2.34 | self-tests of ciphers, and unused policies |
//! | the kernel uncompressed ([`crate::guest::kernel`]) | 2.27 | an emulated CPU unpacks slowly |
//! | `noreplace-smp` | 2.05 | patching locks in and out retranslates the kernel |
//! | no SMM, SATA, SMBus, i8042, VMware port | 1.99 | firmware and kernel look for each |
//! | `nokaslr` | 1.96 | nothing to relocate |
//! | a small CPU model under emulation | 1.95 | fewer alternatives to patch in, and shorter page walks |
//! | `tsc=reliable no_timer_check` | 1.92 | no calibration to wait for |
//! | `rcupdate.rcu_expedited=1` | 1.92 | no grace periods to wait for |
//! | `mitigations=off` | 1.90 | |
//!
//! The following options were measured in guest instructions, which have no noise: `-icount
//! shift=0,sleep=off`, up to the message of the last module. Without these options there are 820 million
//! instructions, with all of them 572 million (same kernel; QEMU 7.2 for the signatures, 10.0 for the
//! rest).
//!
//! | option | without it | reason |
//! |---|---|---|
//! | modules without signatures (`guest/image/signature.rs`) | 141 more | hashes and RSA for eleven modules |
//! | `initcall_blacklist=ftrace_check_for_weak_functions` | 78 more | the name of each traceable function is looked up, only to list fewer of them |
//! | `initcall_blacklist=trace_eval_init` | 35 more | names of enums in trace formats |
//!
//! With them a boot took 0.54 to 0.58 of a plain boot, before 0.49 to 0.68, depending on the QEMU.
//!
//! `norandmaps` is for programs in the guest: QEMU 7.2 translates code again at each other address, so
//! that a program starts in a quarter of the time if its addresses stay the same.
//!
//! Not used, since they gained less than the noise: qboot for SeaBIOS, no SCSI modules at
//! first, `ipv6.disable=1`, `hpet=off`, less memory, a smaller translation buffer. Not used
//! because of their cost: `noapictimer` saves 0.1 s, but several vCPUs then share one timer; without
//! `tracer_init_tracefs` and BTF, guests have no tracing. `lpj=` depends on the CPU of the host.
//!
//! Under emulation there is also `tsc_early_khz=`, for a right clock and not for speed (`host_tsc.rs`).

use super::Accelerator;
use crate::artifacts::QemuInstall;

/// The kernel's command line. `quiet`, because output on an emulated serial line is slow. `panic=-1`
/// reboots at once, so that the agent sends a new greeting.
pub(super) const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr \
     norandmaps cryptomgr.notests audit=0 apparmor=0 tsc=reliable no_timer_check rcupdate.rcu_expedited=1 \
     noreplace-smp init_on_alloc=0 \
     initcall_blacklist=ftrace_check_for_weak_functions,trace_eval_init";

/// The maximum length of further arguments: x86 kernels ignore what exceeds 2047 bytes in all.
pub const MAX_KERNEL_ARGUMENTS: usize = 2047 - KERNEL_ARGUMENTS.len() - 96;

/// Disables devices of both machine types that our guests do not use.
pub(super) const MACHINE_OPTIONS: &str = "smm=off,sata=off,smbus=off,i8042=off,vmport=off";

/// Returns the CPU model. Under emulation `max` boots more slowly. Without RDRAND the guest would wait
/// for entropy. With a QEMU that emulates `cmpxchg16b` wrongly, the guest does not have it.
///
/// TCG emulates AMD's virtualization (SVM) with nested paging, and not Intel's.
pub(super) fn cpu(accelerator: &Accelerator, guest_kvm: bool, qemu: &QemuInstall) -> String {
    let model = match accelerator {
        Accelerator::Kvm => return "host".to_owned(),
        Accelerator::Tcg { .. } if guest_kvm => "max,+svm",
        Accelerator::Tcg { .. } => "Nehalem,+rdrand",
    };
    match qemu.emulates_cmpxchg16b() {
        true => model.to_owned(),
        false => format!("{model},-cx16"),
    }
}
