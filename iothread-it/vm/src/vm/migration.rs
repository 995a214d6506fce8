//! Live migration: moves a running guest to another QEMU on this host, with the devices that were plugged in after
//! its start.
//!
//! Both QEMUs open the same images. QEMU itself hands them over: the destination does not write before the source has
//! stopped.

use std::ffi::OsString;
use std::os::unix::net::UnixStream;

use iothread_hotplug::{BlockOptions, Hotplug, blocking};
use qmp_client::Cursor;
use qmp_client::command::{Migrate, MigrateCancel, MigrateSetParameters, QueryVersion};
use qmp_client::wait::Deadline;
use serde_json::Value;

use super::error::VmError;
use super::launch::{LaunchSpec, QEMU_TIMEOUT, RunningQemu, qmp_failed, quit};
use super::restore::{
    CHANNEL_URI, Content, MAX_BANDWIDTH, completed, migrated, prepare, receive, resumed,
};
use super::{Start, Vm};
use crate::artifacts::Manifest;
use crate::config::HypervisorConfig;
use crate::qemu::{self, GuestMemory, VmSpec};

/// A migration that has begun, and the QEMU that receives the guest.
pub struct Migration {
    destination: RunningQemu,
    /// The events of the source since then.
    sent: Cursor,
    /// Those of the destination.
    received: Cursor,
    config: HypervisorConfig,
}

impl Vm {
    /// Starts another QEMU with the devices that this one has, and begins to send the guest to it. The guest runs on
    /// here, and QEMU refuses to plug and unplug devices until the migration has ended. `spec` is what this VM was
    /// started with, and `bandwidth` the limit in bytes per second until [`finish_migration`](Self::finish_migration).
    ///
    /// # Errors
    /// If a QEMU fails.
    pub fn start_migration(
        &self,
        manifest: &Manifest,
        spec: &VmSpec,
        bandwidth: u64,
    ) -> Result<Migration, VmError> {
        let mut spec = spec.clone();
        spec.arguments.extend(self.devices_of_destination(&spec));
        let memory = GuestMemory::Incoming {
            had_file: matches!(self.start, Start::Restored),
        };
        let launch = LaunchSpec::new(manifest, &spec, &self.accelerator);
        let destination = RunningQemu::start(&launch, &memory)?;
        let (ours, theirs) = UnixStream::pair().map_err(VmError::Channel)?;
        let deadline = Deadline::after(QEMU_TIMEOUT);
        let received = receive(&destination.qmp, theirs.into(), Content::All, deadline)
            .map_err(qmp_failed(&destination.process))?;
        let sent = prepare(&self.qmp, ours.into(), Content::All, deadline)
            .and_then(|sent| {
                self.limit(bandwidth, deadline)?;
                self.qmp.execute(&Migrate { uri: CHANNEL_URI }, deadline)?;
                Ok(sent)
            })
            .map_err(qmp_failed(&self.process))?;
        Ok(Migration {
            destination,
            sent,
            received,
            config: spec.config,
        })
    }

    /// Waits until the guest runs in the other QEMU, which becomes this VM's, and ends the one that it has left.
    ///
    /// # Errors
    /// If the migration fails: the guest goes on where it was. If the other QEMU fails afterwards, the guest is lost.
    pub fn finish_migration(&mut self, migration: Migration) -> Result<(), VmError> {
        let Migration {
            destination,
            sent,
            received,
            config,
        } = migration;
        let deadline = Deadline::after(QEMU_TIMEOUT);
        let status = self
            .limit(MAX_BANDWIDTH, deadline)
            .and_then(|()| migrated(&self.qmp, sent, Content::All));
        completed(&self.process, status)?;
        let status = resumed(&destination.qmp, received, Content::All);
        completed(&destination.process, status)?;
        let deadline = Deadline::after(QEMU_TIMEOUT);
        let version = destination.qmp.execute(&QueryVersion {}, deadline);
        let version = version.map_err(qmp_failed(&destination.process))?;
        // As a manager does that knows of the source what it has saved.
        let saved = self.hotplug.machine().save();
        let machine = Hotplug::restore(saved, BlockOptions::from(&config), version.qemu);
        let threads = machine.pool().threads().to_vec();
        let hook = self.on_thread_started.as_ref();
        qemu::iothread::set_up(&destination.qmp, &self.iothreads, hook, threads, deadline)?;
        self.hotplug = blocking::Hotplug::of(machine);
        let RunningQemu {
            qmp,
            agent,
            process,
        } = destination;
        agent.continue_from(&self.agent);
        let left = std::mem::replace(&mut self.qmp, qmp);
        self.agent = agent;
        let process = std::mem::replace(&mut self.process, process);
        quit(&left, &process)?;
        Ok(())
    }

    /// Cancels a migration. The guest has not left.
    ///
    /// # Errors
    /// If QEMU fails, or the migration has ended already.
    pub fn cancel_migration(&self, migration: Migration) -> Result<(), VmError> {
        let deadline = Deadline::after(QEMU_TIMEOUT);
        let cancelled = self.qmp.execute(&MigrateCancel {}, deadline);
        let status = cancelled.and_then(|_| migrated(&self.qmp, migration.sent, Content::All));
        let status = status.map_err(qmp_failed(&self.process))?;
        match &*status {
            "cancelled" => Ok(()),
            _ => completed(&self.process, Ok(status)),
        }
    }

    fn limit(&self, bandwidth: u64, deadline: Deadline) -> Result<(), qmp_client::QmpError> {
        let limit = MigrateSetParameters {
            max_bandwidth: bandwidth,
        };
        self.qmp.execute(&limit, deadline).map(|_| ())
    }

    /// The arguments for what was plugged in since the start: `spec` has the first threads.
    fn devices_of_destination(&self, spec: &VmSpec) -> Vec<OsString> {
        let arguments = self.hotplug.machine().arguments();
        let from_the_start = spec.threads();
        let mut added = Vec::new();
        for pair in arguments.chunks_exact(2) {
            let is_known = || {
                let object: Value = serde_json::from_str(&pair[1]).unwrap_or_default();
                from_the_start
                    .iter()
                    .any(|thread| object["id"] == thread.as_str())
            };
            if pair[0] != "-object" || !is_known() {
                added.extend(pair.iter().map(OsString::from));
            }
        }
        added
    }
}
