//! Chromium without a window, driven by its DevTools protocol: JSON texts that end with a zero byte,
//! over two pipes. It opens no port and keeps no profile.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A busy machine takes its time; one that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What makes it start in a container, as root, and without a network.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
];

/// A browser with one page.
pub(crate) struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    /// Events that were not read yet.
    events: VecDeque<Value>,
    /// Errors and warnings of the page, as they came.
    complaints: Vec<Value>,
    requests: Vec<String>,
    session: Option<String>,
    last: u64,
    _profile: TempDir,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        // It reads commands from descriptor 3 and answers on 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec chromium \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh"])
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            // What it forgets goes with the profile.
            .env("TMPDIR", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // To end it with all that it has started.
            .process_group(0)
            .spawn()
            .expect("a shell");
        let commands = child.stdin.take().expect("a pipe");
        let answers = child.stdout.take().expect("a pipe");
        let (send, messages) = mpsc::channel();
        std::thread::spawn(move || {
            for message in BufReader::new(answers).split(0) {
                let read = message.map(|bytes| serde_json::from_slice(&bytes).expect("JSON"));
                match read.map(|message| send.send(message)) {
                    Ok(Ok(())) => {}
                    _ => break,
                }
            }
        });
        let mut browser = Self {
            child,
            commands,
            messages,
            events: VecDeque::new(),
            complaints: Vec::new(),
            requests: Vec::new(),
            session: None,
            last: 0,
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = Some(attached["sessionId"].as_str().expect("an id").to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Opens a file and waits until it is loaded.
    pub(crate) fn open(&mut self, path: &str) {
        self.events.clear();
        let opened = self.call("Page.navigate", json!({ "url": format!("file://{path}") }));
        assert_eq!(opened["errorText"], Value::Null, "{path}");
        self.wait_for("Page.loadEventFired");
    }

    /// Lets the page believe that its reader likes it `light` or `dark`.
    pub(crate) fn prefers(&mut self, light: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": light });
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": [feature] }),
        );
    }

    pub(crate) fn is_wide(&mut self, width: u32) {
        let metrics =
            json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// Returns what an expression of JavaScript comes to, a promise's result too.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let ask = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let out = self.call("Runtime.evaluate", ask);
        assert_eq!(out["exceptionDetails"], Value::Null, "{expression}");
        out["result"]["value"].clone()
    }

    /// Fails if there is an error or a warning on the page's console.
    pub(crate) fn has_no_complaint(&mut self) {
        // What was written to the console before this answer came before it.
        self.evaluate("0");
        assert!(self.complaints.is_empty(), "{:#?}", self.complaints);
    }

    /// Every address that the page has requested.
    pub(crate) fn requests(&self) -> &[String] {
        &self.requests
    }

    /// Has a command carried out, and returns its result.
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        let text = format!("{command}\0");
        self.commands
            .write_all(text.as_bytes())
            .expect("a browser that reads");
        let end = Instant::now() + PATIENCE;
        loop {
            let message = self.receive(end, method);
            if message["id"] == self.last {
                assert_eq!(message["error"], Value::Null, "{method}");
                return message["result"].clone();
            }
            self.events.push_back(message);
        }
    }

    fn wait_for(&mut self, event: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            while let Some(message) = self.events.pop_front() {
                if message["method"] == event {
                    return;
                }
            }
            let message = self.receive(end, event);
            self.events.push_back(message);
        }
    }

    fn receive(&mut self, end: Instant, awaited: &str) -> Value {
        let left = end.saturating_duration_since(Instant::now());
        let message = self.messages.recv_timeout(left);
        let message = message.unwrap_or_else(|error| panic!("waiting for {awaited}: {error}"));
        self.listen(&message);
        message
    }

    fn listen(&mut self, message: &Value) {
        let what = &message["params"];
        let is_complaint = match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => {
                what["type"] == "error" || what["type"] == "warning"
            }
            Some("Log.entryAdded") => {
                what["entry"]["level"] == "error" || what["entry"]["level"] == "warning"
            }
            Some("Network.requestWillBeSent") => {
                let address = what["request"]["url"].as_str().expect("an address");
                self.requests.push(address.to_owned());
                false
            }
            _ => false,
        };
        if is_complaint {
            self.complaints.push(message.clone());
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It has nothing to save, and its helpers are of its group.
        let group = Pid::from_raw(self.child.id() as i32);
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
