//! The benchmark's folder with what the peers need: QEMU, kernels and programs from the user's cache, and the tools
//! themselves.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use guest_vm::artifacts::{
    Flavour, KernelChoice, KernelInstall, QemuInstall, Silent, Store, StoreLock,
    provision_kernel_of, provision_tools,
};
use guest_vm::qemu::Accelerator;

use super::step;
use super::tool::{self, Tool};
use crate::bench::Setup;
use crate::provision;

/// The kernels: the first is used for all that needs one.
pub(super) const KERNELS: [&str; 5] = ["6.1", "5.10", "6.12", "bookworm-backports", "7.3"];

/// How long an installation or a download may take.
const INSTALL: Duration = Duration::from_secs(1200);

pub(super) struct Installation {
    pub(super) folder: PathBuf,
    /// The images of the kernels by name, for clouds and for all machines.
    kernels: BTreeMap<(String, Flavour), PathBuf>,
    is_kvm: bool,
    /// What follows the CPU model of the peers' guests on QEMU's command line.
    cpu_flags: &'static str,
    /// How long the tests may take in a VM of one kernel.
    deadline: Duration,
}

impl Installation {
    /// Provides QEMU, these kernels and programs.
    pub(super) fn provide(setup: &Setup, kernels: &[&str]) -> Result<Self> {
        let folder = setup.folder.join("peers");
        remove(&folder.join("tmp"))?;
        for name in ["bin", "home", "kernels", "tmp"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let choice = setup.qemus.first().context("there is no QEMU")?;
        let qemu = provision::provision(choice, false)?.qemu;
        let is_kvm = matches!(Accelerator::probe(), Accelerator::Kvm);
        let mut installation = Self {
            folder,
            kernels: BTreeMap::new(),
            is_kvm,
            cpu_flags: match is_kvm || qemu.emulates_cmpxchg16b() {
                true => "",
                false => ",-cx16",
            },
            deadline: Duration::from_secs(if setup.quick { 60 } else { 120 }),
        };
        let lock = Store::of_user()?.lock(&mut Silent)?;
        installation.programs(&qemu, &lock)?;
        for name in kernels {
            for flavour in [Flavour::Cloud, Flavour::Generic] {
                let choice = KernelChoice {
                    flavour,
                    ..name.parse()?
                };
                eprintln!("  the kernel {choice}");
                let kernel = provision_kernel_of(&choice, &lock, &mut Silent)?;
                let image = match flavour {
                    Flavour::Cloud => kernel.image,
                    Flavour::Generic => installation.copy(name, &kernel)?,
                };
                installation
                    .kernels
                    .insert(((*name).to_owned(), flavour), image);
            }
        }
        Ok(installation)
    }

    /// Writes the programs that peers find: QEMU, busybox, depmod, modprobe, and their runners.
    fn programs(&self, qemu: &QemuInstall, lock: &StoreLock) -> Result<()> {
        let tools = provision_tools(lock, &mut Silent).context("there is no busybox-static")?;
        link(&tools.program, &self.bin("busybox"))?;
        for name in ["depmod", "modprobe"] {
            link(&self.folder.join("kmod/root/bin/kmod"), &self.bin(name))?;
        }
        let mut script = String::from(include_str!("qemu.sh"));
        for (name, value) in &qemu.env {
            writeln!(script, "export {name}={}", quoted(value))?;
        }
        let program = qemu.program.display().to_string();
        let words: Vec<_> = [&program]
            .into_iter()
            .chain(&qemu.prefix_args)
            .map(|word| quoted(word))
            .collect();
        writeln!(script, "exec {} \"$@\"", words.join(" "))?;
        executable(&self.bin("qemu-system-x86_64"), &script)?;
        for tool in [Tool::VirtmeNg, Tool::Script, Tool::Vmtest] {
            let (name, script) = tool.runner().context("a peer has a runner")?;
            executable(&self.bin(name), script)?;
        }
        Ok(())
    }

    fn bin(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    /// Copies a kernel, by hard links if it can be, for virtme-ng adds files to its modules.
    fn copy(&self, name: &str, kernel: &KernelInstall) -> Result<PathBuf> {
        let modules = kernel
            .modules
            .as_deref()
            .context("a kernel of the archive has modules")?;
        let folder = self.folder.join("kernels").join(name);
        let image = folder
            .join("boot")
            .join(format!("vmlinuz-{}", kernel.release));
        if image.exists() {
            return Ok(image);
        }
        let (modules_to, boot) = (folder.join("lib/modules"), folder.join("boot"));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&modules_to)?;
        fs::create_dir_all(boot)?;
        let script = "cp --archive --link \"$1\" \"$2\" 2>/dev/null || cp --archive \"$1\" \"$2\"";
        let mut copy = Command::new("sh");
        copy.args(["-c", script, "sh"]).args([modules, &modules_to]);
        self.install(&copy)?;
        fs::copy(&kernel.image, &image)?;
        Ok(image)
    }

    /// The variables of a peer, which finds its programs in the folder.
    pub(super) fn environment(&self, command: &mut Command) {
        let folders = ["bin", "venv/bin", "vmtest/bin"].map(|name| self.folder.join(name));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = folders.into_iter().chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(all).unwrap_or(path));
        command
            .env("FOLDER", &self.folder)
            .env("TMPDIR", self.folder.join("tmp"));
        command.env("ACCEL", if self.is_kvm { "kvm" } else { "tcg" });
        command.env("CPU_FLAGS", self.cpu_flags);
        command.env(
            "VNG_OPTIONS",
            if self.is_kvm { "" } else { "--disable-kvm" },
        );
    }

