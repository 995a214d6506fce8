//! The manifest: a JSON file that names the QEMU, kernel and initramfs to use.
//!
//! `cargo xtask` provisions them and writes the file. The suite only reads it, so a plain `cargo test`
//! never downloads anything, and without the file its error names the command to run.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file_error::{FileError, cannot};
use super::held;
use super::store::write_atomically;
use super::work_folder::WorkFolder;
use qmp_client::QemuVersion;

/// Environment variable with the path of the manifest.
pub const MANIFEST_ENV: &str = "IOTHREAD_IT_ARTIFACTS";

/// A QEMU and a guest to boot with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// QEMU.
    pub qemu: QemuInstall,
    /// The guest.
    pub guest: GuestImage,
    /// The same guest with all modules of its kernel, a shell and tools, if there are tools.
    pub guest_with_tools: Option<GuestImage>,
}

/// A QEMU, and how to start it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QemuInstall {
    /// The program: QEMU, or the dynamic loader of an unpacked QEMU.
    pub program: PathBuf,
    /// Arguments before all others: those of the loader, and firmware directories.
    pub prefix_args: Vec<String>,
    /// Environment variables for QEMU, such as its module directory.
    pub env: BTreeMap<String, String>,
    /// The version as printed by `-version`, with the suffix of the distribution.
    pub version: String,
    /// Its source.
    pub origin: Origin,
}

impl QemuInstall {
    /// Parses [`version`](Self::version).
    #[must_use]
    pub fn parsed_version(&self) -> Option<QemuVersion> {
        QemuVersion::parse(&format!("version {}", self.version))
    }

    /// Returns whether this QEMU emulates `cmpxchg16b` correctly.
    #[must_use]
    pub fn emulates_cmpxchg16b(&self) -> bool {
        self.parsed_version()
            .is_some_and(|version| version >= QemuVersion::EMULATES_CMPXCHG16B)
    }

    /// Returns whether this QEMU can open a privately mapped memory file for reading only.
    pub(crate) fn opens_ram_read_only(&self) -> bool {
        self.parsed_version()
            .is_some_and(|version| version >= QemuVersion::OPENS_RAM_READ_ONLY)
    }
}

/// The source of a QEMU or a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Installed on this host.
    Host,
    /// Unpacked from the distribution's packages.
    Packages {
        /// The suite, such as `bookworm`.
        suite: String,
        /// The version of the package.
        version: String,
    },
    /// A kernel of the user's own.
    Files {
        /// The kernel's file, folder or package, as it was named.
        kernel: PathBuf,
        /// SHA-256 of the kernel and its modules, in hexadecimal digits.
        sha256: String,
        /// Where its configuration was read, if it is known.
        config: Option<String>,
    },
}

impl Origin {
    /// Formats the package after a version: ` (sid's package 1:11.1.3)`; nothing for what the host
    /// has.
    #[must_use]
    pub fn suffix(&self) -> String {
        match self {
            Self::Host => String::new(),
            Self::Packages { suite, version } => format!(" ({suite}'s package {version})"),
            Self::Files { kernel, .. } => format!(" ({})", kernel.display()),
        }
    }
}

/// A kernel and an initramfs with the guest agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestImage {
    /// The image of the distribution (`vmlinuz`).
    pub kernel: PathBuf,
    /// The decompressed kernel, if QEMU can enter it (PVH).
    pub vmlinux: Option<PathBuf>,
    /// The release, as `uname -r` prints it in the guest.
    pub kernel_release: String,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// SHA-256 of the agent in the initramfs, in hexadecimal digits.
    pub agent_sha256: String,
    /// The source of the kernel.
    pub origin: Origin,
}

impl GuestImage {
    /// Returns the file for `-kernel`.
    #[must_use]
    pub fn bootable_kernel(&self) -> &Path {
        self.vmlinux.as_ref().unwrap_or(&self.kernel)
    }
}

/// Version of the file.
const SCHEMA: u64 = 3;

impl Manifest {
    /// Reads the manifest named by [`MANIFEST_ENV`], or else the one in the target directory of the
    /// running executable.
    ///
    /// # Errors
    /// If the target directory is not found, and as for [`Manifest::read`].
    pub fn find() -> Result<Self, ManifestError> {
        match std::env::var_os(MANIFEST_ENV) {
            Some(path) if !path.is_empty() => Self::read(Path::new(&path)),
            _ => Self::read(&Self::path_of(&WorkFolder::find()?)),
        }
    }

    /// Returns the path of the manifest in a target directory.
    #[must_use]
    pub fn path_in(target: &Path) -> PathBuf {
        Self::path_of(&WorkFolder::in_target(target))
    }

