//! Saves a running guest with its memory to a file, and restores it later in another QEMU.
//!
//! The memory of a clone is a private mapping of its template, so all of it goes into the file: what is not zero,
//! 200 to 400 MB. The guest's disks are files that the caller keeps. The QEMU that restores the guest has them from
//! the start, in the same slots.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use guest_agent::protocol::{Greeting, VERSION};
use serde::{Deserialize, Serialize};

use super::error::VmError;
use super::launch::{LaunchSpec, RunningQemu};
use super::restore::{self, Content, RESEED_TIMEOUT, receive_state, send_state};
use super::{Start, Vm, accelerator_for};
use crate::artifacts::{Manifest, free_space};
use crate::qemu::{GuestMemory, VmSpec, open_regular};
use crate::warm::{TemplateKey, WarmError};
use iothread_hotplug::StepError;

/// The maximum size of the state of the devices, in bytes. It has less than 1 MB.
const MAX_DEVICES_BYTES: u64 = 64 << 20;

/// Free space to leave on the disk.
const MIN_FREE_BYTES: u64 = 256 << 20;

/// What is known of a guest that was saved, beside the file with its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedGuest {
    /// Identifies QEMU, its options, the kernel and the agent.
    key: TemplateKey,
    /// The greeting of the agent.
    greeting: Greeting,
    /// Whether the guest was a clone of a template.
    had_file: bool,
    /// The size of the file.
    bytes: u64,
}

/// Why a guest cannot be saved or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SavedGuestError {
    /// Devices were plugged in before the guest was started.
    #[error("a guest with devices from the start cannot be saved")]
    ColdPlugged,
    /// The disk has no room.
    #[error("a saved guest needs up to {} MiB, but only {} MiB are free", needed >> 20, free >> 20)]
    NoRoom {
        /// Needed bytes.
        needed: u64,
        /// Free bytes.
        free: u64,
    },
    /// The file cannot be read or written.
    #[error("cannot read or write the state of the guest")]
    File(#[source] io::Error),
    /// The file has another size than when it was written, or belongs to another user.
    #[error("the state of the guest was changed since it was saved")]
    Changed,
    /// The agent speaks another version of the protocol.
    #[error(
        "the guest was saved by another version of this program (protocol {saved}, this one has {VERSION})"
    )]
    Version {
        /// The version of the protocol.
        saved: u32,
    },
    /// QEMU, the kernel, the boot image or the host's CPU is another one.
    #[error("the guest was saved with another QEMU, kernel or CPU than there is now")]
    OtherMachine,
    /// An input of the guest cannot be read.
    #[error("a file that the saved guest needs (kernel, boot image or template) cannot be read")]
    Gone(#[source] WarmError),
    /// A disk cannot be plugged in again.
    #[error("a disk of the saved guest cannot be used")]
    Disk(#[from] StepError),
    /// QEMU failed.
    #[error(transparent)]
    Vm(#[from] VmError),
}

impl Vm {
    /// Saves the guest to a file, which must not exist, and ends QEMU. `spec` is what the VM was started with. Its
    /// disks stay as they are.
    ///
    /// # Errors
    /// If QEMU fails, or the file cannot be written. QEMU is ended then, too.
    pub fn save(
        self,
        manifest: &Manifest,
        spec: &VmSpec,
        path: &Path,
    ) -> Result<SavedGuest, SavedGuestError> {
        let key = key_of(manifest, spec)?.ok_or(SavedGuestError::ColdPlugged)?;
        let limit = spec.memory_bytes() + MAX_DEVICES_BYTES;
        let mut options = File::options();
        let file = options.write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(SavedGuestError::File)?;
        let free = free_space(path).map_err(SavedGuestError::File)?;
        let needed = limit + MIN_FREE_BYTES;
        if free < needed {
            return Err(SavedGuestError::NoRoom { needed, free });
        }
        let bytes = write_state(file, limit, |channel| {
            let sent = send_state((&self.qmp, &self.process), channel, Content::All);
            // Closes the channel.
            self.process.kill();
            sent
        })?;
        Ok(SavedGuest {
            key,
            greeting: self.greeting.clone(),
            had_file: matches!(self.start, Start::Restored),
            bytes,
        })
    }

    /// Restores a guest that [`Vm::save`] has saved. `spec` is what it was started with, and `with_disks` adds the
    /// disks, in the order in which they were attached.
    ///
    /// # Errors
    /// If the guest was saved by another version, with another QEMU or kernel, or QEMU fails.
    pub fn restore_saved(
        manifest: &Manifest,
        spec: &VmSpec,
        saved: &SavedGuest,
        path: &Path,
        with_disks: impl FnOnce(&mut VmSpec) -> Result<(), StepError>,
    ) -> Result<Self, SavedGuestError> {
        let protocol = saved.greeting.protocol;
        if protocol != VERSION {
            return Err(SavedGuestError::Version { saved: protocol });
        }
        if key_of(manifest, spec)? != Some(saved.key.clone()) {
            return Err(SavedGuestError::OtherMachine);
        }
        let mut spec = spec.clone();
        with_disks(&mut spec)?;
        let file = open_regular(path).map_err(SavedGuestError::File)?;
        let data = file.metadata().map_err(SavedGuestError::File)?;
        if data.len() != saved.bytes || !crate::warm::is_ours(&data) {
            return Err(SavedGuestError::Changed);
        }
        let accelerator = accelerator_for(&spec);
        let launch = LaunchSpec::new(manifest, &spec, &accelerator);
        let memory = GuestMemory::Incoming {
            had_file: saved.had_file,
        };
        let qemu_process = RunningQemu::start(&launch, &memory)?;
        receive_state(&qemu_process, file, Content::All)?;
        let greeting = restore::wake(&qemu_process, &saved.greeting.boot_id, RESEED_TIMEOUT)?;
        Ok(Self::assemble(
            &launch,
            qemu_process,
            greeting,
            Start::Restored,
        )?)
    }
}

/// Writes what `send` sends to a channel to a file, until it is closed. Returns the size.
fn write_state(
    mut file: File,
    limit: u64,
    send: impl FnOnce(OwnedFd) -> Result<(), VmError>,
) -> Result<u64, SavedGuestError> {
    let (ours, theirs) = UnixStream::pair().map_err(VmError::Channel)?;
    let reader = thread::spawn(move || io::copy(&mut ours.take(limit), &mut file));
    let sent = send(theirs.into());
    let bytes = reader.join().expect("the reader does not panic");
    // A full disk also fails the migration, so its error comes first.
    let bytes = bytes.map_err(SavedGuestError::File)?;
    sent?;
    Ok(bytes)
}

fn key_of(manifest: &Manifest, spec: &VmSpec) -> Result<Option<TemplateKey>, SavedGuestError> {
    Vm::template_key(manifest, spec).map_err(SavedGuestError::Gone)
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write as _};

    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_is_the_reason_for_a_failed_migration() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let send = |channel: OwnedFd| {
            let mut channel = UnixStream::from(channel);
            loop {
                channel.write_all(&[0; 4096]).map_err(VmError::Channel)?;
            }
        };
        let error = write_state(full, u64::MAX, send).unwrap_err();
        assert!(
            matches!(&error, SavedGuestError::File(why) if why.kind() == ErrorKind::StorageFull),
            "{error:?}"
        );
    }
}
