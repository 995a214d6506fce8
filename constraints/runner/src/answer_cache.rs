//! Caches facts of places by their key, and the lists of binaries there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::listing::Fact;
use super::outputs::replace;
use super::{Binary, Listing, RunnerError, host_program};
use kata_test::__runner::{Folder, UNFINISHED, file_name, make_root, start_time};
use kata_test_host::sys::in_thread_within;

/// A list that was not needed for so long is of a binary that is no more.
const LIST_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How the names of kept lists begin.
const LIST: &str = "list-";

/// The answers themselves, and the copy of them that a binary judges.
const FACTS: &str = "facts.jsonl";
const RECORDING: &str = "recording.jsonl";

const LOCK: &str = "lock";

/// How long another run may hold the lock, which it needs for writing two files.
const LOCK_LIMIT: Duration = Duration::from_secs(60);

/// The folder of a place's answers.
pub(super) struct AnswerCache {
    folder: Folder,
}

impl AnswerCache {
    /// Opens the answers to these questions of the place with this key, below the folder for all records.
    pub(super) fn open(
        record_root: &Path,
        key: &str,
        questions: &[String],
    ) -> Result<Self, RunnerError> {
        let key = &with_programs(key, questions);
        let open = || {
            let (places, _) = make_root(record_root)?.folder("places")?;
            Ok(places.folder(key)?.0)
        };
        let path = record_root.join("places").join(key);
        let folder = open().map_err(RunnerError::io("create", &path))?;
        sweep(&folder);
        Ok(Self { folder })
    }

    /// Writes a recording of the place for one binary, and returns its path. What comes with the
    /// environment is as it is here. `None`: nothing is known yet.
    pub(super) fn recording(&self, here: &[Fact]) -> Result<Option<PathBuf>, RunnerError> {
        let kept = self.facts()?;
        if kept.is_empty() {
            return Ok(None);
        }
        let of_here = here.iter().filter(|fact| fact.is_of_the_environment());
        let lines = lines(kept.values().chain(of_here));
        replace(&self.folder, RECORDING, lines.as_bytes())?;
        Ok(Some(self.folder.path().join(RECORDING)))
    }

    /// Keeps the facts and the list that a binary has printed in the place.
    pub(super) fn learn(
        &self,
        binary: &Binary,
        questions: &[String],
        text: &str,
        listing: &Listing,
    ) -> Result<(), RunnerError> {
        // Two runs can learn at the same time.
        let _lock = self.lock(LOCK_LIMIT)?;
        let mut facts = self.facts()?;
        for fact in listing.facts.iter().filter(|fact| !fact.is_of_the_run()) {
            facts.insert(fact.question.clone(), fact.clone());
        }
        let facts = lines(facts.values());
        replace(&self.folder, FACTS, facts.as_bytes())?;
        self.keep_text(binary, questions, text)
    }

    /// Keeps the list that a binary has printed in the place.
    pub(super) fn keep_text(
        &self,
        binary: &Binary,
        questions: &[String],
        text: &str,
    ) -> Result<(), RunnerError> {
        let list = format!("{}\n{text}", head(binary, questions));
        replace(&self.folder, &list_file(binary), list.as_bytes())
    }

    /// Returns the list of a binary in the place, if the binary and the questions are still the same.
    pub(super) fn list(&self, binary: &Binary, questions: &[String]) -> Option<Listing> {
        Listing::parse(&self.text(binary, questions)?).ok()
    }

    /// Returns what a binary has printed in the place, if the binary and the questions are still the same.
    pub(super) fn text(&self, binary: &Binary, questions: &[String]) -> Option<String> {
        let text = fs::read_to_string(self.folder.at(list_file(binary))).ok()?;
        let (of, printed) = text.split_once('\n')?;
        (of == head(binary, questions)).then(|| printed.to_owned())
    }

    /// Locks the folder against other runs, until the file is closed.
    fn lock(&self, limit: Duration) -> Result<File, RunnerError> {
        let locked = self.folder.append(LOCK).and_then(|file| {
            // A thread that waits longer gives the lock back as soon as it gets it.
            let lock = move || file.lock().map(|()| file);
            let too_late = || io::Error::other(format!("another process held it for {limit:?}"));
            in_thread_within("lock", limit, lock)?.unwrap_or_else(|| Err(too_late()))
        });
        locked.map_err(RunnerError::io("lock", &self.folder.path().join(LOCK)))
    }

    fn facts(&self) -> Result<BTreeMap<String, Fact>, RunnerError> {
        let text = match fs::read_to_string(self.folder.at(FACTS)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.map_err(RunnerError::io("read", &self.folder.path().join(FACTS)))?,
        };
        // A line that cannot be read is asked again.
        let facts = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        Ok(facts
            .map(|fact: Fact| (fact.question.clone(), fact))
            .collect())
    }
}

/// Adds to a key the programs of this host that the answers depend on.
fn with_programs(key: &str, questions: &[String]) -> String {
    let programs = questions
        .iter()
        .filter_map(|question| host_program(question));
    let programs: BTreeSet<PathBuf> = programs.collect();
    if programs.is_empty() {
        return key.to_owned();
    }
    let mut hasher = DefaultHasher::new();
    for program in programs {
        let changed = program.metadata().and_then(|data| data.modified()).ok();
        (program, changed).hash(&mut hasher);
    }
    format!("{key}-{:016x}", hasher.finish())
}

