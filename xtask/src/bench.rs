//! `cargo xtask bench`: figures of the harness, each beside its peer's in the same run.
//!
//! The packages that are measured are written below the target folder, built there, and kept, so that
//! a second run begins with built dependencies. A figure is the best of a few.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::cargo;

/// How many tests a measured package has.
const TESTS: usize = 1000;
/// How often what is fast is measured.
const TIMES: usize = 5;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Measures those whose name contains one of these.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// One figure and its peer's.
struct Figure {
    name: &'static str,
    ours: Duration,
    peer: Duration,
    peer_name: &'static str,
    /// The ratio that is aimed at.
    goal: f64,
}

type Measure = fn(&Path) -> Result<Figure>;

const FIGURES: [(&str, Measure); 5] = [
    ("harness: 1000 trivial tests", run_trivial),
    ("harness: list of 1000 tests", list),
    ("harness: judged list of 1000 tests", judged_list),
    ("harness: compile 1000 tests", compile),
    ("harness: cold build", cold_build),
];

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let target = cargo::target_directory()?.join("kata-test");
    let folder = target.join("bench");
    let mut written = Vec::new();
    for (name, measure) in FIGURES {
        if !options.names.is_empty() && !options.names.iter().any(|n| name.contains(n.as_str())) {
            continue;
        }
        let figure = measure(&folder).with_context(|| format!("cannot measure {name}"))?;
        let ratio = figure.ours.as_secs_f64() / figure.peer.as_secs_f64();
        let verdict = if ratio <= figure.goal {
            "good"
        } else {
            "short of it"
        };
        println!(
            "{}: {:.1} ms, {} {:.1} ms: {ratio:.3} of it, goal {:.3}: {verdict}",
            figure.name,
            millis(figure.ours),
            figure.peer_name,
            millis(figure.peer),
            figure.goal,
        );
        written.push(json!({
            "name": figure.name,
            "ours": millis(figure.ours),
            "peer": millis(figure.peer),
            "peer_name": figure.peer_name,
            "unit": "ms",
            "ratio": ratio,
        }));
    }
    ensure!(
        !written.is_empty(),
        "no figure is called so; there are: {}",
        FIGURES.map(|(name, _)| name).join(", ")
    );
    let path = target.join("bench.json");
    fs::write(&path, serde_json::to_string_pretty(&written)?)
        .with_context(|| path.display().to_string())?;
    println!("figures: {}", path.display());
    Ok(ExitCode::SUCCESS)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// `cargo test` with our harness beside nextest with plain tests.
fn run_trivial(folder: &Path) -> Result<Figure> {
    let ours = Package::kata_test(folder, "trivial-ours", "#[kata_test]")?;
    let plain = Package::plain(folder)?;
    ours.test_binary()?;
    plain.test_binary()?;
    Ok(Figure {
        name: "harness: 1000 trivial tests",
        ours: best(TIMES, || Ok(ours.cargo(&["test", "--quiet"])))?,
        peer: best(2, || Ok(plain.cargo(&["nextest", "run"])))?,
        peer_name: "nextest with plain tests",
        goal: 1.0 / 15.0,
    })
}

/// `--list`, for which nothing is judged.
fn list(folder: &Path) -> Result<Figure> {
    list_of(
        folder,
        "harness: list of 1000 tests",
        &["--list", "--format=terse"],
    )
}

/// What nextest asks of a binary to know what it skips: every constraint is judged and recorded.
fn judged_list(folder: &Path) -> Result<Figure> {
    let args = ["--list", "--format=terse", "--ignored"];
    list_of(folder, "harness: judged list of 1000 tests", &args)
}

fn list_of(folder: &Path, name: &'static str, args: &[&str]) -> Result<Figure> {
    let needs = "#[kata_test(root, kernel_ge = \"4.{50}\", command = \"sh{50}\", \
                 arch = \"x86_64\", device = \"/dev/d{50}\")]";
    let ours = Package::kata_test(folder, "list-ours", needs)?.test_binary()?;
    let plain = Package::plain(folder)?.test_binary()?;
    Ok(Figure {
        name,
        ours: best(TIMES * 4, || {
            let mut command = Command::new(&ours);
            command.args(args).env("NEXTEST", "1");
            command.env("KATA_TEST_RECORD_DIR", folder.join("records"));
            Ok(command)
        })?,
        peer: best(TIMES * 4, || {
            let mut command = Command::new(&plain);
            command.args(["--list", "--format=terse"]);
            Ok(command)
        })?,
        peer_name: "libtest's",
        goal: 3.0,
    })
}

