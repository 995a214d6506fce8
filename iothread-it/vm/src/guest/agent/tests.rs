//! **Scope**: the protocol, with the test as the guest.

use std::io::{BufRead, BufReader, Read, Write};
use std::ops::ControlFlow;
use std::sync::mpsc::channel as queue;
use std::thread;

use guest_agent::protocol::{
    Bytes, Direction, Exit, Failure, FailureKind, Message, Notice, Program, Stream, TerminalSize,
};

use super::*;

fn channel() -> (Agent, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Agent::new(ours).unwrap(), theirs)
}

fn greeting(boot_id: &str) -> Vec<u8> {
    protocol::encode(&Message::Greeting(Greeting {
        protocol: protocol::VERSION,
        boot_id: BootId(boot_id.into()),
        kernel: "6.1".into(),
        cpus: 1,
    }))
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

#[test]
fn a_reset_fails_pending_requests_even_within_a_line() {
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
    let second = agent.greeting_after(&BootId("one".into()), soon()).unwrap();
    assert_eq!(second.boot_id, BootId("two".into()));
}

#[test]
fn another_protocol_version_is_an_error() {
    let (agent, mut guest) = channel();
    guest
        .write_all(b"\n{\"greeting\":{\"protocol\":9,\"boot\":\"x\"}}\n")
        .unwrap();
    let error = agent.greeting(soon()).unwrap_err();
    assert!(
        matches!(error, AgentError::VersionMismatch { theirs: 9 }),
        "{error}"
    );
}

#[test]
fn a_request_before_the_greeting_is_refused() {
    let (agent, mut guest) = channel();
    let error = agent.disks(soon()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "guest agent: cannot send a request: the agent has sent no greeting yet"
    );
    guest
        .write_all(b"\n{\"greeting\":{\"protocol\":9}}\n")
        .unwrap();
    agent.greeting(soon()).unwrap_err();
    let error = agent.disks(soon()).unwrap_err();
    assert!(
        matches!(error, AgentError::VersionMismatch { theirs: 9 }),
        "{error}"
    );
}

#[test]
fn what_is_done_to_a_program_is_named_in_errors() {
    let (agent, guest) = greeted();
    let running = agent.start(&Program::default()).unwrap();
    drop(guest);
    let size = TerminalSize {
        rows: 24,
        columns: 80,
    };
    let errors = [
        running.input(b"text").unwrap_err(),
        running.signal(15).unwrap_err(),
        running.resize(size).unwrap_err(),
        running.close_output(Stream::Stdout).unwrap_err(),
    ];
    let awaited = [
        "the program to read its standard input",
        "the signal to be sent",
        "the terminal to be resized",
        "the output to be closed",
    ];
    for (error, awaited) in errors.iter().zip(awaited) {
        let start = format!("guest agent: the channel closed while waiting for {awaited}: ");
        assert!(error.to_string().starts_with(&start), "{error}");
    }
}

#[test]
fn a_closed_channel_fails_pending_requests() {
    let (agent, guest) = channel();
    drop(guest);
    let error = agent.greeting(soon()).unwrap_err();
    assert!(matches!(error, AgentError::Closed { .. }), "{error}");
}

/// Returns a channel after the greeting.
fn greeted() -> (Agent, UnixStream) {
    let (agent, mut guest) = channel();
    guest.write_all(&greeting("one")).unwrap();
    agent.greeting(soon()).unwrap();
    (agent, guest)
}

/// Reads a request.
fn request(guest: &UnixStream) -> Request {
    let mut line = Vec::new();
    let mut guest = BufReader::with_capacity(1, guest);
    guest.read_until(b'\n', &mut line).unwrap();
    protocol::decode(&line).unwrap()
}

fn answer(id: RequestId, outcome: Result<Reply, Failure>) -> Vec<u8> {
    protocol::encode(&Message::Answer { id, outcome })
}

fn output(id: RequestId, length: usize) -> Vec<u8> {
    let (stream, bytes) = (Stream::Stdout, Bytes(vec![b'x'; length]));
    let notice = Notice::Output { stream, bytes };
    protocol::encode(&Message::Notice { id, notice })
}

#[test]
fn a_partly_written_request_closes_the_channel() {
    let (agent, mut guest) = greeted();
    // More than a socket buffers, and the guest does not read.
    let text = "x".repeat(4 << 20);
    let (start, short) = (Instant::now(), Deadline::after(Duration::from_millis(100)));
    let error = agent.set_attribute("class/x", &text, short).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(
        error.to_string().contains("cannot write to the channel"),
        "{error}"
    );
    let error = agent.disks(soon()).unwrap_err();
    assert!(
        error.to_string().contains("cannot write to the channel"),
        "{error}"
    );
    drop(agent);
    let mut read = Vec::new();
    guest.read_to_end(&mut read).unwrap();
    assert!(!read.contains(&b'\n'), "a second request was written");
}

#[test]
fn a_request_to_a_guest_that_reads_nothing_ends_at_the_deadline() {
    let (agent, guest) = greeted();
    fill(&agent);
    let (start, short) = (Instant::now(), Deadline::after(Duration::from_millis(100)));
    let error = agent.disks(short).unwrap_err();
    assert!(matches!(error, AgentError::TimedOut { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(agent.board.with(|state| state.requests.is_empty()));
    // No byte of that request was written, so the channel works when the guest reads again.
    thread::scope(|scope| {
        let asking = scope.spawn(|| agent.disks(soon()));
        let mut lines = BufReader::new(guest.try_clone().unwrap());
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).unwrap() > 0 {
            let request: Request = protocol::decode(&line).unwrap();
            if matches!(request.command, Command::Disks) {
                let disks = answer(request.id, Ok(Reply::Disks(Vec::new())));
                (&guest).write_all(&disks).unwrap();
                break;
            }
            line.clear();
        }
        assert!(asking.join().unwrap().is_ok());
    });
}

/// Writes whole requests until the socket has no room for another.
fn fill(agent: &Agent) {
    loop {
        let command = Command::SetAttribute {
            path: String::new(),
            text: String::new(),
        };
        let line = protocol::encode(&Request {
            boot_id: BootId("one".into()),
            id: RequestId(0),
            command,
        });
        let now = Deadline::after(Duration::from_millis(1));
        if !agent.lines.send_by(&line, None, now).unwrap() {
            return;
        }
    }
}

#[test]
fn output_is_queued_up_to_a_limit() {
    const PIECE: usize = 64 << 10;
    const PIECES: usize = 512;
    let (agent, mut guest) = greeted();
    let (release, released) = queue::<()>();
    let agent = &agent;
    thread::scope(|scope| {
        let running = scope.spawn(move || {
            let mut taken = 0;
            let mut take = |notice| {
                if taken == 0 {
                    released.recv_timeout(Duration::from_secs(30)).unwrap();
                }
                if let Notice::Output { bytes, .. } = notice {
                    taken += bytes.0.len();
                }
                ControlFlow::Continue(())
            };
            let program = Program {
                timeout_ms: 120_000,
                ..Program::default()
            };
            let exit = agent.run(&program, &mut take).unwrap();
            (exit, taken)
        });
        let id = request(&guest).id;
        let mut written = 0;
        guest
            .set_write_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        let piece = output(id, PIECE);
        let mut rest = &piece[..0];
        while written < PIECES * PIECE {
            if rest.is_empty() {
                rest = &piece;
                written += PIECE;
            }
            match guest.write(rest) {
                Ok(length) => rest = &rest[length..],
                Err(_) => break,
            }
        }
        assert!(written < 6 << 20, "{written} bytes were taken");
        release.send(()).unwrap();
        guest.set_write_timeout(None).unwrap();
        guest.write_all(rest).unwrap();
        while written < PIECES * PIECE {
            guest.write_all(&piece).unwrap();
            written += PIECE;
        }
        let exited = Reply::Exited(Exit::Code(0));
        guest.write_all(&answer(id, Ok(exited))).unwrap();
        assert_eq!(running.join().unwrap(), (Exit::Code(0), PIECES * PIECE));
    });
}

#[test]
fn a_receiver_that_refuses_output_ends_the_request() {
    let (agent, mut guest) = greeted();
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            let mut refuse = |_| ControlFlow::Break("too much".to_owned());
            agent.run(&Program::default(), &mut refuse)
        });
        let id = request(&guest).id;
        guest.write_all(&output(id, 1)).unwrap();
        let error = running.join().unwrap().unwrap_err();
        assert!(matches!(error, AgentError::OutputRefused { .. }), "{error}");
    });
    assert!(agent.board.with(|state| state.requests.is_empty()));
}

