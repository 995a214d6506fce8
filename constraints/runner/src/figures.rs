//! The figures of a bench, each beside its peer's, as `cargo xtask bench` leaves them.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::Deserialize;

use super::RunnerError;

/// The file's name.
pub(super) const FIGURES: &str = "bench.json";

/// What a bench has measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) figures: Vec<Figure>,
    /// Files that cannot be understood, each with the reason: no cause to be without outcomes.
    pub(super) broken: Vec<String>,
}

/// A figure beside its peer's. What is not known is left out.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Figure {
    /// `family: what`.
    pub(super) name: String,
    pub(super) ours: f64,
    pub(super) peer: f64,
    pub(super) peer_name: String,
    pub(super) unit: String,
    /// Nothing, if the spread is larger than the effect.
    pub(super) ratio: Option<f64>,
    #[serde(default)]
    pub(super) ratio_spread: Option<(f64, f64)>,
    #[serde(default)]
    pub(super) goal: Option<Goal>,
    #[serde(default)]
    pub(super) machine: String,
    /// In seconds since 1970.
    #[serde(default)]
    pub(super) measured_at: u64,
}

/// The ratio that is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Figures {
    /// Reads these files; one that is not there has no figures.
    pub(super) fn read(files: &[PathBuf]) -> Result<Self, RunnerError> {
        let mut all = Self::default();
        for path in files {
            let text = match fs::read(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                text => text.map_err(RunnerError::io("read", path))?,
            };
            match serde_json::from_slice::<Vec<Figure>>(&text) {
                Ok(figures) => all.figures.extend(figures),
                Err(error) => all.broken.push(format!("{}: {error}", path.display())),
            }
        }
        Ok(all)
    }
}

impl Figure {
    /// From where to where the ratio may lie.
    pub(super) fn spread(&self) -> (f64, f64) {
        let ratio = self.ratio.unwrap_or(self.ours / self.peer);
        self.ratio_spread.unwrap_or((ratio, ratio))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_understood_is_told_and_what_is_not_there_is_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = ["good", "broken", "absent"].map(|name| dir.path().join(name));
        let figure = r#"[{"name":"a: b","ours":1,"peer":4,"peer_name":"theirs","unit":"ms",
            "ratio":null,"goal":{"at_most":0.5},"later":[]}]"#;
        fs::write(&files[0], figure).expect("a file");
        fs::write(&files[1], "[{}]").expect("a file");
        let read = Figures::read(&files).expect("figures");
        assert_eq!(read.figures[0].goal, Some(Goal::AtMost(0.5)));
        assert_eq!(read.figures[0].spread(), (0.25, 0.25));
        assert!(
            read.broken[0].contains("broken: missing field `name`"),
            "{read:?}"
        );
    }
}