    pub(super) fn runner(&self, tool: Tool) -> PathBuf {
        self.bin(tool.runner().map_or("", |(name, _)| name))
    }

    /// The image of a kernel that [`provide`](Self::provide) has.
    pub(super) fn kernel(&self, tool: Tool, name: &str) -> &Path {
        let flavour = if tool.needs_9p() {
            Flavour::Generic
        } else {
            Flavour::Cloud
        };
        &self.kernels[&(name.to_owned(), flavour)]
    }

    /// Runs a command of an installation, and returns the seconds that it took.
    pub(super) fn install(&self, command: &Command) -> Result<f64> {
        let took = step::run(command, INSTALL, &self.folder.join("log"))?;
        took.with_context(|| {
            let secs = INSTALL.as_secs();
            format!("{} did not end within {secs} s", step::shown(command))
        })
    }

    /// After which a run with these kernels is stopped.
    pub(super) fn deadline(&self, kernels: &[&str]) -> Duration {
        self.deadline * u32::try_from(kernels.len()).unwrap_or(u32::MAX)
    }

    /// Runs tests in a VM of each kernel, and returns the seconds that all took, or `None` at the deadline.
    pub(super) fn run(&self, tool: Tool, tests: usize, kernels: &[&str]) -> Result<Option<f64>> {
        let package = tool::package(&self.folder, tests)?;
        let commands = tool.commands(self, &package, kernels);
        let of_each = tests * kernels.len() / commands.len();
        let deadline = self.deadline(kernels);
        let mut all = 0.0;
        for command in commands {
            let log = self.folder.join("log");
            let left = deadline.saturating_sub(Duration::from_secs_f64(all));
            // `timeout` takes zero for no limit.
            if left.is_zero() {
                return Ok(None);
            }
            let took = step::run_tests(&command, of_each, left, &log);
            let took = took.with_context(|| format!("{} cannot be measured", tool.name()))?;
            let Some(took) = took else { return Ok(None) };
            all += took;
        }
        Ok(Some(all))
    }

    /// From nothing but cargo, Python and nextest to the first test, in seconds.
    pub(super) fn first_ever(&self, tool: Tool) -> Result<f64> {
        let package = tool::package(&self.folder, 1)?;
        let cache = self.folder.join("cold-cache");
        for folder in tool.folders() {
            remove(&self.folder.join(folder))?;
        }
        remove(&cache)?;
        let _cache = Temporary(cache.clone());
        remove(&package.join("target"))?;
        let mut all = 0.0;
        for command in tool.install(self) {
            all += self.install(&command)?;
        }
        if tool != Tool::Ours {
            all += self.fetch(tool, &package, &cache)?;
        }
        for mut command in tool.commands(self, &package, &KERNELS[..1]) {
            command.env("KATA_TEST_CACHE", &cache);
            let took = step::run_tests(&command, 1, INSTALL, &self.folder.join("log"))?;
            all += took.context("the first test was stopped")?;
        }
        Ok(all)
    }

