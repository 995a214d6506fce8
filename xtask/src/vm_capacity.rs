//! The number of VMs that this host can run at once.

use std::num::NonZeroUsize;

use kata_test::facts::{Finding, Here, Host, Question};

/// QEMU's own memory in bytes, including TCG's translated code.
const QEMU_OVERHEAD: u64 = 256 << 20;

/// Memory in bytes that is left free.
const RESERVE: u64 = 512 << 20;

/// VMs for each CPU. A case waits for its guest, or for a deadline, for a part of its time.
const VMS_PER_CPU: u64 = 3;

/// Returns three times the number of CPUs, or fewer if memory is short.
pub(crate) fn vms(guest_mib: u32) -> NonZeroUsize {
    let number = |question| match &Here.ask(question).finding {
        Finding::Is(text) => text.parse::<u64>().ok(),
        Finding::Absent(_) | Finding::Unknown(_) => None,
    };
    let vm = (u64::from(guest_mib) << 20) + QEMU_OVERHEAD;
    fitting(number(Question::Cpus), number(Question::MemAvailable), vm)
}

/// Returns at least one, also if the number of CPUs or the memory is unknown.
fn fitting(cpus: Option<u64>, memory: Option<u64>, vm: u64) -> NonZeroUsize {
    let by_memory = memory.map_or(1, |memory| memory.saturating_sub(RESERVE) / vm);
    let by_cpus = cpus.unwrap_or(1).saturating_mul(VMS_PER_CPU);
    let count = by_cpus.min(by_memory);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scarcer_of_cpus_and_memory_limits_vms_and_one_is_always_allowed() {
        let gib = |n: u64| Some(n << 30);
        let cases = [
            (Some(2), gib(24), 6),
            (Some(64), gib(4), 7),
            (Some(64), Some(100), 1),
            (Some(4), None, 1),
            (None, gib(24), 3),
            (Some(0), gib(24), 1),
        ];
        for (cpus, memory, vms) in cases {
            assert_eq!(
                fitting(cpus, memory, 512 << 20).get(),
                vms,
                "{cpus:?} {memory:?}"
            );
        }
    }
}
