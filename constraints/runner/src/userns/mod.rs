//! This host as root in a user namespace, without a privilege of the host.
//!
//! Each process has namespaces of its own: user, mount, network, PID, IPC, UTS and cgroup. It sees the host's
//! files, with the rights that the user has.

mod accepts;
mod child;
mod ids;
mod refusal;
mod setup;
mod start;

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{Child, Command};
use std::time::Duration;

use super::listing::LIST_LIMIT;
use super::session::UsernsSession;
use super::{
    Binary, CandidatePlace, Config, Job, LIST_ARGUMENTS, Place, PlaceError, ProcessEnd, Session,
    SessionCommand, StopToken, TestName, UserKind,
};
use kata_test_host::reason::Reason;
use start::NotStarted;

pub(super) use child::Control;
pub(super) use ids::Ids;

/// The place's name, which stands in the records.
pub(super) const NAME: &str = "userns";

/// How long it takes until a program runs there.
const START: Duration = Duration::from_millis(20);

/// This host does not let this user be root in a user namespace.
#[derive(Debug, thiserror::Error)]
#[error("this host has no place `userns`")]
pub struct UsernsError(#[source] NotStarted);

impl Ids {
    /// Tries which ids this host lets this user map.
    fn find() -> Result<Self, NotStarted> {
        let mut choices = Self::choices().into_iter().peekable();
        loop {
            let ids = choices.next().unwrap_or(Self::Root);
            match start::try_out(&ids) {
                Err(not) if not.is_about_ids() && choices.peek().is_some() => {}
                tried => return tried.map(|()| ids),
            }
        }
    }

    /// Starts a command as root of new namespaces with these ids.
    pub(super) fn spawn(&self, command: &mut Command, control: Control) -> io::Result<Child> {
        start::spawn(command, self, control).map_err(io::Error::from)
    }
}

/// This host, as root in a user namespace.
#[derive(Debug)]
pub struct UsernsPlace {
    ids: Ids,
    config: Config,
}

impl UsernsPlace {
    /// Creates namespaces once, to see whether this host permits it. The configuration states which tests
    /// that need root accept this one.
    ///
    /// # Errors
    ///
    /// If this host does not permit it: the error names the setting that forbids it.
    pub fn new(config: &Config) -> Result<Self, UsernsError> {
        Ok(Self {
            ids: Ids::find().map_err(UsernsError)?,
            config: config.clone(),
        })
    }

    fn session<'a>(&'a self, binary: &'a Binary) -> UsernsSession<'a> {
        UsernsSession::new(binary, &self.ids)
    }
}

impl Place for UsernsPlace {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> String {
        format!("this host, as root in a user namespace {}", self.ids)
    }

    fn kernel(&self) -> Option<String> {
        CandidatePlace::Here.kernel()
    }

    fn cost(&self) -> Duration {
        START
    }

    fn key(&self) -> Option<String> {
        None
    }

    fn is_user_namespace(&self) -> bool {
        true
    }

    fn refuses(&self, test: &TestName<'_>, needs: &str) -> Option<Reason> {
        let accepts_root = self.config.for_test(test).root_in_userns;
        accepts::refusal(needs, accepts_root, self.ids.has_users())
    }

    fn list(
        &mut self,
        binary: &Binary,
        _: &[String],
        stop: StopToken<'_>,
    ) -> Result<String, PlaceError> {
        let mut listed = Vec::new();
        let command = SessionCommand {
            artifacts: None,
            program: None,
            arguments: &LIST_ARGUMENTS.map(OsStr::new),
            env: &[],
            limit: LIST_LIMIT,
            stop,
        };
        let end = self
            .session(binary)
            .run(&command, &mut |bytes| listed.extend_from_slice(bytes))?;
        let text = String::from_utf8_lossy(&listed).into_owned();
        match end {
            ProcessEnd::Exited(0) => Ok(text),
            end => {
                let (id, said) = (&binary.id, text.trim());
                Err(
                    format!("{id} does not list its tests in a user namespace: {end}: {said}")
                        .into(),
                )
            }
        }
    }

    fn run(&mut self, job: &Job<'_>, screen: &mut dyn FnMut(&[u8])) -> Result<(), PlaceError> {
        let arguments = job.arguments();
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        let env = job.run.env().map(|(name, value)| (name.into(), value));
        let env: Vec<(OsString, OsString)> = env.collect();
        let command = SessionCommand {
            artifacts: None,
            program: None,
            arguments: &arguments,
            env: &env,
            limit: job.limit(),
            stop: job.stop,
        };
        let end = self.session(job.binary).run(&command, screen)?;
        job.record_silent(NAME, &end)
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
            UserKind::Root => Ok(Box::new(self.session(binary))),
            UserKind::Unprivileged => {
                Err(format!("{NAME} runs processes as root only, not as {user}").into())
            }
        }
    }
}
