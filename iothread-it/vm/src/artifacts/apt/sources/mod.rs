//! The host's list of package archives, in both of the forms that apt reads.

mod deb822;
mod one_line;
mod select;

pub(super) use deb822::{parse as parse_deb822, render};
pub(super) use one_line::parse as parse_one_line;
pub(super) use select::{of_release, of_suite};

/// One entry: some suites of some archives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// Where the archive is; several are tried in turn.
    pub(super) uris: Vec<String>,
    /// Its suites, such as `bookworm-updates`; with a final `/` a directory without components.
    pub(super) suites: Vec<String>,
    /// Its components, such as `main`.
    pub(super) components: Vec<String>,
    /// Every other field that matters to us, such as `signed-by`, with its value as written.
    pub(super) options: Vec<(String, String)>,
}

/// The only architecture that is provisioned.
const ARCHITECTURE: &str = "amd64";

/// What an entry says beside its archives.
struct Fields {
    packages: bool,
    enabled: bool,
    source: Source,
}

impl Fields {
    fn new() -> Self {
        let source = Source {
            uris: Vec::new(),
            suites: Vec::new(),
            components: Vec::new(),
            options: Vec::new(),
        };
        Self {
            packages: false,
            enabled: true,
            source,
        }
    }

    /// Takes one field in the terms of the deb822 form, where names differ by case only.
    fn take(&mut self, name: &str, value: &str) {
        let words = || value.split_whitespace().map(str::to_owned);
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "types" => self.packages = words().any(|word| word == "deb"),
            // A disc cannot be asked for while nobody sits in front of the drive; the name of one
            // holds blanks.
            "uris" if value.trim_start().starts_with("cdrom:") => {}
            "uris" => self.source.uris = words().filter(|uri| !uri.starts_with("cdrom:")).collect(),
            "suites" => self.source.suites = words().collect(),
            "components" => self.source.components = words().collect(),
            "enabled" => {
                let no = ["no", "false", "without", "off", "disable", "0"];
                self.enabled = !no.contains(&value.trim().to_ascii_lowercase().as_str());
            }
            "architectures" => self.enabled &= words().any(|word| word == ARCHITECTURE),
            // We choose these ourselves, for apt as a whole.
            name if ["languages", "targets", "architectures"]
                .iter()
                .any(|own| name.starts_with(own)) => {}
            name if name.starts_with("x-") || name == "description" => {}
            _ => self
                .source
                .options
                .push((name.to_owned(), value.to_owned())),
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