#[test]
fn a_program_that_is_not_followed_does_not_stop_the_channel() {
    let (agent, guest) = greeted();
    let limit = Some(Duration::from_secs(30));
    guest.set_write_timeout(limit).unwrap();
    let running = agent.start(&Program::default()).unwrap();
    let flood = output(request(&guest).id, 64 << 10).repeat(64);
    thread::scope(|scope| {
        let writing = scope.spawn(|| (&guest).write_all(&flood));
        let full = agent.wait("a full queue", soon(), |state| {
            (!state.has_room()).then_some(())
        });
        full.unwrap();
        drop(running);
        writing.join().unwrap().unwrap();
        let asking = scope.spawn(|| agent.disks(soon()));
        let disks = answer(request(&guest).id, Ok(Reply::Disks(Vec::new())));
        (&guest).write_all(&disks).unwrap();
        assert_eq!(asking.join().unwrap().unwrap(), []);
    });
}

#[test]
fn a_load_that_does_not_start_leaves_no_request() {
    let (agent, mut guest) = greeted();
    let extent = Extent {
        serial: Serial("disk0".into()),
        seed: 1,
        offset: 0,
        length: 4096,
    };
    let load = Load {
        extent,
        direction: Direction::Read,
        threads: 1,
        cpus: Vec::new(),
        depth: 1,
        block_size: 4096,
        duration_ms: 1000,
        operations: None,
    };
    thread::scope(|scope| {
        let starting = scope.spawn(|| agent.start_load(&load, soon()).map(drop));
        let failure = Failure {
            kind: FailureKind::NoSuchDisk,
            message: "no disk".into(),
        };
        let id = request(&guest).id;
        guest.write_all(&answer(id, Err(failure))).unwrap();
        let error = starting.join().unwrap().unwrap_err();
        assert!(matches!(error, AgentError::Failed(_)), "{error}");
    });
    assert!(agent.board.with(|state| state.requests.is_empty()));
}

