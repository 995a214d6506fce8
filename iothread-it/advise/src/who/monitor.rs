//! QEMU's monitors, from its command line, and the connection to one.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use qmp_client::Qmp;
use qmp_client::wait::Deadline;

use super::PATIENCE;
use super::process::Process;
use crate::Error;

/// A connection.
pub(super) struct Monitor {
    pub(super) qmp: Qmp,
    pub(super) path: PathBuf,
}

impl Monitor {
    /// Connects to the socket that is given, or to the first of the command line that answers.
    pub(super) fn connect(process: &Process, given: Option<&Path>) -> Result<Self, Error> {
        let paths = match given {
            Some(path) => vec![path.to_owned()],
            None => {
                let seen = sockets(&process.arguments()?);
                seen.iter().map(|path| process.path(path)).collect()
            }
        };
        let pid = process.pid;
        if paths.is_empty() {
            return Err(Error::NoMonitor { pid });
        }
        let mut refused = Vec::new();
        for path in paths {
            match connect(&path) {
                Ok(qmp) => return Ok(Self { qmp, path }),
                Err(why) => refused.push((path, why)),
            }
        }
        Err(Error::Monitors { pid, refused })
    }
}

fn connect(path: &Path) -> Result<Qmp, String> {
    let stream = UnixStream::connect(path).map_err(|error| error.to_string())?;
    Qmp::negotiate(stream, Deadline::after(PATIENCE)).map_err(|error| error.to_string())
}

/// The paths of the UNIX sockets on which QEMU, started with these arguments, listens for QMP clients.
fn sockets(arguments: &[String]) -> Vec<PathBuf> {
    let options = arguments.windows(2);
    let options = options.map(|pair| (pair[0].trim_start_matches('-'), &*pair[1]));
    let mut devices = BTreeMap::new();
    let mut sockets = Vec::new();
    let mut monitors = Vec::new();
    for (option, value) in options {
        let (first, keys) = parse(value);
        match option {
            "qmp" | "qmp-pretty" => sockets.extend(first.strip_prefix("unix:").map(PathBuf::from)),
            "chardev" if first == "socket" && !keys.contains_key("fd") => {
                if let (Some(id), Some(path)) = (keys.get("id"), keys.get("path")) {
                    devices.insert(id.clone(), PathBuf::from(path));
                }
            }
            "mon" if keys.get("mode").is_some_and(|mode| mode == "control") => {
                let device = keys.get("chardev").map_or(first, |device| device.clone());
                monitors.push(device);
            }
            _ => {}
        }
    }
    sockets.extend(monitors.iter().filter_map(|id| devices.get(id).cloned()));
    sockets
}

/// The first part of an option's value, and its `key=value` parts. A comma in a value is doubled.
fn parse(value: &str) -> (String, BTreeMap<String, String>) {
    let value = value.replace(",,", "\0");
    let mut parts = value.split(',').map(|part| part.replace('\0', ","));
    let first = parts.next().unwrap_or_default();
    let all = std::iter::once(first.clone()).chain(parts);
    let pairs = all.filter_map(|part| {
        let (key, value) = part.split_once('=')?;
        Some((key.to_owned(), value.to_owned()))
    });
    (first, pairs.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(line: &str) -> Vec<String> {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let paths = sockets(&arguments);
        paths
            .iter()
            .map(|path| path.display().to_string())
            .collect()
    }

    #[test]
    fn each_form_of_a_monitor_is_found() {
        assert_eq!(
            found("qemu -qmp unix:/run/q,server=on,wait=off"),
            ["/run/q"]
        );
        assert_eq!(
            found("qemu --qmp-pretty unix:q.sock,server,nowait"),
            ["q.sock"]
        );
        let chardev =
            "qemu -chardev socket,id=m,path=/run/a,,b,server=on -mon chardev=m,mode=control";
        assert_eq!(found(chardev), ["/run/a,b"]);
        let short = "qemu -mon m,mode=control -chardev socket,id=m,path=/run/m,server=on";
        assert_eq!(found(short), ["/run/m"]);
    }

    #[test]
    fn other_sockets_are_no_monitors() {
        assert_eq!(
            found("qemu -monitor unix:/run/hmp,server=on -qmp stdio"),
            [""; 0]
        );
        assert_eq!(found("qemu -qmp tcp:localhost:4444,server=on"), [""; 0]);
        let passed = "qemu -chardev socket,id=m,fd=3,server=on -mon chardev=m,mode=control";
        assert_eq!(found(passed), [""; 0]);
        let human = "qemu -chardev socket,id=m,path=/run/m,server=on -mon chardev=m,mode=readline";
        assert_eq!(found(human), [""; 0]);
        assert_eq!(found("qemu -qmp"), [""; 0]);
    }

    proptest! {
        /// The arguments are those of a foreign process.
        #[test]
        fn any_arguments_are_read(arguments in prop::collection::vec("(-qmp|-mon|-chardev|\\PC{0,9})", 0..6)) {
            let _ = sockets(&arguments);
        }
    }
}
