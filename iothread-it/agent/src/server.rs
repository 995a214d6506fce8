//! Reads requests and executes each in a thread of its own.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use guest_agent::protocol::{
    Action, BootId, Command, Extent, Failure, Greeting, Message, Notice, Reply, Request, RequestId,
    Reseed, Speed, VERSION, decode,
};
use guest_agent::speed;
use nix::sys::utsname::uname;
use serde::Deserialize;

use crate::attached::Attached;
use crate::children::Children;
use crate::disks::Disks;
use crate::failure::OrFailure;
use crate::fatal::{Fatal, OrFatal};
use crate::lines::{Line, Lines};
use crate::port::Port;
use crate::port_writer::PortWriter;
use crate::rootfs::Rootfs;
use crate::sync::lock;
use crate::{
    block_ioctl, console, cpus, extent, failure, identity, kvm, load, mount, pattern_io, requests,
    sysfs,
};

/// The state that requests share.
struct Server {
    /// A reseed changes its boot ID.
    greeting: Mutex<Greeting>,
    disks: Arc<Disks>,
    writer: PortWriter,
    rootfs: Rootfs,
    children: Arc<Children>,
    attached: Attached,
}

/// Sends the greeting, then serves requests for as long as the guest runs.
pub(crate) fn serve(port: Port, disks: Arc<Disks>) -> Result<Infallible, Fatal> {
    let greeting = greeting()?;
    let port = Arc::new(port);
    let server = Arc::new(Server {
        greeting: Mutex::new(greeting.clone()),
        disks,
        writer: PortWriter::new(Arc::clone(&port)),
        rootfs: Rootfs::default(),
        children: Children::start_reaper()?,
        attached: Attached::default(),
    });
    server.writer.end_truncated_line();
    server.writer.send(&Message::Greeting(greeting));
    let Err(error) = read(&port, |line| take(&server, &line));
    Err(error).or_fatal(|| "read the host's port".into())
}

/// Passes each line from the host to `take`.
fn read(port: &Port, take: impl Fn(Line)) -> io::Result<Infallible> {
    let mut lines = Lines::default();
    let mut buffer = [0; 4096];
    loop {
        match port.read(&mut buffer)? {
            0 => {
                // The next host does not continue this host's line.
                lines.clear();
                port.wait_for_host()?;
            }
            length => lines.feed(&buffer[..length]).into_iter().for_each(&take),
        }
    }
}

fn take(server: &Arc<Server>, line: &Line) {
    let boot_id = lock(&server.greeting).boot_id.clone();
    match parse(line, &boot_id) {
        ParsedLine::Request(request) => match &request.command {
            // In this thread: starting one takes longer in a guest that was just restored.
            Command::Reseed(reseed) => match server.reseed(reseed) {
                Ok(greeting) => server.writer.send(&greeting),
                Err(failure) => server.writer.answer(request.id, Err(failure)),
            },
            _ => spawn(server, *request),
        },
        ParsedLine::Invalid(id, why) => {
            server.writer.answer(id, Err(failure::bad_request(why)));
        }
        ParsedLine::Garbage(what) => console::log(&what),
        ParsedLine::Ignored => {}
    }
}

/// Executes a request in a thread, which sends the answer and is never joined.
fn spawn(server: &Arc<Server>, request: Request) {
    let id = request.id;
    let executor = Arc::clone(server);
    let work = move || {
        let outcome = executor.perform(id, &request.command);
        executor.writer.answer(id, outcome);
    };
    let thread = thread::Builder::new().name(format!("request {}", id.0));
    if let Err(error) = thread.spawn(work) {
        let failure = failure::io("start a thread for the request", &error);
        server.writer.answer(id, Err(failure));
    }
}

fn greeting() -> Result<Greeting, Fatal> {
    let boot_id = identity::boot_id().or_fatal(|| "read boot_id".into())?;
    let system = uname().or_fatal(|| "read the kernel's release".into())?;
    let cpus = cpus::online().map_err(Fatal::new)?.len();
    Ok(Greeting {
        protocol: VERSION,
        boot_id: BootId(boot_id),
        kernel: system.release().to_string_lossy().into_owned(),
        cpus: u32::try_from(cpus).or_fatal(|| "count the CPUs".into())?,
    })
}

impl Server {
    /// Reseeds the guest and returns the greeting with the new boot ID.
    fn reseed(&self, reseed: &Reseed) -> Result<Message, Failure> {
        let boot_id = identity::reseed(reseed)?;
        let mut greeting = lock(&self.greeting);
        greeting.boot_id = BootId(boot_id);
        Ok(Message::Greeting(greeting.clone()))
    }

    /// Returns the node of the disk that has an extent.
    fn node_with(&self, extent: &Extent) -> Result<PathBuf, Failure> {
        let disk = self.disks.find(&extent.serial)?;
        extent::check(extent, disk.size)?;
        Ok(pattern_io::node(&disk.name))
    }

