//! Bugs of QEMU that IOThreads and hotplug once met, each as a case that would meet it again: by
//! what it guards, with its issue, and with a [`Mark`](mark::Mark) that says what is known from evidence.
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
/// on `q35`: `[issue] case: mark;`, or `[issue] case needs (constraints): mark;`. A mark is
///
/// - `reproduced((when = seen::PACKAGE, message = "…"), …)`: on these packages of QEMU the case has to fail
///   so, and everywhere else it has to pass;
/// - `race(…)`: there it may fail so;
/// - `guard("the QEMU that would redden it", "what does redden it")`.
macro_rules! regressions {
    (with a guest: $([$issue:literal] $case:ident $(needs ($($needs:tt)*))?: $mark:ident ($($of:tt)*);)*) => {
        $crate::regressions::marks!($($case: $mark ($($of)*);)*);
        mod q35 {
            use $crate::regressions::mark::seen;
            use guest_vm::qemu::Topology::Q35;
            $($crate::regressions::case! {
                $mark ($($of)*) ($($($needs)*,)?) $issue $case super::$case(Q35)
            })*
        }
    };
    (without a guest: $([$issue:literal] $case:ident: $mark:ident ($($of:tt)*);)*) => {
        $crate::regressions::marks!($($case: $mark ($($of)*);)*);
        mod alone {
            use $crate::regressions::mark::seen;
            $($crate::regressions::case! {
                $mark ($($of)*) () $issue $case super::$case()
            })*
        }
    };
}
pub(crate) use regressions;

/// One case.
macro_rules! case {
    (guard ($bug:literal, $tried:literal $(,)?) ($($needs:tt)*) $issue:literal $case:ident $run:expr) => {
        #[kata_test::kata_test(
            when = crate::fixture::qemu_and_guest, $($needs)* issue = $issue
        )]
        fn $case() -> anyhow::Result<()> {
            anyhow::Context::context($run, concat!("what never broke here: ", $bug))
        }
    };
    (reproduced ($(($($expected:tt)*)),+ $(,)?) ($($needs:tt)*) $issue:literal $case:ident $run:expr) => {
        #[kata_test::kata_test(
            when = crate::fixture::qemu_and_guest, $($needs)* issue = $issue,
            $(expect_failure($($expected)*)),+
        )]
        fn $case() -> anyhow::Result<()> {
            $run
        }
    };
    (race ($(($($expected:tt)*)),+ $(,)?) ($($needs:tt)*) $issue:literal $case:ident $run:expr) => {
        $crate::regressions::case! {
            reproduced ($((sometimes, $($expected)*)),+) ($($needs)*) $issue $case $run
        }
    };
}
pub(crate) use case;

/// Each case's mark, for the comparison with the documents.
macro_rules! marks {
    ($($case:ident: $mark:ident ($($of:tt)*);)*) => {
        pub(super) const MARKS: &[(&str, $crate::regressions::mark::Mark)] = &[
            $((stringify!($case), $crate::regressions::mark_of!($mark $($of)*))),*
        ];
    };
}
pub(crate) use marks;

/// What a mark is in the documents.
macro_rules! mark_of {
    (reproduced $($of:tt)*) => {
        $crate::regressions::mark::Mark::Reproduced
    };
    (race $($of:tt)*) => {
        $crate::regressions::mark::Mark::Race
    };
    (guard $bug:literal, $tried:literal $(,)?) => {
        $crate::regressions::mark::Mark::Guard { tried: $tried }
    };
}
pub(crate) use mark_of;

/// Returns every case with its mark.
pub(crate) fn all() -> impl Iterator<Item = (&'static str, mark::Mark)> {
    [blk::MARKS, nodes::MARKS, scsi::MARKS, threads::MARKS]
        .into_iter()
        .flatten()
        .copied()
}
