//! Saves a booted guest to a template, and restores guests from it.
//!
//! Both are migrations without the memory (`x-ignore-shared`), which is a file. Only the state of the
//! devices goes through the channel, less than 1 MB. A guest that [`saved`](super::saved) saves has
//! memory of its own, which goes through the channel too.

use std::fs::File;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use guest_agent::protocol::{BootId, Greeting, Reseed};

use super::error::VmError;
use super::launch::{QEMU_TIMEOUT, RunningQemu, Snapshottable, exit_report, qmp_failed, quit};
use crate::process::OwnedProcess;
use crate::qemu::DraftRam;
use crate::qemu::GuestMemory;
use crate::warm::{SavedState, Template};
use qmp_client::command::{
    Cont, Migrate, MigrateIncoming, MigrateSetCapabilities, MigrateSetParameters,
    MigrationCapability, Stop,
};
use qmp_client::wait::Deadline;
use qmp_client::{Cursor, Qmp, QmpError};

/// How long a migration may take. The state is small, but the host may be busy.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a migration with the memory may take, to or from a slow disk.
const FULL_TIMEOUT: Duration = Duration::from_secs(300);

/// No limit: QEMU's own is for a network that others use.
pub(super) const MAX_BANDWIDTH: u64 = 1 << 40;

/// The status of a migration that has succeeded.
const COMPLETED: &str = "completed";

/// How long the agent of a restored guest may take to answer.
pub(super) const RESEED_TIMEOUT: Duration = Duration::from_secs(30);

/// The name of the migration channel in QEMU.
const CHANNEL: &str = "state";
pub(super) const CHANNEL_URI: &str = "fd:state";

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
    let sent = send_state(
        (&qemu_process.qmp, &qemu_process.process),
        theirs.into(),
        Content::Devices,
    );
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
    let devices = template.saved.devices.as_slice();
    receive_state(qemu_process, devices, Content::Devices)?;
    wake(
        qemu_process,
        &template.saved.greeting.boot_id,
        reseed_timeout,
    )
}

/// Gives a restored guest a time, entropy and boot id of its own.
pub(super) fn wake(
    qemu_process: &RunningQemu,
    boot_id: &BootId,
    reseed_timeout: Duration,
) -> Result<Greeting, VmError> {
    let reseed = reseed().map_err(VmError::Channel)?;
    let deadline = Deadline::after(reseed_timeout);
    let reseeded = qemu_process.agent.reseed(boot_id, &reseed, deadline);
    reseeded.map_err(|source| VmError::Guest {
        source,
        report: exit_report(&qemu_process.process),
    })
}

/// Returns the current time, and bytes from the host's random number generator.
fn reseed() -> io::Result<Reseed> {
    let mut entropy = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut entropy)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_err(io::Error::other)?;
    Ok(Reseed {
        realtime_ns: u64::try_from(now.as_nanos()).map_err(io::Error::other)?,
        entropy,
    })
}

/// What goes through the channel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// The state of the devices.
    Devices,
    /// The memory, too.
    All,
}

impl Content {
    /// How long it may take. The state of the devices is small, but the host may be busy.
    fn timeout(self) -> Duration {
        match self {
            Self::Devices => MIGRATION_TIMEOUT,
            Self::All => FULL_TIMEOUT,
        }
    }
}

/// Stops the guest and sends its state to a channel.
pub(super) fn send_state(
    (qmp, process): (&Qmp, &OwnedProcess),
    channel: OwnedFd,
    content: Content,
) -> Result<(), VmError> {
    let deadline = Deadline::after(QEMU_TIMEOUT);
    let result = (|| {
        qmp.execute(&Stop {}, deadline)?;
        let since = prepare(qmp, channel, content, deadline)?;
        let migrate = Migrate { uri: CHANNEL_URI };
        qmp.execute(&migrate, deadline)?;
        migrated(qmp, since, content)
    })();
    completed(process, result)
}

/// Passes a guest's state to QEMU, and lets the guest go on.
pub(super) fn receive_state(
    qemu_process: &RunningQemu,
    mut state: impl Read + Send,
    content: Content,
) -> Result<(), VmError> {
    let qmp = &qemu_process.qmp;
    let (mut ours, theirs) = UnixStream::pair().map_err(VmError::Channel)?;
    let shut = ours.try_clone().map_err(VmError::Channel)?;
    thread::scope(|scope| {
        // An error means that QEMU has exited, which is reported below.
        scope.spawn(move || {
            let _ = io::copy(&mut state, &mut ours);
            let _ = ours.shutdown(Shutdown::Write);
        });
        let result = receive(qmp, theirs.into(), content, Deadline::after(QEMU_TIMEOUT))
            .and_then(|since| resumed(qmp, since, content));
        let received = completed(&qemu_process.process, result);
        if received.is_err() {
            // Ends the writer, which may be blocked.
            let _ = shut.shutdown(Shutdown::Both);
        }
        received
    })
}

/// Has QEMU receive a guest's state from a channel.
pub(super) fn receive(
    qmp: &Qmp,
    channel: OwnedFd,
    content: Content,
    deadline: Deadline,
) -> Result<Cursor, QmpError> {
    let since = prepare(qmp, channel, content, deadline)?;
    qmp.execute(&MigrateIncoming { uri: CHANNEL_URI }, deadline)?;
    Ok(since)
}

/// Waits for the end of the migration to this QEMU, and lets the guest go on. Returns QEMU's status.
pub(super) fn resumed(qmp: &Qmp, since: Cursor, content: Content) -> Result<String, QmpError> {
    let status = migrated(qmp, since, content)?;
    if status == COMPLETED {
        qmp.execute(&Cont {}, Deadline::after(QEMU_TIMEOUT))?;
    }
    Ok(status)
}

pub(super) fn prepare(
    qmp: &Qmp,
    channel: OwnedFd,
    content: Content,
    deadline: Deadline,
) -> Result<Cursor, QmpError> {
    let set = |capability, state| MigrationCapability { capability, state };
    let capabilities = vec![
        // A clone has it from its own restore.
        set("x-ignore-shared", content == Content::Devices),
        set("events", true),
    ];
    qmp.execute(&MigrateSetCapabilities { capabilities }, deadline)?;
    if content == Content::All {
        let max_bandwidth = MAX_BANDWIDTH;
        qmp.execute(&MigrateSetParameters { max_bandwidth }, deadline)?;
    }
    qmp.send_fd(CHANNEL, channel, deadline)?;
    Ok(qmp.cursor())
}

/// Waits for the end of the migration and returns QEMU's status.
pub(super) fn migrated(qmp: &Qmp, since: Cursor, content: Content) -> Result<String, QmpError> {
    let deadline = Deadline::after(content.timeout());
    let awaited = "the end of the migration";
    qmp.wait_event(awaited, since, deadline, |event| {
        let status = event.str("status").filter(|_| event.name == "MIGRATION")?;
        matches!(status, COMPLETED | "failed" | "cancelled").then(|| status.to_owned())
    })
}

pub(super) fn completed(
    process: &OwnedProcess,
    result: Result<String, QmpError>,
) -> Result<(), VmError> {
    match result.map_err(qmp_failed(process))? {
        status if status == COMPLETED => Ok(()),
        status => Err(VmError::Migration {
            status,
            report: exit_report(process),
        }),
    }
}
