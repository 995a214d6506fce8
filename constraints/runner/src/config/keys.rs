//! The keys of the configuration: the one list for checks, suggestions and documentation.

use std::fmt::Write as _;

use kata_test_host::constraint::nearest;
use toml::de::{DeTable, DeValue};

use super::error::Mistake;

/// A table of the configuration.
struct Section {
    name: &'static str,
    shape: Shape,
    keys: &'static [Key],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `[suspects]`, with fixed keys.
    Table,
    /// `[requirements]`, whose keys are data.
    Map,
    /// `[[tests]]`.
    List,
    /// `[places.NAME]`.
    Named,
}

/// A key, or the values of a map.
struct Key {
    name: &'static str,
    /// An example in TOML.
    example: &'static str,
    /// In Markdown.
    about: &'static str,
}

const fn key(name: &'static str, example: &'static str, about: &'static str) -> Key {
    Key {
        name,
        example,
        about,
    }
}

const SECTIONS: [Section; 10] = [
    Section {
        name: "requirements",
        shape: Shape::Map,
        keys: &[key(
            "FILTER",
            "\"ignored(needs root)\" = \"root\"",
            "The constraints of the tests that match the filter, in the grammar of the attribute. With \
             `ignored(…)`, those ignored tests run where the constraints are met.",
        )],
    },
    Section {
        name: "tests",
        shape: Shape::List,
        keys: &[
            key(
                "filter",
                "filter = \"package(net-*) & test(tap)\"",
                "The tests that the other keys are for. Required.",
            ),
            key(
                "requires",
                "requires = 'root, kernel_ge = \"5.10\"'",
                "Their constraints, as in `[requirements]`. Those of all matching entries count.",
            ),
            key(
                "user",
                "user = \"unprivileged\"",
                "`root` or `unprivileged`: the user that they run as. Default: one like the caller.",
            ),
            key(
                "timeout",
                "timeout = \"60s\"",
                "The time limit of each: a whole number and `ms`, `s`, `m` or `h`. Default: 10 minutes for plain \
                 tests; a test with the attribute has none but that of its `timeout`.",
            ),
            key(
                "retries",
                "retries = 2",
                "How often each runs again if it fails. One that then passes is flaky.",
            ),
            key(
                "expect-failure",
                "expect-failure = { requires = 'kernel_lt = \"6.5\"', issue = \"owner/project#1\" }",
                "They have to fail while `requires` is met, or always without it; one that passes is an \
                 unexpected pass. With `message`, their output has to contain it. `crash`, `timeout` and \
                 `sometimes`, each `= true`, are those of the attribute.",
            ),
            key(
                "unstable",
                "unstable = \"owner/project#2\"",
                "Why their failures are reported, and do not fail the run.",
            ),
            key(
                "places",
                "places = [\"here\", \"vm:trixie\"]",
                "The only places where they may run.",
            ),
            key(
                "parallel",
                "parallel = false",
                "`false`: each runs while no other test of its binary does. `true`, the default: on this \
                 host as many run at the same time as it has CPUs (`--test-threads`), elsewhere one in each \
                 guest (`--vms`).",
            ),
            key(
                "root-in-userns",
                "root-in-userns = true",
                "`true`: where they need root, by their attribute or by another key, root in a user namespace \
                 suffices. The place `userns` then takes them. Default: `false`.",
            ),
        ],
    },
    Section {
        name: "places",
        shape: Shape::Named,
        keys: &[
            key(
                "suite",
                "suite = \"bookworm\"",
                "The suite whose kernel the VM boots. `NAME` is then a place for `--places`.",
            ),
            key(
                "kernel",
                "kernel = \"../linux\"",
                "Instead of `suite`: a kernel of your own, by its file (bzImage or vmlinux), the folder that \
                 it was built in, or a package (`.deb`). Relative paths start at the root of the workspace.",
            ),
            key(
                "modules",
                "modules = \"/lib/modules/6.12.1-own\"",
                "The folder or package with that kernel's modules, if it has any that are not built in the \
                 same folder or in the same package.",
            ),
            key(
                "kernel-args",
                "kernel-args = \"lsm=landlock\"",
                "Further arguments of the kernel.",
            ),
            key(
                "network",
                "network = \"user\"",
                "Gives the VM a network: QEMU's user-mode networking. Default: none but the loopback interface.",
            ),
        ],
    },
    Section {
        name: "selection",
        shape: Shape::Table,
        keys: &[key(
            "default-filter",
            "default-filter = \"not test(/^soak::/)\"",
            "Leaves out the tests that do not match, like nextest's key of this name, also if a command has filters of \
             its own. `--ignore-default-filter` runs them. Documentation tests always run.",
        )],
    },
    Section {
        name: "vms",
        shape: Shape::Table,
        keys: &[key(
            "qemu",
            "qemu = \"suite:trixie\"",
            "The QEMU of all VMs, as in `--qemu`, which replaces it. A path is relative to the workspace's \
             root. Default: `auto`.",
        )],
    },
    Section {
        name: "suspects",
        shape: Shape::Table,
        keys: &[
            key(
                "pattern",
                "pattern = '(?i)^skipping\\b'",
                "A regular expression for output lines of passed tests that report a skip. Default: a \
                 careful one, which also finds `skipping NAME: …` with the test's own name.",
            ),
            key(
                "policy",
                "policy = \"fail\"",
                "`report` or `fail`: whether a suspected skip that is left fails the run. Default: `report`.",
            ),
        ],
    },
    Section {
        name: "harness",
        shape: Shape::Table,
        keys: &[key(
            "libtest-compatible",
            "libtest-compatible = [\"pkg::bin/tool\"]",
            "Ids of binaries whose own `main` takes libtest's `--list --format terse` and `--exact`.",
        )],
    },
    Section {
        name: "package-files",
        shape: Shape::Table,
        keys: &[key(
            "exclude",
            "exclude = [\"*.iso\", \"tests/data/**\"]",
            "Files that are not copied into VMs. Without a slash: names at any depth; with one: paths in \
             the package.",
        )],
    },
    Section {
        name: "secrets",
        shape: Shape::Table,
        keys: &[
            key(
                "variables",
                "variables = [\"ACME_*\"]",
                "Environment variables that are secrets, beside those with a word such as `TOKEN` in their names. \
                 `*` stands for any characters. Tests in VMs do not get them, and their values are replaced in \
                 records.",
            ),
            key(
                "allow",
                "allow = [\"SORT_KEY\"]",
                "Variables that look like secrets and are none.",
            ),
        ],
    },
    Section {
        name: "archive",
        shape: Shape::Table,
        keys: &[
            key(
                "url",
                "url = \"https://mirror.example/debian\"",
                "A Debian archive, from which VMs get QEMU and kernels. Required in `[archive]`. \
                 Default: the archives of the host's apt; `KATA_TEST_ARCHIVE` replaces both.",
            ),
            key(
                "suites",
                "suites = [\"trixie\", \"sid\"]",
                "Its suites, the preferred one first. Required.",
            ),
            key(
                "keyring",
                "keyring = \"/usr/share/keyrings/debian-archive-keyring.gpg\"",
                "The file with the keys that sign them, with its absolute path. Required.",
            ),
        ],
    },
];

