//! From Kata's TOML to [`HypervisorConfig`].

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use serde::Deserialize;
use toml::Spanned;

use super::annotations::Overrides;
use super::iothreads::{PLACEMENTS, placement};
use super::{Aio, ConfigError, CpuList, HypervisorConfig, IoThreads, Machine, Polling, Problem};
use crate::pool::Placement;

/// How many threads a pool can have. More than this is a slip of the finger: advice elsewhere is
/// one or two a host CPU.
const INDEP_IOTHREADS: RangeInclusive<i64> = 1..=64;

/// The drivers that a pool thread can serve: Kata's Rust runtime says `virtio-blk-pci`, its Go
/// runtime `virtio-blk`, and both mean the same device.
const POOL_DRIVERS: [&str; 2] = ["virtio-blk-pci", "virtio-blk"];

#[derive(Deserialize)]
struct File {
    hypervisor: Option<Hypervisors>,
}

#[derive(Deserialize)]
struct Hypervisors {
    qemu: Option<Qemu>,
}

/// The keys that are used here. Kata's file has many more.
#[derive(Default, Deserialize)]
struct Qemu {
    machine_type: Option<Spanned<String>>,
    default_vcpus: Option<Spanned<Number>>,
    default_memory: Option<Spanned<i64>>,
    enable_iothreads: Option<Spanned<bool>>,
    indep_iothreads: Option<Spanned<i64>>,
    indep_iothreads_placement: Option<Spanned<String>>,
    indep_iothreads_poll_max_ns: Option<Spanned<i64>>,
    indep_iothreads_poll_grow: Option<Spanned<i64>>,
    indep_iothreads_poll_shrink: Option<Spanned<i64>>,
    indep_iothreads_cpus: Option<Vec<Spanned<String>>>,
    block_device_driver: Option<Spanned<String>>,
    block_device_aio: Option<Spanned<String>>,
    block_device_cache_set: Option<bool>,
    block_device_cache_direct: Option<Spanned<bool>>,
    block_device_cache_noflush: Option<Spanned<bool>>,
}

/// Kata's runtimes read `default_vcpus` as a fraction.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Number {
    Whole(i64),
    Fraction(f64),
}

/// Reads a configuration in Kata's form.
///
/// # Errors
/// If it is no TOML, or says what cannot be done, or what would do nothing.
pub fn read(text: &str) -> Result<HypervisorConfig, ConfigError> {
    read_annotated(text, &BTreeMap::new())
}

/// Reads a configuration in Kata's form, and the pod annotations that override it:
/// `io.katacontainers.config.hypervisor.enable_iothreads` and `….indep_iothreads`.
///
/// # Errors
/// As for [`read`].
pub fn read_annotated(
    text: &str,
    annotations: &BTreeMap<String, String>,
) -> Result<HypervisorConfig, ConfigError> {
    let file: File = toml::from_str(text)?;
    let qemu = file.hypervisor.and_then(|h| h.qemu);
    let mut problems = Vec::new();
    let overrides = Overrides::read(annotations, &mut problems);
    let mut check = Check {
        text,
        overrides,
        problems,
    };
    if qemu.is_none() {
        check.missing(
            "hypervisor.qemu",
            "is missing: that table is what is read here",
        );
    }
    let config = check.qemu(&qemu.unwrap_or_default());
    if check.problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError::Wrong(check.problems))
    }
}

