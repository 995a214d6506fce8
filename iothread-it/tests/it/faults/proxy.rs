//! A proxy in front of QEMU's monitor, that lets one line pass otherwise than it came.
//!
//! It sees which command or event passes, so a fault is injected exactly there, and it can query QEMU
//! on a connection of its own, which is not disturbed.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// How long QEMU may take to answer the proxy's own question.
const ANSWER_SPAN: Duration = Duration::from_secs(30);

/// A line on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// A command, before QEMU has it.
    Request(&'static str),
    /// The reply to it.
    Reply(&'static str),
    /// DEVICE_DELETED of a device, not of its child.
    Deleted,
}

/// What happens to it.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It, and all behind it, comes later.
    Delay(Duration),
    /// It does not arrive.
    Drop,
    /// It arrives twice.
    Double,
    /// Half of it arrives, and then the channel ends.
    Cut,
    /// The channel ends before it.
    Close,
    /// The client receives this first.
    Before(Vec<u8>),
    /// QEMU never receives the command, and the client gets this instead: `ID` stands for its id.
    Instead(&'static str),
    /// A process gets a signal, and then it passes.
    Signal(Pid, Signal),
}

/// The proxy. Its threads end with the channels that they read.
#[derive(Debug, Clone)]
pub(crate) struct Proxy(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    qemu: UnixStream,
    state: Mutex<State>,
    next_id: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// Where QEMU's lines go to. `None` after the channel was ended.
    client: Option<UnixStream>,
    armed: Option<(Point, Fault)>,
    /// The client's commands that QEMU has not answered, by id.
    asked: HashMap<u64, String>,
    /// Our own questions, by id.
    own: HashMap<String, Sender<Value>>,
}

impl Proxy {
    /// Stands between QEMU and the stream that is returned.
    pub(crate) fn start(qemu: UnixStream) -> std::io::Result<(Self, UnixStream)> {
        let (theirs, client) = UnixStream::pair()?;
        let proxy = Self(Arc::new(Shared {
            qemu: qemu.try_clone()?,
            state: Mutex::new(State {
                client: Some(client.try_clone()?),
                armed: None,
                asked: HashMap::new(),
                own: HashMap::new(),
            }),
            next_id: AtomicU64::new(0),
        }));
        let to_client = proxy.clone();
        thread::spawn(move || {
            each_line(qemu, |line| to_client.qemu_said(line));
            to_client.end_client();
        });
        let to_qemu = proxy.clone();
        thread::spawn(move || each_line(client, |line| to_qemu.client_said(line)));
        Ok((proxy, theirs))
    }

    /// Lets a fault strike, once, at the next line that is at this point.
    pub(crate) fn arm(&self, point: Point, fault: Fault) {
        self.state().armed = Some((point, fault));
    }

    /// Returns whether the armed fault has struck.
    pub(crate) fn struck(&self) -> bool {
        self.state().armed.is_none()
    }

    /// Makes a new channel after the first was ended. QEMU does not greet twice, so the proxy does.
    pub(crate) fn reconnect(&self) -> Result<UnixStream> {
        let (theirs, mut client) = UnixStream::pair()?;
        client.write_all(b"{\"QMP\":{}}\n")?;
        self.state().client = Some(client.try_clone()?);
        let to_qemu = self.clone();
        thread::spawn(move || each_line(client, |line| to_qemu.later_client_said(line)));
        Ok(theirs)
    }

    /// Asks QEMU, past the client.
    pub(crate) fn ask(&self, command: &str, arguments: &Value) -> Result<Value> {
        let id = format!("proxy-{}", self.0.next_id.fetch_add(1, Ordering::Relaxed));
        let (answer, answered): (_, Receiver<Value>) = channel();
        self.state().own.insert(id.clone(), answer);
        let call = json!({"execute": command, "arguments": arguments, "id": id});
        self.to_qemu(format!("{call}\n").as_bytes())?;
        let mut reply = answered
            .recv_timeout(ANSWER_SPAN)
            .with_context(|| format!("QEMU does not answer the proxy's {command}"))?;
        match reply.get_mut("return") {
            Some(value) => Ok(value.take()),
            None => bail!("QEMU refused the proxy's {command}: {reply}"),
        }
    }

    /// Takes a line of QEMU's. What is ours stays here.
    fn qemu_said(&self, line: &[u8]) -> std::io::Result<()> {
        let value: Value = serde_json::from_slice(line).unwrap_or_default();
        let point = {
            let mut state = self.state();
            if let Some(answer) = value["id"].as_str().and_then(|id| state.own.remove(id)) {
                let _ = answer.send(value);
                return Ok(());
            }
            if value["event"] == "DEVICE_DELETED" && value["data"]["device"].is_string() {
                At::Deleted
            } else {
                let asked = value["id"].as_u64().and_then(|id| state.asked.remove(&id));
                asked.map_or(At::Nowhere, At::Reply)
            }
        };
        let Some(fault) = self.due(&point) else {
            return self.to_client(line);
        };
        match fault {
            Fault::Drop => Ok(()),
            Fault::Double => self.to_client(&[line, line].concat()),
            Fault::Cut => {
                self.to_client(&line[..line.len() / 2])?;
                self.end_client();
                Ok(())
            }
            other => {
                self.strike(other);
                self.to_client(line)
            }
        }
    }

    /// Takes a line of the client's.
    fn client_said(&self, line: &[u8]) -> std::io::Result<()> {
        let value: Value = serde_json::from_slice(line).unwrap_or_default();
        let name = value["execute"].as_str().unwrap_or_default().to_owned();
        let id = value["id"].as_u64();
        if let Some(id) = id {
            self.state().asked.insert(id, name.clone());
        }
        let Some(fault) = self.due(&At::Request(name)) else {
            return self.to_qemu(line);
        };
        match fault {
            Fault::Drop => Ok(()),
            Fault::Double => self.to_qemu(&[line, line].concat()),
            Fault::Cut | Fault::Close => {
                self.end_client();
                Ok(())
            }
            Fault::Instead(text) => {
                let text = text.replace("ID", &id.unwrap_or_default().to_string());
                self.to_client(text.as_bytes())
            }
            other => {
                self.strike(other);
                self.to_qemu(line)
            }
        }
    }

    fn later_client_said(&self, line: &[u8]) -> std::io::Result<()> {
        let value: Value = serde_json::from_slice(line).unwrap_or_default();
        if value["execute"] == "qmp_capabilities" {
            let reply = json!({"return": {}, "id": value["id"]});
            return self.to_client(format!("{reply}\n").as_bytes());
        }
        self.client_said(line)
    }

    /// Does what does not concern the line itself.
    fn strike(&self, fault: Fault) {
        match fault {
            Fault::Delay(span) => thread::sleep(span),
            Fault::Before(lines) => {
                let _ = self.to_client(&lines);
            }
            // The case sees that it did not end or stop.
            Fault::Signal(process, signal) => {
                let _ = kill(process, signal);
            }
            Fault::Close => self.end_client(),
            Fault::Drop | Fault::Double | Fault::Cut | Fault::Instead(_) => {}
        }
    }

    /// Takes the fault to inject here, if there is one.
    fn due(&self, at: &At) -> Option<Fault> {
        let mut state = self.state();
        let (point, _) = state.armed.as_ref()?;
        let here = match (point, at) {
            (Point::Request(wanted), At::Request(name))
            | (Point::Reply(wanted), At::Reply(name)) => wanted == name,
            (Point::Deleted, At::Deleted) => true,
            _ => false,
        };
        if here {
            state.armed.take().map(|(_, fault)| fault)
        } else {
            None
        }
    }

    fn to_client(&self, bytes: &[u8]) -> std::io::Result<()> {
        let client = self
            .state()
            .client
            .as_ref()
            .map(UnixStream::try_clone)
            .transpose()?;
        // After the channel is closed, keep reading so that QEMU's writes do not block.
        if let Some(mut client) = client {
            let _ = client.write_all(bytes);
        }
        Ok(())
    }

    fn to_qemu(&self, bytes: &[u8]) -> std::io::Result<()> {
        // Under the lock, so that our own questions do not stand in the middle of a line.
        let _state = self.state();
        (&self.0.qemu).write_all(bytes)
    }

    fn end_client(&self) {
        if let Some(client) = self.state().client.take() {
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a line is.
enum At {
    Request(String),
    Reply(String),
    Deleted,
    Nowhere,
}

fn each_line(stream: UnixStream, mut take: impl FnMut(&[u8]) -> std::io::Result<()>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
        if take(&line).is_err() {
            return;
        }
        line.clear();
    }
}
