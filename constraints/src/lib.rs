//! Tests that say what they need.
//!
//! ```
//! # mod unit {
//! use kata_test::kata_test;
//!
//! #[kata_test(root, kernel_ge = "5.0.10", issue = "kata-containers/runtime#1234")]
//! fn mounts_a_tmpfs() {
//!     // Runs only where it can; elsewhere it is skipped, with every reason on screen.
//! }
//! # }
//! ```
//!
//! A test target with `harness = false` in its `Cargo.toml` and `kata_test::main!();` at its root
//! shows a skip as `ignored, needs root: effective uid is 1000 (geteuid)`, under `cargo test` and
//! under nextest. Without `harness = false` the same attribute works under Rust's own harness, which
//! knows no skip at run time: there it is announced on the terminal and counted at the end.
//!
//! A constraint is [met](Verdict::Met), [unmet](Verdict::Unmet), or
//! [undetermined](Verdict::Undetermined): met runs, unmet skips, and undetermined fails, since
//! neither running nor skipping by guess would be honest.
//!
//! # What the environment asks of a run
//!
//! A skip is honest only if somebody would notice that a host has rotted, so a CI job says what its
//! host has. Constraints are written as in the attribute; a name that does not exist stops the run
//! with the nearest that does.
//!
//! | variable | effect |
//! |---|---|
//! | `KATA_TEST_EXPECT='root, kernel_ge = "6.1"'` | The host promises this. If it does not keep it, the run fails before any test, and nextest at its list. |
//! | `KATA_TEST_MAY_SKIP='kvm'` | A test may be skipped for lack of this alone; any other skip fails. Set and empty, it allows none. It can name a probe as the attribute does (`when = path::of::probe`), and `skip!` for what tests say by [`skip!`]. |
//! | `KATA_TEST_ALLOW=slow,destructive` | Runs the tests that ask for it by `opt_in`. |
//! | `KATA_TEST_UNSKIP=1` | Runs unmet tests too. One that passes is reported as having a stale constraint; one that does not stays skipped (under nextest it fails). |
//! | `KATA_TEST_FACTS=FILE` | `--list` judges the host whose answers are in the file, as `cargo kata-test facts --json` prints them: each test with its verdict, `?` where that depends on what is not recorded. Nothing is run. |
//!
//! A runner that has other places than this one speaks with the binaries too: `--verdicts` lists tests
//! with their verdicts as JSON lines, `KATA_TEST_PLACE` names the place that a binary is in,
//! `KATA_TEST_TIME_SCALE` makes time limits longer there, and `KATA_TEST_EXCLUDE_FILE` is a file with the
//! tests that are left to other places.
//!
//! # What becomes of a test
//!
//! With `harness = false` each test has a process of its own, so what it does to itself is its own
//! failure: a signal, a hang beyond its `timeout`, a change of user, folder, variables or namespaces.
//! Processes that it leaves behind are killed. They, and mounts that it leaves, are listed at the end
//! of the run under its name and stand in its record, and fail no test: of a mount nobody can say for
//! certain who made it. `--in-process` does without all this, for debuggers.
//!
//! Under root a test that states `non_root` or `uid = N` by itself runs as such a user: as whoever
//! called sudo, else as nobody. It has all groups of that user, the variables of that user's session
//! (`USER`, `LOGNAME`, `MAIL`, `SHELL`, `XDG_RUNTIME_DIR`) instead of root's and sudo's, and an empty
//! HOME and TMPDIR. Its other constraints are judged as that user. If the user cannot reach the package or the executable, the test is unmet, for that path.
//!
//! A test whose time is up, or that runs when Ctrl-C, SIGTERM or SIGHUP ends the run, gets SIGTERM with
//! its whole process group, and SIGKILL if it has not ended after a grace period of two seconds
//! (`KATA_TEST_GRACE`). A second Ctrl-C kills at once. Ctrl-Z stops the tests with the harness, and the
//! time until they continue counts for no limit.
//!
//! Tests are forked from a process with one thread, for a child would inherit the locks of others, held
//! for ever. A binary that has threads before `main` (a `#[ctor]`, an allocator, the runtime of another
//! language) is refused: `--in-process` runs its tests without fork, and `KATA_TEST_ALLOW_THREADS=1`
//! takes the risk.
//!
//! A test that runs for a minute (`KATA_TEST_SLOW_AFTER`) is announced. An unmet test whose whole name
//! was given on the command line fails: it was asked for.
//!
//! # Records
//!
//! What became of each test stands, with every reason and with what it [`measure`]d, as JSON lines in
//! `kata-test/runs/<run>/` below Cargo's target folder; `kata-test/latest` is the newest run.
//! `KATA_TEST_RECORD_DIR` names another folder, and `KATA_TEST_RUN` another run than that of nextest
//! or of the `cargo test` that started the binary; a binary that is started by hand is a run of its
//! own. Of many runs the oldest are removed: folders with a file `kata-test-run` that holds their own
//! name, and no others. The package kata-test-runner reads the records.
//!
//! The id of a binary is nextest's. A runner states it (`KATA_TEST_BINARY_ID`, or a file with those of
//! all binaries in `KATA_TEST_BINARY_IDS`), as does nextest; a binary that is started by hand guesses it.

