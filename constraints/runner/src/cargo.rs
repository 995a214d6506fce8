//! Cargo, as a child: it builds the test binaries and says where they are.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Binary;
use super::scan::targets_without_harness;
use kata_test::__runner::BINARY_ID;

/// Where the loader looks for shared libraries.
pub(super) const LIBRARY_PATH: &str = if cfg!(target_os = "macos") {
    "DYLD_FALLBACK_LIBRARY_PATH"
} else {
    "LD_LIBRARY_PATH"
};

/// Why a build or a query of cargo failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CargoError {
    /// It could not be run.
    #[error("cannot run cargo")]
    Spawn(#[source] io::Error),
    /// rustc could not be run.
    #[error("cannot find the libraries of rustc; put rustc on PATH or set RUSTC")]
    Rustc(#[source] io::Error),
    /// It failed, and has printed why.
    #[error("cargo {what} failed with {status}")]
    Failed {
        /// Which of its commands.
        what: &'static str,
        /// How it ended.
        status: ExitStatus,
    },
    /// Its output cannot be parsed.
    #[error("cannot parse the output of cargo {what}")]
    Answer {
        /// Which of its commands.
        what: &'static str,
        /// The parser's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A workspace, as cargo knows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Workspace {
    /// The folder of its `Cargo.toml`.
    pub root: PathBuf,
    /// Where cargo builds.
    pub target: PathBuf,
    packages: HashMap<String, Package>,
}

#[derive(Clone, Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    manifest_path: PathBuf,
    #[serde(default)]
    targets: Vec<PackageTarget>,
}

/// A target, as cargo's metadata has it.
#[derive(Clone, Debug, Deserialize)]
struct PackageTarget {
    #[serde(default)]
    doctest: bool,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

/// What cargo says of something that it has built.
#[derive(Debug, Deserialize)]
struct Artifact {
    package_id: String,
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

/// What cargo says of a build script that it has run.
#[derive(Debug, Deserialize)]
struct BuildScript {
    package_id: String,
    linked_paths: Vec<String>,
    env: Vec<(String, String)>,
    out_dir: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Target {
    kind: Vec<String>,
    name: String,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

impl Workspace {
    /// Returns where cargo's configuration has a `runner` for test binaries, which this runner does not use.
    #[must_use]
    pub fn ignored_runner(&self) -> Option<String> {
        super::cargo_env::runner(&self.root)
    }

    /// Asks cargo about the workspace of the working directory.
    ///
    /// # Errors
    ///
    /// If there is none, or cargo cannot be run.
    pub fn here() -> Result<Self, CargoError> {
        Self::find(&[], None)
    }

    /// Asks cargo about the workspace that these arguments select, such as `--manifest-path`. `target_dir`
    /// replaces the target directory.
    ///
    /// # Errors
    ///
    /// If there is none, or cargo cannot be run.
    pub fn find(arguments: &[OsString], target_dir: Option<&Path>) -> Result<Self, CargoError> {
        const WHAT: &str = "metadata";
        let mut command = cargo();
        command
            .args([WHAT, "--format-version=1", "--no-deps"])
            .args(arguments);
        if let Some(target_dir) = target_dir {
            // `cargo metadata` does not take `--target-dir`.
            command.env("CARGO_TARGET_DIR", target_dir);
        }
        let text = answer(WHAT, &mut command)?;
        let metadata: Metadata =
            serde_json::from_str(&text).map_err(|source| CargoError::Answer {
                what: WHAT,
                source: source.into(),
            })?;
        let packages = metadata.packages.into_iter();
        Ok(Self {
            root: metadata.workspace_root,
            target: metadata.target_directory,
            packages: packages
                .map(|package| (package.id.clone(), package))
                .collect(),
        })
    }

    /// Returns the manifests of the packages.
    pub fn manifests(&self) -> impl Iterator<Item = &Path> {
        let packages = self.packages.values();
        packages.map(|package| package.manifest_path.as_path())
    }

    /// Builds the test binaries that `cargo test` with these arguments would run, and returns them in
    /// the order of their ids.
    ///
    /// # Errors
    ///
    /// If the build fails. Cargo has then said why.
    pub fn test_binaries(&self, arguments: &[OsString]) -> Result<Vec<Binary>, CargoError> {
        let mut command = cargo();
        command
            .args([
                "test",
                "--no-run",
                "--message-format=json-render-diagnostics",
            ])
            .args(arguments);
        let text = answer("test --no-run", &mut command)?;
        let artifacts: Vec<Artifact> = messages(&text).collect();
        let scripts: Vec<BuildScript> = messages(&text).collect();
        let native = scripts.iter().flat_map(|script| &script.linked_paths);
        let libraries = Libraries {
            native: native.filter_map(|path| self.native_folder(path)).collect(),
            rust: rust_libraries()?,
        };
        let mut binaries = Vec::new();
        for artifact in &artifacts {
            let Some(mut binary) = self.binary(artifact, &artifacts, &libraries) else {
                continue;
            };
            binary.has_libtest = self.has_libtest(artifact)?;
            let of_package = |script: &&BuildScript| script.package_id == artifact.package_id;
            for script in scripts.iter().filter(of_package) {
                let env = script.env.iter();
                binary
                    .env
                    .extend(env.map(|(name, value)| (name.into(), value.into())));
                let out_dir = script.out_dir.clone().into_os_string();
                binary.env.push(("OUT_DIR".into(), out_dir));
            }
            binaries.push(binary);
        }
        binaries.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(binaries)
    }

    /// Returns whether one of the selected packages has documentation tests. Without `selected` these are
    /// all packages; a specification that is more than a name and a version may select any.
    #[must_use]
    pub fn has_doctests(&self, selected: &[String], excluded: &[String]) -> bool {
        let names = |specs: &[String], package: &Package| {
            specs.iter().any(|spec| {
                let name = spec.split('@').next().unwrap_or(spec);
                name == package.name || spec.contains(['/', ':', '*', '?', '['])
            })
        };
        let mut packages = self.packages.values().filter(|package| {
            (selected.is_empty() || names(selected, package)) && !names(excluded, package)
        });
        packages.any(|package| package.targets.iter().any(|target| target.doctest))
    }

    /// Returns whether a target has Rust's own harness.
    fn has_libtest(&self, artifact: &Artifact) -> Result<bool, CargoError> {
        let Some(package) = self.packages.get(&artifact.package_id) else {
            return Ok(false);
        };
        let without = targets_without_harness(&package.manifest_path);
        let without = without.map_err(|error| CargoError::Answer {
            what: "metadata",
            source: error.into(),
        })?;
        let target = &artifact.target;
        Ok(!match target.kind.first().map(String::as_str) {
            Some(kind @ ("test" | "bin" | "example" | "bench")) => {
                without.contains(&format!("{kind} {}", target.name))
            }
            _ => without.contains("lib"),
        })
    }

    /// The folder that a build script passes to rustc, if it is in the target folder: others are not in
    /// cargo's search path either.
    fn native_folder(&self, linked_path: &str) -> Option<PathBuf> {
        let path = match linked_path.split_once('=') {
            Some(("native" | "crate" | "dependency" | "framework" | "all", path)) => path,
            _ => linked_path,
        };
        let path = Path::new(path);
        path.starts_with(&self.target).then(|| path.to_owned())
    }

    fn binary(
        &self,
        artifact: &Artifact,
        all: &[Artifact],
        libraries: &Libraries,
    ) -> Option<Binary> {
        let package = self.packages.get(&artifact.package_id)?;
        let executable = artifact
            .executable
            .clone()
            .filter(|_| artifact.profile.test)?;
        let folder = package.manifest_path.parent()?.to_owned();
        let is_program = |other: &&Artifact| {
            other.package_id == artifact.package_id
                && !other.profile.test
                && other.target.kind.iter().any(|kind| kind == "bin")
        };
        let programs: Vec<&Artifact> = all.iter().filter(is_program).collect();
        let id = id(&package.name, &artifact.target);
        let mut env = super::cargo_env::variables(&std::env::current_dir().ok()?);
        env.extend(environment(package, &folder));
        env.push((BINARY_ID.into(), id.clone().into()));
        for program in &programs {
            if let Some(path) = &program.executable {
                let name = format!("CARGO_BIN_EXE_{}", program.target.name);
                env.push((name.into(), path.clone().into_os_string()));
            }
        }
        env.push((LIBRARY_PATH.into(), libraries.path_of(&executable)));
        Some(Binary {
            id,
            env,
            programs: programs
                .into_iter()
                .filter_map(|program| program.executable.clone())
                .collect(),
            executable,
            folder,
            ..Binary::default()
        })
    }
}

/// A binary's id in nextest's form.
fn id(package: &str, target: &Target) -> String {
    let name = &target.name;
    match target.kind.first().map(String::as_str) {
        Some("test") => format!("{package}::{name}"),
        Some(kind @ ("bin" | "example" | "bench")) => format!("{package}::{kind}/{name}"),
        _ => package.to_owned(),
    }
}

/// What cargo sets for a test binary, as far as tests read it at run time.
fn environment(package: &Package, folder: &Path) -> Vec<(OsString, OsString)> {
    let version = package.version.split(['-', '+']).next().unwrap_or_default();
    let number = |at| OsStr::new(version.split('.').nth(at).unwrap_or_default());
    [
        ("CARGO_MANIFEST_DIR", folder.as_os_str()),
        ("CARGO_MANIFEST_PATH", package.manifest_path.as_os_str()),
        ("CARGO_PKG_NAME", package.name.as_ref()),
        ("CARGO_PKG_VERSION", package.version.as_ref()),
        ("CARGO_PKG_VERSION_MAJOR", number(0)),
        ("CARGO_PKG_VERSION_MINOR", number(1)),
        ("CARGO_PKG_VERSION_PATCH", number(2)),
    ]
    .map(|(name, value)| (name.into(), value.to_owned()))
    .to_vec()
}

/// Where shared libraries lie that programs may need which cargo has built.
struct Libraries {
    /// The folders of those that build scripts have made.
    native: Vec<PathBuf>,
    /// The folder of Rust's own.
    rust: PathBuf,
}

impl Libraries {
    /// The search path of an executable, as cargo sets it.
    fn path_of(&self, executable: &Path) -> OsString {
        let mut folders = self.native.clone();
        // `target/debug/deps/it-…` and `target/debug/examples/tool-…`.
        if let Some(profile) = executable.parent().and_then(Path::parent) {
            folders.push(profile.join("deps"));
            folders.push(profile.to_owned());
        }
        folders.push(self.rust.clone());
        let inherited = std::env::var_os(LIBRARY_PATH).unwrap_or_default();
        folders.extend(std::env::split_paths(&inherited));
        let mut seen = HashSet::new();
        folders.retain(|folder| folder.as_os_str() != "" && seen.insert(folder.clone()));
        // A folder with a colon in its name cannot be searched.
        folders.retain(|folder| std::env::join_paths([folder]).is_ok());
        std::env::join_paths(folders).unwrap_or_default()
    }
}

/// Asks rustc where the shared libraries of Rust are, which proc-macro crates are linked to.
fn rust_libraries() -> Result<PathBuf, CargoError> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let output = Command::new(rustc)
        .args(["--print", "target-libdir"])
        .stderr(Stdio::inherit())
        .output();
    let output = output.map_err(CargoError::Rustc)?;
    if !output.status.success() {
        return Err(CargoError::Rustc(io::Error::other(format!(
            "it failed with {}",
            output.status
        ))));
    }
    let path = String::from_utf8_lossy(&output.stdout);
    Ok(PathBuf::from(path.trim_end()))
}

/// The messages of one kind among all that cargo printed.
fn messages<T: DeserializeOwned>(text: &str) -> impl Iterator<Item = T> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
}

/// Returns a command for the cargo that runs this program (`CARGO`), or the one on PATH, in the current directory: a
/// relative `CARGO_TARGET_DIR` is resolved there.
#[must_use]
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

fn answer(what: &'static str, command: &mut Command) -> Result<String, CargoError> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(CargoError::Spawn)?;
    if !output.status.success() {
        let status = output.status;
        return Err(CargoError::Failed { what, status });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    //! Scope: names. What is built is shown by the commands that run it.

    use super::*;

    #[test]
    fn ids_are_nextests() {
        let id = |kind: &str, name: &str| {
            let kind = vec![kind.to_owned()];
            let name = name.to_owned();
            id("pkg", &Target { kind, name })
        };
        assert_eq!(id("lib", "pkg"), "pkg");
        assert_eq!(id("proc-macro", "pkg"), "pkg");
        assert_eq!(id("test", "it"), "pkg::it");
        assert_eq!(id("bin", "tool"), "pkg::bin/tool");
    }
}
