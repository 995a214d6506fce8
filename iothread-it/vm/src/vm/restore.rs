//! Saves a booted guest to a template, and restores guests from it.
//!
//! Both are migrations without the memory (`x-ignore-shared`), which is a file. Only the state of the
//! devices goes through the channel, less than 1 MB.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use guest_agent::protocol::{Greeting, Reseed};

use super::error::VmError;
use super::launch::{QEMU_TIMEOUT, RunningQemu, Snapshottable, exit_report, quit};
use crate::qemu::DraftRam;
use crate::qemu::GuestMemory;
use crate::warm::{SavedState, Template};
use qmp_client::command::{
    Cont, Migrate, MigrateIncoming, MigrateSetCapabilities, MigrationCapability, Stop,
};
use qmp_client::wait::Deadline;
use qmp_client::{Cursor, QmpError};

/// How long a migration may take. The state is small, but the host may be busy.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the agent of a restored guest may take to answer.
pub(super) const RESEED_TIMEOUT: Duration = Duration::from_secs(30);

/// The name of the migration channel in QEMU.
const CHANNEL: &str = "state";
const CHANNEL_URI: &str = "fd:state";

/// Boots a guest on the memory of a template, saves it, and shuts QEMU down.
pub(super) fn boot_and_save(
    guest: &Snapshottable<'_>,
    ram: &DraftRam,
) -> Result<SavedState, VmError> {
    let qemu_process = RunningQemu::start(guest.launch(), &GuestMemory::Draft(ram))?;
    let greeting = qemu_process.wait_for_boot()?;
    let (mut ours, theirs) = UnixStream::pair().map_err(VmError::Channel)?;
    ours.set_read_timeout(Some(MIGRATION_TIMEOUT))
        .map_err(VmError::Channel)?;
    // Reads while QEMU writes: the state is larger than the buffer of the socket.
    let reader = thread::spawn(move || {
        let mut devices = Vec::new();
        ours.read_to_end(&mut devices).map(|_| devices)
    });
    let sent = qemu_process.send_state(theirs.into());
    if sent.is_err() {
        qemu_process.process.kill();
    }
    // QEMU has closed the channel, so the reader ends.
    let devices = reader.join().expect("the reader does not panic");
    sent?;
    let devices = devices.map_err(VmError::Channel)?;
    quit(&qemu_process.qmp, &qemu_process.process)?;
    if guest.launch().manifest.qemu.opens_ram_read_only() {
        ram.make_read_only().map_err(VmError::Channel)?;
    }
    Ok(SavedState { greeting, devices })
}

/// Restores a guest in a QEMU that was started on the memory of the template, and gives it a time,
/// entropy and boot id of its own.
pub(super) fn restore(
    qemu_process: &RunningQemu,
    template: &Template,
    reseed_timeout: Duration,
) -> Result<Greeting, VmError> {
    let (mut ours, theirs) = UnixStream::pair().map_err(VmError::Channel)?;
    let devices = &template.saved.devices;
    thread::scope(|scope| {
        let shut = ours.try_clone().map_err(VmError::Channel)?;
        // An error means that QEMU has exited; `receive_state` reports that.
        scope.spawn(move || {
            let _ = ours.write_all(devices);
            let _ = ours.shutdown(Shutdown::Write);
        });
        let received = qemu_process.receive_state(theirs.into());
        if received.is_err() {
            // Ends the writer, which may be blocked.
            let _ = shut.shutdown(Shutdown::Both);
        }
        received
    })?;
    let reseed = reseed().map_err(VmError::Channel)?;
    let boot_id = &template.saved.greeting.boot_id;
    let deadline = Deadline::after(reseed_timeout);
    let reseeded = qemu_process.agent.reseed(boot_id, &reseed, deadline);
    reseeded.map_err(|source| VmError::Guest {
        source,
        report: exit_report(&qemu_process.process),
    })
}

/// Returns the current time, and bytes from the host's random number generator.
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

impl RunningQemu {
    fn send_state(&self, channel: OwnedFd) -> Result<(), VmError> {
        let deadline = Deadline::after(QEMU_TIMEOUT);
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
        let deadline = Deadline::after(QEMU_TIMEOUT);
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
        self.qmp.send_fd(CHANNEL, channel, deadline)?;
        Ok(self.qmp.cursor())
    }

    /// Waits for the end of the migration and returns QEMU's status.
    fn migrated(&self, since: Cursor) -> Result<String, QmpError> {
        let deadline = Deadline::after(MIGRATION_TIMEOUT);
        let awaited = "the end of the migration";
        self.qmp.wait_event(awaited, since, deadline, |event| {
            let status = event.str("status").filter(|_| event.name == "MIGRATION")?;
            matches!(status, "completed" | "failed" | "cancelled").then(|| status.to_owned())
        })
    }

    fn completed(&self, result: Result<String, QmpError>) -> Result<(), VmError> {
        match result.map_err(|source| self.qmp_error(source))? {
            status if status == "completed" => Ok(()),
            status => Err(VmError::Migration {
                status,
                report: exit_report(&self.process),
            }),
        }
    }
}
