//! From Kata's TOML to [`HypervisorConfig`].

mod keys;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Deserialize;
use toml::{Spanned, Value};

use self::keys::{At, Keys, RoundedUp};
use super::annotations::{ALLOW_LIST, Overrides};
use super::iothreads::{PLACEMENTS, placement};
use super::{Aio, ConfigError, CpuList, DiskDriver, HypervisorConfig, IoThreads, Machine, Polling};
use iothread_pool::Placement;

/// How many threads a pool can have. More than this is a slip of the finger: advice elsewhere is
/// one or two a host CPU.
const INDEP_IOTHREADS: RangeInclusive<i64> = 1..=64;

#[derive(Deserialize)]
struct File {
    hypervisor: Option<Hypervisors>,
}

#[derive(Deserialize)]
struct Hypervisors {
    qemu: Option<BTreeMap<String, Spanned<Value>>>,
}

/// Reads a configuration in Kata's form.
///
/// # Errors
/// If it is no TOML, or says what cannot be done, or what would do nothing.
pub fn read(text: &str) -> Result<HypervisorConfig, ConfigError> {
    read_annotated(text, &BTreeMap::new())
}

/// Reads a configuration in Kata's form, and the pod annotations that override it, as far as its
/// `enable_annotations` allows them: `io.katacontainers.config.hypervisor.enable_iothreads` and
/// `….indep_iothreads`.
///
/// # Errors
/// As for [`read`].
pub fn read_annotated(
    text: &str,
    annotations: &BTreeMap<String, String>,
) -> Result<HypervisorConfig, ConfigError> {
    let file: File = toml::from_str(text)?;
    let table = file.hypervisor.and_then(|h| h.qemu);
    let is_there = table.is_some();
    let mut keys = Keys::new(text, table.unwrap_or_default());
    if !is_there {
        keys.missing(
            "hypervisor.qemu",
            "is missing: that table is what is read here",
        );
    }
    let allowed = keys.take::<Vec<String>>(ALLOW_LIST);
    let allowed = allowed.map(|at| at.value).unwrap_or_default();
    let overrides = Overrides::read(annotations, &allowed, &mut keys.problems);
    let mut check = Check { keys, overrides };
    let config = check.qemu();
    let mut problems = check.keys.problems;
    if problems.is_empty() {
        return Ok(config);
    }
    problems.sort_by_key(|problem| problem.line);
    Err(ConfigError::Wrong(problems))
}

/// Goes through the keys that are used here. Kata's file has many more.
struct Check<'a> {
    keys: Keys<'a>,
    overrides: Overrides,
}

