//! What is compared: how each tool is installed into the benchmark's folder, and the command that runs a package's
//! tests with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::installation::Installation;
use crate::bench::harness::update;

/// A tool that runs tests in VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    Ours,
    VirtmeNg,
    /// nextest with a script that boots a VM.
    Script,
    Vmtest,
}

impl Tool {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "cargo kata-test",
            Self::VirtmeNg => "virtme-ng",
            Self::Script => "nextest with a VM script",
            Self::Vmtest => "vmtest",
        }
    }

    /// Whether its VMs get the distribution's kernel for all machines: the one for clouds has no 9p.
    pub(super) fn needs_9p(self) -> bool {
        matches!(self, Self::VirtmeNg | Self::Vmtest)
    }

    /// The folders that installing makes.
    pub(super) fn folders(self) -> &'static [&'static str] {
        match self {
            Self::Ours => &["ours", "ours-build"],
            Self::VirtmeNg => &["venv", "kmod"],
            Self::Script => &[],
            Self::Vmtest => &["vmtest"],
        }
    }

    /// The commands that install it. nextest is expected to be there, as it comes as a binary.
    pub(super) fn install(self, installation: &Installation) -> Vec<Command> {
        let at = |name: &str| installation.folder.join(name);
        let cargo = |root: &str, build: &str| {
            let mut cargo = Command::new("cargo");
            cargo
                .args(["install", "--locked", "--quiet", "--root"])
                .arg(at(root));
            cargo.arg("--target-dir").arg(at(build));
            cargo
        };
        match self {
            Self::Ours => {
                let ours = concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/../iothread-it/cargo-kata-test"
                );
                let mut install = cargo("ours", "ours-build");
                install.args(["--path", ours]);
                vec![install]
            }
            Self::VirtmeNg => {
                let mut venv = Command::new("python3");
                venv.args(["-m", "venv"]).arg(at("venv"));
                let mut pip = Command::new(at("venv/bin/pip"));
                pip.args(["install", "--quiet", "--no-cache-dir", "virtme-ng==1.42"]);
                let mut kmod = Command::new("sh");
                kmod.args(["-euc", KMOD]).arg("sh").arg(at("kmod"));
                vec![venv, pip, kmod]
            }
            Self::Script => Vec::new(),
            Self::Vmtest => {
                let mut install = cargo("vmtest", "tmp/vmtest-build");
                install.args(["vmtest", "--version", "0.18.0"]);
                vec![install]
            }
        }
    }

    /// The commands that run a package's tests on each of these kernels.
    pub(super) fn commands(
        self,
        installation: &Installation,
        package: &Path,
        kernels: &[&str],
    ) -> Vec<Command> {
        if self == Self::Ours {
            let mut command = Command::new(installation.folder.join("ours/bin/cargo-kata-test"));
            let places: Vec<_> = kernels
                .iter()
                .map(|kernel| format!("vm:{kernel}"))
                .collect();
            command.args(["kata-test", "test", "--places", &places.join(",")]);
            if kernels.len() > 1 {
                command.arg("--everywhere");
            }
            command.current_dir(package);
            return vec![command];
        }
        let with = |kernel: &&str| {
            let mut command = Command::new("cargo");
            match self {
                Self::Script => command.args(["nextest", "run"]),
                _ => command.args(["test", "--lib"]),
            };
            command.current_dir(package);
            command.env(
                "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER",
                installation.runner(self),
            );
            command.env("KERNEL", installation.kernel(self, kernel));
            installation.environment(&mut command);
            command
        };
        kernels.iter().map(with).collect()
    }

    /// Its target runner.
    pub(super) fn runner(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Ours => None,
            Self::VirtmeNg => Some(("virtme-ng-runner", include_str!("virtme-ng-runner.sh"))),
            Self::Script => Some(("vm-runner", include_str!("vm-runner.sh"))),
            Self::Vmtest => Some(("vmtest-runner", include_str!("vmtest-runner.sh"))),
        }
    }
}

