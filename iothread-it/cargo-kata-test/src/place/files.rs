//! The files that tests leave in a guest: where they are there, and where they go.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;

use kata_test::__runner::{
    ARTIFACTS, ARTIFACTS_FOLDER, ArtifactsFolder, ENDED, Folder, artifacts_path,
};
use kata_test_runner::{Artifacts, PROFILE_FILE, ProfileFile, Run, TestId};

use super::environment::set;
use super::guest::GuestError;
use super::received::{Limits, ReceivedFolder};
use guest_vm::guest::AgentError;
use guest_vm::guest::protocol::{
    Collect, CollectedFolder, LeftOut, MAX_COLLECTED_BYTES, MAX_COLLECTED_DEPTH,
    MAX_COLLECTED_FILE_BYTES, MAX_COLLECTED_FILES, Piece, Program,
};

/// The folder of profiles in the guest, beside that of artifacts.
const PROFILES: &str = "profiles";

/// How much is kept of all files of a batch, in bytes.
const MAX_KEPT_BYTES: u64 = 1 << 30;

/// What a file takes on a disk beside its bytes.
const BLOCK: u64 = 4096;

const LIMITS: Limits = Limits {
    file_bytes: MAX_COLLECTED_FILE_BYTES,
    bytes: MAX_COLLECTED_BYTES,
    files: MAX_COLLECTED_FILES,
    depth: MAX_COLLECTED_DEPTH,
    free_bytes: 256 << 20,
};

/// What is left out of the files of a test whose guest has ended.
pub(super) const LOST: &str = "the guest ended before all files were sent";

/// Whether files of the test that ran may be lost. An agent that reports a failure, as a test that was too late, has
/// sent them.
pub(super) fn are_lost(error: &GuestError) -> bool {
    !matches!(error, GuestError::Agent(AgentError::Failed(_)))
}

fn reason(why: LeftOut) -> &'static str {
    match why {
        LeftOut::TooLarge => "it is too large: only its beginning is kept",
        LeftOut::TooMany => "there are too many files",
        LeftOut::TooDeep => "it is below too many folders",
        LeftOut::NoFile => "it is a link or no regular file",
        LeftOut::Name => "its name is not UTF-8",
        LeftOut::Unreadable => "it cannot be read",
    }
}

/// Has the agent collect the files of a program, with this folder of the guest as the root. A harness notes in
/// `ended` which folders are complete; a program without a harness has one folder. `tests` is how many tests may leave
/// profiles.
pub(super) fn collect(
    program: &mut Program,
    root: String,
    ended: Option<String>,
    profile: Option<&ProfileFile>,
    tests: u32,
) {
    let environment = &mut program.environment;
    match &ended {
        Some(ended) => set(environment, ENDED, ended),
        None => set(
            environment,
            ARTIFACTS,
            &format!("{root}/{ARTIFACTS_FOLDER}"),
        ),
    }
    let shared = |path: &str, limits| CollectedFolder {
        path: path.to_owned(),
        limits,
    };
    let mut folders = vec![shared(ARTIFACTS_FOLDER, 1)];
    if profile.is_some() {
        set(
            environment,
            PROFILE_FILE,
            &format!("{root}/{PROFILES}/%p-%m.profraw"),
        );
        folders.push(shared(PROFILES, tests));
    }
    program.collect = Some(Collect {
        root,
        folders,
        ended,
    });
}

/// Coverage profiles, which go where the user wants them.
pub(super) struct Profiles {
    file: ProfileFile,
    /// How many tests may leave some.
    tests: u32,
    received: Option<ReceivedFolder>,
}

impl Profiles {
    pub(super) fn new(file: ProfileFile, tests: u32) -> Self {
        Self {
            file,
            tests,
            received: None,
        }
    }

