//! What `cargo xtask it` runs by default: attach, I/O on the right thread and detach, of each kind of device and
//! placement. Leaves out what takes long: faults at every step, QEMU's known bugs, formats, forty disks.

/// Modules of the suite.
const MODULES: [&str; 23] = [
    "attach",
    "capabilities",
    "cpus",
    "cycles",
    "data",
    "devices::balloon",
    "devices::cold",
    "devices::scsi",
    "errors",
    "failures",
    "guest",
    "jobs",
    "load",
    "migration",
    "moving",
    "pending",
    "placement",
    "queues",
    "requests",
    "serving",
    "survival",
    "threads",
    "three_ways",
];

/// Whether a case is one of them.
pub(crate) fn has(case: &str) -> bool {
    MODULES.iter().any(|module| is_in(case, module))
}

/// Returns the modules that have no case in a list.
pub(crate) fn missing<'a>(cases: impl Iterator<Item = &'a str> + Clone) -> Vec<&'static str> {
    let is_missing = |module: &&'static str| !cases.clone().any(|case| is_in(case, module));
    MODULES.into_iter().filter(is_missing).collect()
}

fn is_in(case: &str, module: &str) -> bool {
    let rest = case.strip_prefix(module);
    rest.is_some_and(|rest| rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_not_another_one_that_begins_like_it() {
        assert!(has("devices::scsi::q35::queues_of_a_controller_are_mapped"));
        assert!(!has("threads_of_others::q35::exist"));
        assert!(!has("regressions::threads::alone::info_qtree"));
    }

    #[test]
    fn a_module_without_a_case_is_found() {
        let cases = MODULES.map(|module| format!("{module}::q35::case"));
        let names = || cases.iter().map(String::as_str);
        assert_eq!(missing(names()), Vec::<&str>::new());
        assert_eq!(missing(names().skip(1)), ["attach"]);
    }
}
