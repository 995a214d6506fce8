//! The guest's disks, tracked by kernel uevents.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use guest_agent::protocol::{Disk, Failure, FailureKind, Presence, Serial};

use crate::fatal::{Fatal, OrFatal};
use crate::netlink::{MESSAGE, Next, Uevents};
use crate::sync::lock;
use crate::uevent::{Action, Uevent};
use crate::{console, failure, sysfs};

/// Disks by kernel name: two can have the same serial while one replaces the other.
type Table = BTreeMap<String, Disk>;

/// The disks, and a condition variable for changes.
#[derive(Default)]
pub(crate) struct Disks {
    table: Mutex<Table>,
    changed: Condvar,
    /// When the newest uevent of a disk was read.
    announced: Mutex<Option<Instant>>,
}

impl Disks {
    /// Returns the disks that have a serial, sorted by it.
    pub(crate) fn all(&self) -> Vec<Disk> {
        let mut disks: Vec<_> = lock(&self.table).values().cloned().collect();
        disks.sort_by(|one, other| (&one.serial, &one.name).cmp(&(&other.serial, &other.name)));
        disks
    }

    /// Finds the disk with a serial.
    pub(crate) fn find(&self, serial: &Serial) -> Result<Disk, Failure> {
        let table = lock(&self.table);
        let mut found = table.values().filter(|disk| disk.serial == *serial);
        match (found.next(), found.next()) {
            (None, _) => Err(Failure {
                kind: FailureKind::NoSuchDisk,
                message: format!("no disk has the serial {serial}; {}", list(&table)),
            }),
            (Some(disk), None) => Ok(disk.clone()),
            (Some(one), Some(other)) => Err(failure::bad_request(format!(
                "both {} and {} have the serial {serial}",
                one.name, other.name
            ))),
        }
    }

    /// Waits until a disk is present or absent, and returns when that was known: when the newest uevent
    /// was read, or at the call if that is later.
    pub(crate) fn wait(
        &self,
        serial: &Serial,
        presence: Presence,
        timeout: Duration,
    ) -> Result<Instant, Failure> {
        let asked = Instant::now();
        let not_yet = |table: &Table| {
            let present = table.values().any(|disk| disk.serial == *serial);
            present != (presence == Presence::Present)
        };
        let table = match self.wait_while(not_yet, timeout) {
            Ok(_) => return Ok(lock(&self.announced).map_or(asked, |at| at.max(asked))),
            Err(table) => table,
        };
        let awaited = match presence {
            Presence::Present => "did not appear",
            Presence::Absent => "did not disappear",
        };
        Err(Failure {
            kind: FailureKind::TimedOut,
            message: format!(
                "disk {serial} {awaited} within {} ms; {}",
                timeout.as_millis(),
                list(&table)
            ),
        })
    }

    /// Waits while a condition holds. Returns the table, as an error if the condition still holds at the
    /// timeout.
    fn wait_while(
        &self,
        mut holds: impl FnMut(&Table) -> bool,
        timeout: Duration,
    ) -> Result<MutexGuard<'_, Table>, MutexGuard<'_, Table>> {
        let (table, ended) = self
            .changed
            .wait_timeout_while(lock(&self.table), timeout, |table| holds(table))
            .unwrap_or_else(PoisonError::into_inner);
        if ended.timed_out() {
            return Err(table);
        }
        Ok(table)
    }

    fn take_in(&self, next: &Next<'_>) -> Result<(), Fatal> {
        let read_at = Instant::now();
        match next {
            Next::Message(message) => {
                if let Some(event) = Uevent::parse(message) {
                    self.apply(&event, read_at);
                }
                Ok(())
            }
            Next::Lost => {
                console::log("uevents were lost; rescanning all disks");
                self.scan()
            }
            Next::Nothing => Ok(()),
        }
    }

    /// Ignores partitions, whose folders have no serial.
    fn apply(&self, event: &Uevent<'_>, read_at: Instant) {
        if event.subsystem != "block" || event.device_type != Some("disk") {
            return;
        }
        *lock(&self.announced) = Some(read_at);
        match event.action {
            // The disk's folder may still exist at its remove event.
            Action::Remove => {
                lock(&self.table).remove(event.name);
            }
            // Other actions may change the size.
            Action::Add | Action::Other => {
                // Read without the lock: reading may block.
                if let Some(disk) = sysfs::disk(event.name) {
                    lock(&self.table).insert(event.name.to_owned(), disk);
                }
            }
        }
        self.changed.notify_all();
    }

