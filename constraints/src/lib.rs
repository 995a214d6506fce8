//! Tests that state their requirements. A test whose requirement is unmet is skipped, and a skip is
//! never reported as a pass.
//!
//! A requirement in the attribute:
//!
//! ```
//! # mod unit {
//! use kata_test::kata_test;
//!
//! #[kata_test(root, kernel_ge = "5.10", issue = "owner/project#1234")]
//! fn mounts_a_tmpfs() {
//!     // Runs as root on Linux 5.10 and later.
//! }
//! # }
//! ```
//!
//! A test that runs without privileges, also when root runs the tests, with a time limit:
//!
//! ```
//! # mod unit {
//! # use kata_test::kata_test;
//! #[kata_test(non_root, command = "qemu-img", timeout = "30s")]
//! fn creates_an_image() {}
//! # }
//! ```
//!
//! A requirement that is only known while the test runs:
//!
//! ```
//! # mod unit {
//! # use kata_test::kata_test;
//! #[kata_test]
//! fn mounts_the_image() {
//!     let Ok(image) = std::env::var("IMAGE") else {
//!         kata_test::skip!("IMAGE names no image to mount");
//!     };
//!     kata_test::require!(root);
//!     println!("{image}");
//! }
//! # }
//! ```
//!
//! Set `harness = false` for the test target in `Cargo.toml` and write `kata_test::main!();` at its
//! root: `cargo test` and nextest then show a skip as `ignored, needs root: effective uid is 1000
//! (geteuid)`. Without it the attribute works under Rust's own harness, which cannot skip at run time:
//! a skip is printed to the terminal and counted at the end, and fails under nextest.
//!
//! # Constraints
//!
//! | about | constraints |
//! |---|---|
//! | the user | `root`, `root_in_userns`, `non_root`, `uid`, `real_root`, `caps` |
//! | the kernel | `kernel`, `kernel_eq`, `kernel_ne`, `kernel_lt`, `kernel_le`, `kernel_gt`, `kernel_ge`, `vendor_kernel`, `kconfig`, `module`, `kernel_arg`, `namespace`, `cgroup`, `cgroup_controller` |
//! | the machine | `arch`, `virt`, `container`, `kvm`, `kvm_hardware`, `kvm_cap`, `kvm_vendor`, `device`, `cpus_ge`, `cpu_feature`, `mem_available_ge`, `disk_free_ge`, `numa_nodes_ge`, `network`, `isolated_network` |
//! | the system | `distro`, `distro_like`, `command`, `env`, `opt_in` |
//! | anything else | `when = path::of::probe` |
//! | operators | `all(…)`, `any(…)`, `not(…)` |
//!
//! [`constraint`] documents every one. A constraint is [met](Verdict::Met), [unmet](Verdict::Unmet) or
//! [undetermined](Verdict::Undetermined). A test runs if all are met, is skipped if one is unmet, and
//! fails if one is undetermined.
//!
//! # Features
//!
//! - `tokio`: runs `async fn` tests on tokio.
//!
//! # Environment
//!
//! | variable | effect |
//! |---|---|
//! | `KATA_TEST_EXPECT='root, kernel_ge = "6.1"'` | The contract: constraints that this host promises. If one is not met, the run fails before any test, and so does nextest's list. |
//! | `KATA_TEST_MAY_SKIP='kvm'` | The allowance: a skip for any other constraint fails. An empty value allows none. `when = path::of::probe` names a probe, and `skip!` allows [`skip!`]. |
//! | `KATA_TEST_ALLOW=slow,destructive` | Runs the tests with these `opt_in`s. |
//! | `KATA_TEST_UNSKIP=1` | Runs unmet tests too. A test that passes has a stale constraint; one that fails counts as skipped (under nextest it fails). |
//! | `KATA_TEST_FACTS=FILE` | `--list` evaluates a recorded host (`cargo kata-test facts --json`) instead of this one. A verdict is `?` if it rests on a fact that was not recorded. |
//! | `KATA_TEST_RETRIES=2` | As `--retries`: a test that fails runs again, up to so many times. |
//! | `KATA_TEST_REPEAT=100` | As `--repeat`: each test runs up to so many times, until it fails. |
//! | `KATA_TEST_GRACE=2s` | The time between SIGTERM and SIGKILL. |
//! | `KATA_TEST_SLOW_AFTER=60s` | Announces a test that still runs, or waits for its serial group, after this time. |
//! | `KATA_TEST_ALLOW_THREADS=1` | Forks tests although the process has threads. |
//! | `KATA_TEST_RECORD_DIR=DIR` | The folder for records. |
//! | `KATA_TEST_RUN=ID` | The run id. |
//!
//! A runner sets `KATA_TEST_PLACE` (the name of the place), `KATA_TEST_TIME_SCALE` (a factor for time
//! limits), `KATA_TEST_EXCLUDE_FILE` (tests that run in other places), and `KATA_TEST_BINARY_ID` or
//! `KATA_TEST_BINARY_IDS` (nextest's ids of binaries).
//!
//! # Processes
//!
//! With `harness = false` each test runs in a forked process. A signal, a timeout, a change of user,
//! folder, variables or namespaces affects that test only. Processes that it leaves behind are killed.
//! They and leaked mounts are printed at the end of the run and recorded, and fail no test, since the
//! owner of a mount is never certain. `--in-process` runs tests without a fork, for debuggers.
//!
//! Under root, a test with `non_root` or `uid = N` runs as that user: for `non_root` the one who called
//! sudo, else nobody. It has all groups of the user, the variables of the user's session (`USER`,
//! `LOGNAME`, `MAIL`, `SHELL`, `XDG_RUNTIME_DIR`), and an empty HOME and TMPDIR. Its other constraints
//! are evaluated as that user. If the user has no access to the package or the executable, the test is
//! unmet.
//!
//! On a timeout, Ctrl-C, SIGTERM or SIGHUP, a test's process group gets SIGTERM, and SIGKILL after the
//! grace period. A second Ctrl-C kills at once. Ctrl-Z stops the tests with the harness; the time until
//! they continue does not count.
//!
//! A process that forks must have one thread: a child would inherit locks held by other threads. A
//! binary that has threads before `main` (`#[ctor]`, an allocator, the runtime of another language) is
//! refused unless `KATA_TEST_ALLOW_THREADS=1` is set.
//!
//! A test that is named in full on the command line fails instead of being skipped.
//!
//! # Files
//!
//! What a test writes into the folder `KATA_TEST_ARTIFACTS` is kept: it is
//! `artifacts/PLACE/BINARY/TEST,ATTEMPT` in the run's folder, and the test's record has its path, the number of
//! files and their size. An empty folder is removed. A test that runs as another user has one if that user
//! can reach it. With `--in-process`, and in a binary without `harness = false` that is started by hand, there is
//! none.
//!
//! # Records
//!
//! The outcome of each test, with its reasons and [measures](measure), is a JSON line in
//! `kata-test/runs/<run>/` below Cargo's target folder; `kata-test/latest` is the newest run. All
//! binaries of one `cargo test` or one run of nextest share a run. Of more than fifty runs the oldest
//! are removed. The package kata-test-runner reads records.

