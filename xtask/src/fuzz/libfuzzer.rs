//! Runs a target, and reads what libFuzzer prints.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use guest_vm::process::{BoundedCommand, CommandOutput};

use super::build::Package;

/// After so many executions a target is started anew: some parsers keep texts as long as the process
/// lives.
const EXECUTIONS_OF_A_PROCESS: u64 = 1_000_000;

/// How long an execution may take, in seconds. Most take microseconds.
const SECONDS_OF_AN_EXECUTION: u64 = 25;

/// How long a target may take to start and to end, in addition to its time.
const GRACE: Duration = Duration::from_secs(60);

/// How far a target is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) target: String,
    pub(super) executions: u64,
    /// Those of processes that ended.
    before: u64,
    /// Edges that are reached.
    coverage: u64,
    /// Inputs in the corpus.
    corpus: u64,
    time: Duration,
}

impl Progress {
    /// Reads a line such as `#2048 pulse  cov: 123 ft: 200 corp: 12/90b lim: 20 exec/s: 682 rss: 40Mb`.
    fn read(&mut self, line: &str) {
        let number = |text: &str| {
            text.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse::<u64>()
                .ok()
        };
        let after = |name: &str| number(line.split_once(name)?.1.trim_start());
        let executions = match line.strip_prefix('#') {
            Some(rest) => number(rest),
            None => after("stat::number_of_executed_units:"),
        };
        if let Some(executions) = executions {
            self.executions = self.before + executions;
            self.coverage = after(" cov: ").unwrap_or(self.coverage);
            self.corpus = after(" corp: ").unwrap_or(self.corpus);
        }
    }

    /// Replaces the terminal's last line by this progress.
    pub(super) fn show(&self, width: usize) {
        let mut out = std::io::stdout();
        if out.is_terminal() {
            let _ = write!(out, "\r\x1b[2K{}\r", self.line(width));
            let _ = out.flush();
        }
    }

    fn line(&self, width: usize) -> String {
        let seconds = self.time.as_secs_f64();
        let rate = self.executions as f64 / seconds.max(0.001);
        format!(
            "{:width$}  {:>13} executions  {seconds:>7.1} s  {:>9}/s  {:>6} edges  {:>5} inputs",
            self.target,
            grouped(self.executions),
            grouped(rate as u64),
            self.coverage,
            self.corpus,
        )
    }
}

/// Formats a number with separators.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A target that has run.
pub(super) struct Ended {
    pub(super) progress: Progress,
    pub(super) failure: Option<Failure>,
}

/// An input that a target failed on.
pub(super) struct Failure {
    /// The last lines that libFuzzer printed.
    output: Vec<String>,
    input: Option<PathBuf>,
}

impl Failure {
    fn of(output: CommandOutput) -> Self {
        let written = |line: &String| {
            line.split("Test unit written to ")
                .nth(1)
                .map(PathBuf::from)
        };
        Self {
            input: output.stdout.iter().find_map(written),
            output: output.stdout,
        }
    }
}

impl Ended {
    pub(super) fn line(&self, width: usize) -> String {
        let failed = if self.failure.is_some() {
            "  FAILED"
        } else {
            ""
        };
        format!("{}{failed}", self.progress.line(width))
    }

    /// Returns what is known about a failure, and how to see it again.
    pub(super) fn explanation(&self) -> String {
        let Some(failure) = &self.failure else {
            return String::new();
        };
        let shows = |line: &&String| !line.starts_with(['#', ' ']) && !line.starts_with("stat::");
        let output: Vec<&str> = failure
            .output
            .iter()
            .filter(shows)
            .map(String::as_str)
            .collect();
        let target = &self.progress.target;
        let input = match &failure.input {
            Some(input) => format!("cargo xtask fuzz {target} --input {}", input.display()),
            None => "libFuzzer has written no input".to_owned(),
        };
        format!(
            "{target} failed:\n{}\nto run it on that input again: {input}",
            output.join("\n")
        )
    }
}

/// How much of a target to run.
#[derive(Clone, Copy)]
pub(super) enum Effort {
    /// For this time, with other inputs on each run.
    Time(Duration),
    /// So many executions, within a time limit, with the same inputs on each run.
    Executions(u64, Duration),
}

