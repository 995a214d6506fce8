//! The fenced blocks of the README and of the book's pages, and how each is checked.
//!
//! A block says by its language, and by a word behind it, what it is:
//!
//! - `console`: lines that begin with `$ ` are commands, and `# ` is input of the one before. They succeed; with
//!   `fails` a test fails in the last one: its exit code is 1, and the block shows lines of its output, since other
//!   errors have that code too. The lines behind a command are in its output, where `…` stands for any text, and
//!   with `varies` a number for any number.
//! - `file=PATH` is a file, `add=PATH` the end of one, and `replace=PATH:LINE` stands in for that line in one.
//! - Other blocks of `rust`, and the attributes of `constraints.md`, are compiled; other blocks of `toml` are a
//!   configuration, and lines of `text` are those of a real output.

use std::fs;
use std::path::{Path, PathBuf};

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) page: String,
    pub(crate) info: String,
    pub(crate) text: String,
}

impl Block {
    pub(crate) fn language(&self) -> &str {
        self.info.split(' ').next().unwrap_or_default()
    }

    pub(crate) fn words(&self) -> &str {
        self.info.split_once(' ').map_or("", |(_, words)| words)
    }

    /// Whether a word behind the language is this one.
    pub(crate) fn is(&self, wanted: &str) -> bool {
        self.words().split(' ').any(|word| word == wanted)
    }

    pub(crate) fn commands(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter_map(|line| line.strip_prefix("$ "))
    }
}

/// How a block is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The target `places` runs it, or has its file there.
    Run,
    /// Likewise, but programs stand in for what takes minutes. All of it runs on request.
    InPart,
    /// Only with `KATA_TEST_ALLOW=kernel_build`, since it needs a kernel that compiles for minutes.
    OnRequest,
    Compiled,
    /// By the code that reads such a text.
    Parsed,
    /// With a real output.
    Compared,
}

/// Blocks of a page with a text in them, which a test of their own checks.
#[derive(Debug)]
pub(crate) struct OwnTest {
    pub(crate) page: &'static str,
    pub(crate) text: &'static str,
    pub(crate) count: usize,
    pub(crate) class: Class,
    /// The file with the test, which names the page.
    pub(crate) test: &'static str,
}

pub(crate) static OWN_TESTS: [OwnTest; 10] = [
    OwnTest {
        page: "README.md",
        text: "cargo xtask it",
        count: 1,
        class: Class::Parsed,
        test: "xtask/src/book/mod.rs",
    },
    OwnTest {
        page: "README.md",
        text: "cargo xtask who PID",
        count: 1,
        class: Class::Parsed,
        test: "xtask/src/book/mod.rs",
    },
    OwnTest {
        page: "own-kernel.md",
        text: "cargo kata-test run --kernel",
        count: 1,
        class: Class::OnRequest,
        test: "iothread-it/cargo-kata-test/tests/places/own_kernel_page.rs",
    },
    OwnTest {
        page: "own-kernel.md",
        text: "--places mine",
        count: 1,
        class: Class::OnRequest,
        test: "iothread-it/cargo-kata-test/tests/places/own_kernel_page.rs",
    },
    OwnTest {
        page: "own-kernel.md",
        text: "error: ",
        count: 2,
        class: Class::Compared,
        test: "iothread-it/cargo-kata-test/tests/places/own_kernel_page.rs",
    },
    OwnTest {
        page: "own-kernel.md",
        text: "",
        count: 2,
        class: Class::InPart,
        test: "iothread-it/cargo-kata-test/tests/places/own_kernel_page.rs",
    },
    OwnTest {
        page: "files.md",
        text: "rustup component add",
        count: 1,
        class: Class::Run,
        test: "iothread-it/cargo-kata-test/tests/places/pages.rs",
    },
    OwnTest {
        page: "debugging.md",
        text: "gdb",
        count: 5,
        class: Class::Run,
        test: "iothread-it/cargo-kata-test/tests/places/debugging_page.rs",
    },
    OwnTest {
        page: "ci.md",
        text: "uses: actions/checkout",
        count: 1,
        class: Class::Parsed,
        test: "iothread-it/cargo-kata-test/tests/reference/ci_listings.rs",
    },
    OwnTest {
        page: "ci.md",
        text: "image: rust",
        count: 1,
        class: Class::Parsed,
        test: "iothread-it/cargo-kata-test/tests/reference/ci_listings.rs",
    },
];

impl OwnTest {
    /// Whether it is for a block. A configuration is checked as any other.
    fn is_for(&self, block: &Block) -> bool {
        self.page == block.page && block.text.contains(self.text) && block.info != "toml"
    }

    pub(crate) fn of(block: &Block) -> Option<&'static Self> {
        OWN_TESTS.iter().find(|own| own.is_for(block))
    }
}

/// Beginnings of commands that are not run, and why. xtask's tests parse them.
pub(crate) const NOT_RUN: [(&str, &str); 1] = [(
    "cargo kata-test lock",
    "it asks the archive for more than 20 s",
)];

pub(crate) fn is_run(command: &str) -> bool {
    !NOT_RUN.iter().any(|(start, _)| command.starts_with(start))
}

/// Whether a command compiles all of the program. Cargo only reads it, up to where it knows the package; the program on
/// PATH is built from the same sources. `upkeep.rs` runs such a command with a package that compiles fast.
pub(crate) fn is_read_by_cargo(command: &str) -> bool {
    command.starts_with("cargo install ")
}

