//! A package and its dependencies, parsed from `apt-get --print-uris`.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::downloads::hex;
use super::error::AptError;
use super::stamp;

/// A package file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Package {
    /// The file's name, `NAME_VERSION_ARCHITECTURE.deb`, with `%3a` for a colon.
    pub(crate) file: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its SHA-256, in lower-case hexadecimal digits.
    pub(crate) sha256: String,
}

/// Packages with all their dependencies, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Closure(Vec<Package>);

impl Package {
    /// Parses a line of `--print-uris`: `'URI' FILE SIZE SHA256:DIGITS`.
    fn parse(line: &str) -> Option<Self> {
        let (_, after_uri) = line.strip_prefix('\'')?.split_once("' ")?;
        let mut words = after_uri.split_whitespace();
        let (file, size, hash) = (words.next()?, words.next()?, words.next()?);
        let sha256 = hash.strip_prefix("SHA256:")?.to_ascii_lowercase();
        let package = Self {
            file: file.to_owned(),
            size: size.parse().ok()?,
            sha256,
        };
        package.is_valid().then_some(package)
    }

    /// Returns whether the name and the hash have the form of a package's.
    pub(crate) fn is_valid(&self) -> bool {
        let is_digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        self.has_plain_name() && self.sha256.len() == 64 && self.sha256.chars().all(is_digit)
    }

    /// Returns whether the name has three parts and is one path component.
    fn has_plain_name(&self) -> bool {
        let plain = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "+-.~%:".contains(c))
        };
        let stem = self.file.strip_suffix(".deb");
        stem.is_some_and(|stem| stem.split('_').count() == 3 && stem.split('_').all(plain))
    }

    fn part(&self, index: usize) -> &str {
        let stem = self.file.strip_suffix(".deb").unwrap_or(&self.file);
        stem.split('_').nth(index).unwrap_or_default()
    }

    /// Returns the package's name.
    pub(crate) fn name(&self) -> &str {
        self.part(0)
    }

    /// Returns the package's version, with its boot_id.
    pub(crate) fn version(&self) -> String {
        self.part(1).replace("%3a", ":").replace("%3A", ":")
    }

    /// Returns the version without the distribution's revision.
    pub(crate) fn upstream_version(&self) -> String {
        let version = self.version();
        let upstream = version.rsplit_once('-').map(|(upstream, _)| upstream);
        upstream.unwrap_or(&version).to_owned()
    }

    /// Returns the argument of `apt-get download` for exactly this package.
    pub(crate) fn request(&self) -> String {
        // apt treats packages for all architectures as native.
        let architecture = match self.part(2) {
            "all" => String::new(),
            other => format!(":{other}"),
        };
        format!("{}{architecture}={}", self.name(), self.version())
    }
}

impl Closure {
    /// Parses the output of `--print-uris` and keeps the packages for which `wanted` is true.
    pub(crate) fn parse(
        printed: &[String],
        wanted: impl Fn(&Package) -> bool,
    ) -> Result<Self, AptError> {
        let odd = |line: &String| AptError::UnexpectedLine(line.clone());
        let mut packages = Vec::new();
        for line in printed.iter().filter(|line| line.starts_with('\'')) {
            packages.push(Package::parse(line).ok_or_else(|| odd(line))?);
        }
        packages.retain(wanted);
        Ok(Self::new(packages))
    }

    /// Makes a closure of these packages.
    pub(super) fn new(mut packages: Vec<Package>) -> Self {
        packages.sort();
        packages.dedup();
        Self(packages)
    }

    /// Returns the packages, sorted by file name.
    pub(crate) fn packages(&self) -> &[Package] {
        &self.0
    }

    /// Returns a short hash of the packages' names, versions and contents, for the name of a directory.
    pub(crate) fn key(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update([stamp::SCHEMA]);
        for Package { file, size, sha256 } in &self.0 {
            hasher.update(format!("{file} {size} {sha256}\n"));
        }
        hex(&hasher.finalize()[..8])
    }

    /// Returns the first package whose name starts with `prefix`.
    pub(crate) fn named(&self, prefix: &str) -> Option<&Package> {
        self.0
            .iter()
            .find(|package| package.name().starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    //! **Scope**: parsing. `tests` uses a real apt.

    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";

    #[test]
    fn name_version_size_and_hash_are_parsed() {
        let file = "libqemu+x_1%3a7.2+dfsg-7+b3_amd64.deb";
        let line = format!("'http://a.example/it%27s' {file} 9281168 SHA256:{HASH}");
        let closure =
            Closure::parse(&["Reading lists".into(), line.clone(), line], |_| true).unwrap();
        let [package] = closure.packages() else {
            panic!("{closure:?}")
        };
        assert_eq!(package.size, 9_281_168);
        assert_eq!(package.sha256, HASH.to_ascii_lowercase());
        assert_eq!(package.request(), "libqemu+x:amd64=1:7.2+dfsg-7+b3");
    }

    #[test]
    fn a_package_for_all_architectures_is_requested_without_architecture() {
        let line = format!("'x' seabios_1.16.2-1_all.deb 1 SHA256:{HASH}");
        assert_eq!(Package::parse(&line).unwrap().request(), "seabios=1.16.2-1");
    }

    #[test]
    fn weak_hashes_and_invalid_names_are_refused() {
        let lines = [
            format!("'x' a_1_all.deb 1 MD5Sum:{}", &HASH[..32]),
            format!("'x' a_1_all.deb 1 SHA256:{}", &HASH[..32]),
            format!("'x' a_1_all.deb 1 SHA3:{HASH}"),
            format!("'x' ../a_1_all.deb 1 SHA256:{HASH}"),
            format!("'x' a_/1_all.deb 1 SHA256:{HASH}"),
            format!("'x' -o_1_all.deb 1 SHA256:{HASH}"),
            format!("'x' a_1_all.deb many SHA256:{HASH}"),
            "'x' a_1_all.deb 1".to_owned(),
        ];
        for line in lines {
            let error = Closure::parse(&[line], |_| true).unwrap_err();
            assert!(matches!(error, AptError::UnexpectedLine { .. }), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_line_causes_a_panic(line in "'(\\PC{0,9}|' |_|\\.deb|SHA256:){0,20}") {
            let _ = Closure::parse(&[line], |_| true);
        }
    }
}
