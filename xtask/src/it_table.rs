//! The outcomes of the suite as a table.

use comfy_table::{CellAlignment, Table, presets};
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

/// Lays out the outcomes.
pub(crate) fn of(outcomes: &[Record]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "case",
        "machine",
        "outcome",
        "VM ms",
        "attach ms",
        "detach ms",
        "serving thread",
    ]);
    for column in [3, 4, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topology_is_found_anywhere_in_a_name() {
        let name = "devices::scsi::q35_native::moves_a_disk";
        assert_eq!(topology(name), Some(Topology::Q35Native));
        assert_eq!(case(name), "devices scsi: moves a disk");
        assert_eq!(topology("microvm::refuses"), None);
        assert_eq!(case("microvm::refuses"), "microvm: refuses");
    }
}
