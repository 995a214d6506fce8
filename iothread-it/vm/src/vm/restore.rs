//! A guest that has booted, saved; and a running guest made of a saved one.
//!
//! QEMU does both by a migration that leaves out memory which is in a file (`x-ignore-shared`), so
//! that only the devices' state goes through the channel: less than a megabyte.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use guest_agent::protocol::{Greeting, Reseed};

use super::error::VmError;
use super::launch::{Launched, QEMU_SPAN, Savable, last_words, quit};
use crate::qemu::DraftRam;
use crate::qemu::Memory;
use crate::warm::{Saved, Template};
use qmp_client::command::{
    Cont, Migrate, MigrateIncoming, MigrateSetCapabilities, MigrationCapability, Stop,
};
use qmp_client::wait::Deadline;
use qmp_client::{Cursor, QmpError};

/// How long the devices' state may take. It is small, but the host may be busy.
const MIGRATION_SPAN: Duration = Duration::from_secs(30);

/// How long the agent of a restored guest may take to answer.
pub(super) const RENEWAL_SPAN: Duration = Duration::from_secs(30);

/// What the channel of the state is called in QEMU.
const CHANNEL: &str = "state";
const CHANNEL_URI: &str = "fd:state";

/// Boots a guest on the memory of a template, stops and saves it. Its QEMU has ended then.
pub(super) fn boot_and_save(guest: &Savable<'_>, ram: &DraftRam) -> Result<Saved, VmError> {
    let launched = Launched::start(guest.plan(), &Memory::Draft(ram))?;
    let greeting = launched.booted()?;
    let (mut ours, theirs) = UnixStream::pair().map_err(VmError::Channel)?;
    ours.set_read_timeout(Some(MIGRATION_SPAN))
        .map_err(VmError::Channel)?;
    // Reads while QEMU writes, which is more than a socket holds.
    let reader = thread::spawn(move || {
        let mut devices = Vec::new();
        ours.read_to_end(&mut devices).map(|_| devices)
    });
    let sent = launched.send_state(theirs.into());
    if sent.is_err() {
        launched.process.kill();
    }
    // QEMU has closed its end in any case, so this comes to its end.
    let devices = reader.join().expect("the reader does not panic");
    sent?;
    let devices = devices.map_err(VmError::Channel)?;
    quit(&launched.qmp, &launched.process)?;
    if guest.plan().manifest.qemu.opens_ram_read_only() {
        ram.make_read_only().map_err(VmError::Channel)?;
    }
    Ok(Saved { greeting, devices })
}

/// Restores a guest in a QEMU that was started on the template's memory, and makes it another than
/// all those restored from the same template.
pub(super) fn restore(
    launched: &Launched,
    template: &Template,
    reseed_timeout: Duration,
) -> Result<Greeting, VmError> {
    let (mut ours, theirs) = UnixStream::pair().map_err(VmError::Channel)?;
    let devices = &template.saved.devices;
    thread::scope(|scope| {
        let shut = ours.try_clone().map_err(VmError::Channel)?;
        // What it meets is a QEMU that has ended, which `receive_state` tells better.
        scope.spawn(move || {
            let _ = ours.write_all(devices);
            let _ = ours.shutdown(Shutdown::Write);
        });
        let received = launched.receive_state(theirs.into());
        if received.is_err() {
            // Ends a writer whose reader does not read.
            let _ = shut.shutdown(Shutdown::Both);
        }
        received
    })?;
    let reseed = reseed().map_err(VmError::Channel)?;
    let boot_id = &template.saved.greeting.boot_id;
    let deadline = Deadline::after(reseed_timeout);
    let reseeded = launched.agent.reseed(boot_id, &reseed, deadline);
    reseeded.map_err(|source| VmError::Guest {
        source,
        words: last_words(&launched.process),
    })
}

/// The time now, and bytes from the host's own random number generator.
fn reseed() -> std::io::Result<Reseed> {
    let mut entropy = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut entropy)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_err(std::io::Error::other)?;
    Ok(Reseed {
        realtime_ns: u64::try_from(now.as_nanos()).map_err(std::io::Error::other)?,
        entropy,
    })
}

impl Launched {
    fn send_state(&self, channel: OwnedFd) -> Result<(), VmError> {
        let deadline = Deadline::after(QEMU_SPAN);
        let result = (|| {
            self.qmp.execute(&Stop {}, deadline)?;
            let since = self.prepare(channel, deadline)?;
            let migrate = Migrate { uri: CHANNEL_URI };
            self.qmp.execute(&migrate, deadline)?;
            self.migrated(since)
        })();
        self.completed(result)
    }

    fn receive_state(&self, channel: OwnedFd) -> Result<(), VmError> {
        let deadline = Deadline::after(QEMU_SPAN);
        let result = (|| {
            let since = self.prepare(channel, deadline)?;
            let incoming = MigrateIncoming { uri: CHANNEL_URI };
            self.qmp.execute(&incoming, deadline)?;
            let status = self.migrated(since)?;
            self.qmp.execute(&Cont {}, deadline)?;
            Ok(status)
        })();
        self.completed(result)
    }

    fn prepare(&self, channel: OwnedFd, deadline: Deadline) -> Result<Cursor, QmpError> {
        let on = |capability| MigrationCapability {
            capability,
            state: true,
        };
        let capabilities = vec![on("x-ignore-shared"), on("events")];
        self.qmp
            .execute(&MigrateSetCapabilities { capabilities }, deadline)?;
        self.qmp.pass(CHANNEL, channel, deadline)?;
        Ok(self.qmp.cursor())
    }

    /// Waits for the end and returns QEMU's word for it.
    fn migrated(&self, since: Cursor) -> Result<String, QmpError> {
        let deadline = Deadline::after(MIGRATION_SPAN);
        let awaited = "the end of the migration";
        self.qmp.wait_event(awaited, since, deadline, |event| {
            let status = event.str("status").filter(|_| event.name == "MIGRATION")?;
            matches!(status, "completed" | "failed" | "cancelled").then(|| status.to_owned())
        })
    }

    fn completed(&self, result: Result<String, QmpError>) -> Result<(), VmError> {
        match result.map_err(|source| self.told(source))? {
            status if status == "completed" => Ok(()),
            status => Err(VmError::Migration {
                status,
                words: last_words(&self.process),
            }),
        }
    }
}
