//! **Scope**: files made by a closure in place of a guest. The suite restores real guests.

use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use guest_agent::protocol::{BootId, Greeting, VERSION};

use super::*;

const RAM: u64 = 1 << 20;

struct Fixture {
    directory: tempfile::TempDir,
    store: WarmStore,
    made: AtomicUsize,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            store: WarmStore::at(directory.path().join("warm")),
            directory,
            made: AtomicUsize::new(0),
        }
    }

    /// Returns the template of a key, and whether it was made by this call.
    fn ask(&self, key: &TemplateKey) -> (Template, bool) {
        let before = self.made.load(Ordering::SeqCst);
        let template = self
            .store
            .template(key, &[RAM], |ram| Ok(self.make(key, ram)));
        let made = self.made.load(Ordering::SeqCst) - before;
        assert!(made <= 1);
        (template.unwrap(), made == 1)
    }

    fn make(&self, key: &TemplateKey, ram: &DraftRam) -> SavedState {
        self.made.fetch_add(1, Ordering::SeqCst);
        ram.files()[0]
            .write_all_at(key.as_str().as_bytes(), 0)
            .unwrap();
        SavedState {
            greeting: Greeting {
                protocol: VERSION,
                boot_id: BootId(key.to_string()),
                kernel: "6.1".into(),
                cpus: 1,
            },
            devices: format!("devices\nof {key}").into_bytes(),
        }
    }

    fn is_made_again(&self, key: &TemplateKey) -> bool {
        let (template, made) = self.ask(key);
        assert_is_of(&template, key);
        assert!(!self.ask(key).1, "it does not last");
        made
    }

    fn file(&self, key: &TemplateKey, kind: &str) -> PathBuf {
        key::file(&self.store.folder, key, kind)
    }
}

fn assert_is_of(template: &Template, key: &TemplateKey) {
    let mut ram = [0; 64];
    template.ram.file().read_exact_at(&mut ram, 0).unwrap();
    assert_eq!(ram, key.as_str().as_bytes());
    assert_eq!(template.saved.greeting.boot_id.0, key.as_str());
    assert!(template.saved.devices.ends_with(key.as_str().as_bytes()));
}

fn key(digit: char) -> TemplateKey {
    TemplateKey::from_name(&digit.to_string().repeat(64)).unwrap()
}

#[test]
fn a_template_is_made_once_for_each_key() {
    let place = Fixture::new();
    assert!(place.is_made_again(&key('a')));
    assert!(place.is_made_again(&key('b')));
    assert!(!place.is_made_again(&key('a')));
    let mode = place.store.folder.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "it holds a guest's memory");
}

/// Each of these would restore another state than the saved one.
#[test]
fn a_changed_template_is_made_again() {
    type Damage = fn(&Fixture, &TemplateKey);
    let damages: [(&str, Damage); 12] = [
        ("truncated memory", |p, k| {
            let ram = File::options().write(true).open(p.file(k, "ram")).unwrap();
            ram.set_len(RAM / 2).unwrap();
        }),
        ("changed memory", |p, k| {
            let ram = File::options().write(true).open(p.file(k, "ram")).unwrap();
            let modified = ram.metadata().unwrap().modified().unwrap();
            ram.write_all_at(b"x", 5000).unwrap();
            ram.set_modified(modified).unwrap();
        }),
        ("no memory", |p, k| {
            fs::remove_file(p.file(k, "ram")).unwrap();
        }),
        ("a copy of the memory", |p, k| {
            let copy = p.directory.path().join("copy");
            fs::copy(p.file(k, "ram"), &copy).unwrap();
            fs::rename(copy, p.file(k, "ram")).unwrap();
        }),
        ("a link to the memory", |p, k| {
            let elsewhere = p.directory.path().join("elsewhere");
            fs::rename(p.file(k, "ram"), &elsewhere).unwrap();
            symlink(elsewhere, p.file(k, "ram")).unwrap();
        }),
        ("truncated state", |p, k| {
            let state = File::options()
                .write(true)
                .open(p.file(k, "state"))
                .unwrap();
            state.set_len(state.metadata().unwrap().len() - 1).unwrap();
        }),
        ("changed state", |p, k| {
            let state = File::options()
                .write(true)
                .open(p.file(k, "state"))
                .unwrap();
            let end = state.metadata().unwrap().len();
            state.write_all_at(b"x", end - 1).unwrap();
        }),
        ("an empty state", |p, k| {
            fs::write(p.file(k, "state"), "").unwrap();
        }),
        ("a header of another version", |p, k| {
            let text = fs::read_to_string(p.file(k, "state")).unwrap();
            let text = text.replacen("\"schema\":1", "\"schema\":2", 1);
            fs::write(p.file(k, "state"), text).unwrap();
        }),
        ("no header", |p, k| {
            let text = fs::read_to_string(p.file(k, "state")).unwrap();
            fs::write(p.file(k, "state"), text.split_once('\n').unwrap().1).unwrap();
        }),
        ("files that others may write", |p, k| {
            let open = fs::Permissions::from_mode(0o666);
            fs::set_permissions(p.file(k, "state"), open).unwrap();
        }),
        ("a folder in its place", |p, k| {
            fs::remove_file(p.file(k, "state")).unwrap();
            fs::create_dir(p.file(k, "state")).unwrap();
            fs::write(p.file(k, "state").join("x"), "").unwrap();
        }),
    ];
    let place = Fixture::new();
    let key = key('a');
    place.ask(&key);
    for (what, damage) in damages {
        damage(&place, &key);
        assert!(place.is_made_again(&key), "{what} was taken");
    }
}

