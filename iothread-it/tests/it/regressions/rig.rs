//! QEMU whose guest never ran, so that a case takes a moment. A reset completes a removal that no
//! guest hears of.

use anyhow::{Context, Result};
use guest_vm::scratch::ScratchDir;
use qmp_client::Qmp;
use qmp_client::command::QueryIothreads;
use serde_json::{Value, json};

use crate::bare::Bare;
use crate::fixture::{scratch, soon};
use crate::raw::{self, deleted};

/// The machine whose own bus takes a device and, at a reset, gives it up.
const PC: [&str; 6] = [
    "-machine",
    "pc",
    "-object",
    "iothread,id=t0",
    "-object",
    "iothread,id=t1",
];

/// QEMU on `pc` with two threads, and a folder.
pub(super) struct Rig {
    qemu: Bare,
    scratch: ScratchDir,
}

impl Rig {
    pub(super) fn run(case: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let rig = Self {
            qemu: Bare::start(&PC)?,
            scratch: scratch()?,
        };
        case(&rig).with_context(|| rig.qemu.exit_report())?;
        rig.qemu.quit()
    }

    pub(super) fn qmp(&self) -> &Qmp {
        &self.qemu.qmp
    }

    pub(super) fn path(&self, name: &str) -> Result<String> {
        let path = self.scratch.path().join(name);
        Ok(path.to_str().context("a path is no text")?.to_owned())
    }

    /// Adds a raw node over a new file.
    pub(super) fn node(&self, name: &str) -> Result<()> {
        let path = self.path(name)?;
        std::fs::File::create(&path)?.set_len(16 << 20)?;
        let file = json!({"driver": "file", "filename": path});
        let node = json!({"driver": "raw", "node-name": name, "file": file});
        self.qmp().execute(&raw::BlockdevAdd(node), soon())?;
        Ok(())
    }

    pub(super) fn put(&self, node: &str, thread: &str) -> Result<()> {
        let command = json!({"node-name": node, "iothread": thread});
        self.qmp().execute(&raw::SetIothread(command), soon())?;
        Ok(())
    }

    pub(super) fn device(&self, id: &str, node: &str, thread: &str) -> Value {
        json!({"driver": "virtio-blk-pci", "id": id, "drive": node, "iothread": thread,
               "bus": "pci.0"})
    }

    pub(super) fn plug(&self, id: &str, node: &str, thread: &str) -> Result<()> {
        let device = raw::DeviceAdd(self.device(id, node, thread));
        self.qmp().execute(&device, soon())?;
        Ok(())
    }

    pub(super) fn unplug(&self, id: &str) -> Result<()> {
        unplug(self.qmp(), id)
    }

    pub(super) fn human(&self, line: &str) -> Result<String> {
        let command = raw::HumanMonitor(json!({"command-line": line}));
        let output = self.qmp().execute(&command, soon())?;
        Ok(output.as_str().unwrap_or_default().to_owned())
    }

    pub(super) fn threads(&self) -> Result<Vec<String>> {
        let threads = self.qmp().execute(&QueryIothreads {}, soon())?;
        Ok(threads.into_iter().map(|thread| thread.id).collect())
    }
}

/// Asks a guest that never ran for a device, and resets it.
pub(super) fn unplug(qmp: &Qmp, id: &str) -> Result<()> {
    let since = qmp.cursor();
    qmp.execute(&raw::DeviceDel(json!({"id": id})), soon())?;
    qmp.execute(&raw::SystemReset(json!({})), soon())?;
    deleted(qmp, id, since)?;
    Ok(())
}
