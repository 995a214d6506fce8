//! **Scope**: a real apt with a local archive that the tests make and damage.
//!
//! The tests need the programs of apt, and neither network nor root.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use sha2::{Digest as _, Sha256};

use super::super::debian_archive::DebianArchive;
use super::super::package_source::PackageSource;
use super::super::progress::{Progress, Silent};
use super::super::store::{Store, StoreLock};
use super::closure::Closure;
use super::downloads::hex;
use super::error::AptError;
use super::package_set::{Fixed, PackageInstall, PackageSet, Unpacked, configured};
use super::sources::Source;

/// Content of the package `thing`.
const CONTENT: &str = "the content\n";

const SET: PackageSet = PackageSet {
    name: "thing",
    candidates: &["no-such-package", "thing"],
    needs: |_| true,
    check: |root| {
        Ok(std::fs::read_to_string(root.join("usr/share/thing/content")).unwrap_or_default())
    },
};

/// The packages of the archive, and later ones: the file of `thing` differs.
const OLD: [(&str, &str); 2] = [("thing", "Depends: part (>= 1:1)\n"), ("part", "")];
const NEW: [(&str, &str); 3] = [
    ("thing", "Depends: part (>= 1:1), extra\n"),
    ("part", ""),
    ("extra", ""),
];

/// Refuses what was unpacked.
const PICKY: PackageSet = PackageSet {
    check: |_| {
        Err(AptError::NoKernel {
            suite: "made-up".into(),
        })
    },
    ..SET
};

struct Fake {
    directory: tempfile::TempDir,
    lock: StoreLock,
    pinned: Option<Closure>,
    notes: Rc<RefCell<Vec<String>>>,
}

struct Notes(Rc<RefCell<Vec<String>>>);

impl Progress for Notes {
    fn started(&mut self, _: &str) {}
    fn advanced(&mut self, _: f64) {}
    fn noted(&mut self, text: &str) {
        self.0.borrow_mut().push(text.to_owned());
    }
    fn finished(&mut self) {}
}

/// Makes a package with one file and returns its entry in the package list.
fn make_package(archive: &Path, name: &str, depends: &str) -> String {
    let tree = tempfile::tempdir().unwrap();
    let put = |file: &str, text: &str| {
        let path = tree.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let control = format!(
        "Package: {name}\nVersion: 1:2.0\nArchitecture: all\nMaintainer: nobody <nobody@example>\n\
         {depends}Description: made for a test\n"
    );
    put("DEBIAN/control", &control);
    put(&format!("usr/share/{name}/content"), CONTENT);
    put(&format!("usr/share/doc/{name}/copyright"), "none");
    let file = archive.join(format!("{name}_2.0_all.deb"));
    let made = Command::new("dpkg-deb")
        // The same files make the same package.
        .env("SOURCE_DATE_EPOCH", "1000000000")
        .args(["--root-owner-group", "-b"])
        .args([tree.path(), &file])
        .output()
        .expect("cannot start dpkg-deb: these tests need Debian with apt");
    assert!(made.status.success(), "{made:?}");
    let bytes = std::fs::read(&file).unwrap();
    let (size, hash) = (bytes.len(), hex(&Sha256::digest(&bytes)));
    format!("{control}Filename: ./{name}_2.0_all.deb\nSize: {size}\nSHA256: {hash}\n\n")
}

impl Fake {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path().join("archive");
        std::fs::create_dir(&archive).unwrap();
        let lock = Store::at(&directory.path().join("cache"))
            .lock(&mut Silent)
            .unwrap();
        let fake = Self {
            directory,
            lock,
            pinned: None,
            notes: Rc::default(),
        };
        fake.publish(&OLD);
        fake
    }

    /// Opens the cache anew, as another process does: with other settings.
    fn reopen(&mut self, source: PackageSource) {
        let store = Store::at(&self.directory.path().join("cache")).with_source(source);
        // Released first, because a process does not wait for itself.
        let elsewhere = tempfile::tempdir().unwrap();
        self.lock = Store::at(elsewhere.path()).lock(&mut Silent).unwrap();
        self.lock = store.lock(&mut Silent).unwrap();
    }

    /// Gives the archive other packages.
    fn publish(&self, packages: &[(&str, &str)]) {
        let archive = self.directory.path().join("archive");
        let list: String = packages
            .iter()
            .map(|(name, depends)| make_package(&archive, name, depends))
            .collect();
        std::fs::write(archive.join("Packages"), list).unwrap();
    }

    fn sources(&self) -> Vec<Source> {
        let unsigned = |name: &str| (name.to_owned(), "yes".to_owned());
        vec![Source {
            uris: vec![format!(
                "copy:{}",
                self.directory.path().join("archive").display()
            )],
            suites: vec!["./".into()],
            components: Vec::new(),
            options: vec![unsigned("trusted"), unsigned("allow-insecure")],
        }]
    }

    fn run(&self) -> Result<Unpacked, AptError> {
        self.run_set(&SET, || Ok(self.sources()))
    }

    /// Runs and panics if apt is needed.
    fn run_without_apt(&self) -> Unpacked {
        self.run_set(&SET, || panic!("apt is not needed here"))
            .unwrap()
    }

    fn run_set(
        &self,
        set: &PackageSet,
        sources: impl FnOnce() -> Result<Vec<Source>, AptError>,
    ) -> Result<Unpacked, AptError> {
        let job = PackageInstall {
            lock: &self.lock,
            set,
            suite: "made-up".into(),
            fixed: self.pinned.clone().map(Fixed::Pinned),
        };
        job.run(sources, &mut Notes(Rc::clone(&self.notes)))
    }

    fn notes(&self) -> String {
        self.notes.take().join("\n")
    }

    fn downloaded(&self) -> PathBuf {
        self.lock.downloads().join("thing_1%3a2.0_all.deb")
    }

    /// Returns the folders of unpacked sets.
    fn unpacked(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.lock.store().packages());
        let entries = entries.into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn is_downloaded(&self) -> bool {
        self.downloaded().exists()
    }
}