mod contract;
mod harness;
mod json;
mod libtest;
mod measure;
mod metadata;
mod one_version;
mod plain_skip;
mod record;
mod registry;
mod report;
mod returned;
mod runner_env;
mod runtime_skip;
mod session;
mod sys;

/// Makes a function a test that states its requirement.
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
/// Every constraint has to be met; [`constraint`] documents each. `all(…)`, `any(…)` and `not(…)`
/// group them, and `name("a", "b")` is short for `name = "a", name = "b"`. An unknown name or an
/// invalid value is a compile error. The attribute also takes
///
/// - `issue = "…"`: the issue that explains the constraints; it is recorded;
/// - `reason = "…"`: why the test has its constraints; it is recorded;
/// - `timeout = "30s"` (`ms`, `s`, `m`, `h`): the time limit, after which the test's process group gets
///   SIGTERM, then SIGKILL, and the test fails; the default is none;
/// - `serial = "group"`: of a group's tests one runs at a time, across binaries and processes. The
///   wait does not count for `timeout`, is announced after a minute (`KATA_TEST_SLOW_AFTER`), and
///   fails the test after an hour;
/// - `expect_failure(…)`: the test has to fail while the constraints in it are met; see below;
/// - `retries = 2`: a test that fails runs again, up to so many times. One that then passes is `flaky`;
/// - `unstable(reason = "…")`: failures of the test are reported, and do not fail the run;
/// - `own_machine`: a runner that boots VMs runs this test in a VM of its own;
/// - `crate = path`: the path of kata-test, by default `::kata_test`.
///
/// # Expected failures
///
/// ```
/// # mod unit {
/// # use kata_test::kata_test;
/// #[kata_test(expect_failure(kernel_ge = "2.6", issue = "owner/project#8", message = "no such disk"))]
/// fn finds_the_disk() -> Result<(), String> {
///     Err("no such disk: vdb".to_owned())
/// }
/// # }
/// ```
///
/// While the constraints in `expect_failure` are met, and always if there are none, the test has to fail by
/// a panic or an error. It is then an `expected failure`; if it passes, that is an `unexpected pass`, which
/// fails the run. `expect_failure` takes constraints, and
///
/// - `issue = "…"`: the issue that explains the failure; it is recorded;
/// - `message = "…"`: the text of the panic or error contains this; another failure fails the run;
/// - `crash`: the end of the process by a signal or an exit counts too;
/// - `timeout`: exceeding the test's `timeout` counts too;
/// - `sometimes`: the test may also pass.
///
/// Of several `expect_failure` the first whose constraints are met counts.
///
/// # Functions
///
/// The function takes no parameters and returns what a `main` can return. `#[ignore]`,
/// `#[should_panic]` and other attributes keep their meaning. [`require!`] and [`skip!`] skip a test
/// at run time.
///
/// An `async fn` needs the feature `tokio`: it runs on a runtime of its own with one thread.
///
/// Below `#[rstest]`, use the attribute's other name:
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
/// The same attribute as [`kata_test`], under the name that other macros and editors recognize:
/// `#[kata_test::test(root)]`.
pub use kata_test_macros::test;

