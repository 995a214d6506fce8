//! The channel's rules, with a guest's end that the tests play.

use std::io::{BufRead, BufReader, Write};
use std::thread;

use iothread_it_agent::protocol::Message;

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

#[test]
fn a_guest_that_does_not_answer_has_no_longer_than_the_deadline() {
    let (agent, mut guest) = channel();
    guest.write_all(&greeting("one")).unwrap();
    agent.greeting(soon()).unwrap();
    let (start, serial) = (Instant::now(), Serial("disk0".into()));
    let short = Deadline::after(Duration::from_millis(100));
    let error = agent.await_disk(&serial, Presence::Present, short);
    assert!(
        matches!(error, Err(AgentError::TimedOut { .. })),
        "{error:?}"
    );
    assert!(start.elapsed() < Duration::from_secs(5));
}

/// What the guest sees instead is told, also if that came before the deadline.
#[test]
fn an_agent_that_sees_no_disk_says_so_at_the_deadline() {
    let (agent, mut guest) = channel();
    guest.write_all(&greeting("one")).unwrap();
    agent.greeting(soon()).unwrap();
    thread::scope(|scope| {
        let short = Deadline::after(Duration::from_millis(200));
        let asking = scope.spawn(move || {
            let serial = Serial("disk0".into());
            (agent.await_disk(&serial, Presence::Present, short), short)
        });
        let mut lines = BufReader::new(guest.try_clone().unwrap());
        let mut request = String::new();
        while lines.read_line(&mut request).unwrap_or(0) > 0 {
            let asked: Request = protocol::decode(request.as_bytes()).unwrap();
            let answer = Message::Answer {
                id: asked.id,
                outcome: Err(protocol::Failure {
                    kind: FailureKind::TimedOut,
                    message: "it is not there".into(),
                }),
            };
            // Nobody listens any more at the end.
            let _ = guest.write_all(&protocol::encode(&answer));
            request.clear();
        }
        let (result, deadline) = asking.join().unwrap();
        assert!(deadline.has_passed());
        assert!(result.unwrap_err().to_string().ends_with("it is not there"));
    });
}