#[test]
fn a_template_of_another_key_is_made_again() {
    let place = Fixture::new();
    let (one, other) = (key('a'), key('b'));
    place.ask(&one);
    for kind in ["ram", "state"] {
        fs::copy(place.file(&one, kind), place.file(&other, kind)).unwrap();
    }
    assert!(place.is_made_again(&other));
    // Also if only one of the two files is of another key.
    fs::copy(place.file(&one, "state"), place.file(&other, "state")).unwrap();
    assert!(place.is_made_again(&other));
    assert!(!place.is_made_again(&one));
}

/// Only root can change the owner of a file.
#[kata_test::kata_test(root)]
fn a_template_of_another_user_is_made_again() {
    let place = Fixture::new();
    let key = key('a');
    for kind in ["ram", "state"] {
        place.ask(&key);
        std::os::unix::fs::chown(place.file(&key, kind), Some(65534), None).unwrap();
        assert!(place.is_made_again(&key), "{kind}");
    }
    std::os::unix::fs::chown(&place.store.folder, Some(65534), None).unwrap();
    let refused = place.store.template(&key, &[RAM], |_| unreachable!());
    assert!(matches!(refused, Err(WarmError::NotPrivate { .. })));
}

#[test]
fn a_folder_writable_by_others_is_refused() {
    let place = Fixture::new();
    place.ask(&key('a'));
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(&place.store.folder, open).unwrap();
    let refused = place.store.template(&key('a'), &[RAM], |_| unreachable!());
    let Err(error @ WarmError::NotPrivate { .. }) = refused else {
        panic!("it was used");
    };
    let expected = format!(
        "{} belongs to another user, or others can write to it, so it is not used; remove it, and it is created again",
        place.store.folder.display()
    );
    assert_eq!(error.to_string(), expected);
    fs::remove_dir_all(&place.store.folder).unwrap();
    assert!(place.is_made_again(&key('a')));
}

#[test]
fn concurrent_callers_make_a_template_once() {
    let place = Fixture::new();
    let key = key('a');
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                let template = place.store.template(&key, &[RAM], |ram| {
                    // Lets the others wait for the lock or find the template.
                    std::thread::yield_now();
                    Ok(place.make(&key, ram))
                });
                assert_is_of(&template.unwrap(), &key);
            });
        }
    });
    assert_eq!(place.made.load(Ordering::SeqCst), 1);
}

#[test]
fn a_failed_template_leaves_no_files() {
    let place = Fixture::new();
    let key = key('a');
    let failed = place.store.template(&key, &[RAM], |ram| {
        ram.files()[0].write_all_at(b"half", 0).unwrap();
        Err(WarmError::NotPrivate {
            path: PathBuf::new(),
        })
    });
    assert!(failed.is_err());
    assert!(!place.file(&key, "ram").exists());
    let drafts = place.store.drafts().join("iothread-it-scratch");
    let entries = fs::read_dir(drafts).unwrap().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir()).count();
    assert_eq!(folders, 0);
    assert!(place.is_made_again(&key));
}

#[test]
fn the_least_recently_used_template_is_removed_first() {
    let mut place = Fixture::new();
    let [a, b, c] = ['a', 'b', 'c'].map(key);
    place.ask(&a);
    place.ask(&b);
    let used = |key: &TemplateKey, seconds| {
        let state = File::open(place.file(key, "state")).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        state.set_modified(time).unwrap();
    };
    used(&a, 1);
    used(&b, 2);
    // This uses it.
    assert!(!place.is_made_again(&a));
    let each = place.store.list().iter().map(|entry| entry.size).max();
    place.store.limit = each.unwrap() * 2;
    place.ask(&c);
    assert!(!place.file(&b, "ram").exists() && !place.file(&b, "lock").exists());
    assert!(!place.is_made_again(&a));
    assert!(!place.is_made_again(&c));
}

