//! The suite's outcome as a table that a person can read.

use comfy_table::{CellAlignment, Table, presets};
use kata_test::runner::Outcome;

/// Where in a test's name the machine type stands: `module::machine::case`.
struct Case<'a> {
    name: String,
    machine: &'a str,
}

impl<'a> Case<'a> {
    fn of(test: &'a str) -> Self {
        let mut parts = test.split("::");
        match (parts.next(), parts.next(), parts.next()) {
            (Some(module), Some(machine), Some(case)) => Self {
                name: format!("{module}: {}", case.replace('_', " ")),
                machine,
            },
            _ => Self {
                name: test.to_owned(),
                machine: "",
            },
        }
    }
}

/// Lays out the outcomes.
pub(crate) fn of(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "case",
        "machine",
        "outcome",
        "attach ms",
        "detach ms",
        "serving thread",
    ]);
    for column in [3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for outcome in outcomes {
        let case = Case::of(&outcome.test);
        let measure = |name: &str| outcome.measures.get(name).copied();
        let milliseconds = |name| measure(name).map_or(String::new(), |ms| format!("{ms:.0}"));
        table.add_row([
            case.name,
            case.machine.to_owned(),
            outcome.outcome.to_string(),
            milliseconds("attach_ms"),
            milliseconds("detach_ms"),
            measure("serving_thread").map_or(String::new(), |n| format!("indep_iothread_{n}")),
        ]);
    }
    table
}
