//! Lets gdb debug the guest's kernel.

use std::os::unix::net::UnixListener;

use serde_json::json;

use super::Vm;
use super::error::VmError;
use super::launch::{QEMU_TIMEOUT, qmp_failed};
use qmp_client::command::{ChardevAdd, HumanMonitorCommand};
use qmp_client::wait::Deadline;

/// The name of the socket and of its character device in QEMU.
const NAME: &str = "gdb";

/// How the answer to `gdbserver` begins. There is no command of QMP.
const SUCCESS: &str = "Waiting for gdb connection";

impl Vm {
    /// Has QEMU serve the remote protocol of gdb at a socket. gdb stops the guest's CPUs when it connects. From now on
    /// requests to the agent wait for as long as the guest is stopped.
    ///
    /// # Errors
    /// If QEMU refuses.
    pub fn serve_gdb(&self, listener: UnixListener) -> Result<(), VmError> {
        let deadline = Deadline::after(QEMU_TIMEOUT);
        let backend = json!({"type": "socket", "data": {
            "addr": {"type": "fd", "data": {"str": NAME}},
            "server": true,
            "wait": false,
        }});
        let command_line = "gdbserver chardev:gdb";
        let served = (|| {
            self.qmp.send_fd(NAME, listener.into(), deadline)?;
            let backend = &backend;
            self.qmp
                .execute(&ChardevAdd { id: NAME, backend }, deadline)?;
            self.qmp
                .execute(&HumanMonitorCommand { command_line }, deadline)
        })();
        let answer = served.map_err(qmp_failed(&self.process))?;
        if !answer.starts_with(SUCCESS) {
            return Err(VmError::Gdb(answer.trim().to_owned()));
        }
        self.agent.expect_pauses();
        Ok(())
    }
}
