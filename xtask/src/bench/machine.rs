//! What was measured on.

use std::fs;

/// The processors, the memory and the kernel, as a line.
pub(super) fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let model = field(&cpuinfo, "model name").unwrap_or(std::env::consts::ARCH);
    let memory = field(&meminfo, "MemTotal").and_then(|text| text.strip_suffix(" kB"));
    let memory: u64 = memory.and_then(|kib| kib.parse().ok()).unwrap_or_default();
    format!(
        "{} CPUs ({model}), {} MiB, Linux {}",
        cpus(),
        memory / 1024,
        kernel.trim()
    )
}

/// What to tell whoever measures while others work.
pub(super) fn busy() -> Option<String> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    let load: f64 = load.split(' ').next()?.parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "a count of processors")]
    let many = cpus() as f64 / 2.0;
    (load > many)
        .then(|| format!("this machine is at work already (load {load}): spreads will be wide"))
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The value of the first line that begins with a name and a colon.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(key, _)| key.trim() == name)?;
    Some(value.trim())
}