/// Checks that every key is known. Values are checked when they are converted.
pub(super) fn check(table: &DeTable<'_>) -> Result<(), Mistake> {
    for (name, value) in table {
        let Some(section) = SECTIONS
            .iter()
            .find(|section| section.name == name.get_ref())
        else {
            let known: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
            return Err(Mistake::at(name.span(), unknown(name.get_ref(), &known)));
        };
        match (section.shape, value.get_ref()) {
            (Shape::Table, DeValue::Table(table)) => section.check(table)?,
            (Shape::List, DeValue::Array(list)) => {
                for item in list.iter() {
                    if let DeValue::Table(table) = item.get_ref() {
                        section.check(table)?;
                    }
                }
            }
            (Shape::Named, DeValue::Table(names)) => {
                for (_, place) in names {
                    if let DeValue::Table(table) = place.get_ref() {
                        section.check(table)?;
                    }
                }
            }
            (Shape::Map, DeValue::Table(_)) => {}
            _ => {
                let header = section.header();
                let problem = format!("`{}` has the wrong form; write `{header}`", section.name);
                return Err(Mistake::at(value.span(), problem));
            }
        }
    }
    Ok(())
}

impl Section {
    fn check(&self, table: &DeTable<'_>) -> Result<(), Mistake> {
        for (name, _) in table {
            if !self.keys.iter().any(|key| key.name == name.get_ref()) {
                let known: Vec<&str> = self.keys.iter().map(|key| key.name).collect();
                let problem = format!(
                    "{} has an {}",
                    self.header(),
                    unknown(name.get_ref(), &known)
                );
                return Err(Mistake::at(name.span(), problem));
            }
        }
        Ok(())
    }

