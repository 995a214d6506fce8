//! What a VM is started from, as a file: written by whoever provisions, read by whoever boots.
//!
//! `cargo xtask` writes it; the suite only reads it. So a plain `cargo test` never downloads, and
//! without the file its tests can say what to run.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use kata_test_host::sys::target_folder_of;
use serde::{Deserialize, Serialize};

use super::store::{Store, write_atomically};
use qmp_client::QemuVersion;

/// The variable that names the manifest's file.
pub const MANIFEST_ENV: &str = "IOTHREAD_IT_ARTIFACTS";

/// A QEMU and a guest that fit each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The emulator.
    pub qemu: QemuInstall,
    /// The guest that it boots.
    pub guest: GuestImage,
}

/// A QEMU and how to start it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QemuInstall {
    /// The file to execute: QEMU itself, or the loader that a private QEMU came with.
    pub program: PathBuf,
    /// Arguments that go before all others: a loader's, and the firmware directories.
    pub prefix_args: Vec<String>,
    /// Variables that QEMU needs, such as its own module directory.
    pub env: BTreeMap<String, String>,
    /// The version as `-version` prints it, with the distribution's suffix.
    pub version: String,
    /// Where it came from.
    pub origin: Origin,
}

impl QemuInstall {
    /// Returns the version's numbers, if [`version`](Self::version) starts with some.
    #[must_use]
    pub fn numbers(&self) -> Option<QemuVersion> {
        QemuVersion::parse(&format!("version {}", self.version))
    }

    /// Returns whether this QEMU can open a file that it maps privately for reading only.
    pub(crate) fn opens_ram_read_only(&self) -> bool {
        self.numbers()
            .is_some_and(|version| version >= QemuVersion::OPENS_RAM_READ_ONLY)
    }
}

/// Where a QEMU or a kernel came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Already on this host.
    Host,
    /// Unpacked from the distribution's packages.
    Packages {
        /// The suite they were taken from, such as `bookworm`.
        suite: String,
        /// The main package's version.
        version: String,
    },
}

/// A kernel and the initramfs with our agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestImage {
    /// The kernel image as the distribution ships it.
    pub kernel: PathBuf,
    /// The same kernel uncompressed, if QEMU can enter it without its unpacking itself.
    pub vmlinux: Option<PathBuf>,
    /// Its release, as `uname -r` says in the guest.
    pub kernel_release: String,
    /// The initramfs for `-initrd`.
    pub initramfs: PathBuf,
    /// SHA-256 of the agent in it, in hexadecimal.
    pub agent_sha256: String,
    /// Where the kernel came from.
    pub origin: Origin,
}

impl GuestImage {
    /// Returns the file for `-kernel`.
    #[must_use]
    pub fn bootable_kernel(&self) -> &Path {
        self.vmlinux.as_ref().unwrap_or(&self.kernel)
    }
}

/// The form of the file; a manifest of another form is made anew rather than guessed at.
const SCHEMA: u64 = 2;

impl Manifest {
    /// Reads the manifest that [`MANIFEST_ENV`] names, or else the one in the target directory
    /// that this executable lies in.
    ///
    /// # Errors
    /// If there is none, or as for [`Manifest::read`].
    pub fn find() -> Result<Self, ManifestError> {
        match std::env::var_os(MANIFEST_ENV) {
            Some(path) if !path.is_empty() => Self::read(Path::new(&path)),
            _ => Self::read(&Self::path_of(&Store::find()?)),
        }
    }

    /// Returns where the manifest lies in a target directory.
    #[must_use]
    pub fn path_in(target: &Path) -> PathBuf {
        Self::path_of(&Store::in_target(target))
    }

    fn path_of(store: &Store) -> PathBuf {
        store.base().join("artifacts.json")
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// If the file cannot be read, is no manifest of this version, or names a file that is gone.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(source) if source.kind() == ErrorKind::NotFound => {
                return Err(ManifestError::Absent { path: path.into() });
            }
            Err(source) => {
                return Err(ManifestError::Unreadable {
                    path: path.into(),
                    source,
                });
            }
        };
        let foreign = |source| ManifestError::Foreign {
            path: path.into(),
            source,
        };
        let mut fields: serde_json::Map<_, _> = serde_json::from_slice(&text).map_err(foreign)?;
        if fields.remove("schema").and_then(|schema| schema.as_u64()) != Some(SCHEMA) {
            return Err(ManifestError::OtherSchema { path: path.into() });
        }
        let manifest: Self = serde_json::from_value(fields.into()).map_err(foreign)?;
        manifest.check_files(path)?;
        Ok(manifest)
    }

    /// Writes the manifest so that a reader sees the old one or the new one, and nothing between.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ManifestError> {
        let unwritable = |source| ManifestError::Unwritable {
            path: path.into(),
            source,
        };
        let text = serde_json::to_value(self).and_then(|mut value| {
            value["schema"] = SCHEMA.into();
            serde_json::to_vec_pretty(&value)
        });
        let text = text.map_err(|source| unwritable(source.into()))?;
        write_atomically(path, &text).map_err(unwritable)
    }

    fn check_files(&self, path: &Path) -> Result<(), ManifestError> {
        let files = [
            &self.qemu.program,
            &self.guest.kernel,
            &self.guest.initramfs,
        ];
        let mut files = files.into_iter().chain(&self.guest.vmlinux);
        match files.find(|file| !file.is_file()) {
            Some(file) => Err(ManifestError::FileGone {
                path: path.into(),
                file: file.clone(),
            }),
            None => Ok(()),
        }
    }
}

