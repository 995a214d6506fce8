//! **Scope**: made-up entries of a cache.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::*;
use crate::artifacts::{Silent, USED_FILE};

struct Fixture {
    directory: tempfile::TempDir,
    lock: StoreLock,
}

impl Fixture {
    /// Makes a cache with entries of 100 kB each, the first one unused for the longest time.
    fn new(entries: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lock = Store::at(directory.path()).lock(&mut Silent).unwrap();
        let now = SystemTime::now();
        for (index, entry) in entries.iter().enumerate() {
            let path = directory.path().join(entry);
            let age = Duration::from_secs(1000 - index as u64);
            let stamped = match entry.strip_prefix("warm/") {
                Some(_) => {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path.with_added_extension("ram"), [1; 100_000]).unwrap();
                    path.with_added_extension("state")
                }
                None => {
                    fs::create_dir_all(path.join("root")).unwrap();
                    fs::write(path.join("root/file"), [1; 100_000]).unwrap();
                    path.join(USED_FILE)
                }
            };
            fs::write(&stamped, "/home/me/project").unwrap();
            let file = fs::File::options().write(true).open(&stamped).unwrap();
            file.set_modified(now - age).unwrap();
        }
        Self { directory, lock }
    }

    fn read(&self) -> Cache {
        Cache::read(self.lock.store())
    }

    fn ids(&self) -> Vec<String> {
        self.read().entries().iter().map(CacheEntry::id).collect()
    }

    fn path(&self, entry: &str) -> PathBuf {
        self.directory.path().join(entry)
    }
}

fn ids(entries: &[CacheEntry]) -> Vec<String> {
    entries.iter().map(CacheEntry::id).collect()
}

/// The key of a template.
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[test]
fn entries_are_listed_with_size_use_and_user() {
    let warm = format!("warm/{KEY}");
    let fixture = Fixture::new(&["packages/qemu-sid-0", &warm, "images/6.1-0"]);
    assert_eq!(
        fixture.ids(),
        ["images/6.1-0", &warm, "packages/qemu-sid-0"]
    );
    let cache = fixture.read();
    for entry in cache.entries() {
        assert!((100_000..150_000).contains(&entry.bytes), "{entry:?}");
        assert!(entry.used.is_some() && !entry.in_use, "{entry:?}");
    }
    assert_eq!(cache.entries()[0].user, Some("/home/me/project".into()));
    assert!(
        (300_000..450_000).contains(&cache.bytes()),
        "{}",
        cache.bytes()
    );
}

#[test]
fn the_least_recently_used_entries_are_removed_until_the_rest_fits() {
    let warm = format!("warm/{KEY}");
    let fixture = Fixture::new(&["images/old", &warm, "packages/b", "agents/new"]);
    assert!(
        fixture
            .read()
            .prune(1 << 20, &fixture.lock)
            .unwrap()
            .is_empty()
    );
    let removed = fixture.read().prune(250_000, &fixture.lock).unwrap();
    assert_eq!(ids(&removed), ["images/old", &warm]);
    assert_eq!(fixture.ids(), ["agents/new", "packages/b"]);
    assert!(!fixture.path(&warm).with_added_extension("ram").exists());
}

#[test]
fn an_entry_in_use_is_kept() {
    let warm = format!("warm/{KEY}");
    let fixture = Fixture::new(&["images/used", &warm, "packages/unused"]);
    fixture.lock.hold(&fixture.path("images/used")).unwrap();
    // A running VM has the memory open and locked.
    let ram = fs::File::open(fixture.path(&warm).with_added_extension("ram")).unwrap();
    ram.lock_shared().unwrap();
    let removed = fixture.read().prune(0, &fixture.lock).unwrap();
    assert_eq!(ids(&removed), ["packages/unused"]);
    let (removed, kept) = fixture.read().clear(|_| true, &fixture.lock).unwrap();
    assert!(removed.is_empty());
    assert_eq!(kept.len(), 2, "{kept:?}");
    drop(ram);
    let removed = fixture.read().prune(0, &fixture.lock).unwrap();
    assert_eq!(ids(&removed), [warm]);
}

#[test]
fn only_chosen_entries_are_cleared() {
    let fixture = Fixture::new(&["images/a", "images/b", "packages/c"]);
    let is_image = |entry: &CacheEntry| entry.kind == EntryKind::Images;
    let (removed, kept) = fixture.read().clear(is_image, &fixture.lock).unwrap();
    assert_eq!((removed.len(), kept.len()), (2, 0));
    assert_eq!(fixture.ids(), ["packages/c"]);
}

/// A killed process leaves downloads that nobody unpacks.
#[test]
fn a_prune_removes_downloads() {
    let fixture = Fixture::new(&[]);
    let left = fixture.path("debs/a.deb");
    fs::create_dir_all(left.parent().unwrap()).unwrap();
    fs::write(&left, "x").unwrap();
    fixture.read().prune(u64::MAX, &fixture.lock).unwrap();
    assert!(!left.exists());
}