/// virtme-ng calls depmod and modprobe.
const KMOD: &str = "mkdir -p \"$1\" && cd \"$1\" && apt-get download --quiet kmod libkmod2 && \
                    for package in *.deb; do dpkg --extract \"$package\" root; done";

/// A package with plain tests, each of which fails on this host's kernel.
pub(super) fn package(below: &Path, tests: usize) -> std::io::Result<PathBuf> {
    let folder = below.join(format!("package-{tests}"));
    fs::create_dir_all(&folder)?;
    let manifest = "[package]\nname = \"peers\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
                    [lib]\npath = \"lib.rs\"\ndoctest = false\n";
    let host = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut source = format!(
        "#[cfg(test)]\nfn look() {{\n    let release = std::fs::read_to_string(\"/proc/sys/kernel/osrelease\");\n    \
         assert_ne!(release.unwrap().trim(), {:?});\n}}\n",
        host.trim()
    );
    for number in 0..tests {
        source += &format!("#[test]\nfn t{number}() {{\n    look();\n}}\n");
    }
    update(&folder.join("Cargo.toml"), manifest)?;
    update(&folder.join("lib.rs"), &source)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::bench::peers::installation::executable;

    /// Runs a script with programs that only print, or end with 0.
    fn script(script: &str, programs: &[(&str, &str)], arguments: &[&str]) -> (bool, String) {
        let folder = tempfile::tempdir().unwrap();
        executable(&folder.path().join("script"), script).unwrap();
        for (name, body) in programs {
            let body = format!("#!/bin/sh\n{body}\n");
            executable(&folder.path().join(name), &body).unwrap();
        }
        let path = std::env::var_os("PATH").unwrap();
        let folders = std::iter::once(folder.path().to_owned()).chain(std::env::split_paths(&path));
        let mut command = Command::new(folder.path().join("script"));
        command.env("PATH", std::env::join_paths(folders).unwrap());
        command
            .env("TMPDIR", folder.path())
            .env("FOLDER", folder.path());
        command
            .env("ACCEL", "tcg")
            .env("CPU_FLAGS", ",-cx16")
            .env("KERNEL", "k")
            .env("VNG_OPTIONS", "");
        let output = command.args(arguments).output().unwrap();
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, programs.len() + 1, "the script left files");
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
        )
    }

    #[test]
    fn a_package_is_written_again_only_if_one_of_its_files_differs() {
        let folder = tempfile::tempdir().unwrap();
        let made = package(folder.path(), 2).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        for name in ["Cargo.toml", "lib.rs"] {
            let path = made.join(name);
            let text = fs::read_to_string(&path).unwrap();
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(old)
                .unwrap();
            package(folder.path(), 2).unwrap();
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            assert_eq!(modified, old, "{name} has not changed");
            fs::write(&path, "older").unwrap();
            package(folder.path(), 2).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text, "{name}");
        }
    }

    #[test]
    fn options_are_replaced_where_kvm_is_not_usable() {
        let end = concat!(include_str!("qemu.sh"), "echo \"$@\"");
        let (_, printed) = script(end, &[], &["-enable-kvm", "-cpu", "host", "-append", "a b"]);
        assert_eq!(printed, "-cpu max,-cx16 -append a b\n");
        let (_, printed) = script(end, &[], &["-cpu", "qemu64", "-m", "512"]);
        assert_eq!(printed, "-cpu qemu64,-cx16 -m 512\n");
    }

    #[test]
    fn a_runner_fails_unless_the_guest_says_that_the_tests_passed() {
        for (tool, program, says) in [
            (Tool::Script, "qemu-system-x86_64", "the test ended with"),
            (Tool::VirtmeNg, "vng", "script exited with code"),
        ] {
            let (_, runner) = tool.runner().unwrap();
            let ends = ["0", "101", ""].map(|status| {
                let says = format!("echo '{says} {status}'");
                let programs = [(program, says.as_str()), ("busybox", "cat > /dev/null")];
                script(runner, &programs, &["/bin/true", "--exact", "a"]).0
            });
            assert_eq!(ends, [true, false, false], "{tool:?}");
        }
    }
}
