//! `facts --doctor` on this machine as several users, and with something missing. The outputs are the files in
//! `constraints/docs/doctor`, which `INSTA_UPDATE=always` writes.
//!
//! Scope: the whole command. Made-up machines are in `cli::doctor`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use kata_test::facts::{Finding, Here, Host, Question};
use kata_test::kata_test;

use crate::commands::in_package;
use crate::run::RUNNER;

/// Hides `/dev/kvm`, and makes the toolchain, nextest and the command readable by every user, in a mount namespace.
const PREPARE: &str = "
    mkdir rust bin dev home
    mount --bind \"$SYSROOT\" rust
    for program in \"$NEXTEST\" \"$DOCTOR\"; do
        touch bin/\"${program##*/}\"
        mount --bind \"$program\" bin/\"${program##*/}\"
    done
    for device in null zero full random urandom; do
        touch dev/$device
        mount --bind /dev/$device dev/$device
    done
    mount --rbind dev /dev
    export root=\"$PWD\"
    cd home
    eval \"$FUNCTIONS\"
";

/// The command, and another user.
const FUNCTIONS: &str = "
    doctor() {
        \"$@\" env --ignore-environment HOME=\"$root/home\" PATH=\"$root/rust/bin:$root/bin:/usr/bin:/bin\" \
            cargo-kata-test kata-test facts --doctor
    }
    nobody() {
        chown -R 65534:65534 \"$root/home\"
        setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"
    }
";

/// Runs a script in a mount namespace of its own, after [`PREPARE`], and returns its output without what differs
/// between machines.
fn doctor(script: &str) -> Result<String> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()?;
    let nextest = Here.ask(Question::Command("cargo-nextest"));
    let Finding::Is(nextest) = &nextest.finding else {
        anyhow::bail!("{nextest:?}");
    };
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--", "sh", "-euc"])
        .arg(format!("{PREPARE}\n{script}"))
        .current_dir(folder.path())
        .env("SYSROOT", String::from_utf8(sysroot.stdout)?.trim())
        .env("NEXTEST", nextest)
        .env("DOCTOR", RUNNER)
        .env("FUNCTIONS", FUNCTIONS)
        .output()?;
    let Output { status, stderr, .. } = &output;
    ensure!(
        status.success() && stderr.is_empty(),
        "{status}: {}",
        String::from_utf8_lossy(stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    let home = folder.path().join("home").display().to_string();
    Ok(stable(&text.replace(&home, "/home/me")))
}

/// Replaces versions, free space and memory, the number of VMs, the suite and the interface of this machine by those
/// of an example, and leaves out which virtualization its CPUs have.
fn stable(text: &str) -> String {
    let between = |line: &str, before: &str, after: &str, example: &str| {
        let found = line.split_once(before).and_then(|(start, rest)| {
            let (_, end) = rest.split_once(after)?;
            Some(format!("{start}{before}{example}{after}{end}"))
        });
        found.unwrap_or_else(|| line.to_owned())
    };
    let example = |line: &str| {
        let line = match line.split_once(": ") {
            Some(("✓ cargo", _)) => "✓ cargo: 1.96.0".to_owned(),
            Some(("✓ cargo-nextest", _)) => "✓ cargo-nextest: 0.9.143".to_owned(),
            _ => line.to_owned(),
        };
        let line = between(&line, "there is no /dev/kvm", " (a probe", "");
        let line = between(&line, "space: ", " GB are free", "60");
        let line = between(&line, "memory: ", " are available", "8.0 GB");
        let line = between(&line, "vm:…: up to ", " at a time", "4");
        let line = between(&line, "a default route by ", ";", "eth0");
        let line = between(&line, "unpack packages of ", ",", "trixie");
        between(&line, "the packages of ", " is used", "trixie") + "\n"
    };
    text.lines().map(example).collect()
}

/// Compares with the file in the documentation, or writes it.
fn compare(name: &str, output: &str) -> Result<()> {
    let file = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../constraints/docs/doctor"
    ));
    let file = file.join(name).with_extension("txt");
    if std::env::var_os("INSTA_UPDATE").is_some_and(|value| value == "always") {
        return Ok(fs::write(&file, output)?);
    }
    let expected = fs::read_to_string(&file);
    let expected = expected.with_context(|| format!("no {}", file.display()))?;
    assert_eq!(
        output,
        expected,
        "INSTA_UPDATE=always writes {}",
        Path::new(name).display()
    );
    Ok(())
}

