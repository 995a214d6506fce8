//! Where the configuration is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::error::{ConfigError, Mistake};
use super::{Config, keys, raw::Raw};

/// The file of its own, in the root of the workspace.
const OWN_FILE: &str = ".config/kata-test.toml";
const MANIFEST: &str = "Cargo.toml";

/// A file that has a configuration.
pub(super) struct Source {
    path: PathBuf,
    text: String,
    /// The tables that contain the configuration.
    within: &'static [&'static str],
}

impl Source {
    /// Returns the file with the configuration.
    pub(super) fn find(root: &Path) -> Result<Option<Self>, ConfigError> {
        let own = Self::read(root.join(OWN_FILE), &[])?;
        let manifest = Self::read(root.join(MANIFEST), &["workspace", "metadata", "kata-test"])?;
        let manifest = match manifest {
            Some(manifest) if manifest.has_tables()? => Some(manifest),
            _ => None,
        };
        match (own, manifest) {
            (Some(own), Some(_)) => Err(ConfigError::TwoFiles { path: own.path }),
            (own, manifest) => Ok(own.or(manifest)),
        }
    }

    fn read(path: PathBuf, within: &'static [&'static str]) -> Result<Option<Self>, ConfigError> {
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Self { path, text, within })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ConfigError::Read { path, source }),
        }
    }

    fn has_tables(&self) -> Result<bool, ConfigError> {
        let found = self.table().map(|table| table.is_some());
        found.map_err(|mistake| mistake.in_file(&self.path, &self.text))
    }

    /// Parses the file, and returns the table with the configuration.
    fn table(&self) -> Result<Option<Spanned<DeTable<'_>>>, Mistake> {
        let mut table = DeTable::parse(&self.text)?;
        for name in self.within {
            let inner = table.get_mut().remove(*name);
            let Some(inner) = inner else {
                return Ok(None);
            };
            let span = inner.span();
            let DeValue::Table(inner) = inner.into_inner() else {
                return Err(Mistake::at(span, format!("`{name}` is not a table")));
            };
            table = Spanned::new(span, inner);
        }
        Ok(Some(table))
    }

    pub(super) fn config(&self) -> Result<Config, ConfigError> {
        self.parse()
            .map_err(|mistake| mistake.in_file(&self.path, &self.text))
    }

    fn parse(&self) -> Result<Config, Mistake> {
        let Some(table) = self.table()? else {
            return Ok(Config::default());
        };
        keys::check(table.get_ref())?;
        Raw::deserialize(Deserializer::from(table))?.config()
    }
}