/// One target that is being run.
pub(super) struct Campaign<'a> {
    package: &'a Package,
    progress: Progress,
    found: PathBuf,
    artifacts: PathBuf,
    effort: Effort,
}

impl<'a> Campaign<'a> {
    pub(super) fn start(package: &'a Package, target: &str, effort: Effort) -> Result<Self> {
        let progress = Progress {
            target: target.to_owned(),
            ..Progress::default()
        };
        Ok(Self {
            package,
            progress,
            found: package.output_folder("corpus", target)?,
            artifacts: package.output_folder("artifacts", target)?,
            effort,
        })
    }

    /// Runs the target until its time is over, it was executed often enough, or it fails.
    pub(super) fn run(mut self, on_progress: impl Fn(&Progress)) -> Result<Ended> {
        let start = Instant::now();
        let (time, is_once) = match self.effort {
            Effort::Time(time) => (time, false),
            Effort::Executions(_, time) => (time, true),
        };
        loop {
            let left = time.saturating_sub(start.elapsed());
            let output = self.process(left.max(Duration::from_secs(1)), start, &on_progress)?;
            self.progress.before = self.progress.executions;
            self.progress.time = start.elapsed();
            let failure = (!output.status.success()).then(|| Failure::of(output));
            if failure.is_some() || is_once || start.elapsed() >= time {
                return Ok(Ended {
                    progress: self.progress,
                    failure,
                });
            }
        }
    }

    fn process(
        &mut self,
        time: Duration,
        start: Instant,
        on_progress: &impl Fn(&Progress),
    ) -> Result<CommandOutput> {
        let target = self.progress.target.clone();
        let mut command = with_one_output(&self.package.executable(&target));
        let prefix = format!("-artifact_prefix={}/", self.artifacts.display());
        let (executions, seed) = match self.effort {
            Effort::Time(_) => (EXECUTIONS_OF_A_PROCESS, 0), // 0 is a random seed
            Effort::Executions(executions, _) => (executions, 1),
        };
        command
            .arg(format!("-max_total_time={}", time.as_secs().max(1)))
            .args([format!("-runs={executions}"), format!("-seed={seed}")])
            .arg(format!("-timeout={SECONDS_OF_AN_EXECUTION}"))
            .args(["-rss_limit_mb=4096", "-print_final_stats=1", &prefix])
            // The first folder gets new inputs.
            .arg(&self.found)
            .arg(self.package.corpus(&target));
        let bounded = BoundedCommand {
            what: &target,
            command,
            deadline: time + GRACE,
            input: b"",
        };
        let progress = &mut self.progress;
        let run = bounded.finish(|line| {
            progress.time = start.elapsed();
            progress.read(line);
            on_progress(progress);
        });
        run.with_context(|| format!("the fuzz target {target}"))
    }
}

/// Runs a target on one input, and prints what it prints.
pub(super) fn reproduce(package: &Package, target: &str, input: &Path) -> Result<ExitCode> {
    let status = Command::new(package.executable(target)).arg(input).status();
    let status = status.with_context(|| format!("cannot run the fuzz target {target}"))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Makes a command whose errors, where libFuzzer prints, go to its standard output.
pub(super) fn with_one_output(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_from_what_libfuzzer_prints() {
        let mut progress = Progress::default();
        progress.read("INFO: Running with entropic power schedule (0xFF, 100).");
        progress.read("#2048\tpulse  cov: 123 ft: 200 corp: 12/90b lim: 20 exec/s: 682 rss: 40Mb");
        assert_eq!(
            (progress.executions, progress.coverage, progress.corpus),
            (2048, 123, 12)
        );
        progress.read("stat::number_of_executed_units: 4096");
        assert_eq!(
            (progress.executions, progress.coverage, progress.corpus),
            (4096, 123, 12)
        );
        progress.before = progress.executions;
        progress.read("#5\tINITED cov: 124 ft: 201 corp: 13/95b exec/s: 0 rss: 39Mb");
        assert_eq!((progress.executions, progress.coverage), (4101, 124));
    }

    #[test]
    fn numbers_are_grouped_by_three() {
        let texts = [0, 12, 999, 1000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "12", "999", "1,000", "1,234,567"]);
    }
}
