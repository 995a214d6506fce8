//! The sources of apt, in both formats.

mod deb822;
mod one_line;
mod select;

pub(super) use deb822::{parse as parse_deb822, render};
pub(super) use one_line::parse as parse_one_line;
pub(super) use select::{of_addition, of_release, of_suite};

/// An entry: suites of archives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Source {
    /// URIs of the archive, tried in order.
    pub(super) uris: Vec<String>,
    /// Suites, such as `bookworm-updates`. With a final `/`, a directory without components.
    pub(super) suites: Vec<String>,
    /// Components, such as `main`.
    pub(super) components: Vec<String>,
    /// Other fields, such as `signed-by`, with their unparsed values.
    pub(super) options: Vec<(String, String)>,
}

/// The architecture of the provisioned packages.
const ARCHITECTURE: &str = "amd64";

/// Returns whether deb822 permits a name. An option of the one-line format can have any other, and would
/// be another field when it is rendered.
fn is_field(name: &str) -> bool {
    let is_permitted = |c: char| c.is_ascii_graphic() && c != ':';
    !name.is_empty() && !name.starts_with(['#', '-']) && name.chars().all(is_permitted)
}

/// The parsed fields of an entry.
struct Fields {
    packages: bool,
    enabled: bool,
    source: Source,
}

impl Fields {
    fn new() -> Self {
        Self {
            packages: false,
            enabled: true,
            source: Source::default(),
        }
    }

    /// Adds a field in deb822 terms. Names are case-insensitive.
    fn take(&mut self, name: &str, value: &str) {
        let words = || value.split_whitespace().map(str::to_owned);
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "types" => self.packages = words().any(|word| word == "deb"),
            // Discs need a user at the drive. The name of one may contain spaces.
            "uris" if value.trim_start().starts_with("cdrom:") => {}
            "uris" => self.source.uris = words().filter(|uri| !uri.starts_with("cdrom:")).collect(),
            "suites" => self.source.suites = words().collect(),
            "components" => self.source.components = words().collect(),
            "enabled" => {
                let no = ["no", "false", "without", "off", "disable", "0"];
                self.enabled = !no.contains(&value.trim().to_ascii_lowercase().as_str());
            }
            "architectures" => self.enabled &= words().any(|word| word == ARCHITECTURE),
            // Set in our configuration of apt.
            name if ["languages", "targets", "architectures"]
                .iter()
                .any(|own| name.starts_with(own)) => {}
            name if name.starts_with("x-") || name == "description" => {}
            name if is_field(name) => self
                .source
                .options
                .push((name.to_owned(), value.to_owned())),
            _ => {}
        }
    }

    fn finish(self) -> Option<Source> {
        let usable = self.packages
            && self.enabled
            && !self.source.uris.is_empty()
            && !self.source.suites.is_empty();
        usable.then_some(self.source)
    }
}