    fn header(&self) -> String {
        match self.shape {
            Shape::List => format!("[[{}]]", self.name),
            Shape::Named => format!("[{}.NAME]", self.name),
            Shape::Table | Shape::Map => format!("[{}]", self.name),
        }
    }
}

fn unknown(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(index) => format!("unknown key `{name}`; did you mean `{}`?", known[index]),
        None => format!("unknown key `{name}`; the keys are {}", known.join(", ")),
    }
}

/// Returns a Markdown table of all keys.
#[must_use]
pub fn reference() -> String {
    let mut table = String::from("| table | key, as an example | meaning |\n|---|---|---|\n");
    for section in &SECTIONS {
        for key in section.keys {
            let header = section.header();
            let Key { example, about, .. } = key;
            // Writing to a string does not fail.
            let _ = writeln!(
                table,
                "| `{header}` | `{}` | {about} |",
                example.replace('|', "\\|")
            );
        }
    }
    table
}

#[cfg(test)]
mod tests {
    //! Scope: that the list and the parser agree.

    use std::path::Path;

    use super::*;

    /// All examples as one file.
    fn example_file() -> String {
        let section = |section: &Section| {
            let header = section.header().replace("NAME", "old");
            // `suite` excludes the keys after it.
            let count = if section.name == "places" {
                1
            } else {
                section.keys.len()
            };
            let (keys, others) = section.keys.split_at(count);
            let lines = |keys: &[Key]| {
                keys.iter()
                    .fold(String::new(), |text, key| text + key.example + "\n")
            };
            let own = match others {
                [] => String::new(),
                others => format!("[places.mine]\n{}", lines(others)),
            };
            format!("{header}\n{}{own}", lines(keys))
        };
        SECTIONS.iter().map(section).collect()
    }

    #[test]
    fn the_parser_takes_every_key_and_no_other() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(".config")).unwrap();
        let file = root.path().join(".config/kata-test.toml");
        let text = example_file();
        std::fs::write(&file, &text).unwrap();
        let mut config = super::super::Config::load(root.path()).unwrap();
        let relative = |path: &Path| path.strip_prefix(root.path()).unwrap_or(path).to_owned();
        for place in config.places.values_mut() {
            if let super::super::NamedKernel::Own { kernel, .. } = &mut place.kernel {
                *kernel = relative(kernel);
            }
        }
        let settings = config.for_test(&crate::TestName {
            binary: "net-a::it",
            test: "tap",
            ignored: Some("needs root"),
        });
        let needs = "root, kernel >= 5.10, root";
        assert_eq!(
            (settings.needs().as_str(), settings.runs_ignored),
            (needs, true)
        );
        let of_the_test = (
            settings.user,
            settings.timeout,
            settings.places,
            settings.parallel,
            settings.root_in_userns,
        );
        let pattern = config
            .suspects
            .pattern
            .as_ref()
            .map(regex_lite::Regex::as_str);
        insta::assert_debug_snapshot!((
            of_the_test,
            &config.places,
            &config.qemu,
            config.default_filter.as_ref().map(ToString::to_string),
            (pattern, config.suspects.policy),
            &config.libtest_compatible,
            config.package_files.patterns(),
            &config.archive,
        ));
        for key in SECTIONS.iter().flat_map(|section| section.keys) {
            let is_value = key.example.starts_with(&format!("{} = ", key.name));
            assert!(is_value || key.name == "FILTER", "{}", key.name);
        }
    }

    #[test]
    fn the_readme_has_the_table() {
        let readme = include_str!("../../README.md");
        let table = reference();
        assert!(
            readme.contains(&table),
            "README.md lacks this table:\n{table}"
        );
    }
}