    fn perform(&self, id: RequestId, command: &Command) -> Result<Reply, Failure> {
        Ok(match command {
            Command::Reseed(_) => {
                return Err(failure::bad_request("a reseed is answered by a greeting"));
            }
            Command::Identity => Reply::Identity(identity::read()?),
            Command::Disks => Reply::Disks(self.disks.all()),
            Command::AwaitDisk {
                serial,
                presence,
                timeout_ms,
            } => {
                let timeout = Duration::from_millis(*timeout_ms);
                let since = self.disks.wait(serial, *presence, timeout)?;
                let known_for = since.elapsed().as_nanos();
                Reply::Awaited {
                    known_for_ns: u64::try_from(known_for).unwrap_or(u64::MAX),
                }
            }
            Command::Write(extent) => {
                let sha256 = pattern_io::write(&self.node_with(extent)?, extent)?;
                Reply::Extent { sha256 }
            }
            Command::Verify(extent) => {
                let sha256 = pattern_io::verify(&self.node_with(extent)?, extent)?;
                Reply::Extent { sha256 }
            }
            Command::MakeRequests(extent) => {
                Reply::Requests(requests::make(&self.node_with(extent)?, extent)?)
            }
            Command::SetAttribute { path, text } => {
                sysfs::set(path, text)?;
                Reply::Done
            }
            Command::ResetDisk { serial } => {
                let node = pattern_io::node(&self.disks.find(serial)?.name);
                block_ioctl::reset(&node).or_failure(|| format!("reset {}", node.display()))?;
                Reply::Done
            }
            Command::Load(load) => {
                let disk = self.disks.find(&load.extent.serial)?;
                let running = || self.writer.notice(id, Notice::LoadRunning);
                Reply::Load(load::run(load, &disk, running)?)
            }
            Command::SetUpRootfs { user } => {
                self.rootfs.set_up(*user)?;
                Reply::Done
            }
            Command::Mount { serial, target } => {
                let disk = self.disks.find(serial)?;
                mount::image(&pattern_io::node(&disk.name), target)?;
                Reply::Done
            }
            Command::MeasureSpeed => Reply::Speed(Speed {
                steps_per_s: speed::steps_per_s(),
                exits_per_s: kvm::exits_per_s(),
            }),
            Command::Run(program) => {
                let send = |notice| self.writer.notice(id, notice);
                let attached = program.attached.then(|| self.attached.enter(id));
                Reply::Exited(self.children.run(program, attached.as_ref(), &send)?)
            }
            Command::Attached { program, action } => {
                let attached = self.attached.find(*program)?;
                match action {
                    Action::Input(bytes) => attached.write(&bytes.0)?,
                    Action::Signal(signal) => self.children.signal(attached.pid()?, *signal)?,
                    Action::CloseOutput(stream) => attached.close_output(*stream),
                    Action::Resize(size) => attached.resize(*size)?,
                }
                Reply::Done
            }
        })
    }
}

/// A parsed line.
#[derive(Debug, PartialEq)]
enum ParsedLine {
    /// A request for this boot.
    Request(Box<Request>),
    /// An invalid request for this boot, and the reason.
    Invalid(RequestId, String),
    /// A line that cannot be answered.
    Garbage(String),
    /// An empty line, or a request for another boot.
    Ignored,
}

/// The fields of a request that an answer needs. Its other fields may be invalid.
#[derive(Deserialize)]
struct Envelope {
    boot_id: BootId,
    id: RequestId,
}

fn parse(line: &Line, boot_id: &BootId) -> ParsedLine {
    let line = match line {
        Line::Whole(line) if line.trim_ascii().is_empty() => return ParsedLine::Ignored,
        Line::Whole(line) => line,
        Line::TooLong(length) => {
            return ParsedLine::Garbage(format!("dropped a line of {length} bytes from the host"));
        }
    };
    let error = match decode::<Request>(line) {
        Ok(request) if request.boot_id == *boot_id => {
            return ParsedLine::Request(Box::new(request));
        }
        Ok(_) => return ParsedLine::Ignored,
        Err(error) => error,
    };
    match decode::<Envelope>(line) {
        Ok(envelope) if envelope.boot_id == *boot_id => {
            ParsedLine::Invalid(envelope.id, format!("invalid request: {error}"))
        }
        Ok(_) => ParsedLine::Ignored,
        Err(_) => ParsedLine::Garbage(format!(
            "dropped an invalid line from the host: {error}: {}",
            line.escape_ascii()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> ParsedLine {
        parse(&Line::Whole(line.into()), &BootId("now".into()))
    }

    #[test]
    fn a_request_for_another_boot_is_dropped() {
        let now = parsed(r#"{"boot_id":"now","id":1,"command":"disks"}"#);
        assert!(matches!(now, ParsedLine::Request(_)));
        let before = parsed(r#"{"boot_id":"before","id":1,"command":"disks"}"#);
        assert_eq!(before, ParsedLine::Ignored);
    }

    #[test]
    fn an_unknown_command_is_answered_with_its_id() {
        let line = r#"{"boot_id":"now","id":7,"command":{"dance":{"steps":3}},"colour":"red"}"#;
        let ParsedLine::Invalid(RequestId(7), why) = parsed(line) else {
            panic!("{:?}", parsed(line));
        };
        assert!(why.contains("dance"), "{why}");
    }

    #[test]
    fn an_unknown_command_of_another_boot_is_not_answered() {
        let line = r#"{"boot_id":"before","id":7,"command":"dance"}"#;
        assert_eq!(parsed(line), ParsedLine::Ignored);
    }

    #[test]
    fn a_truncated_line_is_logged_to_the_console() {
        let ParsedLine::Garbage(what) = parsed(r#"d":7,"command":"disks"}"#) else {
            panic!("a truncated line is not a request");
        };
        assert!(what.contains("disks"), "{what}");
    }

    #[test]
    fn an_empty_line_is_ignored() {
        assert_eq!(parsed("\r"), ParsedLine::Ignored);
    }
}
