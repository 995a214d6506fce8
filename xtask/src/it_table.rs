//! The outcomes of the suite as a table.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::{CellAlignment, Row, Table, presets};
use guest_vm::qemu::Topology;
use kata_test_runner::Record;

/// Returns the topology in a test's name: `module::topology::case`.
pub(crate) fn topology(test: &str) -> Option<Topology> {
    test.split("::")
        .find_map(|part| part.replace('_', "-").parse().ok())
}

/// Formats a test's name, without its topology.
fn case(test: &str) -> String {
    let is_topology = |part: &&str| topology(part).is_some();
    let parts: Vec<_> = test.split("::").filter(|part| !is_topology(part)).collect();
    match parts.split_last() {
        Some((case, [])) => case.replace('_', " "),
        Some((case, modules)) => format!("{}: {}", modules.join(" "), case.replace('_', " ")),
        None => String::new(),
    }
}

/// A table without rows, some of whose columns are aligned to the right.
pub(crate) fn table(header: impl Into<Row>, right: impl IntoIterator<Item = usize>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_header(header);
    for column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Lays out the outcomes.
pub(crate) fn of(outcomes: &[Record]) -> Table {
    let header = [
        "case",
        "machine",
        "outcome",
        "VM ms",
        "attach ms",
        "detach ms",
        "serving thread",
    ];
    let mut table = table(header, 3..6);
    for outcome in outcomes {
        let machine = topology(&outcome.test);
        let measure = |name: &str| outcome.measures.get(name).copied();
        let milliseconds = |name| measure(name).map_or(String::new(), |ms| format!("{ms:.0}"));
        table.add_row([
            case(&outcome.test),
            machine.map_or(String::new(), |machine| machine.to_string()),
            outcome.outcome.to_string(),
            milliseconds("start_ms"),
            milliseconds("attach_ms"),
            milliseconds("detach_ms"),
            measure("serving_thread").map_or(String::new(), |n| format!("indep_iothread_{n}")),
        ]);
    }
    table
}

/// Lays out the measures of a case that are named `ROW | COLUMN`, if it has any.
pub(crate) fn figures(test: &str, measures: &BTreeMap<String, f64>) -> Option<Table> {
    let cells = measures.iter();
    let cells = cells.filter_map(|(name, value)| Some((name.split_once(" | ")?, *value)));
    let cells: BTreeMap<(&str, &str), f64> = cells.collect();
    if cells.is_empty() {
        return None;
    }
    let rows: BTreeSet<&str> = cells.keys().map(|(row, _)| *row).collect();
    let columns: BTreeSet<&str> = cells.keys().map(|(_, column)| *column).collect();
    let title = case(test);
    let header = [&*title].into_iter().chain(columns.iter().copied());
    let mut table = table(header, 1..=columns.len());
    for row in rows {
        let value = |column: &&str| match cells.get(&(row, *column)) {
            Some(value) => format!("{value:.*}", decimals(*value)),
            None => String::new(),
        };
        let values = columns.iter().map(value);
        table.add_row([row.to_owned()].into_iter().chain(values));
    }
    Some(table)
}

/// How many decimals of a figure are shown, which then has three digits or more.
pub(crate) fn decimals(figure: f64) -> usize {
    match figure.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_with_a_row_and_a_column_are_a_table() {
        let measures = |measures: &[(&str, f64)]| {
            let named = measures
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value));
            named.collect::<BTreeMap<_, _>>()
        };
        assert!(figures("a::b", &measures(&[("attach_ms", 3.0)])).is_none());
        let table = figures(
            "io::q35::compares",
            &measures(&[
                ("b | ms", 0.25),
                ("a | IOPS", 1234.5),
                ("a | ms", 12.34),
                ("start_ms", 1.0),
            ]),
        );
        let table = table.unwrap().to_string().replace(['│', '┆'], " ");
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[1], ["io:", "compares", "IOPS", "ms"]);
        assert_eq!(lines[3], ["a", "1234", "12.3"]);
        assert_eq!(lines[4], ["b", "0.25"]);
    }

    #[test]
    fn a_topology_is_found_anywhere_in_a_name() {
        let name = "devices::scsi::q35_native::moves_a_disk";
        assert_eq!(topology(name), Some(Topology::Q35Native));
        assert_eq!(case(name), "devices scsi: moves a disk");
        assert_eq!(topology("microvm::refuses"), None);
        assert_eq!(case("microvm::refuses"), "microvm: refuses");
    }
}