mod contract;
mod harness;
mod json;
mod libtest;
mod measure;
mod metadata;
mod one_version;
mod record;
mod registry;
mod report;
mod runner_env;
mod runtime_skip;
mod session;
mod sys;

/// Makes a function a test that says what it needs.
///
/// ```
/// # mod unit {
/// use kata_test::{Verdict, kata_test};
///
/// #[kata_test(root, kernel_ge = "5.10", kernel_lt = "6.9", command = "qemu-img")]
/// #[should_panic(expected = "no such disk")]
/// fn refuses_a_missing_disk() {
///     panic!("no such disk");
/// }
///
/// #[kata_test(when = has_a_loop_device, issue = "owner/project#7", reason = "mounts an image")]
/// fn mounts() -> std::io::Result<()> {
///     Ok(())
/// }
///
/// fn has_a_loop_device() -> Verdict {
///     match std::path::Path::new("/dev/loop-control").try_exists() {
///         Ok(true) => Verdict::met("it is there", "/dev/loop-control"),
///         Ok(false) => Verdict::unmet("there is none", "/dev/loop-control"),
///         Err(error) => Verdict::undetermined(error.to_string(), "/dev/loop-control"),
///     }
/// }
/// # }
/// ```
///
/// Every constraint stated has to hold; [`constraint`] documents each under its own name. `all(…)`,
/// `any(…)` and `not(…)` group them, `name("a", "b")` states one of them for each value. A name
/// that does not exist, or a value that is no version, is a compile error at its place. Beside
/// constraints the attribute takes
///
/// - `issue = "…"`: the issue that explains the constraints, kept in the record;
/// - `reason = "…"`: the same in words;
/// - `timeout = "30s"` (`ms`, `s`, `m`, `h`): when that time is up, the test's process group is
///   terminated, after a grace period killed, and the test has failed; without one a test is only spoken of after a minute;
/// - `serial = "group"`: no two tests of a group run at the same time, in whatever binary or process
///   of nextest; waiting for its turn does not count for a test's `timeout`. The wait is announced
///   after a minute (`KATA_TEST_SLOW_AFTER`) and fails the test after an hour;
/// - `own_machine`: where a runner makes a VM for tests, this one gets a VM for itself alone, and what it
///   does to the kernel meets no other test; on a host that is there anyway it changes nothing;
/// - `crate = path`: where kata-test is, if not at `::kata_test`.
///
/// The function takes nothing and returns `()`, a `Result`, or anything else that a `main` can
/// return. `#[ignore]` and `#[should_panic]` keep their meaning, and so does every other attribute.
/// [`require!`] and [`skip!`] end a test that finds out half-way what it lacks.
///
/// An `async fn` takes the feature `tokio`: it runs on a runtime of its own with one thread.
///
/// Cases of [rstest](https://docs.rs/rstest) take this attribute under its other name, below theirs:
///
/// ```
/// # mod unit {
/// use rstest::rstest;
///
/// #[rstest]
/// #[case(2)]
/// #[case(4)]
/// #[kata_test::test(non_root)]
/// fn boots_with_cpus(#[case] cpus: u32) {
///     assert!(cpus.is_power_of_two());
/// }
/// # }
/// ```
pub use kata_test_macros::kata_test;
/// The same attribute as [`kata_test`], under the name that other test macros and editors look for:
/// `#[kata_test::test(root)]`.
pub use kata_test_macros::test;

