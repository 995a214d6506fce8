//! The other end of a manager's standard streams: starts it, answers for the guest, and kills it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use guest_vm::guest::protocol::{Presence, Serial};
use guest_vm::vm::Vm;
use qmp_client::wait::Deadline;
use serde_json::{Value, json};

/// How long the agent waits before it answers "not yet".
const LOOK: Duration = Duration::from_secs(1);

/// How long a manager may take to go on, the detaches that it completes included.
const REPORT: Duration = Duration::from_secs(90);

/// A manager that runs, killed when it is dropped.
pub(crate) struct Manager {
    process: Child,
    stdin: Arc<Mutex<ChildStdin>>,
    reports: Receiver<Value>,
}

impl Manager {
    pub(crate) fn start(folder: &Path, state: &Path, what: &str, vm: Arc<Vm>) -> Result<Self> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_qapi-example"))
            .arg(folder.join("qmp"))
            .args([state, folder])
            .arg(what)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = process.stdin.take().context("it has a standard input")?;
        let stdout = process.stdout.take().context("it has a standard output")?;
        let stdin = Arc::new(Mutex::new(stdin));
        let (sender, reports) = channel();
        let answers = stdin.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // The last line of one that was killed may be cut.
                let line: Value = serde_json::from_str(&line).unwrap_or_default();
                take(line, &vm, &answers, &sender);
            }
        });
        Ok(Self {
            process,
            stdin,
            reports,
        })
    }

    /// Waits for its report.
    pub(crate) fn report(&mut self) -> Result<Value> {
        let report = self.reports.recv_timeout(REPORT);
        report.with_context(|| {
            format!(
                "the manager has not reported: {:?}",
                self.process.try_wait()
            )
        })
    }

    /// Has it go on after its report.
    pub(crate) fn go(&self) -> Result<()> {
        self.command(&json!({"go": true}))
    }

    /// Has it complete the removals whose events have come, and waits for its next report.
    pub(crate) fn settle(&mut self) -> Result<Value> {
        self.command(&json!({"settle": true}))?;
        self.report()
    }

    fn command(&self, command: &Value) -> Result<()> {
        let mut stdin = self.stdin.lock().expect("no panic");
        Ok(writeln!(stdin, "{command}")?)
    }

    /// Kills it (SIGKILL).
    pub(crate) fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // It may have ended, and been waited for.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn take(line: Value, vm: &Arc<Vm>, answers: &Arc<Mutex<ChildStdin>>, reports: &Sender<Value>) {
    if let Some(report) = line.get("report") {
        // Nobody may wait for it any more.
        drop(reports.send(report.clone()));
        return;
    }
    let (Some(question), Some(serial)) = (line["question"].as_u64(), line["serial"].as_str())
    else {
        return;
    };
    let serial = Serial(serial.to_owned());
    let presence = match line["present"].as_bool() {
        Some(true) => Presence::Present,
        _ => Presence::Absent,
    };
    let (vm, answers) = (vm.clone(), answers.clone());
    std::thread::spawn(move || {
        let seen = vm
            .agent()
            .await_disk(&serial, presence, Deadline::after(LOOK));
        let why_not = seen.err().map(|error| error.to_string());
        let answer = json!({"question": question, "why_not": why_not});
        // The manager may have been killed meanwhile.
        drop(writeln!(answers.lock().expect("no panic"), "{answer}"));
    });
}
