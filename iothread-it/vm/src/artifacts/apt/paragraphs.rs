//! The entries of kernels in a package list.

use std::collections::BTreeMap;

use super::super::kernel_choice::Flavour;
use super::super::kernels::compare;
use super::closure::{Closure, Package};

/// The packages that depend on the current kernel of a suite: those of Debian, then those of Ubuntu.
const CLOUD: [&str; 2] = ["linux-image-cloud-amd64", "linux-image-virtual"];
const GENERIC: [&str; 2] = ["linux-image-amd64", "linux-image-generic"];

/// An entry of a package list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paragraph {
    name: String,
    version: String,
    depends: Vec<String>,
    package: Option<Package>,
}

impl Paragraph {
    /// Parses entries that are separated by empty lines.
    pub(super) fn parse_all(lines: &[String]) -> Vec<Self> {
        let paragraphs = lines.split(|line| line.is_empty());
        paragraphs.filter_map(Self::parse).collect()
    }

    fn parse(lines: &[String]) -> Option<Self> {
        let value = |field: &str| {
            let mut lines = lines.iter();
            lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(": "))
        };
        let (name, version) = (value("Package")?.to_owned(), value("Version")?.to_owned());
        let architecture = value("Architecture")?;
        let depends = value("Depends").unwrap_or_default().split(',');
        // Of alternatives, the first is the preferred one.
        let depends = depends.filter_map(|text| text.split_whitespace().next());
        let package = Package {
            file: format!("{name}_{}_{architecture}.deb", version.replace(':', "%3a")),
            size: value("Size")?.parse().ok()?,
            sha256: value("SHA256")?.to_ascii_lowercase(),
        };
        Some(Self {
            depends: depends.map(str::to_owned).collect(),
            package: package.is_valid().then_some(package),
            name,
            version,
        })
    }
}

/// The entries of a suite by name, the newest of each.
#[derive(Debug, Default)]
pub(super) struct Paragraphs(BTreeMap<String, Paragraph>);

impl Paragraphs {
    /// Adds entries.
    pub(super) fn extend(&mut self, entries: impl IntoIterator<Item = Paragraph>) {
        for entry in entries {
            let known = self.0.get(&entry.name);
            if known.is_none_or(|known| compare(&known.version, &entry.version).is_lt()) {
                self.0.insert(entry.name.clone(), entry);
            }
        }
    }

    /// Returns the upstream version of the suite's kernel, and its packages.
    pub(super) fn kernel(&self, flavour: Flavour) -> Option<(String, Closure)> {
        let names = match flavour {
            Flavour::Cloud => CLOUD,
            Flavour::Generic => GENERIC,
        };
        let meta = names.iter().find_map(|name| self.0.get(*name))?;
        let mut packages = Vec::new();
        for name in &meta.depends {
            self.collect(name, &mut packages);
        }
        let image = packages
            .iter()
            .find(|package| package.name().starts_with("linux-image-"))?;
        Some((image.upstream_version(), Closure::new(packages)))
    }

    /// Adds a package and those that it depends on, as far as they have files of a kernel.
    fn collect(&self, name: &str, packages: &mut Vec<Package>) {
        let entry = self.0.get(name).filter(|_| has_kernel_files(name));
        let Some((entry, package)) = entry.and_then(|entry| Some((entry, entry.package.clone()?)))
        else {
            return;
        };
        if !packages.contains(&package) {
            packages.push(package);
            for name in &entry.depends {
                self.collect(name, packages);
            }
        }
    }
}

/// Returns whether a package has the image or modules of a kernel. The others of its dependencies make an
/// initramfs, which is not used.
pub(crate) fn has_kernel_files(package: &str) -> bool {
    let prefixes = [
        "linux-image-",
        "linux-modules-",
        "linux-binary-",
        "linux-base-",
    ];
    let rest = prefixes
        .iter()
        .find_map(|prefix| package.strip_prefix(prefix));
    rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn entry(name: &str, version: &str, depends: &str) -> String {
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nDepends: {depends}\nSize: 7\n\
             SHA256: {HASH}\n\n"
        )
    }

    fn paragraphs(entries: &[String]) -> Paragraphs {
        let lines: Vec<_> = entries.concat().lines().map(str::to_owned).collect();
        let mut all = Paragraphs::default();
        all.extend(Paragraph::parse_all(&lines));
        all
    }

    #[test]
    fn the_kernel_is_what_the_package_of_the_flavour_depends_on() {
        let depends = "linux-image-7.2.1+deb14-cloud-amd64 (= 7.2.1-1), linux-base";
        let all = paragraphs(&[
            entry("linux-image-cloud-amd64", "7.2.1-1", depends),
            entry(
                "linux-image-cloud-amd64",
                "7.2.0-1",
                "linux-image-7.2.0-cloud-amd64",
            ),
            entry(
                "linux-image-7.2.1+deb14-cloud-amd64",
                "7.2.1-1",
                "kmod, linux-modules-7.2.1+deb14-cloud-amd64 (= 7.2.1-1), linux-base (>= 4)",
            ),
            entry("linux-modules-7.2.1+deb14-cloud-amd64", "7.2.1-1", ""),
            entry("linux-image-7.2.0-cloud-amd64", "7.2.0-1", ""),
            entry("linux-base", "4.12", ""),
        ]);
        let (version, packages) = all.kernel(Flavour::Cloud).unwrap();
        let files: Vec<_> = packages
            .packages()
            .iter()
            .map(|package| &*package.file)
            .collect();
        assert_eq!(version, "7.2.1");
        assert_eq!(
            files,
            [
                "linux-image-7.2.1+deb14-cloud-amd64_7.2.1-1_amd64.deb",
                "linux-modules-7.2.1+deb14-cloud-amd64_7.2.1-1_amd64.deb",
            ]
        );
        assert!(all.kernel(Flavour::Generic).is_none());
    }

    #[test]
    fn entries_without_a_valid_name_or_hash_are_no_kernels() {
        let image = entry("linux-image-6.1.0-1-amd64", "6.1-1", "");
        let meta = entry("linux-image-amd64", "6.1-1", "linux-image-6.1.0-1-amd64");
        let has = |entries: &[String]| paragraphs(entries).kernel(Flavour::Generic).is_some();
        assert!(has(&[meta.clone(), image.clone()]));
        assert!(!has(std::slice::from_ref(&meta)));
        assert!(!has(&[meta.clone(), image.replace(HASH, "e3b0")]));
        assert!(!has(&[meta, image.replace("6.1-1", "../../x")]));
    }
}
