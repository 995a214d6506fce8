//! **Scope**: files, made by a closure in place of a guest. That guests come of them is the
//! suite's to show.

use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use guest_agent::protocol::{BootId, Greeting, VERSION};

use super::*;

const RAM: u64 = 1 << 20;

struct Place {
    directory: tempfile::TempDir,
    store: WarmStore,
    made: AtomicUsize,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            store: WarmStore::at(directory.path().join("warm")),
            directory,
            made: AtomicUsize::new(0),
        }
    }

    /// Returns what the template of a key holds, and whether it had to be made for that.
    fn ask(&self, key: &Key) -> (Template, bool) {
        let before = self.made.load(Ordering::SeqCst);
        let template = self.store.template(key, RAM, |ram| Ok(self.make(key, ram)));
        let made = self.made.load(Ordering::SeqCst) - before;
        assert!(made <= 1);
        (template.unwrap(), made == 1)
    }

    fn make(&self, key: &Key, ram: &DraftRam) -> Saved {
        self.made.fetch_add(1, Ordering::SeqCst);
        ram.file().write_all_at(key.as_str().as_bytes(), 0).unwrap();
        Saved {
            greeting: Greeting {
                protocol: VERSION,
                boot_id: BootId(key.to_string()),
                kernel: "6.1".into(),
                cpus: 1,
            },
            devices: format!("devices\nof {key}").into_bytes(),
        }
    }

    fn is_made_anew(&self, key: &Key) -> bool {
        let (template, made) = self.ask(key);
        assert_is_of(&template, key);
        assert!(!self.ask(key).1, "it does not last");
        made
    }

    fn file(&self, key: &Key, kind: &str) -> PathBuf {
        key::file(&self.store.folder, key, kind)
    }
}

fn assert_is_of(template: &Template, key: &Key) {
    let mut ram = [0; 64];
    template.ram.file().read_exact_at(&mut ram, 0).unwrap();
    assert_eq!(ram, key.as_str().as_bytes());
    assert_eq!(template.saved.greeting.boot_id.0, key.as_str());
    assert!(template.saved.devices.ends_with(key.as_str().as_bytes()));
}

fn key(digit: char) -> Key {
    Key::from_name(&digit.to_string().repeat(64)).unwrap()
}

#[test]
fn a_template_is_made_once_for_each_key() {
    let place = Place::new();
    assert!(place.is_made_anew(&key('a')));
    assert!(place.is_made_anew(&key('b')));
    assert!(!place.is_made_anew(&key('a')));
    let mode = place.store.folder.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "it holds a guest's memory");
}