/// A package of the reader's, in which a page is followed.
pub(crate) struct Start {
    pub(crate) page: &'static str,
    pub(crate) package: &'static str,
    /// A test target with kata-test's harness.
    pub(crate) annotated: Option<&'static str>,
    pub(crate) files: &'static [(&'static str, &'static str)],
}

const PASSES: (&str, &str) = ("src/lib.rs", "#[test]\nfn passes() {}\n");

const fn plain(page: &'static str) -> Start {
    Start {
        page,
        package: "w",
        annotated: None,
        files: &[PASSES],
    }
}

/// Pages that are followed in a package that is there, where the others begin with an empty folder.
pub(crate) const STARTS: [Start; 11] = [
    Start {
        page: "README.md",
        package: "matrix",
        annotated: Some("system"),
        files: &[(
            "tests/system.rs",
            include_str!("../../../../constraints/examples/matrix/tests/system.rs"),
        )],
    },
    plain("userns.md"),
    plain("kvm.md"),
    Start {
        package: "sizes",
        files: &[(
            "src/lib.rs",
            "#[test] fn many_cpus() {}\n#[test] fn much_memory() {}\n#[test] fn two_nodes() {}\n\
             #[test] fn old_cgroups() {}\n",
        )],
        ..plain("vms.md")
    },
    Start {
        page: "files.md",
        package: "pkg",
        annotated: Some("it"),
        files: &[],
    },
    Start {
        files: &[(
            "tests/it.rs",
            r#"#[inline(never)]
fn longest(lines: &[&str]) -> Option<usize> {
    // The breakpoint is behind the prologue.
    lines.iter().map(|line| line.len()).max()
}

#[test]
fn counts() {
    std::fs::copy("/proc/mounts", "/tmp/mounts").unwrap();
    panic!("{:?}", longest(&["twenty"]));
}
"#,
        )],
        ..plain("debugging.md")
    },
    plain("migrating.md"),
    Start {
        annotated: Some("annotated"),
        files: &[(
            "tests/annotated.rs",
            "#[kata_test::test] fn a() {}\n#[kata_test::test] fn b() {}\n#[kata_test::test] fn c() {}\n\
             #[kata_test::test] fn d() {}\nkata_test::main!();\n",
        )],
        ..plain("ci.md")
    },
    plain("places.md"),
    plain("doctor.md"),
    Start {
        files: &[(
            "src/lib.rs",
            "#[test]\nfn passes() {}\n#[test]\nfn passes_too() {}\n",
        )],
        ..plain("own-kernel.md")
    },
];

pub(crate) const RUNNER_README: &str = "constraints/runner/README.md";

/// Pages that are followed in an empty folder, or by a test of their own.
const OTHERS: [&str; 4] = [
    "tutorial.md",
    "plain-tests.md",
    "annotated-tests.md",
    "upkeep.md",
];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The path in the repository of a page of `constraints/docs`, or of another document.
pub(crate) fn read(page: &str) -> String {
    let docs = root().join("constraints/docs").join(page);
    let path = if docs.exists() {
        docs
    } else {
        root().join(page)
    };
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"))
}

pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let text = read(page);
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((indent, info)) = line
            .split_once("```")
            .filter(|(before, _)| before.trim().is_empty())
        else {
            continue;
        };
        let end = format!("{indent}```");
        let inside = lines.by_ref().take_while(|line| *line != end);
        let inside = inside.map(|line| line.strip_prefix(indent).unwrap_or(line));
        blocks.push(Block {
            page: page.to_owned(),
            info: info.to_owned(),
            text: inside.flat_map(|line| [line, "\n"]).collect(),
        });
    }
    blocks
}

/// Whether a test that follows its page does what a block says.
pub(crate) fn is_followed(block: &Block) -> bool {
    let is_command = block.language() == "console" && class(block) == Ok(Class::Parsed);
    OwnTest::of(block).is_none() && (class(block) == Ok(Class::Run) || is_command)
}

/// Says how a block is checked, or what is wrong with it.
pub(crate) fn class(block: &Block) -> Result<Class, String> {
    let page = block.page.as_str();
    let is_followed = OTHERS.contains(&page) || STARTS.iter().any(|start| start.page == page);
    let is_file = ["file=", "add=", "replace="]
        .iter()
        .any(|word| block.words().starts_with(word));
    if let Some(own) = OwnTest::of(block) {
        return Ok(own.class);
    }
    match (block.language(), block.words()) {
        // Made from the code, and compared with it as a whole.
        ("text", "") if page == "cli.md" => Ok(Class::Compared),
        ("text", "") if page == "constraints.md" => Ok(Class::Compiled),
        ("text", "") => Ok(Class::Compared),
        ("console", _) if block.is("fails") && !shows_output(block) => {
            Err("it shows no output of the command that fails".to_owned())
        }
        ("console", _) if is_followed && block.commands().next().is_none() => {
            Err("it has no command".to_owned())
        }
        ("console", _) if is_followed && block.commands().all(is_read_by_cargo) => {
            Ok(Class::Parsed)
        }
        ("console", _) if is_followed => Ok(Class::Run),
        (_, _) if is_file && is_followed => Ok(Class::Run),
        ("rust", "") => Ok(Class::Compiled),
        // A documentation test.
        ("rust,no_run", "") if page == RUNNER_README => Ok(Class::Compiled),
        ("toml", "") => Ok(Class::Parsed),
        _ => Err("no test checks it".to_owned()),
    }
}

/// Whether a block ends with a line of output that is more than any text.
fn shows_output(block: &Block) -> bool {
    let last = block.text.lines().last().unwrap_or_default();
    !["$ ", "# "].iter().any(|start| last.starts_with(start)) && !last.replace('…', "").is_empty()
}