/// Changes one byte in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn cut(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn a_package_and_its_dependencies_are_unpacked_once() {
    let fake = Fake::new();
    let first = fake.run().unwrap();
    assert_eq!(first.finding, CONTENT);
    assert_eq!(first.closure.packages().len(), 2);
    assert!(first.root.join("usr/share/part/content").is_file());
    assert!(!first.root.join("usr/share/doc").exists());
    assert_eq!(first.closure.named("thing").unwrap().version(), "1:2.0");
    assert_eq!(fake.run_without_apt().closure, first.closure);
    assert_eq!(fake.notes(), "");
    assert!(!fake.is_downloaded(), "the unpacked files are enough");
}

#[test]
fn packages_with_a_damaged_file_are_fetched_again() {
    let fake = Fake::new();
    let content = fake.run().unwrap().root.join("usr/share/thing/content");
    cut(&content);
    fake.run().unwrap();
    assert_eq!(std::fs::read_to_string(&content).unwrap(), CONTENT);
    let notes = fake.notes();
    assert!(
        notes.contains("usr/share/thing/content has 6 bytes instead of 12"),
        "{notes}"
    );
}

#[test]
fn a_damaged_download_is_fetched_again() {
    for (damage, message) in [
        (flip as fn(&Path), "differs from its SHA-256"),
        (cut, "bytes instead of"),
    ] {
        let fake = Fake::new();
        // They are downloaded and not unpacked.
        fake.run_set(&PICKY, || Ok(fake.sources())).unwrap_err();
        damage(&fake.downloaded());
        assert_eq!(fake.run().unwrap().finding, CONTENT);
        let notes = fake.notes();
        assert!(
            notes.contains("thing_1%3a2.0_all.deb") && notes.contains(message),
            "{notes}"
        );
    }
}

#[test]
fn downloaded_packages_stay_in_the_closure() {
    let fake = Fake::new();
    fake.run().unwrap();
    for folder in ["indices", "packages"] {
        std::fs::remove_dir_all(fake.lock.store().base().join(folder)).unwrap();
    }
    assert_eq!(fake.run().unwrap().closure.packages().len(), 2);
}

