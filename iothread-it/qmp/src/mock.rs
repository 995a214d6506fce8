//! A monitor that plays lines, for tests.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use serde_json::Value;

const GREETING: &[u8] = b"{\"event\":\"EARLY\"}\n{\"QMP\":{}}\n";

/// A peer that answers the negotiation. Then `reply` is called, with a command's name and id, for
/// the lines that follow it.
pub fn peer(mut reply: impl FnMut(&str, u64) -> String + Send + 'static) -> UnixStream {
    peer_until(move |call, id| Some(reply(call["execute"].as_str().unwrap(), id)))
}

/// The same with the whole command. `None` closes the channel.
pub fn peer_until(
    mut reply: impl FnMut(&Value, u64) -> Option<String> + Send + 'static,
) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || {
        let mut writer = theirs.try_clone().unwrap();
        writer.write_all(GREETING).unwrap();
        for line in BufReader::new(theirs).lines() {
            let call: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let id = call["id"].as_u64().unwrap();
            let answer = match call["execute"].as_str().unwrap() {
                "qmp_capabilities" => Some(done(id)),
                _ => reply(&call, id),
            };
            match answer {
                Some(answer) => writer.write_all(answer.as_bytes()).unwrap(),
                None => return,
            }
        }
    });
    ours
}

/// The reply to a command that returns nothing.
pub fn done(id: u64) -> String {
    returns(id, "{}")
}

/// The reply to a command that returns this.
pub fn returns(id: u64, value: &str) -> String {
    format!("{{\"return\":{value},\"id\":{id}}}\n")
}

/// The reply to a command that is refused.
pub fn refuses(id: u64, class: &str, desc: &str) -> String {
    format!("{{\"error\":{{\"class\":\"{class}\",\"desc\":\"{desc}\"}},\"id\":{id}}}\n")
}

/// An event about a device.
pub fn event(name: &str, device: &str) -> String {
    format!("{{\"event\":\"{name}\",\"data\":{{\"device\":\"{device}\"}}}}\n")
}
