//! This host as root, by `sudo -n`: never with a question, and only if the user asked for it.
//!
//! sudo hands down neither descriptors nor most variables. So the harness finds its lifeline at its
//! standard input, and its variables in a file of this process's memory, which a shell reads: on a
//! command line everybody could read them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::elsewhere::records_of;
use super::listing::LIST_LIMIT;
use super::relay::{Relayed, relay};
use super::{Binary, Job, LIST_ARGUMENTS, OutcomeKind, Place, PlaceError, Stop};
use crate::contract::{EXPECT, FACTS, MAY_SKIP};
use crate::elsewhere::{LEAVE, PLACE};
use crate::record::LIFELINE;
use crate::session::is_of_a_session;
use crate::sys::{Ran, command_within};
use crate::verdict::Reason;

/// The place's name, which stands in the records.
const NAME: &str = "here:root";

/// How long sudo may take to say yes or no: it may ask a server.
const ASKED_LIMIT: Duration = Duration::from_secs(30);

/// How long a test without a limit of its own may take, and the harness around all of them.
const UNLIMITED: Duration = Duration::from_secs(10 * 60);
const AROUND: Duration = Duration::from_secs(120);

/// Reads its variables from its first argument, and becomes the others.
const SHELL: &str = r#". "$0" && exec "$@""#;

/// What a runner says to the harnesses that cargo runs, and not to those elsewhere.
const SAID_TO_OTHERS: [&str; 4] = [LEAVE, EXPECT, MAY_SKIP, FACTS];

/// Why nobody becomes root.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SudoError {
    /// sudo cannot be run.
    #[error("sudo cannot be run: install it, or leave tests that need root to other places")]
    NotThere(#[source] io::Error),
    /// sudo does not do it, or not without a password.
    #[error(
        "sudo does not make this user root without a password ({said}): allow it, type `sudo -v` \
         first, or leave tests that need root to other places"
    )]
    Refused {
        /// What it said.
        said: String,
    },
}

/// This host, as root.
#[derive(Debug)]
pub struct SudoPlace(());

impl SudoPlace {
    /// Asks sudo whether it makes this user root without a question.
    ///
    /// # Errors
    ///
    /// If it does not, or is not there.
    pub fn new() -> Result<Self, SudoError> {
        let mut command = Command::new("sudo");
        command.args(["-n", "true"]);
        let refused = |said| Err(SudoError::Refused { said });
        match command_within(ASKED_LIMIT, command) {
            Ran::Ended { success: true, .. } => Ok(Self(())),
            Ran::Ended { how, stderr, .. } => {
                let said = String::from_utf8_lossy(&stderr);
                let said = said.lines().next().unwrap_or(&how);
                refused(said.to_owned())
            }
            Ran::NotStarted(error) => Err(SudoError::NotThere(error)),
            Ran::TooLate => refused(format!("no answer within {} s", ASKED_LIMIT.as_secs())),
        }
    }
}

impl Place for SudoPlace {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> String {
        "this host, as root by sudo".to_owned()
    }

    fn cost(&self) -> Duration {
        Duration::from_millis(100)
    }

    fn key(&self) -> Option<String> {
        None
    }

    fn list(&mut self, binary: &Binary, _: &[String]) -> Result<String, PlaceError> {
        let mut listed = Vec::new();
        let arguments = LIST_ARGUMENTS.map(str::to_owned);
        let ended = as_root(
            binary,
            &arguments,
            &[],
            LIST_LIMIT,
            Stop::NEVER,
            &mut |out| {
                listed.extend_from_slice(out);
            },
        )?;
        match ended {
            Relayed::Ended(status) if status.success() => {
                Ok(String::from_utf8_lossy(&listed).into_owned())
            }
            ended => Err(format!("{} does not list its tests as root: {ended}", binary.id).into()),
        }
    }

