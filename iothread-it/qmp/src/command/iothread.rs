//! IOThread objects: made with properties, and their properties changed while they run.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Command, QomSet};

/// The properties of an IOThread. `None` is QEMU's default, or no change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct IoThreadProperties {
    /// Maximum time that an idle thread polls, in nanoseconds. Zero: it sleeps at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll_max_ns: Option<u64>,
    /// The factor by which the polling time grows. Zero: QEMU chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll_grow: Option<u64>,
    /// The divisor by which it shrinks. Zero: it is set to zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll_shrink: Option<u64>,
    /// The weight of the newest interval in the adaptation of the polling time. QEMU before 11.1 does
    /// not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll_weight: Option<u64>,
    /// Maximum number of requests in one batch of Linux AIO. Zero: QEMU chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aio_max_batch: Option<u64>,
    /// Number of worker threads that are kept when idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_pool_min: Option<u64>,
    /// Maximum number of worker threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_pool_max: Option<u64>,
}

impl IoThreadProperties {
    /// Returns each property that is set, with QEMU's name for it.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        // QEMU checks the pool's minimum and maximum against each other at each change. See `changes`.
        [
            ("poll-max-ns", self.poll_max_ns),
            ("poll-grow", self.poll_grow),
            ("poll-shrink", self.poll_shrink),
            ("poll-weight", self.poll_weight),
            ("aio-max-batch", self.aio_max_batch),
            ("thread-pool-max", self.thread_pool_max),
            ("thread-pool-min", self.thread_pool_min),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }

    /// Returns the properties in an order in which QEMU accepts each change on its own, given the
    /// `thread-pool-min` that the thread has now: with a new maximum below it the minimum comes first.
    pub fn changes(&self, thread_pool_min: u64) -> Vec<(&'static str, u64)> {
        let mut changes: Vec<_> = self.iter().collect();
        if self
            .thread_pool_max
            .is_some_and(|max| max < thread_pool_min)
            && let [.., max, min] = changes.as_mut_slice()
            && min.0 == "thread-pool-min"
        {
            std::mem::swap(max, min);
        }
        changes
    }
}

/// Returns the path of an object that was made with `-object` or `object-add`.
pub fn object_path(id: &str) -> String {
    format!("/objects/{id}")
}

/// Makes the change of a property of the IOThread at this path.
pub fn set_property<'a>(path: &'a str, (property, value): (&'a str, u64)) -> QomSet<'a> {
    QomSet {
        path,
        property,
        value: value.into(),
    }
}

/// Creates an IOThread.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct IoThreadObject<'a> {
    /// Always `iothread`.
    qom_type: &'static str,
    /// Its id.
    pub id: &'a str,
    /// Its properties.
    #[serde(flatten)]
    pub properties: IoThreadProperties,
}

impl<'a> IoThreadObject<'a> {
    /// Makes the object: the arguments of `object-add`, and, as JSON, the value of `-object`.
    pub fn new(id: &'a str, properties: IoThreadProperties) -> Self {
        Self {
            qom_type: "iothread",
            id,
            properties,
        }
    }
}

impl Command for IoThreadObject<'_> {
    const NAME: &'static str = "object-add";
    type Return = IgnoredAny;
}

/// An IOThread, as `query-iothreads` shows it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct IoThreadInfo {
    /// The object's id.
    pub id: String,
    /// The thread's id on the host.
    pub thread_id: i32,
    /// The thread's maximum polling time, in nanoseconds.
    pub poll_max_ns: i64,
    /// What uses the thread, if this QEMU reports it. Its form is not fixed by a release yet.
    #[serde(default)]
    pub holders: Option<Vec<Value>>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn object_has_only_the_properties_that_are_set() {
        let none = IoThreadObject::new("t", IoThreadProperties::default());
        assert_eq!(json!(none), json!({"qom-type": "iothread", "id": "t"}));
        let all = IoThreadProperties {
            poll_max_ns: Some(1),
            poll_grow: Some(2),
            poll_shrink: Some(3),
            poll_weight: Some(4),
            aio_max_batch: Some(5),
            thread_pool_min: Some(6),
            thread_pool_max: Some(7),
        };
        let expected = json!({
            "qom-type": "iothread", "id": "t", "poll-max-ns": 1, "poll-grow": 2, "poll-shrink": 3,
            "poll-weight": 4, "aio-max-batch": 5, "thread-pool-min": 6, "thread-pool-max": 7,
        });
        assert_eq!(json!(IoThreadObject::new("t", all)), expected);
        let listed: serde_json::Map<_, _> = all.iter().map(|(k, v)| (k.into(), v.into())).collect();
        assert_eq!(json!(listed), json!(all), "every property is listed");
    }

    /// QEMU refuses a change that leaves the minimum above the maximum.
    #[test]
    fn each_change_of_the_worker_threads_is_valid_on_its_own() {
        for (min, max) in [(0, 64), (3, 5), (64, 64)] {
            for (new_min, new_max) in [
                (None, Some(70)),
                (Some(1), Some(2)),
                (Some(70), Some(80)),
                (Some(64), Some(64)),
            ] {
                let properties = IoThreadProperties {
                    thread_pool_min: new_min,
                    thread_pool_max: new_max,
                    ..IoThreadProperties::default()
                };
                let (mut is_min, mut is_max) = (min, max);
                for (name, value) in properties.changes(min) {
                    match name {
                        "thread-pool-min" => is_min = value,
                        _ => is_max = value,
                    }
                    assert!(is_min <= is_max, "{min}..{max}: {properties:?}");
                }
                assert_eq!(Some(is_max), new_max);
            }
        }
    }
}