#[test]
fn a_damaged_file_in_the_archive_is_an_error_until_it_is_repaired() {
    let fake = Fake::new();
    let served = fake.directory.path().join("archive/thing_2.0_all.deb");
    flip(&served);
    let error = fake.run().unwrap_err();
    let AptError::Incomplete {
        files,
        source: Some(apt),
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(files, &["thing_1%3a2.0_all.deb"]);
    assert!(apt.to_string().contains("Hash Sum mismatch"), "{apt}");
    assert!(fake.unpacked().is_empty());
    assert!(!fake.is_downloaded());
    flip(&served);
    assert_eq!(fake.run().unwrap().finding, CONTENT);
}

#[test]
fn the_error_for_an_unknown_package_has_the_message_of_apt() {
    const UNKNOWN: PackageSet = PackageSet {
        candidates: &["no-such-package", "nor-this"],
        ..SET
    };
    let fake = Fake::new();
    let error = fake.run_set(&UNKNOWN, || Ok(fake.sources())).unwrap_err();
    let message = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    for words in [
        "no-such-package or nor-this",
        "made-up",
        "Unable to locate package no-such-package",
    ] {
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn packages_that_fail_the_check_are_not_used() {
    let fake = Fake::new();
    let error = fake.run_set(&PICKY, || Ok(fake.sources())).unwrap_err();
    assert!(matches!(error, AptError::NoKernel { .. }));
    assert!(fake.unpacked().is_empty());
    // The downloads are intact and kept.
    assert_eq!(fake.run_without_apt().finding, CONTENT);
}

#[test]
fn an_old_root_is_kept_until_the_new_one_is_complete() {
    let fake = Fake::new();
    let part = fake.run().unwrap().root.join("usr/share/part/content");
    std::fs::remove_file(fake.unpacked()[0].join("stamp.json")).unwrap();
    fake.run_set(&PICKY, || Ok(fake.sources())).unwrap_err();
    assert!(part.is_file());
}

fn fresh() -> PackageSource {
    PackageSource {
        fresh: true,
        ..PackageSource::default()
    }
}

fn offline() -> PackageSource {
    PackageSource {
        offline: true,
        ..PackageSource::default()
    }
}

/// Two workspaces of different times use one cache.
#[test]
fn new_packages_are_found_on_request_and_have_a_folder_of_their_own() {
    let mut fake = Fake::new();
    let old = fake.run().unwrap();
    fake.publish(&NEW);
    assert_eq!(fake.run_without_apt().root, old.root);
    fake.reopen(fresh());
    let new = fake.run().unwrap();
    assert_ne!(new.root, old.root);
    assert!(new.root.join("usr/share/extra").exists() && old.root.exists());
    // What is the newest already is not fetched again.
    std::fs::remove_file(fake.directory.path().join("archive/extra_2.0_all.deb")).unwrap();
    assert_eq!(fake.run().unwrap().root, new.root);
}

#[test]
fn a_pinned_version_is_used_while_the_cache_or_the_archive_has_it() {
    let mut fake = Fake::new();
    let old = fake.run().unwrap();
    fake.publish(&NEW);
    fake.reopen(fresh());
    fake.run().unwrap();
    fake.pinned = Some(old.closure.clone());
    assert_eq!(fake.run_without_apt().root, old.root);
    std::fs::remove_dir_all(old.root.parent().unwrap()).unwrap();
    let error = fake.run().unwrap_err();
    let AptError::PinnedGone { source, .. } = &error else {
        panic!("{error}")
    };
    assert!(
        source.to_string().contains("thing_1%3a2.0_all.deb"),
        "{source}"
    );
    assert!(
        error.to_string().contains("`cargo kata-test lock`"),
        "{error}"
    );
    fake.publish(&OLD);
    assert_eq!(fake.run().unwrap().closure, old.closure);
}

#[test]
fn offline_the_cache_is_enough_or_the_error_names_what_it_lacks() {
    let mut fake = Fake::new();
    fake.reopen(offline());
    let error = fake
        .run_set(&SET, || panic!("apt is not needed"))
        .unwrap_err();
    let words = ["does not have thing of made-up", "once without `--offline`"];
    for words in words {
        assert!(error.to_string().contains(words), "{error}");
    }
    fake.reopen(PackageSource::default());
    fake.run().unwrap();
    fake.reopen(offline());
    assert_eq!(fake.run_without_apt().finding, CONTENT);
}

/// Installs from the signed archive in `fixture` with the trust in a key of it.
fn install_signed(cache: &Path, key: &str) -> Result<Unpacked, AptError> {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/artifacts/apt/fixture");
    let url = format!("copy:{}", fixture.display());
    let archive = DebianArchive::new(&url, &["stable".into()], &fixture.join(key)).unwrap();
    let lock = Store::at(cache).lock(&mut Silent).unwrap();
    let install = PackageInstall {
        lock: &lock,
        set: &SET,
        suite: "stable".into(),
        fixed: None,
    };
    install.run(|| configured(&archive, "stable"), &mut Silent)
}

#[test]
fn a_named_archive_is_trusted_by_its_keyring_only() {
    let cache = tempfile::tempdir().unwrap();
    let error = install_signed(cache.path(), "other-key.asc").unwrap_err();
    let text = format!("{error}: {:?}", std::error::Error::source(&error));
    assert!(
        matches!(
            error,
            AptError::PackageNotFound { .. } | AptError::Unreadable { .. }
        ),
        "{text}"
    );
    assert!(
        text.contains("not signed") || text.contains("NO_PUBKEY"),
        "{text}"
    );
    assert_eq!(
        install_signed(cache.path(), "key.asc").unwrap().finding,
        CONTENT
    );
}

#[test]
fn a_suite_that_a_named_archive_lacks_is_refused() {
    let archive = DebianArchive::new("copy:/a", &["stable".into()], Path::new("/proc/self/exe"));
    let error = configured(&archive.unwrap(), "sid")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("configured with stable only; add sid"),
        "{error}"
    );
}

#[test]
fn without_an_archive_there_is_an_error() {
    let fake = Fake::new();
    let error = fake.run_set(&SET, || Ok(Vec::new())).unwrap_err();
    assert!(matches!(error, AptError::NoSource { .. }), "{error}");
    std::fs::remove_file(fake.directory.path().join("archive/Packages")).unwrap();
    let error = fake.run().unwrap_err();
    assert!(
        matches!(
            error,
            AptError::PackageNotFound { .. } | AptError::Unreadable { .. }
        ),
        "{error}"
    );
}