    /// Downloads and unpacks what a peer needs of the archive, as `apt install` does.
    fn fetch(&self, tool: Tool, package: &Path, cache: &Path) -> Result<f64> {
        let generic = if tool.needs_9p() { "+generic" } else { "" };
        let mut fetch = Command::new(self.folder.join("ours/bin/cargo-kata-test"));
        fetch.args(["kata-test", "lock", "--places"]);
        fetch.arg(format!("vm:{}{generic}", KERNELS[0]));
        fetch.current_dir(package).env("KATA_TEST_CACHE", cache);
        let _lock = Temporary(package.join("kata-test.lock"));
        self.install(&fetch)
    }

    /// Installs a tool if it is not there. Ours may have changed, and is compiled again.
    pub(super) fn ensure(&self, tool: Tool) -> Result<()> {
        let is_there = tool
            .folders()
            .iter()
            .all(|name| self.folder.join(name).exists());
        let commands = if is_there && tool != Tool::Ours {
            Vec::new()
        } else {
            tool.install(self)
        };
        if !commands.is_empty() {
            eprintln!("  installing {}", tool.name());
        }
        for command in commands {
            let installed = self.install(&command);
            installed.with_context(|| format!("{} cannot be installed", tool.name()))?;
        }
        if tool == Tool::Script {
            let found = Command::new("cargo")
                .args(["nextest", "--version"])
                .output()?;
            ensure!(
                found.status.success(),
                "cargo nextest is not there: `cargo install --locked cargo-nextest`"
            );
        }
        Ok(())
    }

    /// Compiles the tests of a package.
    pub(super) fn build(&self, tests: usize) -> Result<()> {
        let mut build = Command::new("cargo");
        build
            .args(["test", "--no-run", "--quiet"])
            .current_dir(tool::package(&self.folder, tests)?);
        self.install(&build).map(drop)
    }

    /// Removes what stopped peers left.
    pub(super) fn clean(&self) -> Result<()> {
        Ok(remove(&self.folder.join("tmp"))?)
    }
}

/// A file or a folder that is removed also if the measurement fails.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            eprintln!("note: cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Removes a file or a folder if it is there.
fn remove(path: &Path) -> std::io::Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A word of a shell script.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

pub(super) fn executable(path: &Path, script: &str) -> Result<()> {
    fs::write(path, script)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn link(to: &Path, path: &Path) -> Result<()> {
    if path.is_symlink() {
        fs::remove_file(path)?;
    }
    symlink(to, path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first test by the script, where the program that downloads does this.
    fn first_ever(downloads: &str) -> (String, Vec<bool>) {
        let folder = tempfile::tempdir().unwrap();
        let installation = Installation {
            folder: folder.path().to_owned(),
            kernels: BTreeMap::new(),
            is_kvm: false,
            cpu_flags: "",
            deadline: Duration::from_secs(30),
        };
        let bin = folder.path().join("ours/bin");
        fs::create_dir_all(&bin).unwrap();
        let script = format!("#!/bin/sh\nmkdir \"$KATA_TEST_CACHE\"\n{downloads}\n");
        executable(&bin.join("cargo-kata-test"), &script).unwrap();
        let error = installation.first_ever(Tool::Script).unwrap_err();
        let left = ["cold-cache", "package-1/kata-test.lock"];
        let left = left.map(|name| folder.path().join(name).exists());
        (format!("{error:#}"), left.to_vec())
    }

    #[test]
    fn a_download_that_fails_is_the_error_and_leaves_no_files() {
        for makes_lock in ["", "touch kata-test.lock; "] {
            let (error, left) = first_ever(&format!("{makes_lock}echo no network; exit 3"));
            assert!(error.contains("no network"), "{error}");
            assert_eq!(left, [false, false], "{makes_lock}");
        }
    }
}
