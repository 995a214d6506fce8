//! Progress of provisioning on standard error.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::Instant;

use guest_vm::artifacts::Progress;

/// Prints progress to standard error: one line that is updated on a terminal, otherwise whole lines.
#[derive(Debug)]
pub struct PrintedProgress {
    terminal: bool,
    step: Option<Step>,
}

#[derive(Debug)]
struct Step {
    text: String,
    start: Instant,
    percent: u8,
}

impl Default for PrintedProgress {
    /// Creates it without a step.
    fn default() -> Self {
        Self {
            terminal: stderr().is_terminal(),
            step: None,
        }
    }
}

impl PrintedProgress {
    /// Prints the current step over the line.
    fn redraw(&self) {
        if let Some(step) = self.step.as_ref().filter(|_| self.terminal) {
            let percent = step.percent;
            let percent = if percent == 0 {
                String::new()
            } else {
                format!(" {percent} %")
            };
            // A closed standard error is no reason to stop.
            let _ = write!(stderr(), "\r\x1b[K{}{percent}", step.text);
            let _ = stderr().flush();
        }
    }
}

impl Progress for PrintedProgress {
    fn started(&mut self, step: &str) {
        self.step = Some(Step {
            text: step.to_owned(),
            start: Instant::now(),
            percent: 0,
        });
        if !self.terminal {
            let _ = writeln!(stderr(), "{step}");
        }
        self.redraw();
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a fraction from 0 to 1 in percent fits"
    )]
    fn advanced(&mut self, fraction: f64) {
        let percent = (fraction.clamp(0.0, 1.0) * 100.0) as u8;
        let Some(step) = self.step.as_mut().filter(|step| step.percent != percent) else {
            return;
        };
        let quarter = percent / 25 > step.percent / 25;
        step.percent = percent;
        if !self.terminal && quarter {
            let _ = writeln!(stderr(), "  {percent} %");
        }
        self.redraw();
    }

    fn noted(&mut self, text: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        let _ = writeln!(stderr(), "{clear}{text}");
        self.redraw();
    }

    fn finished(&mut self) {
        if let Some(step) = self.step.take().filter(|_| self.terminal) {
            let seconds = step.start.elapsed().as_secs_f64();
            let _ = writeln!(stderr(), "\r\x1b[K{} ({seconds:.1} s)", step.text);
        }
    }
}
