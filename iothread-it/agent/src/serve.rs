//! Reading requests and having each done by a thread of its own.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use guest_agent::protocol::{
    BootId, Command, Failure, Greeting, Message, Notice, Reply, Request, RequestId, Reseed,
    VERSION, decode,
};
use nix::sys::utsname::uname;
use serde::Deserialize;

use crate::children::Children;
use crate::disks::Disks;
use crate::fatal::{Fatal, OrFatal};
use crate::lines::{Line, Lines};
use crate::outbox::Outbox;
use crate::port::Port;
use crate::rootfs::Rootfs;
use crate::{console, cpus, data, extent, failure, identity, load, scsi, sysfs, unpack};

/// What the requests share.
struct Server {
    /// Its boot_id changes when a restored guest is reseeded.
    greeting: Mutex<Greeting>,
    disks: Arc<Disks>,
    outbox: Outbox,
    rootfs: Rootfs,
    children: Arc<Children>,
}

/// Greets the host and serves it for as long as the guest runs.
pub(crate) fn serve(port: Port, disks: Arc<Disks>) -> Result<Infallible, Fatal> {
    let greeting = greeting()?;
    let port = Arc::new(port);
    let server = Arc::new(Server {
        greeting: Mutex::new(greeting.clone()),
        disks,
        outbox: Outbox::new(Arc::clone(&port)),
        rootfs: Rootfs::default(),
        children: Children::reaped()?,
    });
    server.outbox.end_cut_line();
    server.outbox.send(&Message::Greeting(greeting));
    let Err(error) = read(&port, |line| take(&server, &line));
    Err(error).or_fatal(|| "read the host's port".into())
}

/// Hands each line that the host sends to `take`.
fn read(port: &Port, take: impl Fn(Line)) -> io::Result<Infallible> {
    let mut lines = Lines::default();
    let mut buffer = [0; 4096];
    loop {
        match port.read(&mut buffer)? {
            0 => {
                // Whoever comes next does not end the line that this host began.
                lines.clear();
                port.wait_for_host()?;
            }
            length => lines.feed(&buffer[..length]).into_iter().for_each(&take),
        }
    }
}

fn take(server: &Arc<Server>, line: &Line) {
    let boot_id = server.greeting().boot_id.clone();
    match understand(line, &boot_id) {
        Understood::Request(request) => match &request.command {
            // At once: to start a thread takes longer than this, in a guest just restored.
            Command::Reseed(reseed) => match server.reseed(reseed) {
                Ok(greeting) => server.outbox.send(&greeting),
                Err(failure) => server.outbox.answer(request.id, Err(failure)),
            },
            _ => start(server, request),
        },
        Understood::Refused(id, why) => {
            server.outbox.answer(id, Err(failure::bad_request(why)));
        }
        Understood::Noise(what) => console::say(&what),
        Understood::Nothing => {}
    }
}

/// Has a request done. Its thread is never joined: its answer says that it ended.
fn start(server: &Arc<Server>, request: Request) {
    let id = request.id;
    let done_by = Arc::clone(server);
    let work = move || {
        let outcome = done_by.perform(id, &request.command);
        done_by.outbox.answer(id, outcome);
    };
    let thread = thread::Builder::new().name(format!("request {}", id.0));
    if let Err(error) = thread.spawn(work) {
        let failure = failure::io("start a thread for the request", &error);
        server.outbox.answer(id, Err(failure));
    }
}

fn greeting() -> Result<Greeting, Fatal> {
    let boot_id = identity::boot_id().or_fatal(|| "read the boot's id".into())?;
    let system = uname().or_fatal(|| "ask for the kernel's release".into())?;
    let cpus = cpus::online().map_err(Fatal::new)?.len();
    Ok(Greeting {
        protocol: VERSION,
        boot_id: BootId(boot_id),
        kernel: system.release().to_string_lossy().into_owned(),
        cpus: u32::try_from(cpus).or_fatal(|| "count the CPUs".into())?,
    })
}

impl Server {
    /// A thread that panics ends the guest, so that nobody is left to meet a poisoned greeting.
    fn greeting(&self) -> MutexGuard<'_, Greeting> {
        self.greeting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reseeds the guest, and greets in the new boot_id: nobody waits for an answer in the old one.
    fn reseed(&self, reseed: &Reseed) -> Result<Message, Failure> {
        let boot_id = identity::reseed(reseed)?;
        let mut greeting = self.greeting();
        greeting.boot_id = BootId(boot_id);
        Ok(Message::Greeting(greeting.clone()))
    }