    fn path_of(folder: &WorkFolder) -> PathBuf {
        folder.path().join("artifacts.json")
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// If the file cannot be read, is not a manifest of this version, or names a missing file.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let text = match std::fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(ManifestError::Absent(path.into()));
            }
            text => text.map_err(cannot("read the manifest", path))?,
        };
        let foreign = |source| ManifestError::Foreign {
            path: path.into(),
            source,
        };
        let mut fields: serde_json::Map<_, _> = serde_json::from_slice(&text).map_err(foreign)?;
        if fields.remove("schema").and_then(|schema| schema.as_u64()) != Some(SCHEMA) {
            return Err(ManifestError::OtherSchema(path.into()));
        }
        let manifest: Self = serde_json::from_value(fields.into()).map_err(foreign)?;
        manifest.check_files(path)?;
        Ok(manifest)
    }

    /// Writes the manifest atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ManifestError> {
        let text = serde_json::to_value(self).and_then(|mut value| {
            value["schema"] = SCHEMA.into();
            serde_json::to_vec_pretty(&value)
        });
        let written = text.map_err(std::io::Error::from);
        let written = written.and_then(|text| write_atomically(path, &text));
        Ok(written.map_err(cannot("write the manifest", path))?)
    }

    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let files = [
            &self.qemu.program,
            &self.guest.kernel,
            &self.guest.initramfs,
        ];
        let with_tools = self.guest_with_tools.as_ref();
        let with_tools = with_tools.map(|guest| &guest.initramfs);
        files
            .into_iter()
            .chain(&self.guest.vmlinux)
            .chain(with_tools)
    }

    /// Marks the files as in use until this process ends: no other process removes them from the cache.
    ///
    /// # Errors
    /// If a file does not exist any more, or the cache cannot be read.
    pub fn hold(&self) -> std::io::Result<()> {
        self.files().try_for_each(|file| held::hold_entry_of(file))
    }

    /// Checks that the files exist, after marking them as in use.
    fn check_files(&self, path: &Path) -> Result<(), ManifestError> {
        let is_gone = |file: &&PathBuf| held::hold_entry_of(file).is_err();
        match self.files().find(is_gone) {
            Some(file) => Err(ManifestError::FileGone {
                path: path.into(),
                file: file.clone(),
            }),
            None => Ok(()),
        }
    }
}

/// Why there is no usable manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The manifest does not exist.
    #[error(
        "QEMU and the guest are not provisioned: {} does not exist; run `cargo xtask it`",
        .0.display()
    )]
    Absent(PathBuf),
    /// The manifest cannot be read or written.
    #[error(transparent)]
    Io(#[from] FileError),
    /// The manifest cannot be parsed.
    #[error("cannot parse the manifest {}; run `cargo xtask it` to write it again", path.display())]
    Foreign {
        /// Path of the manifest.
        path: PathBuf,
        /// The parse error.
        source: serde_json::Error,
    },
    /// The manifest was written by another version of this crate.
    #[error(
        "the manifest {} has another version; run `cargo xtask it` to write it again",
        .0.display()
    )]
    OtherSchema(PathBuf),
    /// A file named in the manifest does not exist.
    #[error(
        "the manifest {} names {}, which does not exist; run `cargo xtask it` to provision it again",
        path.display(),
        file.display()
    )]
    FileGone {
        /// Path of the manifest.
        path: PathBuf,
        /// The missing file.
        file: PathBuf,
    },
    /// The path of the running executable is unknown.
    #[error("the path of the running executable is unknown; set {MANIFEST_ENV}")]
    NoExecutable(#[source] std::io::Error),
    /// The running executable is not in a target directory of cargo.
    #[error(
        "{} lies in no target directory of cargo; name the manifest in {MANIFEST_ENV}",
        .0.display()
    )]
    NoTarget(PathBuf),
}

#[cfg(test)]
mod tests {
    //! **Scope**: the file. The suite boots what it names.

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
            guest_with_tools: None,
        }
    }

    #[test]
    fn write_and_read_round_trip() {
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
    fn an_absent_manifest_names_the_command_to_run() {
        let error = Manifest::read(Path::new("/nonexistent/artifacts.json")).unwrap_err();
        assert!(matches!(error, ManifestError::Absent { .. }));
        assert!(
            error.to_string().ends_with("run `cargo xtask it`"),
            "{error}"
        );
    }

    #[test]
    fn a_manifest_of_another_version_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("artifacts.json");
        manifest(directory.path()).write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let cases = [
            "{",
            "[]",
            "{}",
            "{\"schema\":3}",
            &text.replace("\"schema\": 3", "\"schema\": 2"),
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
}
