//! The machine that benchmarks run on.

use std::fs;

/// Describes processors, memory and kernel in one line.
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

/// Returns a warning if the machine is busy.
pub(super) fn busy() -> Option<String> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    let load: f64 = load.split(' ').next()?.parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "a count of processors")]
    let many = cpus() as f64 / 2.0;
    (load > many).then(|| format!("this machine is busy (load {load}): expect wide spreads"))
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
