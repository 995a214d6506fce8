//! Runs a target, and reads what libFuzzer prints.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use guest_vm::process::BoundedCommand;

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
    /// The last lines that libFuzzer printed, if the target failed.
    pub(super) failure: Option<Vec<String>>,
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
        let Some(output) = &self.failure else {
            return String::new();
        };
        let target = &self.progress.target;
        let mut written = output.iter();
        let written = written.find_map(|line| line.split("Test unit written to ").nth(1));
        let input = match written {
            Some(input) => format!("cargo xtask fuzz {target} --input {input}"),
            None => "libFuzzer has written no input".to_owned(),
        };
        let shows = |line: &&str| !line.starts_with(['#', ' ']) && !line.starts_with("stat::");
        let output = output.iter().map(String::as_str).filter(shows);
        let output = output.collect::<Vec<_>>().join("\n");
        format!("{target} failed:\n{output}\nto run it on that input again: {input}")
    }
}

/// How much of a target to run.
#[derive(Clone, Copy)]
pub(super) struct Effort {
    pub(super) time: Duration,
    /// At most so many executions, with the same inputs on each run; otherwise the inputs differ.
    pub(super) executions: Option<u64>,
}

/// Runs a target until its time is over, it was executed often enough, or it fails.
pub(super) fn run(
    package: &Package,
    target: &str,
    effort: Effort,
    on_progress: impl Fn(&Progress),
) -> Result<Ended> {
    let found = package.output_folder("corpus", target)?;
    let artifacts = package.output_folder("artifacts", target)?;
    // The seed 0 is a random one.
    let random = (EXECUTIONS_OF_A_PROCESS, 0);
    let (executions, seed) = effort.executions.map_or(random, |count| (count, 1));
    let mut progress = Progress {
        target: target.to_owned(),
        ..Progress::default()
    };
    let start = Instant::now();
    loop {
        let left = effort.time.saturating_sub(start.elapsed());
        let left = left.max(Duration::from_secs(1));
        let mut command = with_one_output(&package.executable(target));
        command
            .arg(format!("-max_total_time={}", left.as_secs()))
            .args([format!("-runs={executions}"), format!("-seed={seed}")])
            .arg(format!("-timeout={SECONDS_OF_AN_EXECUTION}"))
            .args(["-rss_limit_mb=4096", "-print_final_stats=1"])
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            // The first folder gets new inputs.
            .args([&found, &package.corpus(target)]);
        let bounded = BoundedCommand {
            what: target,
            command,
            deadline: left + GRACE,
            input: b"",
        };
        let output = bounded.finish(|line| {
            progress.time = start.elapsed();
            progress.read(line);
            on_progress(&progress);
        });
        let output = output.with_context(|| format!("the fuzz target {target}"))?;
        progress.before = progress.executions;
        progress.time = start.elapsed();
        let failure = (!output.status.success()).then_some(output.stdout);
        if failure.is_some() || effort.executions.is_some() || progress.time >= effort.time {
            return Ok(Ended { progress, failure });
        }
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
