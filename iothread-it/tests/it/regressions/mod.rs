//! Bugs of QEMU that IOThreads and hotplug once met, each as a case that would meet it again: by
//! what it guards, with its issue, and with a [`Mark`] that says what is known from evidence.
//!
//! `CASES.md` lists them beside their numbers, with those that cannot be had here.

mod blk;
pub(crate) mod load;
pub(crate) mod mark;
mod nodes;
mod rig;
mod scsi;
mod threads;

/// Declares cases with their issue and mark. Those with a guest are functions of a topology and run
/// on `q35`: `[issue] case: mark;`, or `[issue] case needs (constraints): mark;`.
macro_rules! regressions {
    (with a guest: $([$issue:literal] $case:ident $(needs ($($needs:tt)*))?: $mark:expr;)*) => {
        $crate::regressions::marks!($($case: $mark;)*);
        mod q35 {
            use $crate::regressions::mark::*;
            $(
                #[kata_test::kata_test(
                    when = crate::fixture::qemu_and_guest, $($($needs)*,)? issue = $issue
                )]
                fn $case() -> anyhow::Result<()> {
                    let mark: Mark = $mark;
                    mark.judge(|| super::$case(guest_vm::qemu::Topology::Q35))
                }
            )*
        }
    };
    (without a guest: $([$issue:literal] $case:ident: $mark:expr;)*) => {
        $crate::regressions::marks!($($case: $mark;)*);
        mod alone {
            use $crate::regressions::mark::*;
            $(
                #[kata_test::kata_test(when = crate::fixture::qemu_and_guest, issue = $issue)]
                fn $case() -> anyhow::Result<()> {
                    let mark: Mark = $mark;
                    mark.judge(super::$case)
                }
            )*
        }
    };
}
pub(crate) use regressions;

/// Each case's mark, for the comparison with the documents.
macro_rules! marks {
    ($($case:ident: $mark:expr;)*) => {
        pub(super) const MARKS: &[(&str, $crate::regressions::mark::Mark)] = {
            use $crate::regressions::mark::*;
            &[$((stringify!($case), $mark)),*]
        };
    };
}
pub(crate) use marks;

/// Returns every case with its mark.
pub(crate) fn all() -> impl Iterator<Item = (&'static str, mark::Mark)> {
    [blk::MARKS, nodes::MARKS, scsi::MARKS, threads::MARKS]
        .into_iter()
        .flatten()
        .copied()
}
