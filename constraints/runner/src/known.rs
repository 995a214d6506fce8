//! What is known about places from earlier runs: answers by the place's key, and what each binary
//! has said there.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::listing::Fact;
use super::{Binary, Listing, RunnerError};
use kata_test::__runner::start_time;

/// The ending of a file that is being written, before the writer's pid.
const UNFINISHED: &str = "unfinished-";

/// The folder of a place's answers.
pub(super) struct Known {
    folder: PathBuf,
}

impl Known {
    /// Opens the answers of the place with this key, below the folder for all records.
    pub(super) fn open(record_root: &Path, key: &str) -> Result<Self, RunnerError> {
        let folder = record_root.join("places").join(key);
        fs::create_dir_all(&folder).map_err(RunnerError::io("create", &folder))?;
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
        let path = self.folder.join("recording.jsonl");
        replace(&path, &lines)?;
        Ok(Some(path))
    }

    /// Keeps what a binary has said in the place.
    pub(super) fn learn(
        &self,
        binary: &Binary,
        wishes: &[String],
        text: &str,
        listing: &Listing,
    ) -> Result<(), RunnerError> {
        let mut facts = self.facts()?;
        for fact in listing.facts.iter().filter(|fact| !fact.is_of_the_run()) {
            facts.insert(fact.question.clone(), fact.clone());
        }
        replace(&self.facts_file(), &lines(facts.values()))?;
        replace(
            &self.said_file(binary),
            &format!("{}\n{text}", head(binary, wishes)),
        )
    }

    /// What a binary has said in the place, if it is still the same and was asked the same.
    pub(super) fn said(&self, binary: &Binary, wishes: &[String]) -> Option<Listing> {
        let text = fs::read_to_string(self.said_file(binary)).ok()?;
        let (of, lines) = text.split_once('\n')?;
        let is_same = of == head(binary, wishes);
        is_same.then(|| Listing::parse(lines).ok()).flatten()
    }

    fn facts(&self) -> Result<BTreeMap<String, Fact>, RunnerError> {
        let path = self.facts_file();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.map_err(RunnerError::io("read", &path))?,
        };
        // A line that cannot be read is asked again.
        let facts = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        Ok(facts
            .map(|fact: Fact| (fact.question.clone(), fact))
            .collect())
    }

    fn facts_file(&self) -> PathBuf {
        self.folder.join("facts.jsonl")
    }

    fn said_file(&self, binary: &Binary) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        binary.executable.hash(&mut hasher);
        self.folder
            .join(format!("said-{:016x}.jsonl", hasher.finish()))
    }
}

/// What a binary's list depends on beside the place. Its tests may ask for any variable.
fn head(binary: &Binary, wishes: &[String]) -> String {
    let mut hasher = DefaultHasher::new();
    wishes.hash(&mut hasher);
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

/// Removes what killed runners have left half written. What cannot be removed harms nobody.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let owner = path.extension().and_then(|ending| ending.to_str());
        let owner = owner.and_then(|ending| ending.strip_prefix(UNFINISHED)?.parse().ok());
        if owner.is_some_and(|owner: i32| start_time(owner).is_none()) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Writes a file so that a reader sees the old content or the new one, never a part.
fn replace(path: &Path, text: &str) -> Result<(), RunnerError> {
    let unfinished = path.with_extension(format!("{UNFINISHED}{}", std::process::id()));
    let write = || {
        let mut file = fs::File::create(&unfinished)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&unfinished, path)
    };
    write().map_err(RunnerError::io("write", path))
}