impl Check<'_> {
    fn qemu(&mut self) -> HypervisorConfig {
        let default = HypervisorConfig::default();
        let driver = self.driver();
        let cache_set = self.keys.take("block_device_cache_set");
        let cache_set = cache_set.is_some_and(|at| at.value);
        HypervisorConfig {
            machine: self.machine(),
            vcpus: self.vcpus(),
            memory_mib: self.positive("default_memory", default.memory_mib),
            iothreads: self.iothreads(driver.as_ref()),
            driver: driver.map_or(default.driver, |at| at.value),
            aio: self.aio(),
            cache_direct: self.cache("block_device_cache_direct", cache_set),
            cache_no_flush: self.cache("block_device_cache_noflush", cache_set),
        }
    }

    fn machine(&mut self) -> Machine {
        let Some(at) = self.keys.take::<String>("machine_type") else {
            return Machine::Q35;
        };
        let named = at.value.as_str();
        let known = Machine::ALL.into_iter().find(|m| m.as_str() == named);
        known.unwrap_or_else(|| {
            let message = match named {
                "microvm" => {
                    "is \"microvm\", which hot-plugs nothing: QEMU refuses device_add and \
                              device_del there; use \"q35\" or \"pc\""
                        .to_owned()
                }
                _ => format!(
                    "is \"{named}\"; machine types that hot-plug PCI disks here: \"q35\", \"pc\""
                ),
            };
            self.keys.wrong(&at, message);
            Machine::Q35
        })
    }

    /// Kata takes a negative number as "all CPUs of the host", and zero as its default.
    fn vcpus(&mut self) -> u32 {
        let Some(at) = self.keys.take::<RoundedUp>("default_vcpus") else {
            return 1;
        };
        let RoundedUp(count) = at.value;
        match count {
            ..0 => return host_cpus(),
            0 => return 1,
            _ => {}
        }
        u32::try_from(count).unwrap_or_else(|_| {
            let message = format!("is {count}; it takes a number of CPUs, or -1 for the host's");
            self.keys.wrong(&at, message);
            1
        })
    }

    fn positive(&mut self, key: &'static str, default: u32) -> u32 {
        let Some(at) = self.keys.take::<i64>(key) else {
            return default;
        };
        match u32::try_from(at.value) {
            Ok(number) if number > 0 => number,
            _ => {
                let message = format!("is {}; it takes 1 to {}", at.value, u32::MAX);
                self.keys.wrong(&at, message);
                default
            }
        }
    }

    fn iothreads(&mut self, driver: Option<&At<DiskDriver>>) -> IoThreads {
        let count = self.thread_count(driver);
        IoThreads {
            count,
            placement: self.placement(count),
            polling: Polling {
                max_ns: self.count("indep_iothreads_poll_max_ns"),
                grow: self.count("indep_iothreads_poll_grow"),
                shrink: self.count("indep_iothreads_poll_shrink"),
            },
            cpus: self.cpus(),
        }
    }

    /// Threads are made only if the switch is on, there is a number of them, and the driver can
    /// use them. Kata ignores the number otherwise; here that is an error.
    ///
    /// With the switch alone, Kata gives a virtio-scsi controller a thread, and so does this.
    fn thread_count(&mut self, driver: Option<&At<DiskDriver>>) -> usize {
        let enabled = self.keys.take("enable_iothreads").map(|at| at.value);
        let enabled = self.overrides.enable_iothreads.or(enabled).unwrap_or(false);
        let in_file = self.keys.take::<i64>("indep_iothreads");
        // An annotation has no line.
        let annotated = self.overrides.indep_iothreads.map(|value| At {
            key: "indep_iothreads",
            line: None,
            value,
        });
        let asked = annotated.or(in_file).filter(|at| at.value != 0);
        let driven = driver.map_or_else(DiskDriver::default, |at| at.value);
        let Some(asked) = asked else {
            return usize::from(enabled && driven == DiskDriver::VirtioScsi);
        };
        let count = asked.value;
        if !INDEP_IOTHREADS.contains(&count) {
            let message = format!(
                "is {count}; it takes {} to {}, or 0 for no threads",
                INDEP_IOTHREADS.start(),
                INDEP_IOTHREADS.end()
            );
            self.keys.wrong(&asked, message);
        }
        if !enabled {
            let message = format!("is {count}, and does nothing without `enable_iothreads = true`");
            self.keys.wrong(&asked, message);
        }
        if let (Some(driver), DiskDriver::Other) = (driver, driven) {
            let message = format!(
                "is one that no IOThread serves, but `indep_iothreads = {count}`; use {}",
                DiskDriver::SERVED
            );
            self.keys.wrong(driver, message);
        }
        usize::try_from(count).unwrap_or(0)
    }

    fn driver(&mut self) -> Option<At<DiskDriver>> {
        let at = self.keys.take::<String>("block_device_driver")?;
        let driver = DiskDriver::of(&at.value);
        if driver.is_none() {
            let message = format!("is \"{}\"; it takes {}", at.value, DiskDriver::SERVED);
            self.keys.wrong(&at, message);
        }
        Some(At {
            key: at.key,
            line: at.line,
            value: driver?,
        })
    }

    fn placement(&mut self, threads: usize) -> Placement {
        let Some(at) = self.keys.take::<String>("indep_iothreads_placement") else {
            return Placement::default();
        };
        let text = &at.value;
        let placement = placement(text);
        match &placement {
            None => {
                let message = format!("is \"{text}\"; it takes {PLACEMENTS}");
                self.keys.wrong(&at, message);
            }
            Some(_) if threads == 0 => {
                let message = "does nothing without threads: set `indep_iothreads`";
                self.keys.wrong(&at, message);
            }
            Some(Placement::Spread(wanted)) if wanted.get() > threads => {
                let message = format!("is \"{text}\", but there are {threads} threads");
                self.keys.wrong(&at, message);
            }
            Some(_) => {}
        }
        placement.unwrap_or_default()
    }

    fn count(&mut self, key: &'static str) -> Option<u64> {
        let at = self.keys.take::<i64>(key)?;
        let count = u64::try_from(at.value).ok();
        if count.is_none() {
            let message = format!("is {}; it takes 0 or more", at.value);
            self.keys.wrong(&at, message);
        }
        count
    }

    fn cpus(&mut self) -> Vec<CpuList> {
        let Some(at) = self.keys.take::<Vec<String>>("indep_iothreads_cpus") else {
            return Vec::new();
        };
        let mut read = |list: &String| match list.parse() {
            Ok(list) => Some(list),
            Err(error) => {
                self.keys.wrong(&at, format!("has \"{list}\": {error}"));
                None
            }
        };
        at.value.iter().filter_map(&mut read).collect()
    }

    fn aio(&mut self) -> Aio {
        let Some(at) = self.keys.take::<String>("block_device_aio") else {
            return Aio::default();
        };
        let known = Aio::ALL.into_iter().find(|aio| aio.as_str() == at.value);
        known.unwrap_or_else(|| {
            let message = format!(
                "is \"{}\"; it takes \"threads\", \"native\" or \"io_uring\"",
                at.value
            );
            self.keys.wrong(&at, message);
            Aio::default()
        })
    }

    fn cache(&mut self, key: &'static str, set: bool) -> bool {
        let Some(at) = self.keys.take::<bool>(key).filter(|at| at.value) else {
            return false;
        };
        if !set {
            let message = "is true, and does nothing without `block_device_cache_set = true`";
            self.keys.wrong(&at, message);
        }
        true
    }
}

fn host_cpus() -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cpus).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
