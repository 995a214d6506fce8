//! How many VMs fit on this host at once.

use std::num::NonZeroUsize;

use kata_test::facts::{Finding, Here, Host, Question};

/// What an emulating QEMU takes beside its guest's memory, with the code that it has translated.
const QEMU: u64 = 256 << 20;

/// What is left to everybody else.
const RESERVE: u64 = 512 << 20;

/// Returns as many as there are CPUs, or fewer where memory has no room for them. Under emulation a
/// VM keeps a CPU busy, so more would only slow each other.
pub(crate) fn vms(guest_mib: u32) -> NonZeroUsize {
    let number = |question| match &Here.ask(question).finding {
        Finding::Is(text) => text.parse::<u64>().ok(),
        Finding::Absent(_) | Finding::Unknown(_) => None,
    };
    let vm = (u64::from(guest_mib) << 20) + QEMU;
    fitting(number(Question::Cpus), number(Question::MemAvailable), vm)
}

/// One, where the host does not tell.
fn fitting(cpus: Option<u64>, memory: Option<u64>, vm: u64) -> NonZeroUsize {
    let by_memory = memory.map_or(1, |memory| memory.saturating_sub(RESERVE) / vm);
    let count = cpus.unwrap_or(1).min(by_memory);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scarcer_of_cpus_and_memory_counts_and_one_vm_is_always_tried() {
        let gib = |n: u64| Some(n << 30);
        let cases = [
            (Some(2), gib(24), 2),
            (Some(64), gib(4), 7),
            (Some(64), Some(100), 1),
            (Some(4), None, 1),
            (None, gib(24), 1),
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
