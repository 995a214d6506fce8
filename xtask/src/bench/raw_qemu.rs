//! QEMU driven without our libraries: a process, its channels, and one QMP line after the other. This
//! is the lower bound of the hotplug and boot benchmarks.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use command_fds::{CommandFdExt as _, FdMapping};
use guest_vm::artifacts::QemuInstall;
use guest_vm::process::OwnedProcess;
use guest_vm::qemu::inherited_fds;
use serde_json::{Value, json};

/// The deadline of each read.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// A QEMU that has just been started, with two monitors.
pub(super) struct RawQemu {
    pub(super) monitors: [UnixStream; 2],
    pub(super) agent: UnixStream,
    pub(super) process: OwnedProcess,
}

impl RawQemu {
    /// Starts QEMU with these arguments, which define the first monitor and the agent's channel.
    pub(super) fn start(qemu: &QemuInstall, arguments: Vec<OsString>) -> Result<Self> {
        let second = inherited_fds::RAM + 1;
        let mut mappings = Vec::new();
        let mut channel = |child_fd| -> Result<UnixStream> {
            let (ours, theirs) = UnixStream::pair()?;
            ours.set_read_timeout(Some(READ_TIMEOUT))?;
            let parent_fd = OwnedFd::from(theirs);
            mappings.push(FdMapping {
                parent_fd,
                child_fd,
            });
            Ok(ours)
        };
        let monitors = [channel(inherited_fds::QMP)?, channel(second)?];
        let agent = channel(inherited_fds::AGENT)?;
        let mut command = Command::new(&qemu.program);
        command
            .args(&qemu.prefix_args)
            .args(arguments)
            .arg("-chardev")
            .arg(format!("socket,id=second,fd={second}"))
            .args(["-mon", "chardev=second,mode=control"])
            .envs(&qemu.env)
            .fd_mappings(mappings)?;
        Ok(Self {
            monitors,
            agent,
            process: OwnedProcess::spawn(command)?,
        })
    }

    /// Waits for the greeting of the guest agent.
    pub(super) fn wait_for_greeting(&self) -> Result<()> {
        let mut reader = BufReader::new(&self.agent);
        let mut line = String::new();
        while !line.contains("greeting") {
            line.clear();
            ensure!(reader.read_line(&mut line)? > 0, "QEMU exited during boot");
        }
        Ok(())
    }
}

/// A monitor, one line at a time.
pub(super) struct Script {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    /// Events that have arrived and were not waited for.
    events: Vec<Value>,
}

impl Script {
    /// Reads the greeting and negotiates capabilities.
    pub(super) fn open(monitor: UnixStream) -> Result<Self> {
        let mut script = Self {
            writer: monitor.try_clone()?,
            reader: BufReader::new(monitor),
            events: Vec::new(),
        };
        script.line()?;
        script.command("qmp_capabilities", &json!({}))?;
        Ok(script)
    }

    pub(super) fn command(&mut self, name: &str, arguments: &Value) -> Result<Value> {
        let line = json!({ "execute": name, "arguments": arguments });
        self.writer.write_all(format!("{line}\n").as_bytes())?;
        loop {
            let mut line = self.line()?;
            if line.get("event").is_some() {
                self.events.push(line);
            } else if line.get("error").is_some() {
                bail!("QEMU refused {name}: {line}");
            } else {
                return Ok(line["return"].take());
            }
        }
    }

    /// Drops the events until now: each monitor receives the events of all.
    pub(super) fn clear_events(&mut self) {
        self.events.clear();
    }

    /// Returns whether DEVICE_DELETED of a device has arrived.
    pub(super) fn saw_removal(&mut self, device: &str) -> bool {
        self.events
            .iter()
            .any(|event| event["event"] == "DEVICE_DELETED" && event["data"]["device"] == device)
    }

    /// Waits for DEVICE_DELETED of a device.
    pub(super) fn wait_for_removal(&mut self, device: &str) -> Result<()> {
        while !self.saw_removal(device) {
            let line = self.line()?;
            self.events.push(line);
        }
        Ok(())
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        let length = self.reader.read_line(&mut line)?;
        ensure!(length > 0, "QEMU closed its monitor");
        serde_json::from_str(&line).context("QEMU wrote a line that is not JSON")
    }
}