pub use crate::measure::measure;
#[doc(inline)]
pub use kata_test_host::{Evidence, Reason, ReasonKind, Verdict, constraint, facts};
use kata_test_host::{names, reason};

/// What the macros expand to. Not for use by hand, and without any promise of stability.
///
/// A release renames it: the attribute, which can be of another version if `crate = path` leads here,
/// writes the name that its own version has.
#[doc(hidden)]
pub mod __private_0_1_0 {
    pub use crate::constraint::assert_consistent;
    pub use crate::harness::main;
    pub use crate::libtest::libtest;
    pub use crate::metadata::{serial, timeout};
    pub use crate::registry::{Required, Target, Test, succeeded};
    pub use crate::runtime_skip::{require, skip};
    #[cfg(not(all(target_os = "linux", not(miri))))]
    pub use inventory;
    pub use kata_test_macros::require as require_in;
}

/// What kata-test-runner shares with the harness, without any promise of stability.
#[doc(hidden)]
pub mod __runner {
    pub use crate::contract::{EXPECT, FACTS, MAY_SKIP};
    pub use crate::harness::UnmetCounts;
    pub use crate::measure::Measures;
    pub use crate::record::opt_ins::ENDING;
    pub use crate::record::{
        Folder, LIFELINE, Outcome, Phase, RecordLine, SCHEMA, UNFINISHED, file_name, make_root,
        point_latest, prune, run_folder, start_time,
    };
    pub use crate::registry::{BINARY_ID, BINARY_IDS};
    pub use crate::runner_env::{ENVIRONMENT, EXCLUDE_FILE, HERE, PLACE};
    pub use crate::session::is_of_a_session;
}

/// Writes the `main` function of a test target that has `harness = false`.
///
/// In a library with `[lib] harness = false`, write `#[cfg(test)] kata_test::main!();`.
#[macro_export]
macro_rules! main {
    () => {
        fn main() -> ::std::process::ExitCode {
            $crate::__register!(main);
            $crate::__private_0_1_0::main($crate::__target!())
        }
    };
}

/// Goes on with the running test only if these constraints hold, which are those of the attribute.
///
/// ```
/// # mod unit {
/// use kata_test::kata_test;
///
/// #[kata_test]
/// fn clones() -> std::io::Result<()> {
///     let image = std::fs::canonicalize("/proc/self/exe")?;
///     if image.starts_with("/mnt") {
///         kata_test::require!(root, kernel_ge = "5.10");
///     }
///     // …
///     Ok(())
/// }
/// # }
/// ```
///
/// If one is unmet, the test ends here by unwinding and is shown as ignored, with every reason; what
/// cannot be decided fails it. Prefer the attribute: under nextest, which learns before any test
/// runs what is skipped, ending half-way is a failure. It works in functions that the test calls,
/// whatever these return, but only on the test's own thread: elsewhere it is a panic.
#[macro_export]
macro_rules! require {
    ($($constraint:tt)*) => {
        $crate::__private_0_1_0::require_in! { crate = $crate, $($constraint)* }
    };
}

/// Ends the running test here, as skipped, for a reason that no constraint expresses. The reason
/// takes the form of [`format!`].
///
/// ```
/// # mod unit {
/// #[kata_test::test]
/// fn mounts() {
///     let Ok(image) = std::env::var("IMAGE") else {
///         kata_test::skip!("IMAGE names no image to mount");
///     };
///     println!("{image}");
/// }
/// # }
/// ```
///
/// As with [`require!`], it is a failure under nextest, and a panic on another thread.
#[macro_export]
macro_rules! skip {
    () => {
        ::core::compile_error!("say why the test is skipped: `skip!(\"no disk\")`")
    };
    ($($reason:tt)+) => {
        $crate::__private_0_1_0::skip(::core::format_args!($($reason)+))
    };
}

/// The target being compiled, as Cargo tells it to the compiler.
#[doc(hidden)]
#[macro_export]
macro_rules! __target {
    () => {
        $crate::__private_0_1_0::Target {
            package: ::core::option_env!("CARGO_PKG_NAME"),
            krate: ::core::option_env!("CARGO_CRATE_NAME"),
            bin: ::core::option_env!("CARGO_BIN_NAME"),
            tmpdir: ::core::option_env!("CARGO_TARGET_TMPDIR"),
            file: ::core::file!(),
        }
    };
}