    fn received(&mut self) -> Option<&mut ReceivedFolder> {
        if self.received.is_none() {
            let limits = Limits {
                files: LIMITS.files.saturating_mul(self.tests),
                bytes: LIMITS.bytes.saturating_mul(self.tests.into()),
                ..LIMITS
            };
            let folder = self.file.folder();
            let made = fs::create_dir_all(folder).and_then(|()| Folder::make(folder));
            // Without the folder there are no profiles, as on this host.
            self.received = made
                .ok()
                .map(|(folder, _)| ReceivedFolder::new(folder, limits));
        }
        self.received.as_mut()
    }

    fn receive(&mut self, path: &str, piece: &Piece) {
        let name = self.file.name_of(path);
        let received = self.received();
        if received.is_some_and(|to| !to.receive(&name, piece.offset, &piece.bytes.0)) {
            self.remove(&name);
        }
    }

    fn leave_out(&mut self, path: &str, why: LeftOut) {
        let name = self.file.name_of(path);
        self.remove(&name);
        if let Some(received) = self.received() {
            received.leave_out(&name, reason(why));
        }
    }

    /// A profile without its end is none.
    fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.file.folder().join(name));
    }

    /// Returns what is left out, and why.
    fn finish(self) -> Vec<String> {
        let left_out = self.received.map_or_else(Vec::new, ReceivedFolder::finish);
        let text = |one| format!("coverage profile {one}");
        left_out.into_iter().map(text).collect()
    }
}

/// Takes what is below a folder's name from a path.
fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    path.strip_prefix(folder)?.strip_prefix('/')
}

/// The files of one process.
pub(super) struct ProcessFiles {
    received: Option<ReceivedFolder>,
    profiles: Option<Profiles>,
}

impl ProcessFiles {
    pub(super) fn new(folder: Option<&ArtifactsFolder>, profile: Option<ProfileFile>) -> Self {
        let folder = folder.and_then(|folder| folder.open().ok());
        Self {
            received: folder.map(|folder| ReceivedFolder::new(folder, LIMITS)),
            profiles: profile.map(|profile| Profiles::new(profile, 1)),
        }
    }

    pub(super) fn receive(&mut self, piece: &Piece) {
        if let (Some(path), Some(profiles)) = (below(&piece.path, PROFILES), &mut self.profiles) {
            profiles.receive(path, piece);
        }
        let path = below(&piece.path, ARTIFACTS_FOLDER);
        if let (Some(path), Some(received)) = (path, &mut self.received) {
            received.receive(path, piece.offset, &piece.bytes.0);
        }
    }

    pub(super) fn leave_out(&mut self, path: &str, why: LeftOut) {
        if let (Some(path), Some(profiles)) = (below(path, PROFILES), &mut self.profiles) {
            profiles.leave_out(path, why);
        }
        let path = below(path, ARTIFACTS_FOLDER);
        if let (Some(path), Some(received)) = (path, &mut self.received) {
            received.leave_out(path, reason(why));
        }
    }

    /// Returns what is left out, and why.
    pub(super) fn finish(self) -> Vec<String> {
        let files = self.received.map_or_else(Vec::new, ReceivedFolder::finish);
        let profiles = self.profiles.map_or_else(Vec::new, Profiles::finish);
        [files, profiles].concat()
    }
}

/// A test, and the number of an attempt.
type Attempt<'a> = (&'a str, u32);

/// The files of a batch of tests of a harness.
pub(super) struct BatchFiles<'a> {
    run: &'a Run,
    place: &'a str,
    binary: &'a str,
    /// The tests by the folder of an attempt, without its `,ATTEMPT`.
    tests: BTreeMap<String, &'a str>,
    /// How many attempts each has.
    attempts: u32,
    open: BTreeMap<Attempt<'a>, (ArtifactsFolder, ReceivedFolder)>,
    /// Those whose folders have come. An agent sends each once.
    closed: BTreeSet<Attempt<'a>>,
    profiles: Option<Profiles>,
    /// The size of all pieces, in bytes.
    sent: u64,
}

