//! The package with the targets, and how it is compiled: with coverage, which the stable compiler can add.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cargo;

/// What libFuzzer needs: counters for each edge, the table of their addresses, and calls at comparisons.
const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];

/// The package.
pub(super) struct Package {
    folder: PathBuf,
    /// Where compiled targets and what they find go.
    pub(super) output: PathBuf,
    /// What rustc calls this machine. With `--target`, build scripts are compiled without coverage.
    triple: String,
}

impl Package {
    pub(super) fn find() -> Result<Self> {
        let target = cargo::target_directory()?;
        Ok(Self {
            folder: Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz"),
            output: target.join("fuzz"),
            triple: triple()?,
        })
    }

    /// Returns the folder with the kept corpus of a target.
    pub(super) fn corpus(&self, target: &str) -> PathBuf {
        self.folder.join("corpus").join(target)
    }

    /// Returns the folder of a target for corpora or artifacts that are not kept, and creates it.
    pub(super) fn output_folder(&self, kind: &str, target: &str) -> Result<PathBuf> {
        let folder = self.output.join(kind).join(target);
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    pub(super) fn executable(&self, target: &str) -> PathBuf {
        self.output.join(&self.triple).join("release").join(target)
    }

    /// Returns all targets, sorted.
    pub(super) fn targets(&self) -> Result<Vec<String>> {
        let folder = self.folder.join("fuzz_targets");
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut targets = Vec::new();
        for entry in entries {
            let name = entry?.file_name().into_string().unwrap_or_default();
            targets.extend(name.strip_suffix(".rs").map(str::to_owned));
        }
        targets.sort();
        Ok(targets)
    }

    /// Returns the targets of these names, or all if none is named.
    pub(super) fn select(&self, names: &[String]) -> Result<Vec<String>> {
        let known = self.targets()?;
        if let Some(name) = names.iter().find(|name| !known.contains(name)) {
            bail!(
                "there is no target `{name}`; the targets are {}",
                known.join(", ")
            );
        }
        Ok(if names.is_empty() {
            known
        } else {
            names.to_vec()
        })
    }

    /// Compiles targets. Cargo prints its progress.
    pub(super) fn build(&self, targets: &[String]) -> Result<()> {
        let mut command = cargo::cargo();
        command
            // Not `--locked`: the packages of the workspace get dependencies without changing this lock file.
            .args(["build", "--release", "--target", &self.triple])
            .arg("--manifest-path")
            .arg(self.folder.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&self.output)
            .args(targets.iter().map(|target| format!("--bin={target}")))
            .env_remove("RUSTFLAGS")
            .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
        cargo::must_pass(&mut command, "the build of the fuzz targets")
    }
}

fn triple() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let output = Command::new(rustc)
        .arg("-vV")
        .output()
        .context("cannot run rustc")?;
    ensure!(
        output.status.success(),
        "rustc -vV ended with {}",
        output.status
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// Returns why libFuzzer, which is C++, cannot be compiled.
pub(super) fn missing_compiler() -> Option<String> {
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| OsString::from("c++"));
    let mut command = Command::new(&compiler);
    let quiet = command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let problem = match quiet.status() {
        Ok(status) if status.success() => return None,
        Ok(status) => format!("`{} --version` ended with {status}", compiler.display()),
        Err(error) => format!("cannot run `{}`: {error}", compiler.display()),
    };
    Some(format!(
        "libFuzzer is compiled from C++, and {problem}; install a C++ compiler, such as Debian's \
         package g++, or name one in CXX"
    ))
}

#[cfg(test)]
mod tests {
    //! Scope: what the build of the targets would notice, which only `cargo xtask ci` does.

    use super::*;

    #[test]
    fn every_target_is_declared_and_has_a_corpus() -> Result<()> {
        let package = Package::find()?;
        let manifest = fs::read_to_string(package.folder.join("Cargo.toml"))?;
        let targets = package.targets()?;
        ensure!(targets.len() >= 15, "only {targets:?}");
        ensure!(manifest.matches("[[bin]]").count() == targets.len());
        let mut size = 0;
        for target in &targets {
            ensure!(
                manifest.contains(&format!("name = \"{target}\"\n")),
                "{target}"
            );
            for file in fs::read_dir(package.corpus(target)).context(target.clone())? {
                size += file?.metadata()?.len();
            }
        }
        ensure!(size < 2 << 20, "the kept corpora have {size} bytes");
        Ok(())
    }

    /// A target that tests a private module includes its file.
    #[test]
    fn every_included_file_exists() -> Result<()> {
        let folder = Package::find()?.folder.join("fuzz_targets");
        let mut included = 0;
        for entry in fs::read_dir(&folder)? {
            let text = fs::read_to_string(entry?.path())?;
            for rest in text.split("#[path = \"").skip(1) {
                let path = rest.split('"').next().unwrap_or_default();
                ensure!(folder.join(path).is_file(), "there is no {path}");
                included += 1;
            }
        }
        ensure!(included > 5, "only {included} files are included");
        Ok(())
    }

    #[test]
    fn an_unknown_target_is_an_error_that_lists_the_targets() -> Result<()> {
        let error = Package::find()?
            .select(&["jsno".to_owned()])
            .unwrap_err()
            .to_string();
        ensure!(
            error.contains("no target `jsno`") && error.contains("json"),
            "{error}"
        );
        Ok(())
    }
}