pub use crate::measure::measure;
#[doc(inline)]
pub use kata_test_host::{Evidence, Reason, ReasonKind, Verdict, constraint, facts};
use kata_test_host::{names, reason};

/// The items that the macros expand to. They are not stable.
///
/// Each release renames this module, so that an attribute of another version, by `crate = path`, does
/// not compile.
#[doc(hidden)]
pub mod __private_0_1_0 {
    pub use crate::constraint::assert_consistent;
    pub use crate::harness::main;
    pub use crate::libtest::libtest;
    pub use crate::metadata::{serial, timeout};
    pub use crate::plain_skip::{Site, skips_iteration, skips_test};
    pub use crate::registry::{
        Body, ExpectedFailure, Required, ShouldPanic, Target, Test, succeeded,
    };
    pub use crate::returned::{KeepError, KeepNothing, Returned};
    pub use crate::runtime_skip::{require, skip};
    #[cfg(not(all(target_os = "linux", not(miri))))]
    pub use inventory;
    pub use kata_test_macros::require as require_in;
}

/// The items that kata-test-runner shares with the harness. They are not stable.
#[doc(hidden)]
pub mod __runner {
    pub use crate::contract::{EXPECT, FACTS, MAY_SKIP};
    pub use crate::harness::{EXIT_CODES, ExitCodeMeaning, REPEAT, RETRIES, UnmetCounts, shuffle};
    pub use crate::measure::Measures;
    pub use crate::metadata::parse_duration;
    pub use crate::record::opt_ins::ENDING;
    pub use crate::record::{
        ARTIFACTS, ARTIFACTS_FOLDER, Artifacts, ArtifactsFolder, ArtifactsRoot, ENDED, Folder,
        LIFELINE, Outcome, Phase, RecordLine, SCHEMA, UNFINISHED, artifacts_path, file_name,
        make_root, point_latest, prune, run_folder, start_time,
    };
    pub use crate::registry::{BINARY_ID, BINARY_IDS};
    pub use crate::runner_env::{ENVIRONMENT, EXCLUDE_FILE, HERE, ONLY_TEST, PLACE, PRINTED};
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

/// Skips the running test unless these constraints are met. They are those of the attribute.
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
/// If one is unmet, the test ends here and is shown as ignored, with every reason; if one is
/// undetermined, it fails. Prefer the attribute: nextest then lists before any test runs which ones are
/// skipped, so under nextest this fails.
///
/// It ends the test by unwinding, so it works in functions that the test calls, and not with `panic =
/// "abort"`. On another thread than the test's it panics.
#[macro_export]
macro_rules! require {
    ($($constraint:tt)*) => {
        $crate::__private_0_1_0::require_in! { crate = $crate, $($constraint)* }
    };
}

/// Skips the running test, for a reason that no constraint expresses. Takes the arguments of
/// [`format!`].
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
/// As [`require!`], it fails under nextest and panics on another thread.
#[macro_export]
macro_rules! skip {
    () => {
        ::core::compile_error!("state why the test is skipped: `skip!(\"no disk\")`")
    };
    ($($reason:tt)+) => {
        $crate::__private_0_1_0::skip(::core::format_args!($($reason)+))
    };
}

/// The target being compiled, from Cargo's variables.
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
