//! Metadata of a run: when and on which host it started, and its places. Stored in the run's folder.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::RunnerError;
use super::outputs::replace;
use kata_test::__runner::Folder;
use kata_test_host::facts::{Finding, Here, Host, Question};

const FILE: &str = "run.json";

/// What a run was, for a person. What is not known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RunInfo {
    /// The name of the machine, among several.
    #[serde(skip)]
    pub(super) machine: String,
    /// When it began, in seconds since 1970.
    pub(super) started: u64,
    /// The host on which the runner ran.
    pub(super) host: String,
    /// With what the tests ran, as their runner says.
    pub(super) with: String,
    /// The places that were at hand, each with what it is.
    pub(super) places: BTreeMap<String, String>,
    /// The releases of their kernels, as far as they are known.
    pub(super) kernels: BTreeMap<String, String>,
    /// Whether each test was to run in every place that takes it.
    pub(super) everywhere: bool,
}

impl RunInfo {
    /// A run that begins now, on this host.
    pub(super) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            started: since.unwrap_or_default().as_secs(),
            host: this_host(),
            ..Self::default()
        }
    }

    /// Reads what is known of the run with this folder: nothing, if no runner has run it.
    pub(super) fn read(dir: &Path) -> Result<Self, RunnerError> {
        let path = dir.join(FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            text => text.map_err(RunnerError::io("read", &path))?,
        };
        serde_json::from_slice(&text).map_err(|source| RunnerError::RunInfo {
            path,
            source: source.into(),
        })
    }

    pub(super) fn write(&self, folder: &Folder) -> Result<(), RunnerError> {
        let text = serde_json::to_vec_pretty(self).expect("texts and numbers");
        replace(folder, FILE, &text)
    }

    /// The same run as one of several machines: its places get the machine's name.
    pub(super) fn of_machine(mut self, label: Option<&str>) -> Self {
        self.machine = label.unwrap_or_default().to_owned();
        for by_place in [&mut self.places, &mut self.kernels] {
            let places = std::mem::take(by_place).into_iter();
            by_place.extend(places.map(|(name, text)| (name_of_place(label, &name), text)));
        }
        self
    }
}

/// A place's name, beside those of other machines.
pub(super) fn name_of_place(label: Option<&str>, place: &str) -> String {
    match (label, place) {
        (None, place) => place.to_owned(),
        (Some(label), "here") => label.to_owned(),
        (Some(label), place) => format!("{label}/{place}"),
    }
}

/// Kernel, architecture, distribution and user in one line.
fn this_host() -> String {
    let questions = [
        ("Linux ", Question::KernelRelease),
        ("", Question::Arch),
        ("", Question::Distro),
        ("uid ", Question::EffectiveUid),
    ];
    let parts = questions.map(|(before, question)| match &Here.ask(question).finding {
        Finding::Is(text) => format!("{before}{text}"),
        Finding::Absent(_) | Finding::Unknown(_) => String::new(),
    });
    let parts: Vec<String> = parts.into_iter().filter(|text| !text.is_empty()).collect();
    parts.join(", ")
}
