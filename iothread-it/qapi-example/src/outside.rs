//! What a manager has outside of itself: a client that gives it work, and the guest's agent.
//!
//! Here both are JSON lines on standard input and output, which the test has the other end of. If it ends,
//! so does this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use iothread_hotplug::{Answer, GuestDisk, Presence};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::{Notify, oneshot};

/// A disk that no guest sees, so no guest answers its detach.
pub(crate) const STUCK: &str = "stuck";

#[derive(Debug, Clone, Default)]
pub(crate) struct Outside(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    asked: Mutex<BTreeMap<u64, oneshot::Sender<Option<String>>>>,
    next: Mutex<u64>,
    /// The newest command.
    command: Mutex<Value>,
    go: Notify,
}

impl Outside {
    /// Reads what comes, in a task of its own.
    pub(crate) fn start() -> Self {
        let outside = Self::default();
        let reader = outside.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(tokio::io::stdin()).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                reader.take(&line);
            }
            std::process::exit(0);
        });
        outside
    }

    fn take(&self, line: &str) {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        match line["question"].as_u64() {
            Some(id) => {
                let asked = self.0.asked.lock().expect("no panic").remove(&id);
                let why_not = line["why_not"].as_str().map(str::to_owned);
                // The operation that asked may have ended.
                asked.map(|asked| asked.send(why_not));
            }
            None => {
                *self.0.command.lock().expect("no panic") = line;
                self.0.go.notify_one();
            }
        }
    }

    /// Reports something, and returns the next command.
    pub(crate) async fn report(&self, report: Value) -> Value {
        println!("{}", json!({"report": report}));
        self.0.go.notified().await;
        self.0.command.lock().expect("no panic").take()
    }

    /// Asks the guest's agent, which waits for a moment.
    pub(crate) fn look(
        &self,
        disk: &GuestDisk,
        awaited: Presence,
    ) -> impl Future<Output = Answer> + Send + use<> {
        let asked = (disk.id.as_str() != STUCK).then(|| self.ask(disk, awaited));
        async move {
            let Some(asked) = asked else {
                return Answer::Yes;
            };
            match asked.await {
                Ok(None) => Answer::Yes,
                Ok(Some(why_not)) => Answer::NotYet(why_not.into()),
                Err(_) => Answer::Failed("the agent's connection has ended".into()),
            }
        }
    }

    fn ask(&self, disk: &GuestDisk, awaited: Presence) -> oneshot::Receiver<Option<String>> {
        let id = {
            let mut next = self.0.next.lock().expect("no panic");
            *next += 1;
            *next
        };
        let (sender, receiver) = oneshot::channel();
        self.0.asked.lock().expect("no panic").insert(id, sender);
        let present = awaited == Presence::Present;
        println!(
            "{}",
            json!({"question": id, "serial": disk.serial, "present": present})
        );
        receiver
    }
}
