//! `cargo kata-test facts --doctor`: says what works on this machine, what does not, and what each lack costs.
//!
//! Each check is that of the code which would need the thing: facts and verdicts of kata-test-host, the places of the
//! runner, and the search for packages and a QEMU. Nothing is fetched, changed or connected to.

mod check;
mod checks;
mod machine;
#[cfg(test)]
mod tests;
mod variables;

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use check::{Check, CheckForm};
use checks::checks;
use machine::Machine;

/// Checks this machine and prints the result. The exit code is a failure only if tests can run in no place.
///
/// # Errors
/// If the working directory does not exist.
pub(super) fn run(as_json: bool) -> Result<ExitCode> {
    let machine = Machine::this()?;
    let checks = checks(&machine);
    let places = machine.places();
    match as_json {
        true => println!(
            "{}",
            serde_json::to_string_pretty(&document(&checks, &places))?
        ),
        false => print!("{}", text(&checks, &places)),
    }
    Ok(match places.iter().any(|(_, works)| *works) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn text(checks: &[Check], places: &[(&str, bool)]) -> String {
    let mut text: String = checks.iter().map(ToString::to_string).collect();
    for (title, wanted) in [("tests can run in", true), ("and cannot in", false)] {
        let names: Vec<&str> = places
            .iter()
            .filter(|(_, works)| *works == wanted)
            .map(|(name, _)| *name)
            .collect();
        if !names.is_empty() {
            text += &format!("{title}: {}\n", names.join(", "));
        }
    }
    text
}

/// What `--json` prints. The book's page `constraints/docs/records.md` is made from these types.
#[derive(Serialize)]
struct Document<'a> {
    /// The version of this form: 1.
    schema: u32,
    /// The checks, in the order of the text.
    checks: Vec<CheckForm<'a>>,
    /// The places.
    places: Vec<PlaceForm<'a>>,
}

#[derive(Serialize)]
struct PlaceForm<'a> {
    /// Its name. `vm:…` stands for all VMs, `vm:…+kvm` for those with a KVM.
    place: &'a str,
    /// Whether tests can run there.
    available: bool,
}

fn document<'a>(checks: &'a [Check], places: &[(&'a str, bool)]) -> Document<'a> {
    let places = places.iter().map(|(place, available)| PlaceForm {
        place,
        available: *available,
    });
    Document {
        schema: 1,
        checks: checks.iter().map(Check::form).collect(),
        places: places.collect(),
    }
}
