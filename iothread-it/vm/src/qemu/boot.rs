//! What keeps a cold boot short.
//!
//! Each choice was left out of the boot in turn, the rest kept: q35, one vCPU, TCG, QEMU 11.1,
//! Linux 6.1 of Debian for clouds. Medians of nine, in seconds of CPU time to the agent's greeting,
//! on a busy machine; all but the first few differ by little more than the noise. `cargo xtask
//! bench boot` measures the whole beside a plain boot of the same kernel and image.
//!
//! | choice | without it | why |
//! |---|---|---|
//! | none of them: `vmlinuz`, `quiet panic=-1` | 3.10 | |
//! | all of them | 1.86 | |
//! | `init_on_alloc=0` (of another run, 2.04 without it) | 1.77 | memory is not cleared twice |
//! | `cryptomgr.notests audit=0 apparmor=0` | 2.34 | self-tests of ciphers, and policies that nobody uses |
//! | the kernel uncompressed ([`crate::guest::kernel`]) | 2.27 | an emulated CPU unpacks slowly |
//! | `noreplace-smp` | 2.05 | patching locks in and out retranslates the kernel |
//! | no SMM, SATA, SMBus, i8042, VMware port | 1.99 | firmware and kernel look for each |
//! | `nokaslr` | 1.96 | nothing to relocate |
//! | a small CPU model under emulation | 1.95 | fewer alternatives to patch in, and shorter page walks |
//! | `tsc=reliable no_timer_check` | 1.92 | no calibration to wait for |
//! | `rcupdate.rcu_expedited=1` | 1.92 | no grace periods to wait for |
//! | `mitigations=off` | 1.90 | |
//!
//! What came later was measured in instructions of the guest's, which no noise moves: `-icount
//! shift=0,sleep=off`, up to the last module's message, where one without any of these has 820 million
//! of them and one with all has 572. (Linux for clouds as above; QEMU 7.2 for the signatures, 10.0 for
//! the rest.)
//!
//! | choice | without it | why |
//! |---|---|---|
//! | modules without signatures (`guest/image/signature.rs`) | 141 more | hashes and RSA for eleven modules |
//! | `initcall_blacklist=ftrace_check_for_weak_functions` | 78 more | the name of each traceable function is looked up, only to list fewer of them |
//! | `initcall_blacklist=trace_eval_init` | 35 more | names of enums in trace formats |
//!
//! Of the whole they made 0.54 to 0.58 of a plain boot, which was 0.49 to 0.68, as the three QEMUs go.
//!
//! Tried and left out, since they gained less than the noise: qboot for SeaBIOS, no SCSI modules at
//! first, `ipv6.disable=1`, `hpet=off`, less memory, a smaller translation buffer. Left out for what
//! they cost: `noapictimer` saves a wait of 0.1 s, and leaves several vCPUs with one timer;
//! `tracer_init_tracefs` and what reads BTF are a guest's tracing. `lpj=` and `tsc_early_khz=` would
//! have to be right for the host's own CPU.

use super::Accelerator;

/// The kernel's command line. `quiet` keeps an emulated serial line from slowing the boot, and
/// `panic=-1` restarts at once, which gives the channel a new boot ID.
pub(super) const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr \
     cryptomgr.notests audit=0 apparmor=0 tsc=reliable no_timer_check rcupdate.rcu_expedited=1 \
     noreplace-smp init_on_alloc=0 \
     initcall_blacklist=ftrace_check_for_weak_functions,trace_eval_init";

/// What both machine types have and no guest of ours needs.
pub(super) const MACHINE_OPTIONS: &str = "smm=off,sata=off,smbus=off,i8042=off,vmport=off";

/// The CPU model. An emulated one that has all that QEMU can emulate (`max`) has more to set up;
/// without RDRAND the guest would wait for entropy.
pub(super) fn cpu(accelerator: &Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "host",
        Accelerator::Tcg { .. } => "Nehalem,+rdrand",
    }
}
