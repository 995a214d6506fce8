//! What `cargo xtask it` runs by default: attach, I/O on the right thread and detach, of each kind of device and
//! placement. Leaves out what takes long: faults at every step, QEMU's known bugs, formats, forty disks.

/// Modules of the suite.
pub(crate) const MODULES: [&str; 23] = [
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

/// Whether a case is in one of some modules.
pub(crate) fn has(modules: &[&str], case: &str) -> bool {
    modules.iter().any(|module| is_in(case, module))
}

/// Returns the modules that have no case in a list.
pub(crate) fn missing<'a>(
    modules: &[&'static str],
    cases: impl Iterator<Item = &'a str> + Clone,
) -> Vec<&'static str> {
    let is_missing = |module: &&'static str| !cases.clone().any(|case| is_in(case, module));
    modules.iter().copied().filter(is_missing).collect()
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
        assert!(has(
            &MODULES,
            "devices::scsi::q35::queues_of_a_controller_are_mapped"
        ));
        assert!(!has(&MODULES, "threads_of_others::q35::exist"));
        assert!(!has(&MODULES, "regressions::threads::alone::info_qtree"));
    }

    #[test]
    fn a_module_without_a_case_is_found() {
        let cases = MODULES.map(|module| format!("{module}::q35::case"));
        let names = || cases.iter().map(String::as_str);
        assert_eq!(missing(&MODULES, names()), Vec::<&str>::new());
        assert_eq!(missing(&MODULES, names().skip(1)), ["attach"]);
    }
}
