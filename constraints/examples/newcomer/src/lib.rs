//! Something to test: the memory that this machine has.

#[cfg(test)]
kata_test::main!();

/// Returns the machine's memory in KiB, as `/proc/meminfo` has it.
///
/// # Errors
///
/// If the file cannot be read, or says nothing about it.
pub fn memory_kib() -> std::io::Result<u64> {
    parse(&std::fs::read_to_string("/proc/meminfo")?)
        .ok_or_else(|| std::io::Error::other("/proc/meminfo has no MemTotal"))
}

fn parse(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use kata_test::kata_test;

    use super::*;

    #[kata_test]
    fn a_line_is_read() {
        assert_eq!(parse("MemTotal:  2048 kB\n"), Some(2048));
        assert_eq!(parse("MemFree: 1 kB\n"), None);
    }

    /// Skipped, with its reason, where the kernel is older.
    #[kata_test(kernel_ge = "3.14", reason = "MemAvailable came with it")]
    fn this_machine_has_memory() -> std::io::Result<()> {
        assert!(memory_kib()? > 0);
        Ok(())
    }
}
