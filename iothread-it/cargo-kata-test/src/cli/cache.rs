//! `cargo kata-test cache`: shows, bounds and clears the cache that all workspaces of a user share.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use clap::Subcommand;
use comfy_table::Table;
use guest_vm::artifacts::{Store, StoreLock, parse_size, shown_size};
use guest_vm::cache::{Cache, CacheEntry, EntryKind};
use serde_json::{Value, json};

use super::progress::PrintedProgress;
use super::store;
use super::table::with_headings;

/// Options of the command.
#[derive(clap::Args)]
pub struct Options {
    #[command(subcommand)]
    action: Option<Action>,

    /// Prints the entries, or what was removed, as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Prints the folder: `KATA_TEST_CACHE`, or `kata-test` in the user's folder for caches.
    Path,
    /// Prints a key for a CI system that saves and restores the folder. It depends on the version of this
    /// program, the architecture, the archive, and the lock file.
    Key,
    /// Removes the least recently used entries until the rest is small enough. Commands that fetch
    /// packages do this too.
    Prune {
        /// The maximum size, such as `5G`. Default: `KATA_TEST_CACHE_MAX`, or 10 GB.
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        max: Option<u64>,
    },
    /// Removes entries, or all of them. Entries in use are kept.
    Clear {
        /// `packages`, `images`, `agents`, `indices` (so that the archive is asked for new versions),
        /// `warm`, `guests`, or the start of an entry's name, such as `packages/kernel-sid`.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
}

/// Runs the command.
///
/// # Errors
/// If the cache cannot be found, read or written.
pub fn run(options: &Options) -> Result<ExitCode> {
    let store = Store::of_user()?;
    match &options.action {
        None => show(&store, options.json),
        Some(Action::Path) => println!("{}", store.base().display()),
        Some(Action::Key) => println!("{}", store::ci_key()?),
        Some(Action::Prune { max }) => {
            let limit = max.unwrap_or(store.limit());
            let removed = match lock(&store)? {
                Some(lock) => Cache::read(&store).prune(limit, &lock)?,
                None => Vec::new(),
            };
            report(&removed, &[], options.json);
            let left = Cache::read(&store).bytes();
            ensure!(
                left <= limit,
                "the cache still has {}: other processes use its entries",
                shown_size(left)
            );
        }
        Some(Action::Clear { names }) => {
            let Some(lock) = lock(&store)? else {
                report(&[], &[], options.json);
                return Ok(ExitCode::SUCCESS);
            };
            let cache = Cache::read(&store);
            check_names(names, &cache)?;
            let (removed, kept) = cache.clear(|entry| is_named(entry, names), &lock)?;
            report(&removed, &kept, options.json);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Locks the store, unless it does not exist.
fn lock(store: &Store) -> Result<Option<StoreLock>> {
    match store.base().exists() {
        true => Ok(Some(store.lock(&mut PrintedProgress::default())?)),
        false => Ok(None),
    }
}

fn is_named(entry: &CacheEntry, names: &[String]) -> bool {
    let id = entry.id();
    names.is_empty()
        || names.iter().any(|name| match name.contains('/') {
            true => id.starts_with(name.as_str()),
            false => entry.kind.name() == name,
        })
}

/// Refuses a name that selects nothing, unless it is a kind of entries.
fn check_names(names: &[String], cache: &Cache) -> Result<()> {
    for name in names {
        let is_kind = EntryKind::ALL.iter().any(|kind| kind.name() == name);
        let one = std::slice::from_ref(name);
        let exists = is_kind || cache.entries().iter().any(|entry| is_named(entry, one));
        let kinds = EntryKind::ALL.map(EntryKind::name).join(", ");
        ensure!(
            exists,
            "the cache has no entry `{name}`; expected one of {kinds}, or the start of a name that \
             `cargo kata-test cache` shows"
        );
    }
    Ok(())
}

fn show(store: &Store, as_json: bool) {
    let cache = Cache::read(store);
    if as_json {
        println!("{:#}", document(&cache, store.base(), store.limit()));
        return;
    }
    if !cache.entries().is_empty() {
        println!("{}", table(&cache, SystemTime::now()));
    }
    println!(
        "{} entries, {} of at most {} in {}",
        cache.entries().len(),
        shown_size(cache.bytes()),
        shown_size(store.limit()),
        store.base().display()
    );
}

fn table(cache: &Cache, now: SystemTime) -> Table {
    let mut table = with_headings(["entry", "size", "last used", "used by"]);
    for entry in cache.entries() {
        let user = entry.user.as_deref().map(Path::to_string_lossy);
        let mut by = user.unwrap_or_default().into_owned();
        if entry.in_use {
            by = format!("{by} (in use)").trim_start().to_owned();
        }
        let used = entry.used.and_then(|used| now.duration_since(used).ok());
        let used = used.map_or_else(String::new, ago);
        table.add_row([entry.id(), shown_size(entry.bytes), used, by]);
    }
    table
}

/// Formats a time that has passed.
fn ago(passed: Duration) -> String {
    let minutes = passed.as_secs() / 60;
    match (minutes, minutes / 60, minutes / (24 * 60)) {
        (0, ..) => "now".to_owned(),
        (minutes, 0, _) => format!("{minutes} min ago"),
        (_, hours, 0) => format!("{hours} h ago"),
        (_, _, 1) => "1 day ago".to_owned(),
        (.., days) => format!("{days} days ago"),
    }
}

fn document(cache: &Cache, folder: &Path, limit: u64) -> Value {
    json!({
        "schema": 1,
        "folder": folder,
        "limit": limit,
        "bytes": cache.bytes(),
        "entries": entries(cache.entries()),
    })
}

fn entries(entries: &[CacheEntry]) -> Vec<Value> {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).ok().map(|d| d.as_secs());
    let entry = |entry: &CacheEntry| {
        json!({
            "id": entry.id(),
            "bytes": entry.bytes,
            "used": entry.used.and_then(seconds),
            "user": entry.user,
            "in_use": entry.in_use,
        })
    };
    entries.iter().map(entry).collect()
}

fn report(removed: &[CacheEntry], kept: &[CacheEntry], as_json: bool) {
    if as_json {
        let document = json!({"schema": 1, "removed": entries(removed), "kept": entries(kept)});
        println!("{document:#}");
        return;
    }
    let bytes = removed.iter().map(|entry| entry.bytes).sum();
    let plural = if removed.len() == 1 {
        "entry"
    } else {
        "entries"
    };
    println!("removed {} {plural}, {}", removed.len(), shown_size(bytes));
    for entry in kept {
        println!("kept {}, which a process uses", entry.id());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a cache with two entries.
    fn cache() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        for entry in ["packages/kernel-sid-0", "images/6.17-0"] {
            let path = folder.path().join(entry);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("used"), "/home/me/project").unwrap();
        }
        let store = Store::at(folder.path());
        (folder, store)
    }

    #[test]
    fn the_table_and_the_json_have_the_same_entries() {
        let (folder, store) = cache();
        let cache = Cache::read(&store);
        let shown = table(&cache, SystemTime::now() + Duration::from_secs(2 * 3600)).to_string();
        let document = document(&cache, folder.path(), 7);
        for (index, entry) in cache.entries().iter().enumerate() {
            assert_eq!(document["entries"][index]["id"], entry.id());
            for text in [&entry.id(), "2 h ago", "/home/me/project", "kB"] {
                assert!(shown.contains(text), "{shown}");
            }
        }
        assert_eq!(document["limit"], 7);
        assert_eq!(document["bytes"], cache.bytes());
    }

    #[test]
    fn entries_are_named_by_kind_or_by_the_start_of_their_names() {
        let (_folder, store) = cache();
        let cache = Cache::read(&store);
        let named = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            check_names(&names, &cache).map(|()| {
                let entries = cache.entries().iter();
                entries.filter(|entry| is_named(entry, &names)).count()
            })
        };
        assert_eq!(named(&[]).unwrap(), 2);
        assert_eq!(named(&["images"]).unwrap(), 1);
        assert_eq!(named(&["packages/kernel", "images"]).unwrap(), 2);
        assert_eq!(named(&["warm"]).unwrap(), 0, "there are none");
        for wrong in ["image", "packages/qemu", ""] {
            let error = named(&[wrong]).unwrap_err().to_string();
            assert!(error.contains("packages, images, agents"), "{error}");
        }
    }

    #[test]
    fn a_passed_time_is_shown_in_its_largest_unit() {
        let minutes = [0, 59, 60, 23 * 60, 24 * 60, 72 * 60];
        let shown = minutes.map(|minutes| ago(Duration::from_secs(minutes * 60 + 59)));
        let expected = [
            "now",
            "59 min ago",
            "1 h ago",
            "23 h ago",
            "1 day ago",
            "3 days ago",
        ];
        assert_eq!(shown, expected);
    }
}