/// Collects what is wrong.
struct Check<'a> {
    text: &'a str,
    overrides: Overrides,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn qemu(&mut self, qemu: &Qemu) -> HypervisorConfig {
        let default = HypervisorConfig::default();
        let cache_set = qemu.block_device_cache_set.unwrap_or(false);
        HypervisorConfig {
            machine: self.machine(qemu.machine_type.as_ref()),
            vcpus: self.vcpus(qemu.default_vcpus.as_ref()),
            memory_mib: self.positive(
                "default_memory",
                qemu.default_memory.as_ref(),
                default.memory_mib,
            ),
            iothreads: self.iothreads(qemu),
            aio: self.aio(qemu.block_device_aio.as_ref()),
            cache_direct: self.cache(
                "block_device_cache_direct",
                qemu.block_device_cache_direct.as_ref(),
                cache_set,
            ),
            cache_no_flush: self.cache(
                "block_device_cache_noflush",
                qemu.block_device_cache_noflush.as_ref(),
                cache_set,
            ),
        }
    }

    fn machine(&mut self, value: Option<&Spanned<String>>) -> Machine {
        let Some(value) = value else {
            return Machine::Q35;
        };
        let known = Machine::ALL
            .into_iter()
            .find(|machine| machine.as_str() == value.get_ref());
        known.unwrap_or_else(|| {
            let named = value.get_ref();
            let message = match named.as_str() {
                "microvm" => {
                    "is \"microvm\", which hot-plugs nothing: QEMU refuses device_add and \
                              device_del there; use \"q35\" or \"pc\""
                        .to_owned()
                }
                _ => format!(
                    "is \"{named}\"; machine types that hot-plug PCI disks here: \"q35\", \"pc\""
                ),
            };
            self.wrong("machine_type", value, message);
            Machine::Q35
        })
    }

    /// Kata takes zero and negative numbers as "all CPUs of the host", and rounds fractions up.
    fn vcpus(&mut self, value: Option<&Spanned<Number>>) -> u32 {
        let Some(value) = value else { return 1 };
        let count = match *value.get_ref() {
            Number::Whole(count) => count,
            #[expect(
                clippy::cast_possible_truncation,
                reason = "saturates, and is checked next"
            )]
            Number::Fraction(count) => count.ceil() as i64,
        };
        if count <= 0 {
            return host_cpus();
        }
        u32::try_from(count).unwrap_or_else(|_| {
            let message = format!("is {count}; it takes a number of CPUs, or 0 for the host's");
            self.wrong("default_vcpus", value, message);
            1
        })
    }

    fn positive(&mut self, key: &'static str, value: Option<&Spanned<i64>>, default: u32) -> u32 {
        let Some(value) = value else { return default };
        match u32::try_from(*value.get_ref()) {
            Ok(number) if number > 0 => number,
            _ => {
                let message = format!("is {}; it takes 1 to {}", value.get_ref(), u32::MAX);
                self.wrong(key, value, message);
                default
            }
        }
    }

    fn iothreads(&mut self, qemu: &Qemu) -> IoThreads {
        let count = self.indep_iothreads(qemu);
        IoThreads {
            count,
            placement: self.placement(qemu.indep_iothreads_placement.as_ref(), count),
            polling: Polling {
                max_ns: self.count(
                    "indep_iothreads_poll_max_ns",
                    qemu.indep_iothreads_poll_max_ns.as_ref(),
                ),
                grow: self.count(
                    "indep_iothreads_poll_grow",
                    qemu.indep_iothreads_poll_grow.as_ref(),
                ),
                shrink: self.count(
                    "indep_iothreads_poll_shrink",
                    qemu.indep_iothreads_poll_shrink.as_ref(),
                ),
            },
            cpus: self.cpus(qemu.indep_iothreads_cpus.as_deref().unwrap_or_default()),
        }
    }

    /// Threads are made only if the switch is on, the number is not zero, and the driver can use
    /// them. Kata ignores the number otherwise; here that is an error.
    fn indep_iothreads(&mut self, qemu: &Qemu) -> usize {
        const KEY: &str = "indep_iothreads";
        let in_file = qemu.indep_iothreads.as_ref();
        let count = self.overrides.indep_iothreads;
        let count = count.or(in_file.map(|value| *value.get_ref())).unwrap_or(0);
        if count == 0 {
            return 0;
        }
        // An annotation has no line.
        let place = in_file.filter(|_| self.overrides.indep_iothreads.is_none());
        let place = place.map(Spanned::span);
        if !INDEP_IOTHREADS.contains(&count) {
            let message = format!(
                "is {count}; it takes {} to {}, or 0 for no threads",
                INDEP_IOTHREADS.start(),
                INDEP_IOTHREADS.end()
            );
            self.problem(KEY, place.clone(), message);
        }
        let enabled = qemu.enable_iothreads.as_ref().map(|value| *value.get_ref());
        if !self.overrides.enable_iothreads.or(enabled).unwrap_or(false) {
            let message = format!("is {count}, and does nothing without `enable_iothreads = true`");
            self.problem(KEY, place, message);
        }
        self.pool_driver(qemu.block_device_driver.as_ref(), count);
        usize::try_from(count).unwrap_or(0)
    }

    fn placement(&mut self, value: Option<&Spanned<String>>, threads: usize) -> Placement {
        const KEY: &str = "indep_iothreads_placement";
        let Some(value) = value else {
            return Placement::default();
        };
        let text = value.get_ref();
        let placement = placement(text);
        match &placement {
            None => self.wrong(KEY, value, format!("is \"{text}\"; it takes {PLACEMENTS}")),
            Some(Placement::Spread(wanted)) if wanted.get() > threads => {
                let message = format!("is \"{text}\", but there are {threads} threads");
                self.wrong(KEY, value, message);
            }
            Some(_) if threads == 0 => {
                let message = "does nothing without threads: set `indep_iothreads`";
                self.wrong(KEY, value, message.into());
            }
            Some(_) => {}
        }
        placement.unwrap_or_default()
    }

    fn count(&mut self, key: &'static str, value: Option<&Spanned<i64>>) -> Option<u64> {
        let value = value?;
        let count = u64::try_from(*value.get_ref()).ok();
        if count.is_none() {
            let message = format!("is {}; it takes 0 or more", value.get_ref());
            self.wrong(key, value, message);
        }
        count
    }

    fn cpus(&mut self, lists: &[Spanned<String>]) -> Vec<CpuList> {
        let mut read = |list: &Spanned<String>| match list.get_ref().parse() {
            Ok(list) => Some(list),
            Err(error) => {
                let message = format!("has \"{}\": {error}", list.get_ref());
                self.wrong("indep_iothreads_cpus", list, message);
                None
            }
        };
        lists.iter().filter_map(&mut read).collect()
    }

    /// Kata's default driver is virtio-scsi, so a missing key is as wrong as another driver.
    fn pool_driver(&mut self, driver: Option<&Spanned<String>>, count: i64) {
        const KEY: &str = "block_device_driver";
        let advice = format!("`indep_iothreads = {count}` serves \"virtio-blk-pci\" only");
        match driver {
            Some(driver) if POOL_DRIVERS.contains(&driver.get_ref().as_str()) => {}
            Some(driver) => {
                let message = format!("is \"{}\", but {advice}", driver.get_ref());
                self.wrong(KEY, driver, message);
            }
            None => self.missing(KEY, &format!("is not set, but {advice}")),
        }
    }

    fn aio(&mut self, value: Option<&Spanned<String>>) -> Aio {
        let Some(value) = value else {
            return Aio::default();
        };
        let known = [Aio::Threads, Aio::Native, Aio::IoUring]
            .into_iter()
            .find(|aio| aio.as_str() == value.get_ref());
        known.unwrap_or_else(|| {
            let message = format!(
                "is \"{}\"; it takes \"threads\", \"native\" or \"io_uring\"",
                value.get_ref()
            );
            self.wrong("block_device_aio", value, message);
            Aio::default()
        })
    }

    fn cache(&mut self, key: &'static str, value: Option<&Spanned<bool>>, set: bool) -> bool {
        let Some(value) = value.filter(|value| *value.get_ref()) else {
            return false;
        };
        if !set {
            let message = "is true, and does nothing without `block_device_cache_set = true`";
            self.wrong(key, value, message.into());
        }
        true
    }

    fn wrong<T>(&mut self, key: &'static str, value: &Spanned<T>, message: String) {
        self.problem(key, Some(value.span()), message);
    }

    fn problem(&mut self, key: &'static str, place: Option<Range<usize>>, message: String) {
        let line = place.map(|place| {
            let before = &self.text.as_bytes()[..place.start];
            1 + before.iter().filter(|&&byte| byte == b'\n').count()
        });
        self.problems.push(Problem { line, key, message });
    }

    fn missing(&mut self, key: &'static str, message: &str) {
        self.problem(key, None, message.to_owned());
    }
}

fn host_cpus() -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cpus).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
