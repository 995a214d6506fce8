//! `cargo kata-test run` in a VM: streams, exit status, signals and files are those of the program.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guest_vm::scratch::ScratchDir;
use kata_test::kata_test;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::commands::in_package;
use crate::folder;

/// The program of this package.
pub(crate) const RUNNER: &str = env!("CARGO_BIN_EXE_cargo-kata-test");

/// Returns a command for a program in a VM, in a folder.
fn in_vm(folder: &Path, options: &[&str], program: &[&str]) -> Result<Command> {
    let mut command = in_package(RUNNER, folder)?;
    command
        .args(["run", "--place", "vm:bookworm"])
        .args(options)
        .arg("--")
        .args(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

/// Runs a program with some input.
pub(crate) fn run(
    folder: &Path,
    options: &[&str],
    program: &[&str],
    input: &[u8],
) -> Result<Output> {
    let mut child = in_vm(folder, options, program)?.spawn()?;
    let mut stdin = child.stdin.take().context("no input")?;
    Ok(thread::scope(|scope| {
        // A program that does not read it closes it.
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output()
    })?)
}

/// Runs a shell's script, which must print nothing to standard error.
fn script(folder: &Path, options: &[&str], script: &str) -> Result<Output> {
    let output = run(folder, options, &["sh", "-c", script], b"")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(stderr.is_empty(), "{script}: {stderr}");
    Ok(output)
}

/// A package's folder.
pub(crate) fn package() -> Result<ScratchDir> {
    let folder = folder()?;
    fs::create_dir(folder.path().join("data"))?;
    fs::write(folder.path().join("Cargo.toml"), "[package]\n")?;
    fs::write(folder.path().join("data/file"), "of the host\n")?;
    Ok(folder)
}

/// An emulated guest has the frequency of this host's TSC by its command line, and corrects it by its own measure.
#[kata_test(when = crate::artifacts_provided, not(kvm_hardware), cpu_feature = "constant_tsc", serial = "places-packages", timeout = "15m")]
fn the_guests_tsc_has_its_frequency_from_this_host() -> Result<()> {
    let package = package()?;
    let measured = "until dmesg | grep -q 'tsc: Refined'; do sleep 0.1; done
        dmesg | sed -n 's/.*tsc: Refined TSC clocksource calibration: \\([0-9]*\\).*/\\1/p'
        sed 's/.* tsc_early_khz=\\([0-9]*\\)[0-9]\\{3\\}.*/\\1/' /proc/cmdline";
    let output = script(package.path(), &[], measured)?;
    let text = String::from_utf8(output.stdout)?;
    let found: Vec<u32> = text.lines().map(str::parse).collect::<Result<_, _>>()?;
    let [measured, stated] = found[..] else {
        anyhow::bail!("not two frequencies in MHz: {text}")
    };
    assert!(measured.abs_diff(stated) <= measured / 100, "{text}");
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn streams_and_the_exit_status_are_those_of_the_program() -> Result<()> {
    let package = package()?;
    let folder = package.path();
    let input: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();
    let output = run(folder, &[], &["cat"], &input)?;
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout == input && output.stderr.is_empty());

    let program = "read -r line; echo out $line; echo err $line >&2; exit 200";
    let output = run(folder, &[], &["sh", "-c", program], b"one\ntwo")?;
    assert_eq!(output.status.code(), Some(200));
    let texts = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(texts, ["out one\n", "err one\n"]);

    for signal in [Signal::SIGSEGV, Signal::SIGKILL, Signal::SIGPIPE] {
        let name = signal.as_str().trim_start_matches("SIG");
        let output = script(folder, &[], &format!("kill -{name} $$"))?;
        assert_eq!(output.status.signal(), Some(signal as i32), "{name}");
    }
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn a_program_finds_its_package_and_its_user() -> Result<()> {
    let package = package()?;
    let data = package.path().join("data");
    let text = "echo in the guest > file; read -r line < file; echo $line; pwd; exec id -u";
    let output = script(&data, &["--with", "id", "--user", "unprivileged"], text)?;
    assert_eq!(output.status.code(), Some(0));
    let printed = String::from_utf8(output.stdout)?;
    let uid = match nix::unistd::geteuid().as_raw() {
        0 => 65534,
        uid => uid,
    };
    assert_eq!(
        printed,
        format!("in the guest\n{}\n{uid}\n", data.display())
    );
    assert_eq!(fs::read_to_string(data.join("file"))?, "of the host\n");

    // A script of the package, and variables of the caller's.
    let file = data.join("a-script");
    fs::write(&file, "#!/bin/sh\necho $0 $1 $NEXTEST_OF_CALLER $HOME\n")?;
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mut command = in_vm(&data, &["--user", "root"], &["./a-script", "é"])?;
    let output = command.env("NEXTEST_OF_CALLER", "passed on").output()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = format!("{} é passed on /root\n", data.join("./a-script").display());
    assert_eq!(printed, expected, "{output:?}");

    // Outside of a package there are no files.
    fs::remove_file(package.path().join("Cargo.toml"))?;
    let is_in_a_package = package
        .path()
        .ancestors()
        .any(|above| above.join("Cargo.toml").exists());
    if !is_in_a_package {
        let output = script(&data, &[], "pwd")?;
        assert_eq!(output.stdout, b"/tmp\n");
    }
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn signals_are_forwarded() -> Result<()> {
    let package = package()?;
    let program = "trap 'echo caught; exit 3' HUP INT QUIT; echo ready; read -r line";
    let cases = [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
    ];
    for signal in cases {
        let mut child = in_vm(package.path(), &[], &["sh", "-c", program])?.spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().context("no output")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        assert_eq!(line, "ready\n");
        kill(Pid::from_raw(i32::try_from(child.id())?), signal)?;
        let mut rest = String::new();
        stdout.read_to_string(&mut rest)?;
        let status = child.wait()?;
        if signal == Signal::SIGTERM {
            assert_eq!(status.signal(), Some(signal as i32));
        } else {
            assert_eq!((status.code(), &*rest), (Some(3), "caught\n"), "{signal}");
        }
    }
    Ok(())
}

/// Writes without blocking until nothing fits for a while. Returns the number of bytes.
fn fill(child: &Child, piece: &[u8]) -> Result<usize> {
    let mut stdin = child.stdin.as_ref().context("no input")?;
    let flags = OFlag::from_bits_retain(fcntl(stdin.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(stdin.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    let mut written = 0;
    loop {
        match stdin.write(piece) {
            Ok(count) => written += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLOUT)];
                let ample = PollTimeout::try_from(Duration::from_secs(8))?;
                if poll(&mut fds, ample)? == 0 {
                    fcntl(stdin.as_fd(), FcntlArg::F_SETFL(flags))?;
                    return Ok(written);
                }
            }
            Err(error) => return Err(error.into()),
        }
        ensure!(written < 16 << 20, "{written} bytes are buffered");
    }
}

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn what_nobody_reads_is_bounded_and_a_closed_output_ends_a_program() -> Result<()> {
    let package = package()?;
    let mut child = in_vm(package.path(), &[], &["cat"])?.spawn()?;
    let mut stdout = child.stdout.take().context("no output")?;
    // The program runs.
    let stdin = child.stdin.as_mut().context("no input")?;
    stdin.write_all(b"x")?;
    stdout.read_exact(&mut [0])?;
    let written = fill(&child, &[b'x'; 4096])?;
    drop(child.stdin.take());
    let mut read = Vec::new();
    stdout.read_to_end(&mut read)?;
    assert_eq!(read.len(), written);
    ensure!(child.wait()?.success());

    let program = "while :; do echo more; done";
    let mut child = in_vm(package.path(), &[], &["sh", "-c", program])?.spawn()?;
    let mut stdout = child.stdout.take().context("no output")?;
    stdout.read_exact(&mut [0; 100])?;
    drop(stdout);
    let status = child.wait()?;
    assert_eq!(status.signal(), Some(Signal::SIGPIPE as i32), "{status}");
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn what_cannot_run_is_an_error_with_an_exit_code_of_its_own() -> Result<()> {
    let package = package()?;
    let folder = package.path();
    fs::write(folder.join("text"), "no program")?;
    let mut problems = String::new();
    let mut tell = |arguments: &[&str]| -> Result<()> {
        let output = in_package(RUNNER, folder)?
            .arg("run")
            .args(arguments)
            .output()?;
        assert_eq!(output.status.code(), Some(125), "{arguments:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        let text = text.replace(&*folder.to_string_lossy(), "[folder]");
        problems += &format!("$ cargo kata-test run {}\n{text}\n", arguments.join(" "));
        Ok(())
    };
    tell(&["--place", "vm:bookworm", "--", "./missing"])?;
    tell(&["--place", "vm:bookworm", "missing-program"])?;
    tell(&["--place", "vm:bookworm", "./text"])?;
    tell(&["--place", "here", "./missing"])?;
    tell(&["--place", "all", "cat"])?;
    tell(&["--place", "nowhere", "cat"])?;
    tell(&["--place", "sudo", "--user", "unprivileged", "cat"])?;
    tell(&["--place", "userns", "--user", "unprivileged", "cat"])?;
    insta::assert_snapshot!(problems);
    Ok(())
}

/// Its modules are four times those of a kernel for VMs. What does not fit into memory is dropped without an error.
#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn a_kernel_for_all_machines_has_room_for_its_modules() -> Result<()> {
    let package = package()?;
    let output = in_package(RUNNER, package.path())?
        .args(["run", "--place", "vm:bookworm+generic", "--"])
        .args(["sh", "-c", "modprobe xfs && modprobe zram"])
        .output()?;
    assert!(output.status.success(), "{output:?}");
    Ok(())
}
