//! What the kernel logs while a program runs, by `/dev/kmsg`, and by what it is tainted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use guest_agent::protocol::Notice;
use nix::libc;

/// The maximum size of a message: the kernel's CONSOLE_EXT_LOG_MAX, in bytes.
const MAX_MESSAGE: usize = 8192;

/// The kernel's log from one moment on.
pub(crate) struct KernelLog {
    messages: File,
    taint: u64,
}

impl KernelLog {
    /// Starts after the messages that are there. `None` if the kernel has no log.
    pub(crate) fn start() -> Option<Self> {
        Self::read("/dev/kmsg").ok()
    }

    fn read(path: &str) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let mut messages = options.open(path)?;
        messages.seek(SeekFrom::End(0))?;
        Ok(Self {
            messages,
            taint: taint(),
        })
    }

    /// Sends what is new.
    pub(crate) fn send_new(&mut self, send: &(dyn Fn(Notice) + Sync)) {
        let mut buffer = [0; MAX_MESSAGE];
        loop {
            // One message a read(2).
            let read = match self.messages.read(&mut buffer) {
                Ok(length) => &buffer[..length],
                // They were overwritten before they were read; the next one is there.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {
                    send(Notice::KernelMessage("[messages were lost]".to_owned()));
                    continue;
                }
                Err(_) => break,
            };
            if read.is_empty() {
                break;
            }
            if let Some(text) = text_of_kernel(read) {
                send(Notice::KernelMessage(text));
            }
        }
        let taint = taint();
        if taint & !self.taint != 0 {
            send(Notice::KernelTaint(taint & !self.taint));
        }
        self.taint = taint;
    }
}

/// Reads the bits of `/proc/sys/kernel/tainted`.
fn taint() -> u64 {
    let text = fs::read_to_string("/proc/sys/kernel/tainted").unwrap_or_default();
    text.trim().parse().unwrap_or_default()
}

/// Returns the text of a message, `6,339,5140900,-;TEXT`, if it is of the kernel: every process of root can
/// write messages of other facilities.
fn text_of_kernel(message: &[u8]) -> Option<String> {
    let message = String::from_utf8_lossy(message);
    let (prefix, text) = message.split_once(';')?;
    let priority: u32 = prefix.split(',').next()?.parse().ok()?;
    // The three lower bits are the level.
    let is_of_kernel = priority >> 3 == 0;
    // Lines after the first name the device.
    is_of_kernel.then(|| text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    //! **Scope**: the form of messages; `tests/places` has kernels that complain.

    use super::*;

    #[test]
    fn only_messages_of_the_kernel_have_a_text() {
        let text = |message: &str| text_of_kernel(message.as_bytes());
        let kernel = "4,1,2,-;WARNING: CPU: 0; PID: 1\n SUBSYSTEM=pci\n DEVICE=+pci:0\n";
        assert_eq!(text(kernel).as_deref(), Some("WARNING: CPU: 0; PID: 1"));
        assert_eq!(text("6,2,3,c,caller=T1;up\n").as_deref(), Some("up"));
        assert_eq!(text("0,2,3,-;\n").as_deref(), Some(""));
        for other in ["12,1,2,-;WARNING: of a user\n", "x,1;a\n", "4,1,2,-\n", ""] {
            assert_eq!(text(other), None, "{other}");
        }
    }
}
