//! A package whose plain tests are compiled by rustc.

use std::fs::{self, File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use guest_vm::scratch::ScratchDir;
use kata_test_runner::Binary;

/// The number of tests that do nothing.
pub(super) const TRIVIAL_TESTS: usize = 250;

/// A package's folder, and its binary.
pub(super) struct Fixture {
    pub(super) binary: Binary,
}

impl Fixture {
    /// Writes the package and compiles its tests.
    pub(super) fn new(folder: &ScratchDir) -> Result<Self> {
        let package = folder.path().join("package");
        write_files(&package)?;
        let target = folder.path().join("target");
        let executable = target.join("debug/deps/plain-0123456789abcdef");
        fs::create_dir_all(executable.parent().expect("a folder"))?;
        fs::write(target.join("CACHEDIR.TAG"), "")?;
        let names: Vec<_> = (0..TRIVIAL_TESTS)
            .map(|number| format!("t{number}"))
            .collect();
        let source = include_str!("package.rs");
        let source = source.replace("NAMES", &names.join(" "));
        let file = target.join("package.rs");
        fs::write(&file, source)?;
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let compiled = Command::new(rustc)
            .args(["--test", "--edition=2024", "-o"])
            .args([&executable, &file])
            .output()?;
        ensure!(
            compiled.status.success(),
            "{}",
            String::from_utf8_lossy(&compiled.stderr)
        );
        let env = [
            ("CARGO_MANIFEST_DIR", package.as_path()),
            ("CARGO_TARGET_TMPDIR", &target.join("tmp")),
            ("PLAIN_EXECUTABLE", &executable),
        ];
        let env = env.map(|(name, path)| (name.into(), path.into())).to_vec();
        Ok(Self {
            binary: Binary {
                id: "plain".to_owned(),
                executable,
                folder: package,
                programs: Vec::new(),
                env,
                ..Binary::default()
            },
        })
    }
}

fn write_files(package: &Path) -> Result<()> {
    for folder in [".hidden", ".git", "data", "many"] {
        fs::create_dir_all(package.join(folder))?;
    }
    fs::write(package.join(".hidden/file"), "hidden")?;
    fs::write(package.join(".git/config"), "git")?;
    fs::write(package.join("data/small.txt"), "small")?;
    let odd = std::ffi::OsStr::from_bytes(b"data/not-utf-8-\xff");
    fs::write(package.join(odd), "odd")?;
    symlink(".hidden/file", package.join("link"))?;
    for number in 0..1000 {
        fs::write(
            package.join(format!("many/file-{number}")),
            number.to_string(),
        )?;
    }
    let private = File::create(package.join("data/private.txt"))?;
    private.set_permissions(Permissions::from_mode(0o600))?;
    private.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000))?;
    let mut large = BufWriter::new(File::create(package.join("data/large.bin"))?);
    for index in 0..200_u64 {
        let mut chunk = vec![index as u8; 1 << 20];
        chunk[..8].copy_from_slice(&index.to_le_bytes());
        large.write_all(&chunk)?;
    }
    Ok(large.flush()?)
}