impl Store {
    /// Returns the store in the target directory that this executable lies in.
    ///
    /// # Errors
    /// If it lies in none.
    pub fn find() -> Result<Self, ManifestError> {
        let executable = std::env::current_exe().map_err(ManifestError::NoExecutable)?;
        Ok(Self::in_target(&target_directory_of(&executable)?))
    }
}

/// Finds the target directory of cargo that an executable lies in.
fn target_directory_of(executable: &Path) -> Result<PathBuf, ManifestError> {
    target_folder_of(executable)
        .map(Path::to_path_buf)
        .ok_or_else(|| ManifestError::NoTarget {
            executable: executable.into(),
        })
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Nobody has provisioned yet.
    #[error(
        "no QEMU and guest have been provisioned ({} is absent); run `cargo xtask it`",
        path.display()
    )]
    Absent {
        /// Where the manifest was looked for.
        path: PathBuf,
    },
    /// The file is there and cannot be read.
    #[error("the manifest {} cannot be read", path.display())]
    Unreadable {
        /// The manifest.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("{} is no manifest of ours; run `cargo xtask it` to make it anew", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// The file was written by another version of this crate.
    #[error(
        "the manifest {} is of another version; run `cargo xtask it` to make it anew",
        path.display()
    )]
    OtherSchema {
        /// The file.
        path: PathBuf,
    },
    /// The manifest names a file that is not there any more.
    #[error(
        "the manifest {} names {}, which is gone; run `cargo xtask it` to provision it again",
        path.display(),
        file.display()
    )]
    FileGone {
        /// The manifest.
        path: PathBuf,
        /// What is gone.
        file: PathBuf,
    },
    /// The file cannot be written.
    #[error("the manifest {} cannot be written", path.display())]
    Unwritable {
        /// The manifest.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The system does not say which file is being executed.
    #[error("the running executable is unknown; name the manifest in {MANIFEST_ENV}")]
    NoExecutable(#[source] std::io::Error),
    /// The executable was moved out of cargo's target directory.
    #[error(
        "{} lies in no target directory of cargo; name the manifest in {MANIFEST_ENV}",
        executable.display()
    )]
    NoTarget {
        /// The running executable.
        executable: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    //! **Scope**: the file; that what it names boots is the suite's to show.

    use super::*;

    fn manifest(directory: &Path) -> Manifest {
        let file = |name: &str| {
            let path = directory.join(name);
            std::fs::write(&path, name).unwrap();
            path
        };
        Manifest {
            qemu: QemuInstall {
                program: file("qemu"),
                prefix_args: vec!["-L".into(), "share".into()],
                env: BTreeMap::from([("QEMU_MODULE_DIR".into(), "modules".into())]),
                version: "7.2.22 (Debian)".into(),
                origin: Origin::Packages {
                    suite: "bookworm".into(),
                    version: "1:7.2".into(),
                },
            },
            guest: GuestImage {
                kernel: file("vmlinuz"),
                vmlinux: Some(file("vmlinux")),
                kernel_release: "6.1".into(),
                initramfs: file("initramfs"),
                agent_sha256: "00".into(),
                origin: Origin::Host,
            },
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/artifacts.json");
        let written = manifest(directory.path());
        written.write(&path).unwrap();
        assert_eq!(Manifest::read(&path).unwrap(), written);
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1
        );
    }

    #[test]
    fn an_absent_manifest_says_what_to_run() {
        let error = Manifest::read(Path::new("/nonexistent/artifacts.json")).unwrap_err();
        assert!(matches!(error, ManifestError::Absent { .. }));
        assert!(
            error.to_string().ends_with("run `cargo xtask it`"),
            "{error}"
        );
    }

    #[test]
    fn a_manifest_of_another_form_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("artifacts.json");
        manifest(directory.path()).write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let cases = [
            "{",
            "[]",
            "{}",
            "{\"schema\":2}",
            &text.replace("\"schema\": 2", "\"schema\": 1"),
        ];
        for case in cases {
            std::fs::write(&path, case).unwrap();
            let error = Manifest::read(&path).unwrap_err().to_string();
            assert!(error.contains("`cargo xtask it`"), "{error}");
        }
    }

    #[test]
    fn a_manifest_that_names_a_missing_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("artifacts.json");
        let written = manifest(directory.path());
        written.write(&path).unwrap();
        std::fs::remove_file(&written.guest.initramfs).unwrap();
        assert!(matches!(
            Manifest::read(&path),
            Err(ManifestError::FileGone { .. })
        ));
    }

    #[test]
    fn the_target_directory_is_found_from_a_test_binary() {
        // The second is all that there is if the directory was there before cargo.
        for mark in ["CACHEDIR.TAG", ".rustc_info.json"] {
            let target = tempfile::tempdir().unwrap();
            std::fs::write(target.path().join(mark), "").unwrap();
            let found = target_directory_of(&target.path().join("debug/deps/it-0123")).unwrap();
            assert_eq!(found, target.path());
        }
        assert!(target_directory_of(Path::new("/usr/bin/it")).is_err());
    }
}