    fn run(&mut self, job: &Job<'_>, screen: &mut dyn FnMut(&[u8])) -> Result<(), PlaceError> {
        let names = job.tests.iter().map(|test| test.name.clone());
        let arguments: Vec<String> = std::iter::once("--exact".to_owned()).chain(names).collect();
        let limits = job.tests.iter().map(|test| test.limit.unwrap_or(UNLIMITED));
        let limit = limits.sum::<Duration>() + AROUND;
        let env: Vec<_> = job.run.env().collect();
        let ended = as_root(job.binary, &arguments, &env, limit, job.stop, screen)?;
        if job.stop.is_asked() {
            return Ok(());
        }
        let records = records_of(job.run, NAME, &job.binary.id)?;
        let silent = |name: &str| {
            records
                .get(name)
                .is_none_or(|kind| *kind == OutcomeKind::Lost)
        };
        for test in job.tests.iter().filter(|test| silent(&test.name)) {
            let reason = Reason {
                constraint: "the harness tells what became of its tests".to_owned(),
                observed: ended.to_string(),
                source: NAME.to_owned(),
            };
            job.run.fail(NAME, &job.binary.id, &test.name, reason)?;
        }
        Ok(())
    }
}

/// Runs a binary as root, with what it prints on the screen.
fn as_root(
    binary: &Binary,
    arguments: &[String],
    env: &[(&str, OsString)],
    limit: Duration,
    stop: Stop<'_>,
    screen: &mut dyn FnMut(&[u8]),
) -> io::Result<Relayed> {
    let script = script(binary, env)?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), script.as_raw_fd());
    let mut command = Command::new("sudo");
    command
        .args(["-n", "--", "/bin/sh", "-c", SHELL, &path])
        .arg(&binary.executable)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    relay(command, limit, stop, screen)
}

/// What the shell reads: the folder to be in, and the variables.
fn script(binary: &Binary, env: &[(&str, OsString)]) -> io::Result<File> {
    let mut text = Vec::new();
    text.extend_from_slice(b"cd ");
    quote(binary.folder.as_os_str(), &mut text);
    let own = std::env::vars_os().filter(|(name, _)| !is_of_a_session(name));
    let of_the_binary = binary.env.iter().cloned();
    let of_the_run = env.iter().map(|(name, value)| (name.into(), value.clone()));
    let said = [(PLACE, NAME), (LIFELINE, "0")].map(|(name, value)| (name.into(), value.into()));
    // The later of two stands.
    for (name, value) in own.chain(of_the_binary).chain(of_the_run).chain(said) {
        if is_name(&name) && !SAID_TO_OTHERS.iter().any(|other| name == *other) {
            text.extend_from_slice(b"\nexport ");
            text.extend_from_slice(name.as_bytes());
            text.push(b'=');
            quote(&value, &mut text);
        }
    }
    text.push(b'\n');
    let mut file = File::from(memfd_create(c"kata-test", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&text)?;
    Ok(file)
}

/// Whether a shell can have a variable of this name.
fn is_name(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    let is_good = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    bytes.iter().all(is_good) && bytes.first().is_some_and(|first| !first.is_ascii_digit())
}

/// Writes a text so that a shell takes it as it is.
fn quote(text: &OsStr, to: &mut Vec<u8>) {
    to.push(b'\'');
    for &byte in text.as_bytes() {
        match byte {
            b'\'' => to.extend_from_slice(br"'\''"),
            byte => to.push(byte),
        }
    }
    to.push(b'\'');
}

#[cfg(test)]
mod tests {
    //! Scope: what the shell reads. That sudo runs it is tested with sudo.

    use super::*;

    #[test]
    fn a_shell_finds_the_folder_and_the_variables() {
        let binary = Binary {
            folder: "/".into(),
            env: vec![
                ("A".into(), "it's \"$HOME\" `x`\n\\ end".into()),
                ("not-a-name".into(), "x".into()),
                (LEAVE.into(), "x".into()),
            ],
            ..Binary::default()
        };
        let env = [("KATA_TEST_RUN", "one".into()), (LIFELINE, "9".into())];
        let script = script(&binary, &env).expect("a file");
        let path = format!("/proc/{}/fd/{}", std::process::id(), script.as_raw_fd());
        let said = Command::new("/bin/sh")
            .args(["-c", SHELL, &path, "/usr/bin/env", "-0"])
            .env_clear()
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let all: Vec<&str> = said.split('\0').collect();
        assert!(all.contains(&"A=it's \"$HOME\" `x`\n\\ end"), "{said}");
        for line in [
            "PWD=/",
            "KATA_TEST_RUN=one",
            "KATA_TEST_LIFELINE=0",
            "KATA_TEST_PLACE=here:root",
        ] {
            assert!(all.contains(&line), "{line}: {said}");
        }
        assert!(!said.contains("not-a-name") && !said.contains(LEAVE));
    }
}
