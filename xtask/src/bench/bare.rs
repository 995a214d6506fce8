//! QEMU as a script would drive it: a process, its channels, and lines written and read one after
//! the other. No other way can be faster, so this is the floor of what is measured.

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
use guest_vm::qemu::Wiring;
use serde_json::{Value, json};

/// How long anything may take, so that a script that waits in vain ends.
const PATIENCE: Duration = Duration::from_secs(120);

/// A QEMU that has just been started, with two monitors.
pub(super) struct Bare {
    pub(super) monitors: [UnixStream; 2],
    pub(super) agent: UnixStream,
    pub(super) process: OwnedProcess,
}

impl Bare {
    /// Starts QEMU with these arguments, which name the first monitor and the agent's channel.
    pub(super) fn start(qemu: &QemuInstall, arguments: Vec<OsString>) -> Result<Self> {
        let wiring = Wiring::default();
        let second = wiring.ram + 1;
        let mut mappings = Vec::new();
        let mut channel = |child_fd| -> Result<UnixStream> {
            let (ours, theirs) = UnixStream::pair()?;
            ours.set_read_timeout(Some(PATIENCE))?;
            let parent_fd = OwnedFd::from(theirs);
            mappings.push(FdMapping {
                parent_fd,
                child_fd,
            });
            Ok(ours)
        };
        let monitors = [channel(wiring.qmp)?, channel(second)?];
        let agent = channel(wiring.agent)?;
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

    /// Waits for the guest's agent to say its first line, and leaves the rest to others.
    pub(super) fn greeted(&self) -> Result<()> {
        let mut reader = BufReader::new(&self.agent);
        let mut line = String::new();
        while !line.contains("greeting") {
            line.clear();
            ensure!(reader.read_line(&mut line)? > 0, "QEMU ended as it booted");
        }
        Ok(())
    }
}

/// A monitor, one line at a time.
pub(super) struct Script {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    /// Lines that came while something else was awaited.
    events: Vec<Value>,
}

impl Script {
    /// Reads the greeting and leaves negotiation mode.
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

    /// Forgets what came so far: whatever is done through the other monitor is told here too.
    pub(super) fn forget(&mut self) {
        self.events.clear();
    }

    /// Whether the removal of a device has been told.
    pub(super) fn saw_removal(&mut self, device: &str) -> bool {
        self.events.iter().any(|event| is_removal(event, device))
    }

    /// Waits until the removal of a device is told.
    pub(super) fn removed(&mut self, device: &str) -> Result<()> {
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
        serde_json::from_str(&line).context("QEMU wrote a line that is no JSON")
    }
}

fn is_removal(event: &Value, device: &str) -> bool {
    event["event"] == "DEVICE_DELETED" && event["data"]["device"] == device
}