/// One file for each binary, and not for each of its builds: no more of them come to be.
fn list_file(binary: &Binary) -> String {
    format!("{LIST}{}.jsonl", file_name(&binary.id))
}

/// What a binary's list depends on beside the place. Its tests may ask for any variable.
fn head(binary: &Binary, questions: &[String]) -> String {
    let mut hasher = DefaultHasher::new();
    questions.hash(&mut hasher);
    for (name, value) in std::env::vars_os() {
        (name, value).hash(&mut hasher);
    }
    format!(
        "{} {:016x}",
        binary.identity().replace('\n', " "),
        hasher.finish()
    )
}

fn lines<'a>(facts: impl Iterator<Item = &'a Fact>) -> String {
    let line = |fact| serde_json::to_string(fact).expect("a fact has texts only") + "\n";
    facts.map(line).collect()
}

/// Removes what killed runners have left half written, and the lists of binaries that are no more.
/// Failures to remove are ignored.
fn sweep(folder: &Folder) {
    for entry in fs::read_dir(folder.at("")).into_iter().flatten().flatten() {
        let path = entry.path();
        let owner = path.extension().and_then(|ending| ending.to_str());
        let owner = owner.and_then(|ending| ending.strip_prefix(UNFINISHED)?.parse().ok());
        let is_left = owner.is_some_and(|owner: i32| start_time(owner).is_none());
        let is_list = entry.file_name().to_string_lossy().starts_with(LIST);
        let modified = entry.metadata().and_then(|data| data.modified());
        let age = modified.map(|time| time.elapsed().unwrap_or_default());
        if is_left || is_list && age.is_ok_and(|age| age > LIST_AGE) {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    //! Scope: what is kept in files. What a plan does with it is tested with the samples.

    use std::thread;
    use std::time::SystemTime;

    use super::*;

    fn listing(question: &str) -> Listing {
        let text =
            format!(r#"{{"question":"{question}","finding":"is","text":"1","source":"test"}}"#);
        Listing::parse(&text).expect("a list")
    }

    #[test]
    fn concurrent_runs_lose_no_fact() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let learn = |name: usize| {
            let known = AnswerCache::open(root, "key", &[]).expect("a folder");
            let binary = Binary {
                id: name.to_string(),
                ..Binary::default()
            };
            let listing = listing(&format!("question {name}"));
            known.learn(&binary, &[], "", &listing).expect("files");
        };
        thread::scope(|scope| {
            for name in 0..16 {
                scope.spawn(move || learn(name));
            }
        });
        let known = AnswerCache::open(root, "key", &[]).expect("a folder");
        assert_eq!(known.facts().expect("facts").len(), 16);
    }

    #[test]
    fn answers_are_those_for_the_programs_of_this_host() {
        let key = |questions: &[&str]| {
            let questions: Vec<String> = questions.iter().map(|one| (*one).to_owned()).collect();
            with_programs("key", &questions)
        };
        assert_eq!(key(&["module dummy", "command no-such-program"]), "key");
        let of_shell = key(&["command sh"]);
        assert!(of_shell.starts_with("key-"), "{of_shell}");
        assert_eq!(key(&["command version sh", "command sh"]), of_shell);
        assert_ne!(key(&["command sh", "command cat"]), of_shell);
    }

    #[test]
    fn builds_of_a_binary_share_one_list_and_old_lists_are_removed() {
        let root = tempfile::tempdir().expect("a folder");
        let known = AnswerCache::open(root.path(), "key", &[]).expect("a folder");
        for build in ["it-1", "it-2"] {
            let binary = Binary {
                id: "p::it".to_owned(),
                executable: build.into(),
                ..Binary::default()
            };
            known.learn(&binary, &[], "", &listing("a")).expect("files");
            assert!(known.list(&binary, &[]).is_some());
            assert!(known.list(&binary, &["a question".to_owned()]).is_none());
        }
        let path = root.path().join("places/key/list-p__it.jsonl");
        let file = File::open(&path).expect("the one list");
        let old = SystemTime::now() - LIST_AGE - Duration::from_secs(60);
        file.set_modified(old).expect("its time");
        AnswerCache::open(root.path(), "key", &[]).expect("a folder");
        assert!(!path.exists());
        assert!(root.path().join("places/key/facts.jsonl").exists());
    }

    #[test]
    fn a_wait_for_the_lock_has_a_deadline() {
        let root = tempfile::tempdir().expect("a folder");
        let known = AnswerCache::open(root.path(), "key", &[]).expect("a folder");
        let held = known.lock(Duration::from_secs(60)).expect("a lock");
        let error = known.lock(Duration::from_millis(20));
        let error = error.expect_err("another has it");
        let source = std::error::Error::source(&error).expect("a cause");
        let path = root.path().join("places/key/lock");
        assert_eq!(error.to_string(), format!("cannot lock {}", path.display()));
        assert_eq!(source.to_string(), "another process held it for 20ms");
        drop(held);
        known.lock(Duration::from_secs(60)).expect("a lock");
    }
}