#[test]
fn a_template_in_use_stays_valid_after_its_removal() {
    let place = Fixture::new();
    let (template, _) = place.ask(&key('a'));
    place.store.remove_if_same(&key('a'), &template);
    assert!(!place.file(&key('a'), "ram").exists());
    assert_is_of(&template, &key('a'));
    assert!(place.is_made_again(&key('a')));
    // A second removal of the first template keeps the second one.
    place.store.remove_if_same(&key('a'), &template);
    assert!(!place.ask(&key('a')).1);
}

#[test]
fn removal_does_not_wait_for_a_locked_template() {
    let place = Fixture::new();
    let (template, _) = place.ask(&key('a'));
    let _maker = place.store.lock(&key('a')).unwrap();
    place.store.remove_if_same(&key('a'), &template);
    assert!(place.file(&key('a'), "ram").exists());
}

#[test]
fn a_template_without_a_successful_restore_is_dropped_by_one_hang() {
    let place = Fixture::new();
    let key = key('a');
    let (template, _) = place.ask(&key);
    let hung = |template: &Template| {
        place
            .store
            .record_restore(&key, template, RestoreOutcome::Hung);
    };
    hung(&template);
    let (next, made) = place.ask(&key);
    assert!(made);
    // A hang of another clone of the first template keeps the second one.
    hung(&template);
    assert!(!place.ask(&key).1);
    hung(&next);
    assert!(place.is_made_again(&key));
}

#[test]
fn a_template_that_worked_is_dropped_by_consecutive_hangs() {
    let place = Fixture::new();
    let key = key('a');
    let (template, _) = place.ask(&key);
    let end = |outcome| place.store.record_restore(&key, &template, outcome);
    for _ in 0..2 {
        end(RestoreOutcome::Restored);
        end(RestoreOutcome::Hung);
        end(RestoreOutcome::Unknown);
        end(RestoreOutcome::Hung);
        assert!(!place.ask(&key).1, "a slow host dropped it");
    }
    end(RestoreOutcome::Hung);
    assert!(place.is_made_again(&key));
}

#[test]
fn a_rejected_template_is_dropped_although_it_worked() {
    let place = Fixture::new();
    let (template, _) = place.ask(&key('a'));
    for outcome in [RestoreOutcome::Restored, RestoreOutcome::Rejected] {
        place.store.record_restore(&key('a'), &template, outcome);
    }
    assert!(place.is_made_again(&key('a')));
}

#[test]
fn memory_without_a_state_is_removed() {
    let mut place = Fixture::new();
    let left = place.file(&key('a'), "ram");
    place.ask(&key('b'));
    fs::write(&left, vec![1; 4096]).unwrap();
    place.store.limit = 1;
    place.ask(&key('c'));
    assert!(!left.exists());
}

#[test]
fn too_little_free_space_is_an_error() {
    let place = Fixture::new();
    let refused = place
        .store
        .template(&key('a'), &[u64::MAX / 2], |_| unreachable!());
    let error = refused.unwrap_err();
    assert!(matches!(error, WarmError::NoRoom { .. }), "{error}");
}

#[test]
fn the_memory_of_each_node_is_checked_counted_and_removed() {
    let place = Fixture::new();
    let key = key('a');
    let sizes = [RAM, 2 * RAM, RAM];
    let ask = || {
        let before = place.made.load(Ordering::SeqCst);
        let template = place.store.template(&key, &sizes, |ram| {
            for file in ram.files() {
                file.write_all_at(&vec![1; 1 << 20], 0).unwrap();
            }
            Ok(place.make(&key, ram))
        });
        (
            template.unwrap(),
            place.made.load(Ordering::SeqCst) - before,
        )
    };
    let (template, made) = ask();
    let lengths = template.ram.files().iter();
    let lengths: Vec<u64> = lengths.map(|file| file.metadata().unwrap().len()).collect();
    assert_eq!((made, &lengths[..]), (1, &sizes[..]));
    drop(template);
    assert_eq!(ask().1, 0);
    let last = place.file(&key, "ram2");
    let ram = File::options().write(true).open(&last).unwrap();
    ram.set_len(RAM / 2).unwrap();
    drop(ram);
    assert_eq!(ask().1, 1, "the last node's memory was changed");

    let stored = place.store.list();
    assert!(stored.len() == 1 && stored[0].size >= 3 << 20, "{stored:?}");
    assert!(stored[0].remove());
    for kind in ["state", "ram", "ram1", "ram2"] {
        assert!(!place.file(&key, kind).exists(), "{kind}");
    }
}
