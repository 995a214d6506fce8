//! The channel's rules, with a guest's end that the tests play.

use std::io::{BufRead, BufReader, Write};
use std::thread;

use guest_agent::protocol::Message;

use super::*;

fn channel() -> (Agent, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Agent::new(ours).unwrap(), theirs)
}

fn greeting(epoch: &str) -> Vec<u8> {
    protocol::encode(&Message::Greeting(Greeting {
        protocol: protocol::VERSION,
        epoch: Epoch(epoch.into()),
        kernel: "6.1".into(),
        cpus: 1,
    }))
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

#[test]
fn a_reset_ends_what_was_outstanding_even_in_mid_line() {
    let (agent, mut guest) = channel();
    guest.write_all(&greeting("one")).unwrap();
    agent.greeting(soon()).unwrap();
    let result = thread::scope(|scope| {
        let asking = scope.spawn(|| agent.disks(soon()));
        let mut request = String::new();
        BufReader::new(guest.try_clone().unwrap())
            .read_line(&mut request)
            .unwrap();
        guest.write_all(b"{\"answer\":{\"id\":1,\"outc\n").unwrap();
        guest.write_all(&greeting("two")).unwrap();
        asking.join().unwrap()
    });
    assert!(
        matches!(result, Err(AgentError::Reset { .. })),
        "{result:?}"
    );
    let second = agent.greeting_after(&Epoch("one".into()), soon()).unwrap();
    assert_eq!(second.epoch, Epoch("two".into()));
}

#[test]
fn an_agent_of_another_version_is_told_as_such() {
    let (agent, mut guest) = channel();
    guest
        .write_all(b"\n{\"greeting\":{\"protocol\":9,\"boot\":\"x\"}}\n")
        .unwrap();
    let error = agent.greeting(soon()).unwrap_err();
    assert!(
        matches!(error, AgentError::OtherVersion { theirs: 9 }),
        "{error}"
    );
}

#[test]
fn a_closed_channel_ends_the_wait() {
    let (agent, guest) = channel();
    drop(guest);
    let error = agent.greeting(soon()).unwrap_err();
    assert!(matches!(error, AgentError::Closed { .. }), "{error}");
}
