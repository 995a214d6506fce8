//! Integration tests: what they need, and what is done about it.


use kata_test::{Verdict, kata_test, require, skip};
use rstest::rstest;

kata_test::main!();

/// Skipped unless the user is root.
#[kata_test(root, issue = "owner/project#7")]
fn gives_a_file_away() -> std::io::Result<()> {
    let path = std::env::temp_dir().join(format!("newcomer-{}", std::process::id()));
    std::fs::write(&path, "")?;
    let given = std::os::unix::fs::chown(&path, Some(1), Some(1));
    std::fs::remove_file(&path)?;
    given
}

/// Run as an unprivileged user; if the user is root, privileges are dropped first.
#[kata_test(non_root, command = "sh")]
fn is_denied() {
    assert!(std::fs::write("/proc/newcomer", "").is_err());
}

/// Killed with all of its processes after ten seconds, and never at the same time as another test of
/// its group, in whatever process.
#[kata_test(timeout = "10s", serial = "the-disk")]
fn has_the_disk_for_itself() {
    kata_test::measure("written_bytes", 4096.0);
}

/// A need of your own.
#[kata_test(when = has_much_memory)]
fn fills_the_memory() {}

fn has_much_memory() -> Verdict {
    match newcomer::memory_kib() {
        Ok(kib) if kib >= 1 << 40 => Verdict::met(format!("{kib} KiB"), "/proc/meminfo"),
        Ok(kib) => Verdict::unmet(format!("there are {kib} KiB"), "/proc/meminfo"),
        Err(error) => Verdict::undetermined(error.to_string(), "/proc/meminfo"),
    }
}

/// What shows only while the test runs.
#[kata_test]
fn stops_half_way() {
    require!(kernel_ge = "3.0");
    if std::env::var_os("NEWCOMER_DISK").is_none() {
        skip!("NEWCOMER_DISK names no disk");
    }
}

/// A test for each case, each with the same needs.
#[rstest]
#[case(1)]
#[case(2)]
#[kata_test::test(kernel_ge = "3.0")]
fn of_several_cases(#[case] number: u32) {
    assert!(number > 0);
}

/// On tokio, with kata-test's feature of that name.
#[kata_test]
async fn waits() {
    tokio::task::yield_now().await;
}