    fn perform(&self, id: RequestId, command: &Command) -> Result<Reply, Failure> {
        Ok(match command {
            Command::Reseed(_) => return Err(failure::bad_request("a reseed has no answer")),
            Command::Identity => Reply::Identity(identity::tell()?),
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
                let disk = self.disks.find(&extent.serial)?;
                extent::check(extent, disk.size)?;
                let sha256 = data::write(&data::node(&disk.name), extent)?;
                Reply::Extent { sha256 }
            }
            Command::Verify(extent) => {
                let disk = self.disks.find(&extent.serial)?;
                extent::check(extent, disk.size)?;
                let sha256 = data::verify(&data::node(&disk.name), extent)?;
                Reply::Extent { sha256 }
            }
            Command::SetAttribute { path, text } => {
                sysfs::set(path, text)?;
                Reply::Done
            }
            Command::ResetDisk { serial } => {
                let disk = self.disks.find(serial)?;
                scsi::reset(&data::node(&disk.name))?;
                Reply::Done
            }
            Command::Load(load) => {
                let disk = self.disks.find(&load.extent.serial)?;
                let running = || self.outbox.notice(id, Notice::LoadRunning);
                Reply::Load(load::run(load, &disk, running)?)
            }
            Command::SetUpRootfs => {
                self.rootfs.set_up()?;
                Reply::Done
            }
            Command::Unpack { serial } => {
                let disk = self.disks.find(serial)?;
                let (entries, bytes) = unpack::disk(&data::node(&disk.name), Path::new("/"))?;
                Reply::Unpacked { entries, bytes }
            }
            Command::Run(program) => {
                let say = |notice| self.outbox.notice(id, notice);
                Reply::Exited(self.children.run(program, &say)?)
            }
        })
    }
}

/// What a line turned out to be.
#[derive(Debug, PartialEq)]
enum Understood {
    /// A request for this boot.
    Request(Request),
    /// A request for this boot that does not make sense, and why.
    Refused(RequestId, String),
    /// Something that cannot be answered.
    Noise(String),
    /// An empty line, or what was meant for another boot.
    Nothing,
}

/// The part of a request that suffices to answer it. Whatever else it has may be wrong.
#[derive(Deserialize)]
struct Envelope {
    boot_id: BootId,
    id: RequestId,
}

fn understand(line: &Line, boot_id: &BootId) -> Understood {
    let line = match line {
        Line::Whole(line) if line.trim_ascii().is_empty() => return Understood::Nothing,
        Line::Whole(line) => line,
        Line::TooLong(length) => {
            return Understood::Noise(format!("dropped a line of {length} bytes from the host"));
        }
    };
    let error = match decode::<Request>(line) {
        Ok(request) if request.boot_id == *boot_id => return Understood::Request(request),
        Ok(_) => return Understood::Nothing,
        Err(error) => error,
    };
    match decode::<Envelope>(line) {
        Ok(envelope) if envelope.boot_id == *boot_id => {
            Understood::Refused(envelope.id, format!("the request makes no sense: {error}"))
        }
        Ok(_) => Understood::Nothing,
        Err(_) => Understood::Noise(format!(
            "dropped a line from the host that is no request: {error}: {}",
            line.escape_ascii()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn understood(line: &str) -> Understood {
        understand(&Line::Whole(line.into()), &BootId("now".into()))
    }

    #[test]
    fn a_request_of_this_boot_is_taken_and_of_another_dropped() {
        let now = understood(r#"{"boot_id":"now","id":1,"command":"disks"}"#);
        assert!(matches!(now, Understood::Request(_)));
        let before = understood(r#"{"boot_id":"before","id":1,"command":"disks"}"#);
        assert_eq!(before, Understood::Nothing);
    }

    #[test]
    fn an_unknown_command_is_refused_by_its_id() {
        let line = r#"{"boot_id":"now","id":7,"command":{"dance":{"steps":3}},"colour":"red"}"#;
        let Understood::Refused(RequestId(7), why) = understood(line) else {
            panic!("{:?}", understood(line));
        };
        assert!(why.contains("dance"), "{why}");
    }

    #[test]
    fn an_unknown_command_of_another_boot_is_not_answered() {
        let line = r#"{"boot_id":"before","id":7,"command":"dance"}"#;
        assert_eq!(understood(line), Understood::Nothing);
    }

    #[test]
    fn the_rest_of_a_cut_line_goes_to_the_console() {
        let Understood::Noise(what) = understood(r#"d":7,"command":"disks"}"#) else {
            panic!("half a line is no request");
        };
        assert!(what.contains("disks"), "{what}");
    }

    #[test]
    fn an_empty_line_is_nothing() {
        assert_eq!(understood("\r"), Understood::Nothing);
    }
}
