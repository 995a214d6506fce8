//! From Kata's TOML to [`HypervisorConfig`].

use std::ops::RangeInclusive;

use serde::Deserialize;
use toml::Spanned;

use super::{Aio, ConfigError, HypervisorConfig, Machine, Problem};

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
    let file: File = toml::from_str(text)?;
    let qemu = file.hypervisor.and_then(|h| h.qemu);
    let mut check = Check {
        text,
        problems: Vec::new(),
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
            indep_iothreads: self.indep_iothreads(qemu),
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
            let message = format!(
                "is \"{}\"; machine types that hot-plug PCI disks here: \"q35\", \"pc\"",
                value.get_ref()
            );
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

    /// Threads are made only if the switch is on, the number is not zero, and the driver can use
    /// them. Kata ignores the number otherwise; here that is an error.
    fn indep_iothreads(&mut self, qemu: &Qemu) -> usize {
        const KEY: &str = "indep_iothreads";
        let Some(value) = &qemu.indep_iothreads else {
            return 0;
        };
        let count = *value.get_ref();
        if count == 0 {
            return 0;
        }
        if !INDEP_IOTHREADS.contains(&count) {
            let message = format!(
                "is {count}; it takes {} to {}, or 0 for no threads",
                INDEP_IOTHREADS.start(),
                INDEP_IOTHREADS.end()
            );
            self.wrong(KEY, value, message);
        }
        if !qemu.enable_iothreads.as_ref().is_some_and(|e| *e.get_ref()) {
            let message = format!("is {count}, and does nothing without `enable_iothreads = true`");
            self.wrong(KEY, value, message);
        }
        self.pool_driver(qemu.block_device_driver.as_ref(), count);
        usize::try_from(count).unwrap_or(0)
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
        let before = &self.text.as_bytes()[..value.span().start];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        self.problems.push(Problem {
            line: Some(line),
            key,
            message,
        });
    }

    fn missing(&mut self, key: &'static str, message: &str) {
        self.problems.push(Problem {
            line: None,
            key,
            message: message.to_owned(),
        });
    }
}

fn host_cpus() -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cpus).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problems(body: &str) -> Vec<String> {
        match read(&format!("[hypervisor.qemu]\n{body}")) {
            Err(ConfigError::Wrong(problems)) => problems.iter().map(Problem::to_string).collect(),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn keys_of_kata_s_that_are_not_used_here_are_left_alone() {
        let text = r#"
            [hypervisor.qemu]
            path = "/usr/bin/qemu-system-x86_64"
            machine_type = "pc"
            confidential_guest = false
            enable_annotations = ["enable_iommu", "virtio_fs_extra_args"]
            default_vcpus = 1.5
            [runtime]
            enable_debug = true
        "#;
        let config = read(text).unwrap();
        assert_eq!((config.machine, config.vcpus), (Machine::Pc, 2));
        assert_eq!(config.indep_iothreads, 0);
    }

    #[test]
    fn threads_need_the_switch_the_number_and_the_driver() {
        for driver in POOL_DRIVERS {
            let config = read(&format!(
                "[hypervisor.qemu]\nenable_iothreads = true\nindep_iothreads = 4\nblock_device_driver = \"{driver}\""
            ));
            assert_eq!(config.unwrap().indep_iothreads, 4);
        }
        let off = "[hypervisor.qemu]\nenable_iothreads = true\nindep_iothreads = 0";
        assert_eq!(read(off).unwrap().indep_iothreads, 0);
    }

    #[test]
    fn what_would_do_nothing_is_refused_with_line_and_key() {
        assert_eq!(
            problems("indep_iothreads = 4\nblock_device_driver = \"virtio-scsi\""),
            [
                "line 2: `indep_iothreads` is 4, and does nothing without `enable_iothreads = true`",
                "line 3: `block_device_driver` is \"virtio-scsi\", but `indep_iothreads = 4` serves \"virtio-blk-pci\" only",
            ]
        );
        assert_eq!(
            problems("enable_iothreads = true\nindep_iothreads = 4"),
            [
                "`block_device_driver` is not set, but `indep_iothreads = 4` serves \"virtio-blk-pci\" only"
            ]
        );
        assert_eq!(
            problems("block_device_cache_direct = true"),
            [
                "line 2: `block_device_cache_direct` is true, and does nothing without `block_device_cache_set = true`"
            ]
        );
    }

    #[test]
    fn counts_out_of_range_are_refused() {
        let on = "enable_iothreads = true\nblock_device_driver = \"virtio-blk\"\n";
        for count in [-1, 65, i64::MAX] {
            assert_eq!(
                problems(&format!("{on}indep_iothreads = {count}")),
                [format!(
                    "line 4: `indep_iothreads` is {count}; it takes 1 to 64, or 0 for no threads"
                )]
            );
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_shows_its_place() {
        let error = read("[hypervisor.qemu]\nindep_iothreads = \"four\"").unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("line 2"), "{source}");
    }

    #[test]
    fn a_file_without_the_table_is_refused() {
        let error = read("[hypervisor.clh]\n").unwrap_err().to_string();
        assert!(error.contains("`hypervisor.qemu` is missing"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\[hypervisor.qemu\\]\n)?(indep_iothreads = )?.{0,80}") {
            let _ = read(&text);
        }
    }
}