#[test]
fn a_program_that_writes_without_end_times_out() {
    let (agent, mut guest) = greeted();
    let time = Duration::from_millis(1);
    let deadline = Deadline::after(time);
    let pending = PendingRequest::of_program();
    let id = agent
        .send_in(None, "a test", Command::Disks, pending, soon())
        .unwrap();
    let flood = output(id, 0).repeat(100);
    thread::scope(|scope| {
        let following = scope.spawn(|| {
            let on_notice = &mut |_| {
                thread::sleep(time);
                ControlFlow::Continue(())
            };
            let ended = agent.follow("the end of a test", deadline, id, on_notice);
            agent.board.with(|state| state.requests.remove(&id));
            ended
        });
        while !following.is_finished() {
            guest.write_all(&flood).unwrap();
        }
        let error = following.join().unwrap().unwrap_err();
        assert!(matches!(error, AgentError::TimedOut { .. }), "{error}");
    });
}

#[test]
fn output_of_other_requests_is_discarded() {
    let (agent, mut guest) = greeted();
    let id = agent.send("a list", Command::Disks, soon()).unwrap();
    for _ in 0..64 {
        guest.write_all(&output(id, 64 << 10)).unwrap();
    }
    guest.write_all(&answer(id, Ok(Reply::Done))).unwrap();
    let kept = agent.wait("the answer", soon(), |state| {
        let pending = state.requests.get_mut(&id)?;
        pending.end.as_ref()?;
        Some(pending.take_notices())
    });
    assert_eq!(kept.unwrap(), []);
}

#[test]
fn long_failure_messages_are_truncated() {
    let (agent, mut guest) = greeted();
    thread::scope(|scope| {
        let asking = scope.spawn(|| agent.disks(soon()));
        let failure = Failure {
            kind: FailureKind::TimedOut,
            message: "é".repeat(100_000),
        };
        let id = request(&guest).id;
        guest.write_all(&answer(id, Err(failure))).unwrap();
        let error = asking.join().unwrap().unwrap_err().to_string();
        assert!(error.len() < 10_000, "{} bytes", error.len());
    });
}

#[test]
fn an_endless_line_closes_the_channel() {
    let (agent, mut guest) = greeted();
    thread::spawn(move || while guest.write_all(&[b'x'; 4096]).is_ok() {});
    let error = agent.disks(soon()).unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}

#[test]
fn a_silent_guest_times_out_at_the_deadline() {
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

/// The error is the last answer of the agent. A guest that answers at once does not keep the host busy.
#[test]
fn a_disk_that_does_not_appear_is_an_error_at_the_deadline() {
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
        let mut requests = 0;
        while lines.read_line(&mut request).unwrap_or(0) > 0 {
            requests += 1;
            let asked: Request = protocol::decode(request.as_bytes()).unwrap();
            let answer = Message::Answer {
                id: asked.id,
                outcome: Err(Failure {
                    kind: FailureKind::TimedOut,
                    message: "it is not there".into(),
                }),
            };
            // The host may have closed the channel.
            let _ = guest.write_all(&protocol::encode(&answer));
            request.clear();
        }
        let (result, deadline) = asking.join().unwrap();
        assert!(deadline.has_passed());
        assert!(result.unwrap_err().to_string().ends_with("it is not there"));
        assert!((1..=3).contains(&requests), "{requests} requests in 200 ms");
    });
}