/// A change in a target of tests with three constraints each, beside one with plain tests.
fn compile(folder: &Path) -> Result<Figure> {
    let needs = "#[kata_test(root, kernel_ge = \"4.{50}\", command = \"sh{50}\")]";
    let ours = Package::kata_test(folder, "compile-ours", needs)?;
    let plain = Package::plain(folder)?;
    let build = |package: &Package| {
        package.test_binary()?;
        best(3, || {
            package.touch()?;
            Ok(package.cargo(&["test", "--no-run", "--quiet"]))
        })
    };
    Ok(Figure {
        name: "harness: compile 1000 tests",
        ours: build(&ours)?,
        peer: build(&plain)?,
        peer_name: "plain tests",
        goal: 2.5,
    })
}

/// Everything that a package depends on is built anew.
fn cold_build(folder: &Path) -> Result<Figure> {
    let ours = Package::kata_test(folder, "cold-ours", "#[kata_test]")?;
    let mimic = Package::write(
        folder,
        "cold-mimic",
        "libtest-mimic = \"0.8\"",
        "fn main() {}\n",
    )?;
    let build = |package: &Package| {
        package
            .cargo(&["fetch", "--quiet"])
            .status()
            .context("cannot fetch")?;
        best(2, || {
            let built = package.folder.join("target");
            if built.exists() {
                fs::remove_dir_all(&built).with_context(|| built.display().to_string())?;
            }
            Ok(package.cargo(&["build", "--quiet"]))
        })
    };
    Ok(Figure {
        name: "harness: cold build",
        ours: build(&ours)?,
        peer: build(&mimic)?,
        peer_name: "libtest-mimic",
        goal: 1.0,
    })
}

/// The shortest time of a few runs, each of which has to succeed.
fn best(times: usize, command: impl Fn() -> Result<Command>) -> Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..times {
        let mut command = command()?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let start = Instant::now();
        let status = command.status().with_context(|| format!("{command:?}"))?;
        best = best.min(start.elapsed());
        ensure!(status.success(), "{command:?} ended with {status}");
    }
    Ok(best)
}

/// A package that is measured: a library that depends on something, and a target of tests.
struct Package {
    folder: PathBuf,
}

impl Package {
    /// Tests with an attribute, in which `{50}` is one of fifty numbers.
    fn kata_test(folder: &Path, name: &str, attribute: &str) -> Result<Self> {
        let constraints = Path::new(env!("CARGO_MANIFEST_DIR")).join("../constraints");
        let dependency = format!(
            "kata-test = {{ path = {constraints:?} }}\n[[test]]\nname = \"many\"\nharness = false"
        );
        let mut source = String::from("use kata_test::kata_test;\nkata_test::main!();\n");
        for index in 0..TESTS {
            let attribute = attribute.replace("{50}", &(index % 50).to_string());
            writeln!(source, "{attribute}\nfn t{index}() {{}}")?;
        }
        Self::write(folder, name, &dependency, &source)
    }

    fn plain(folder: &Path) -> Result<Self> {
        let mut source = String::new();
        for index in 0..TESTS {
            writeln!(source, "#[test]\nfn t{index}() {{}}")?;
        }
        Self::write(folder, "plain", "", &source)
    }

    fn write(below: &Path, name: &str, dependencies: &str, tests: &str) -> Result<Self> {
        let folder = below.join(name);
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n{dependencies}\n"
        );
        for (file, text) in [
            ("Cargo.toml", manifest.as_str()),
            ("src/lib.rs", ""),
            ("tests/many.rs", tests),
        ] {
            let path = folder.join(file);
            let parent = path.parent().context("a file has a folder")?;
            fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
            // What is the same stays as old as it is, and built.
            if fs::read_to_string(&path).ok().as_deref() != Some(text) {
                fs::write(&path, text).with_context(|| path.display().to_string())?;
            }
        }
        Ok(Self { folder })
    }

    fn cargo(&self, args: &[&str]) -> Command {
        let mut command = cargo::cargo();
        command.args(args).current_dir(&self.folder);
        command.env("CARGO_TARGET_DIR", self.folder.join("target"));
        command
    }

    fn touch(&self) -> Result<()> {
        let path = self.folder.join("tests/many.rs");
        let file = fs::File::options().append(true).open(&path);
        let touched = file.and_then(|file| file.set_modified(std::time::SystemTime::now()));
        touched.with_context(|| path.display().to_string())
    }

    fn test_binary(&self) -> Result<PathBuf> {
        cargo::executable(&mut self.cargo(&["test", "--no-run", "--test=many"]))
    }
}