impl<'a> BatchFiles<'a> {
    pub(super) fn new(
        run: &'a Run,
        place: &'a str,
        binary: &'a str,
        tests: impl Iterator<Item = &'a String>,
        attempts: u32,
        profile: Option<ProfileFile>,
    ) -> Self {
        let folder = |test: &'a String| {
            let first = artifacts_path(place, binary, test, 1);
            Some((first.strip_suffix(",1")?.to_owned(), &**test))
        };
        let tests: BTreeMap<_, _> = tests.filter_map(folder).collect();
        let all = attempts.saturating_mul(u32::try_from(tests.len()).unwrap_or(u32::MAX));
        Self {
            run,
            place,
            binary,
            tests,
            attempts,
            open: BTreeMap::new(),
            closed: BTreeSet::new(),
            profiles: profile.map(|profile| Profiles::new(profile, all)),
            sent: 0,
        }
    }

    /// Takes a piece of a file. Breaks with a reason if there are more than an agent sends.
    pub(super) fn receive(&mut self, piece: &Piece) -> ControlFlow<String> {
        let file = if piece.offset == 0 { BLOCK } else { 1 };
        self.sent += piece.bytes.0.len() as u64 + file;
        // Those of tests, and that of profiles, which has the limits of all.
        let folders = 2 * self.tests.len() as u64 * u64::from(self.attempts) + 1;
        let of_folder = MAX_COLLECTED_BYTES + BLOCK * u64::from(MAX_COLLECTED_FILES);
        let limit = folders.saturating_mul(of_folder);
        if self.sent > limit {
            return ControlFlow::Break(format!("more than {limit} bytes of files were sent"));
        }
        if let (Some(path), Some(profiles)) = (below(&piece.path, PROFILES), &mut self.profiles) {
            profiles.receive(path, piece);
        } else if let Some((attempt, path)) = self.attempt_of(&piece.path) {
            let is_kept = self.sent <= MAX_KEPT_BYTES;
            if let Some(received) = self.open(attempt) {
                match is_kept {
                    true => drop(received.receive(path, piece.offset, &piece.bytes.0)),
                    false => received.leave_out(path, "other tests left too many files"),
                }
            }
        }
        ControlFlow::Continue(())
    }

    pub(super) fn leave_out(&mut self, path: &str, why: LeftOut) {
        if let (Some(path), Some(profiles)) = (below(path, PROFILES), &mut self.profiles) {
            profiles.leave_out(path, why);
        } else if let Some((attempt, path)) = self.attempt_of(path)
            && let Some(received) = self.open(attempt)
        {
            received.leave_out(path, reason(why));
        }
    }

    /// Returns which profiles are left out, and why.
    pub(super) fn lost_profiles(self) -> Vec<String> {
        self.profiles.map_or_else(Vec::new, Profiles::finish)
    }

    /// Splits a path into the attempt of the folder that it is in, and the rest.
    fn attempt_of<'p>(&self, path: &'p str) -> Option<(Attempt<'a>, &'p str)> {
        let (at, _) = path.match_indices('/').nth(3)?;
        let (folder, rest) = (&path[..at], &path[at + 1..]);
        let (folder, text) = folder.rsplit_once(',')?;
        let number: u32 = text.parse().ok()?;
        let is_one = (1..=self.attempts).contains(&number) && number.to_string() == text;
        let attempt = (*self.tests.get(folder).filter(|_| is_one)?, number);
        Some((attempt, rest))
    }

    /// Returns where the files of an attempt go. A second guest with the same test has a folder of its own.
    fn open(&mut self, attempt: Attempt<'a>) -> Option<&mut ReceivedFolder> {
        if self.closed.contains(&attempt) {
            return None;
        }
        if let Entry::Vacant(entry) = self.open.entry(attempt) {
            let test = TestId::new(self.binary, attempt.0);
            // An error of this host's disk concerns the records too.
            let made = self.run.artifacts_folder(self.place, &test, attempt.1);
            let made = made.ok()?;
            let received = ReceivedFolder::new(made.open().ok()?, LIMITS);
            entry.insert((made, received));
        }
        self.open.get_mut(&attempt).map(|(_, received)| received)
    }

    /// Returns the files of the folders that have come since the last time, by test and attempt.
    pub(super) fn finish(&mut self) -> BTreeMap<(String, u32), Artifacts> {
        let mut found = BTreeMap::new();
        for (attempt, (folder, received)) in std::mem::take(&mut self.open) {
            self.closed.insert(attempt);
            if let Some(artifacts) = Artifacts::of(&folder, received.finish()) {
                found.insert((attempt.0.to_owned(), attempt.1), artifacts);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use guest_vm::guest::protocol::{Binary, Failure, FailureKind};

    use super::*;

    fn empty(path: String) -> Piece {
        Piece {
            path,
            offset: 0,
            bytes: Binary(Vec::new()),
        }
    }

    #[test]
    fn the_folder_of_a_test_comes_once() {
        let folder = tempfile::tempdir().unwrap();
        let run = Run::start(folder.path()).unwrap();
        let tests = ["a::b".to_owned()];
        let mut files = BatchFiles::new(&run, "vm:a", "p::it", tests.iter(), u32::MAX, None);
        let first = artifacts_path("vm:a", "p::it", "a::b", 1);
        let other = artifacts_path("vm:a", "p::it", "other", 1);
        let numbers = ["0", "01", "+1", "4294967296", "1,1"];
        let base = first.strip_suffix('1').unwrap();
        let odd = numbers.map(|number| format!("{base}{number}"));
        for round in 0..3 {
            let folders = odd.iter().chain([&first, &other]);
            for folder in folders {
                let piece = empty(format!("{folder}/{round}"));
                assert_eq!(files.receive(&piece), ControlFlow::Continue(()));
                files.leave_out(&format!("{folder}/link"), LeftOut::NoFile);
            }
            let found = files.finish();
            let found: Vec<_> = found
                .values()
                .map(|one| (&*one.folder, one.files))
                .collect();
            let expected = [(&*first, 1)];
            assert_eq!(found, expected[..usize::from(round == 0)]);
        }
        let second = empty(format!("{base}2/file"));
        assert_eq!(files.receive(&second), ControlFlow::Continue(()));
        assert_eq!(
            files.finish().len(),
            1,
            "another attempt has another folder"
        );
    }

    #[test]
    fn files_are_lost_with_their_guest_only() {
        let late = AgentError::Failed(Failure {
            kind: FailureKind::TimedOut,
            message: "it was late".to_owned(),
        });
        assert!(!are_lost(&late.into()));
        let reset = AgentError::Reset {
            awaited: "an answer".to_owned(),
        };
        assert!(are_lost(&reset.into()));
    }

    #[test]
    fn the_profiles_of_a_batch_have_the_limits_of_its_tests() {
        let folder = tempfile::tempdir().unwrap();
        let run = Run::start(folder.path()).unwrap();
        let pattern = folder.path().join("profiles/%p.profraw");
        let profile = ProfileFile::of(&pattern, "vm-1").unwrap();
        let tests = ["a".to_owned(), "b".to_owned()];
        let mut files = BatchFiles::new(&run, "vm", "p", tests.iter(), 1, Some(profile));
        for number in 0..=2 * MAX_COLLECTED_FILES {
            let piece = empty(format!("{PROFILES}/{number:05}.profraw"));
            assert_eq!(files.receive(&piece), ControlFlow::Continue(()));
        }
        files.leave_out(&format!("{PROFILES}/00000.profraw"), LeftOut::TooLarge);
        let kept = fs::read_dir(folder.path().join("profiles")).unwrap();
        assert_eq!(kept.count(), 2 * MAX_COLLECTED_FILES as usize - 1);
        assert_eq!(
            files.lost_profiles(),
            [
                "coverage profile -vm-1-00000.profraw: it is too large: only its beginning is kept",
                "coverage profile -vm-1-02000.profraw: there are too many files",
            ]
        );
    }
}