    fn scan(&self) -> Result<(), Fatal> {
        let names = sysfs::names(Path::new("/sys/block")).or_fatal(|| "list /sys/block".into())?;
        let found = names
            .iter()
            .filter_map(|name| sysfs::disk(name))
            .map(|disk| (disk.name.clone(), disk))
            .collect();
        *lock(&self.table) = found;
        self.changed.notify_all();
        Ok(())
    }
}

/// Scans the disks, then tracks uevents in a thread.
pub(crate) fn follow(uevents: Uevents, disks: Arc<Disks>) -> Result<(), Fatal> {
    disks.scan()?;
    let follow = move || {
        let mut buffer = [0; MESSAGE];
        loop {
            let taken = uevents
                .next(&mut buffer, None)
                .and_then(|next| disks.take_in(&next));
            if let Err(fatal) = taken {
                console::power_off(&fatal.to_string());
                return;
            }
        }
    };
    thread::Builder::new()
        .name("uevents".into())
        .spawn(follow)
        .or_fatal(|| "start the thread that follows uevents".into())?;
    Ok(())
}

fn list(table: &Table) -> String {
    let disks: Vec<_> = table
        .values()
        .map(|disk| format!("{} ({})", disk.serial, disk.name))
        .collect();
    if disks.is_empty() {
        return "the guest has no disks".into();
    }
    format!("the guest has {}", disks.join(", "))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn disks(entries: &[(&str, &str)]) -> Disks {
        let table = entries.iter().map(|&(name, serial)| {
            let disk = Disk {
                serial: Serial(serial.into()),
                name: name.into(),
                size: 512,
            };
            (name.to_owned(), disk)
        });
        Disks {
            table: Mutex::new(table.collect()),
            ..Disks::default()
        }
    }

    fn remove<'a>(name: &'a str) -> Uevent<'a> {
        Uevent {
            action: Action::Remove,
            subsystem: "block",
            device_type: Some("disk"),
            name,
        }
    }

    #[test]
    fn a_serial_that_two_disks_have_names_none() {
        let disks = disks(&[("vda", "one"), ("vdb", "two"), ("vdc", "two")]);
        assert_eq!(disks.find(&Serial("one".into())).unwrap().name, "vda");
        let both = disks.find(&Serial("two".into())).unwrap_err();
        assert_eq!(both.kind, FailureKind::BadRequest);
        let none = disks.find(&Serial("three".into())).unwrap_err();
        assert_eq!(none.kind, FailureKind::NoSuchDisk);
        assert!(none.message.contains("one (vda)"), "{none}");
    }

    #[test]
    fn a_disk_is_gone_only_when_the_last_with_its_serial_is() {
        let disks = disks(&[("vda", "d"), ("vdb", "d")]);
        let gone = || disks.wait(&Serial("d".into()), Presence::Absent, Duration::ZERO);
        disks.apply(&remove("vda"), Instant::now());
        assert_eq!(gone().unwrap_err().kind, FailureKind::TimedOut);
        disks.apply(&remove("vdb"), Instant::now());
        assert!(gone().is_ok());
    }

    #[test]
    fn a_removal_wakes_who_waits_for_it() {
        let disks = disks(&[("vda", "d")]);
        let long = Duration::from_secs(20);
        let (waits, waiting) = mpsc::channel();
        // The table is locked from this until the thread sleeps.
        let holds = |table: &Table| {
            let _ = waits.send(());
            !table.is_empty()
        };
        let start = Instant::now();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| disks.wait_while(holds, long).is_ok());
            waiting.recv_timeout(long).unwrap();
            disks.apply(&remove("vda"), Instant::now());
            assert!(waiter.join().unwrap());
        });
        // A thread that is not woken finds the disk gone too, but only at its deadline.
        assert!(start.elapsed() < long);
    }

    #[test]
    fn what_is_no_disk_changes_nothing() {
        let disks = disks(&[("vda", "d")]);
        for (subsystem, device_type) in [("block", Some("partition")), ("bdi", Some("disk"))] {
            disks.apply(
                &Uevent {
                    subsystem,
                    device_type,
                    ..remove("vda")
                },
                Instant::now(),
            );
        }
        assert_eq!(disks.all().len(), 1);
    }
}
