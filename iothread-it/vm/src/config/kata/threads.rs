//! Reads the keys of the IOThread pool and refuses those without an effect.

use std::ops::RangeInclusive;

use super::Check;
use super::keys::At;
use crate::config::iothreads::{PLACEMENTS, placement};
use crate::config::{CpuList, DiskDriver, IoThreadProperties, IoThreads};
use iothread_pool::Placement;

/// The permitted number of threads. One or two per host CPU are usual, so a higher number is a typing
/// error.
const INDEP_IOTHREADS: RangeInclusive<i64> = 1..=64;

/// QEMU's default of `thread-pool-max`.
const DEFAULT_THREAD_POOL_MAX: u64 = 64;

impl Check<'_> {
    pub(super) fn iothreads(
        &mut self,
        driver: Option<&At<DiskDriver>>,
        vcpus: u32,
        num_queues: Option<u16>,
    ) -> IoThreads {
        let (count, asked) = self.thread_count(driver);
        let placement = self.placement(count, vcpus, num_queues);
        if let Some(asked) = asked
            && driven_by(driver) == DiskDriver::VirtioScsi
        {
            self.controller_uses(&asked, &placement);
        }
        IoThreads {
            count,
            placement,
            properties: self.properties(count),
            cpus: self.cpus(count),
        }
    }

    fn properties(&mut self, threads: usize) -> IoThreadProperties {
        let [min_key, max_key] = [
            "indep_iothreads_thread_pool_min",
            "indep_iothreads_thread_pool_max",
        ];
        let [min, max] = [min_key, max_key].map(|key| self.at_least_zero(key, threads));
        let most = max.map_or(DEFAULT_THREAD_POOL_MAX, |max| max.value);
        match (min, max) {
            (_, Some(max)) if max.value == 0 => {
                let message = "is 0, which QEMU refuses; expected 1 or more";
                self.keys.wrong(&max, message);
            }
            (Some(min), _) if min.value > most => {
                let message = format!(
                    "is {}, but the maximum is {most}; set `{max_key}` to {} or more",
                    min.value, min.value
                );
                self.keys.wrong(&min, message);
            }
            _ => {}
        }
        let mut value = |key| self.at_least_zero(key, threads).map(|at| at.value);
        IoThreadProperties {
            poll_max_ns: value("indep_iothreads_poll_max_ns"),
            poll_grow: value("indep_iothreads_poll_grow"),
            poll_shrink: value("indep_iothreads_poll_shrink"),
            poll_weight: value("indep_iothreads_poll_weight"),
            aio_max_batch: value("indep_iothreads_aio_max_batch"),
            thread_pool_min: min.map(|min| min.value),
            thread_pool_max: max.map(|max| max.value),
        }
    }

    /// One SCSI controller uses one thread, or as many as it is spread over.
    fn controller_uses(&mut self, asked: &At<i64>, placement: &Placement) {
        let used = match placement {
            Placement::Spread(count) => count.get(),
            _ => 1,
        };
        if usize::try_from(asked.value).is_ok_and(|count| count > used) {
            let message = format!(
                "is {}, but virtio-scsi has one controller for all disks, which {used} of them can \
                 serve; set it to {used}, spread the controller with `indep_iothreads_placement`, or \
                 set `block_device_driver = \"virtio-blk-pci\"`",
                asked.value
            );
            self.keys.wrong(asked, message);
        }
    }

    /// Adds a problem for a key that has no effect without threads.
    fn needs_threads<T>(&mut self, at: &At<T>, threads: usize) {
        if threads == 0 {
            let message = "has no effect without threads; set `indep_iothreads`";
            self.keys.wrong(at, message);
        }
    }

    /// Returns the number of threads, and the value of `indep_iothreads` if it is set.
    ///
    /// Threads need `enable_iothreads`, a number, and a driver that supports them. Kata ignores the
    /// number otherwise; here that is an error. With `enable_iothreads` alone, Kata gives a virtio-scsi
    /// controller one thread, and so does this function.
    fn thread_count(&mut self, driver: Option<&At<DiskDriver>>) -> (usize, Option<At<i64>>) {
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
        let driven = driven_by(driver);
        let Some(asked) = asked else {
            let count = usize::from(enabled && driven == DiskDriver::VirtioScsi);
            return (count, None);
        };
        let count = asked.value;
        if !INDEP_IOTHREADS.contains(&count) {
            let message = format!(
                "is {count}; expected {} to {}, or 0 for no threads",
                INDEP_IOTHREADS.start(),
                INDEP_IOTHREADS.end()
            );
            self.keys.wrong(&asked, message);
        }
        if !enabled {
            let message =
                format!("is {count}, and has no effect without `enable_iothreads = true`");
            self.keys.wrong(&asked, message);
        }
        if let (Some(driver), DiskDriver::Other) = (driver, driven) {
            let message = format!(
                "is a driver without IOThread support, but `indep_iothreads = {count}`; use {}",
                DiskDriver::SUPPORTED
            );
            self.keys.wrong(driver, message);
        }
        (usize::try_from(count).unwrap_or(0), Some(asked))
    }

    fn placement(&mut self, threads: usize, vcpus: u32, num_queues: Option<u16>) -> Placement {
        let Some(at) = self.keys.take::<String>("indep_iothreads_placement") else {
            return Placement::default();
        };
        let text = &at.value;
        let placement = placement(text);
        match &placement {
            None => {
                let message = format!("is \"{text}\"; expected {PLACEMENTS}");
                self.keys.wrong(&at, message);
            }
            Some(_) if threads == 0 => self.needs_threads(&at, threads),
            Some(Placement::Spread(wanted)) if wanted.get() > threads => {
                let message = format!("is \"{text}\", but there are {threads} threads");
                self.keys.wrong(&at, message);
            }
            Some(Placement::Spread(wanted)) => {
                let (queues, why, key) = match num_queues {
                    Some(queues) => (
                        queues.into(),
                        "`num_queues` gives a disk".to_owned(),
                        "num_queues",
                    ),
                    None => (
                        vcpus,
                        "a disk has one queue for each of".to_owned(),
                        "default_vcpus",
                    ),
                };
                if wanted.get() > queues as usize {
                    let unit = if num_queues.is_some() {
                        "queues"
                    } else {
                        "vCPUs"
                    };
                    let message = format!(
                        "is \"{text}\", but {why} {queues} {unit}; set `{key}` to {wanted} or more, or \
                         spread over fewer threads"
                    );
                    self.keys.wrong(&at, message);
                }
            }
            Some(_) => {}
        }
        placement.unwrap_or_default()
    }

    fn at_least_zero(&mut self, key: &'static str, threads: usize) -> Option<At<u64>> {
        let at = self.keys.take::<i64>(key)?;
        let Ok(value) = u64::try_from(at.value) else {
            let message = format!("is {}; expected 0 or more", at.value);
            self.keys.wrong(&at, message);
            return None;
        };
        self.needs_threads(&at, threads);
        Some(At {
            key,
            line: at.line,
            value,
        })
    }

    fn cpus(&mut self, threads: usize) -> Vec<CpuList> {
        let Some(at) = self.keys.take::<Vec<String>>("indep_iothreads_cpus") else {
            return Vec::new();
        };
        let mut read = |list: &String| match list.parse() {
            Ok(list) => Some(list),
            Err(error) => {
                self.keys
                    .wrong(&at, format!("contains \"{list}\": {error}"));
                None
            }
        };
        let lists: Vec<CpuList> = at.value.iter().filter_map(&mut read).collect();
        if !lists.is_empty() && lists.len() == at.value.len() {
            self.needs_threads(&at, threads);
        }
        lists
    }
}

fn driven_by(driver: Option<&At<DiskDriver>>) -> DiskDriver {
    driver.map_or_else(DiskDriver::default, |at| at.value)
}
