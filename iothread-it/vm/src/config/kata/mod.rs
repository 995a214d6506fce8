//! Reads [`HypervisorConfig`] from Kata's TOML.

mod keys;
mod threads;

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::{Spanned, Value};

use self::keys::{At, Keys, RoundedUp};
use super::annotations::{ALLOW_LIST, Overrides};
use super::{Aio, ConfigError, DiskDriver, HypervisorConfig, Machine};

#[derive(Deserialize)]
struct File {
    hypervisor: Option<Hypervisors>,
}

#[derive(Deserialize)]
struct Hypervisors {
    qemu: Option<BTreeMap<String, Spanned<Value>>>,
}

/// Reads a configuration file of Kata.
///
/// # Errors
/// If the text is not valid TOML, or a key is invalid or would have no effect.
pub fn read(text: &str) -> Result<HypervisorConfig, ConfigError> {
    read_annotated(text, &BTreeMap::new())
}

/// Reads a configuration file of Kata, and the pod annotations that override it. The key
/// `enable_annotations` must allow them. They are `io.katacontainers.config.hypervisor.enable_iothreads` and
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
        keys.missing("hypervisor.qemu", "is missing: add the table");
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

/// Reads and checks the keys that this crate uses.
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
        let cache_direct = self.cache("block_device_cache_direct", cache_set);
        let vcpus = self.vcpus();
        let num_queues = self.num_queues(driver.as_ref().map_or(default.driver, |at| at.value));
        HypervisorConfig {
            machine: self.machine(),
            vcpus,
            memory_mib: self.positive("default_memory", default.memory_mib),
            iothreads: self.iothreads(driver.as_ref(), vcpus, num_queues),
            driver: driver.map_or(default.driver, |at| at.value),
            aio: self.aio(cache_direct),
            cache_direct,
            cache_no_flush: self.cache("block_device_cache_noflush", cache_set),
            num_queues,
            queue_size: self.queue_size(),
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
                "microvm" => "is \"microvm\", which has no hotplug: QEMU refuses device_add and \
                              device_del; use \"q35\" or \"pc\""
                    .to_owned(),
                _ => {
                    format!("is \"{named}\"; expected \"q35\" or \"pc\", which hot-plug PCI disks")
                }
            };
            self.keys.wrong(&at, message);
            Machine::Q35
        })
    }

    /// In Kata, a negative number means all CPUs of the host, and 0 the default.
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
            let message =
                format!("is {count}; expected a number of CPUs, or -1 for all CPUs of the host");
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
                let message = format!("is {}; expected 1 to {}", at.value, u32::MAX);
                self.keys.wrong(&at, message);
                default
            }
        }
    }

    fn num_queues(&mut self, driver: DiskDriver) -> Option<u16> {
        // A SCSI controller has two more.
        let most = match driver {
            DiskDriver::VirtioScsi => 1022,
            DiskDriver::VirtioBlk | DiskDriver::Other => 1024,
        };
        let expected = format!("1 to {most}, or 0 for one queue per vCPU");
        self.unless_zero(
            "num_queues",
            |queues| (1..=most).contains(&queues),
            &expected,
        )
    }

    /// QEMU ends at a value that it does not accept.
    fn queue_size(&mut self) -> Option<u16> {
        let is_size = |size: u16| size.is_power_of_two() && (4..=1024).contains(&size);
        let expected = "a power of two from 4 to 1024, or 0 for QEMU's default";
        self.unless_zero("queue_size", is_size, expected)
    }

    /// As in Kata, 0 means the default.
    fn unless_zero(
        &mut self,
        key: &'static str,
        is_valid: impl Fn(u16) -> bool,
        expected: &str,
    ) -> Option<u16> {
        let at = self.keys.take::<i64>(key).filter(|at| at.value != 0)?;
        let number = u16::try_from(at.value).ok();
        let number = number.filter(|number| is_valid(*number));
        if number.is_none() {
            let message = format!("is {}; expected {expected}", at.value);
            self.keys.wrong(&at, message);
        }
        number
    }

    fn driver(&mut self) -> Option<At<DiskDriver>> {
        let at = self.keys.take::<String>("block_device_driver")?;
        let driver = DiskDriver::of(&at.value);
        if driver.is_none() {
            let message = format!("is \"{}\"; expected {}", at.value, DiskDriver::SUPPORTED);
            self.keys.wrong(&at, message);
        }
        Some(At {
            key: at.key,
            line: at.line,
            value: driver?,
        })
    }

    /// QEMU refuses Linux AIO without direct I/O.
    fn aio(&mut self, cache_direct: bool) -> Aio {
        let Some(at) = self.keys.take::<String>("block_device_aio") else {
            return Aio::default();
        };
        let known = Aio::ALL.into_iter().find(|aio| aio.as_str() == at.value);
        if known == Some(Aio::Native) && !cache_direct {
            let message = "is \"native\", which QEMU accepts only with `block_device_cache_set = true` \
                           and `block_device_cache_direct = true`";
            self.keys.wrong(&at, message);
        }
        known.unwrap_or_else(|| {
            let message = format!(
                "is \"{}\"; expected \"threads\", \"native\" or \"io_uring\"",
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
            let message = "is true, and has no effect without `block_device_cache_set = true`";
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