/// Each of these would start a guest from something else than what was saved.
#[test]
fn what_is_not_as_it_was_saved_is_made_anew() {
    type Damage = fn(&Place, &Key);
    let damages: [(&str, Damage); 12] = [
        ("cut memory", |p, k| {
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
        ("cut state", |p, k| {
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
    let place = Place::new();
    let key = key('a');
    place.ask(&key);
    for (what, damage) in damages {
        damage(&place, &key);
        assert!(place.is_made_anew(&key), "{what} was taken");
    }
}

#[test]
fn a_template_under_the_name_of_another_key_is_made_anew() {
    let place = Place::new();
    let (one, other) = (key('a'), key('b'));
    place.ask(&one);
    for kind in ["ram", "state"] {
        fs::copy(place.file(&one, kind), place.file(&other, kind)).unwrap();
    }
    assert!(place.is_made_anew(&other));
    // Also if only one of the two files is another's.
    fs::copy(place.file(&one, "state"), place.file(&other, "state")).unwrap();
    assert!(place.is_made_anew(&other));
    assert!(!place.is_made_anew(&one));
}

/// Root alone can give files away; see also the files that others may write.
#[kata_test::kata_test(root)]
fn a_template_of_somebody_else_is_made_anew() {
    let place = Place::new();
    let key = key('a');
    for kind in ["ram", "state"] {
        place.ask(&key);
        std::os::unix::fs::chown(place.file(&key, kind), Some(65534), None).unwrap();
        assert!(place.is_made_anew(&key), "{kind}");
    }
    std::os::unix::fs::chown(&place.store.folder, Some(65534), None).unwrap();
    let refused = place.store.template(&key, RAM, |_| unreachable!());
    assert!(matches!(refused, Err(WarmError::Foreign { .. })));
}

#[test]
fn a_folder_that_others_may_write_is_refused() {
    let place = Place::new();
    place.ask(&key('a'));
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(&place.store.folder, open).unwrap();
    let refused = place.store.template(&key('a'), RAM, |_| unreachable!());
    assert!(matches!(refused, Err(WarmError::Foreign { .. })));
}

#[test]
fn of_many_that_ask_at_once_one_makes_it() {
    let place = Place::new();
    let key = key('a');
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                let template = place.store.template(&key, RAM, |ram| {
                    // The others come to the lock meanwhile, or find what is made.
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
fn a_template_that_cannot_be_made_leaves_nothing() {
    let place = Place::new();
    let key = key('a');
    let failed = place.store.template(&key, RAM, |ram| {
        ram.file().write_all_at(b"half", 0).unwrap();
        Err(WarmError::Foreign {
            path: PathBuf::new(),
        })
    });
    assert!(failed.is_err());
    assert!(!place.file(&key, "ram").exists());
    let drafts = place.store.drafts().join("iothread-it-scratch");
    let entries = fs::read_dir(drafts).unwrap().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir()).count();
    assert_eq!(folders, 0);
    assert!(place.is_made_anew(&key));
}

#[test]
fn what_was_used_longest_ago_goes_first() {
    let mut place = Place::new();
    let [a, b, c] = ['a', 'b', 'c'].map(key);
    place.ask(&a);
    place.ask(&b);
    let used = |key: &Key, seconds| {
        let state = File::open(place.file(key, "state")).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        state.set_modified(time).unwrap();
    };
    used(&a, 1);
    used(&b, 2);
    // Looking at it is using it.
    assert!(!place.is_made_anew(&a));
    let each = place.store.entries().iter().map(|entry| entry.size).max();
    place.store.limit = each.unwrap() * 2;
    place.ask(&c);
    assert!(!place.file(&b, "ram").exists() && !place.file(&b, "lock").exists());
    assert!(!place.is_made_anew(&a));
    assert!(!place.is_made_anew(&c));
}

#[test]
fn what_is_in_use_outlives_its_removal() {
    let place = Place::new();
    let (template, _) = place.ask(&key('a'));
    place.store.forget(&key('a'), &template);
    assert!(!place.file(&key('a'), "ram").exists());
    assert_is_of(&template, &key('a'));
    assert!(place.is_made_anew(&key('a')));
    // Whoever hears later that the first was bad leaves the second alone.
    place.store.forget(&key('a'), &template);
    assert!(!place.ask(&key('a')).1);
}

#[test]
fn a_template_that_is_being_made_is_not_waited_for_to_be_forgotten() {
    let place = Place::new();
    let (template, _) = place.ask(&key('a'));
    let _maker = place.store.lock(&key('a')).unwrap();
    place.store.forget(&key('a'), &template);
    assert!(place.file(&key('a'), "ram").exists());
}

#[test]
fn a_template_that_never_worked_is_dropped_by_one_hang() {
    let place = Place::new();
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
    // Another clone of the first one hangs too, and leaves the second alone.
    hung(&template);
    assert!(!place.ask(&key).1);
    hung(&next);
    assert!(place.is_made_anew(&key));
}

#[test]
fn a_template_that_worked_is_dropped_only_by_hangs_in_a_row() {
    let place = Place::new();
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
    assert!(place.is_made_anew(&key));
}

#[test]
fn a_template_that_qemu_rejects_is_dropped_although_it_worked() {
    let place = Place::new();
    let (template, _) = place.ask(&key('a'));
    for outcome in [RestoreOutcome::Restored, RestoreOutcome::Rejected] {
        place.store.record_restore(&key('a'), &template, outcome);
    }
    assert!(place.is_made_anew(&key('a')));
}

#[test]
fn the_memory_of_a_killed_process_goes_with_the_others() {
    let mut place = Place::new();
    let left = place.file(&key('a'), "ram");
    place.ask(&key('b'));
    fs::write(&left, vec![1; 4096]).unwrap();
    place.store.limit = 1;
    place.ask(&key('c'));
    assert!(!left.exists());
}

#[test]
fn a_disk_without_room_is_told() {
    let place = Place::new();
    let refused = place
        .store
        .template(&key('a'), u64::MAX / 2, |_| unreachable!());
    let error = refused.unwrap_err();
    assert!(matches!(error, WarmError::NoRoom { .. }), "{error}");
}
