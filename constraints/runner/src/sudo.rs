//! This host as root, by `sudo -n`: never with a question, and only if the user asked for it.
//!
//! sudo hands down neither descriptors nor most variables. So the harness finds its lifeline at its
//! standard input, and its variables in a file of this process's memory, which it reads itself: on a
//! command line everybody could read them, and a shell refuses some names.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::cargo::LIBRARY_PATH;
use super::child_io::{ChildEnd, run_child};
use super::listing::LIST_LIMIT;
use super::session::{SudoSession, memory_file, path_of};
use super::{
    Binary, CandidatePlace, Job, LIST_ARGUMENTS, PROFILE_FILE, Place, PlaceError, ProfileFile,
    Session, StopToken, UserKind,
};
use kata_test::__runner::LIFELINE;
use kata_test::__runner::{ENVIRONMENT, EXCLUDE_FILE, PLACE, is_of_a_session};
use kata_test::__runner::{EXPECT, FACTS, MAY_SKIP};
use kata_test_host::sys::{Ran, command_within};

/// The place's name, which stands in the records.
const NAME: &str = "here:root";

/// How long sudo may take to say yes or no: it may ask a server.
const ASKED_LIMIT: Duration = Duration::from_secs(30);

/// Variables for the harnesses that cargo runs, not for those elsewhere.
pub(super) const SAID_TO_OTHERS: [&str; 4] = [EXCLUDE_FILE, EXPECT, MAY_SKIP, FACTS];

/// Why sudo cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SudoError {
    /// sudo cannot be run.
    #[error("cannot run sudo; install it, or run tests that require root in other places")]
    NotThere(#[source] io::Error),
    /// sudo does not do it, or not without a password.
    #[error(
        "sudo refused to run without a password ({said}); allow it, run `sudo -v` first, or run \
         tests that require root in other places"
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
            Ran::TooLate | Ran::Stopped => {
                refused(format!("no answer within {} s", ASKED_LIMIT.as_secs()))
            }
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

    fn kernel(&self) -> Option<String> {
        CandidatePlace::Here.kernel()
    }

    fn cost(&self) -> Duration {
        Duration::from_millis(100)
    }

    fn key(&self) -> Option<String> {
        None
    }

    fn list(
        &mut self,
        binary: &Binary,
        _: &[String],
        stop: StopToken<'_>,
    ) -> Result<String, PlaceError> {
        let mut listed = Vec::new();
        let arguments = LIST_ARGUMENTS.map(str::to_owned);
        let ended = as_root(binary, &arguments, &[], LIST_LIMIT, stop, &mut |out| {
            listed.extend_from_slice(out);
        })?;
        match ended {
            ChildEnd::Ended(status) if status.success() => {
                Ok(String::from_utf8_lossy(&listed).into_owned())
            }
            ended => Err(format!("{} does not list its tests as root: {ended}", binary.id).into()),
        }
    }

    fn run(&mut self, job: &Job<'_>, screen: &mut dyn FnMut(&[u8])) -> Result<(), PlaceError> {
        let env: Vec<_> = job.run.env().collect();
        let arguments = job.arguments();
        let ended = as_root(job.binary, &arguments, &env, job.limit(), job.stop, screen)?;
        job.record_silent(NAME, &ended)
    }

    fn runs_as(&self, user: UserKind) -> bool {
        user == UserKind::Root
    }

    fn open<'a>(
        &'a mut self,
        binary: &'a Binary,
        user: UserKind,
        _: StopToken<'a>,
    ) -> Result<Box<dyn Session + 'a>, PlaceError> {
        match user {
            UserKind::Root => Ok(Box::new(SudoSession::new(binary, variables(binary, &[])))),
            UserKind::Unprivileged => {
                Err(format!("{NAME} runs processes as root only, not as {user}").into())
            }
        }
    }
}

/// Runs a binary as root, with what it prints on the screen.
fn as_root(
    binary: &Binary,
    arguments: &[String],
    env: &[(&str, OsString)],
    limit: Duration,
    stop: StopToken<'_>,
    screen: &mut dyn FnMut(&[u8]),
) -> io::Result<ChildEnd> {
    let variables = variables(binary, env);
    let file = environment_file(&binary.folder, &variables)?;
    let mut command = Command::new("sudo");
    command.args(["-n", "--", "/usr/bin/env"]);
    command.arg(format!("{ENVIRONMENT}={}", path_of(&file)));
    // Without it the harness may not even start, to read the others.
    if let Some((name, value)) = variables.iter().rfind(|(name, _)| name == LIBRARY_PATH) {
        command.arg([name.as_os_str(), value].join(OsStr::new("=")));
    }
    command
        .arg(&binary.executable)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    run_child(command, limit, stop, screen)
}

/// The variables of the harness. The later of two stands.
fn variables(binary: &Binary, env: &[(&str, OsString)]) -> Vec<(OsString, OsString)> {
    let own = std::env::vars_os().filter(|(name, _)| !is_of_a_session(name));
    let of_the_binary = binary.env.iter().cloned();
    let of_the_run = env.iter().map(|(name, value)| (name.into(), value.clone()));
    let said = [
        (PLACE, NAME.into()),
        (LIFELINE, "0".into()),
        ("PWD", binary.folder.clone().into_os_string()),
    ];
    let said = said.map(|(name, value)| (name.into(), value));
    let profile = ProfileFile::next(NAME).map(|file| {
        // Root's folder would keep its files from this user.
        let _ = std::fs::create_dir_all(file.folder());
        (PROFILE_FILE.into(), file.pattern())
    });
    own.chain(of_the_binary)
        .chain(of_the_run)
        .chain(said)
        .chain(profile)
        .filter(|(name, _)| !SAID_TO_OTHERS.iter().any(|other| name == *other))
        .collect()
}

/// A file without a name, as [`take_environment`](kata_test::__runner::take_environment) reads it.
fn environment_file(folder: &Path, variables: &[(OsString, OsString)]) -> io::Result<File> {
    let mut text = folder.as_os_str().as_bytes().to_vec();
    for (name, value) in variables {
        text.push(0);
        text.extend_from_slice(name.as_bytes());
        text.push(b'=');
        text.extend_from_slice(value.as_bytes());
    }
    memory_file(&text)
}
