//! Runs one attempt of a plain test.

use std::ffi::OsStr;
use std::time::Instant;

use super::super::printed::Printed;
use super::super::result::{PlainResult, result};
use super::super::task::Ended;
use super::super::transcript::Transcript;
use super::super::{DEFAULT_LIMIT, PlainTest};
use super::PlainRun;
use crate::error::chain;
use crate::{Artifacts, Session, SessionCommand, StopToken};
use kata_test::__runner::{ARTIFACTS, ONLY_TEST};

impl PlainRun<'_> {
    /// Runs a test in a process. `None`: the run was stopped.
    pub(super) fn attempt(
        &self,
        session: &mut dyn Session,
        test: &PlainTest,
        attempt: u32,
        place: &str,
        stop: StopToken<'_>,
    ) -> Option<Ended> {
        let name = test.id.test.as_str();
        let mut arguments = ["--exact", name, "--nocapture"].map(OsStr::new).to_vec();
        if test.ignored.is_some() {
            arguments.push(OsStr::new("--ignored"));
        }
        let folder = self.run.artifacts_folder(place, &test.id, attempt);
        let path = folder.as_ref().ok().and_then(|folder| folder.path().ok());
        let mut env = vec![(ONLY_TEST.into(), name.into())];
        env.extend(path.map(|path| (ARTIFACTS.into(), path.into_os_string())));
        let limit = self.options.limit.or(test.settings.timeout);
        let command = SessionCommand {
            program: None,
            arguments: &arguments,
            env: &env,
            artifacts: folder.as_ref().ok(),
            limit: limit.unwrap_or(DEFAULT_LIMIT),
            stop,
        };
        let start = Instant::now();
        let (mut transcript, mut printed) = (Transcript::default(), Printed::default());
        let end = session.run(&command, &mut |bytes| {
            transcript.add(bytes);
            printed.add(bytes, name);
        });
        let took = start.elapsed();
        let left_out = session.left_out();
        let artifacts = match &folder {
            Ok(folder) => Artifacts::of(folder, left_out),
            Err(error) => Some(Artifacts {
                left_out: vec![chain(error)],
                ..Artifacts::default()
            }),
        };
        let output = transcript.text();
        let (end, result) = match end {
            Ok(end) => {
                let pattern = &self.options.pattern;
                let result = result(&end, &output, printed, name, pattern, place)?;
                (Some(end), result)
            }
            Err(error) => (None, PlainResult::infrastructure(chain(&*error), place)),
        };
        Some(Ended {
            end,
            output,
            result,
            took,
            uid: session.uid(),
            kernel_log: session.kernel_log(),
            artifacts,
        })
    }
}