#[kata_test(
    root,
    namespace = "mnt",
    network = "user",
    distro = "debian",
    not(command = "qemu-system-x86_64"),
    command = "apt-get",
    command = "cargo-nextest",
    timeout = "2m"
)]
fn as_root() -> Result<()> {
    compare("root", &doctor("doctor")?)
}

#[kata_test(
    root,
    namespace = "mnt",
    network = "user",
    distro = "debian",
    not(command = "qemu-system-x86_64"),
    not(command = "sudo"),
    command = "apt-get",
    command = "cargo-nextest",
    command = "setpriv",
    timeout = "2m"
)]
fn as_nobody() -> Result<()> {
    compare("nobody", &doctor("doctor nobody")?)
}

#[kata_test(
    root,
    namespace = "mnt",
    network = "user",
    distro = "debian",
    not(command = "qemu-system-x86_64"),
    not(command = "sudo"),
    command = "apt-get",
    command = "cargo-nextest",
    command = "setpriv",
    timeout = "2m"
)]
fn without_apt() -> Result<()> {
    // A device that nobody may execute.
    let script = "mount --bind /dev/null \"$(command -v apt-get)\"; doctor nobody";
    compare("without-apt", &doctor(script)?)
}

#[kata_test(
    root,
    namespace = "mnt",
    network = "user",
    distro = "debian",
    not(command = "qemu-system-x86_64"),
    not(command = "sudo"),
    command = "apt-get",
    command = "cargo-nextest",
    command = "setpriv",
    timeout = "2m"
)]
fn without_space() -> Result<()> {
    let script = "
        mkdir .cache
        mount -t tmpfs -o size=1m none .cache
        doctor nobody";
    compare("without-space", &doctor(script)?)
}

/// The limit is that of a user namespace, in which nobody is the same user.
#[kata_test(
    root,
    namespace = "mnt",
    namespace = "user",
    network = "user",
    distro = "debian",
    not(command = "qemu-system-x86_64"),
    not(command = "sudo"),
    command = "apt-get",
    command = "cargo-nextest",
    command = "setpriv",
    timeout = "2m"
)]
fn without_user_namespaces() -> Result<()> {
    let script = r#"
        mkfifo ../made ../mapped
        # A namespace has users only after a process outside has mapped them, and programs that are started then
        # have the rights of root there.
        unshare --user sh -euc '
            eval "$FUNCTIONS"
            echo > ../made
            read -r _ < ../mapped
            sh -c "echo 0 > /proc/sys/user/max_user_namespaces"
            doctor nobody' &
        read -r _ < ../made
        echo 0 0 65536 > /proc/$!/uid_map
        echo 0 0 65536 > /proc/$!/gid_map
        echo > ../mapped
        wait $!"#;
    compare("without-userns", &doctor(script)?)
}

/// On a full file system apt would hang until its time limit.
#[kata_test(
    root,
    namespace = "mnt",
    command = "apt-get",
    not(command = "qemu-system-x86_64"),
    timeout = "2m"
)]
fn what_a_cache_without_space_lacks() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let script = "
        mkdir src cache
        touch src/lib.rs
        printf '[package]\\nname = \"new\"\\nedition = \"2024\"\\n[workspace]\\n' > Cargo.toml
        mount -t tmpfs -o size=1m,mode=700 none cache
        export KATA_TEST_CACHE=\"$PWD/cache\"
        \"$DOCTOR\" kata-test plan --places vm:stable 2>&1 | grep ^error:
        mkdir -m 755 cache/full
        dd if=/dev/zero of=cache/filler 2> /dev/null || true
        KATA_TEST_CACHE=\"$PWD/cache/full\"
        \"$DOCTOR\" kata-test plan --places vm:stable 2>&1 | grep ^error:";
    let archive = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../vm/src/artifacts/apt/fixture"
    );
    let output = in_package("unshare", folder.path())?
        .args([
            "--mount",
            "--propagation",
            "private",
            "--",
            "sh",
            "-euc",
            script,
        ])
        .env("DOCTOR", RUNNER)
        .env("KATA_TEST_ARCHIVE", format!("copy:{archive}"))
        .env("KATA_TEST_ARCHIVE_SUITES", "stable")
        .env("KATA_TEST_ARCHIVE_KEYRING", format!("{archive}/key.asc"))
        .env_remove("CARGO_TARGET_DIR")
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let folder = folder.path().display().to_string();
    insta::assert_snapshot!(text.replace(&folder, "FOLDER"));
    Ok(())
}
