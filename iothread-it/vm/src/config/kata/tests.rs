//! Kata's form, read and refused.

use super::*;
use crate::config::{IoThreadProperties, Problem};
use iothread_hotplug::BlockOptions;
use iothread_pool::{IoThreadId, Placement};
use proptest::prelude::*;

fn problems(body: &str) -> Vec<String> {
    match read(&format!("[hypervisor.qemu]\n{body}")) {
        Err(ConfigError::Wrong(problems)) => problems.iter().map(Problem::to_string).collect(),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn unused_keys_are_ignored() {
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
    assert_eq!(config.iothreads.count, 0);
}

/// As in Kata: zero is its default, and a negative number the host's CPUs.
#[test]
fn zero_and_negative_vcpus_mean_the_default_and_the_host() {
    let vcpus = |number: &str| {
        let text = format!("[hypervisor.qemu]\ndefault_vcpus = {number}");
        read(&text).unwrap().vcpus
    };
    let host = std::thread::available_parallelism().unwrap().get();
    assert_eq!(["0", "0.0", "0.4"].map(vcpus), [1, 1, 1]);
    assert_eq!(["-1", "-2.5"].map(vcpus), [u32::try_from(host).unwrap(); 2]);
}

const GO: &str = include_str!("data/go-runtime.toml");
const RUST: &str = include_str!("data/rust-runtime.toml");

/// Every key of Kata's files, with what Kata's builds put there. Those that are of no use here are
/// passed over.
#[test]
fn complete_kata_files_load() {
    let go = (GO, DiskDriver::VirtioScsi, None, None);
    let rust = (RUST, DiskDriver::VirtioBlk, Some(1), Some(128));
    for (file, driver, num_queues, queue_size) in [go, rust] {
        let expected = HypervisorConfig {
            memory_mib: 2048,
            driver,
            num_queues,
            queue_size,
            ..HypervisorConfig::default()
        };
        assert_eq!(read(file).unwrap(), expected);
    }
}

/// And what a user changes in them is read.
#[test]
fn complete_kata_files_load_with_a_pool() {
    for file in [GO, RUST] {
        let file = file
            .replace("enable_iothreads = false", "enable_iothreads = true")
            .replace("indep_iothreads = 0", "indep_iothreads = 4")
            .replace(
                "block_device_driver = \"virtio-scsi\"",
                "block_device_driver = \"virtio-blk\"",
            )
            .replace(
                "block_device_aio = \"io_uring\"",
                "block_device_aio = \"native\"",
            )
            .replace(
                "block_device_cache_set = false",
                "block_device_cache_set = true",
            )
            .replace(
                "block_device_cache_direct = false",
                "block_device_cache_direct = true",
            )
            .replace("default_vcpus = 1", "default_vcpus = 3");
        let config = read(&file).unwrap();
        assert_eq!((config.vcpus, config.iothreads.count), (3, 4));
        assert_eq!(
            (config.driver, config.aio),
            (DiskDriver::VirtioBlk, Aio::Native)
        );
        assert_eq!((config.cache_direct, config.cache_no_flush), (true, false));
    }
}

#[test]
fn threads_need_enable_iothreads_a_number_and_a_supported_driver() {
    for driver in ["virtio-blk-pci", "virtio-blk"] {
        let config = read(&format!(
            "[hypervisor.qemu]\nenable_iothreads = true\nindep_iothreads = 4\nblock_device_driver = \"{driver}\""
        ));
        assert_eq!(config.unwrap().iothreads.count, 4);
    }
    let off = "[hypervisor.qemu]\nenable_iothreads = true\nindep_iothreads = 0\n\
               block_device_driver = \"virtio-blk\"";
    assert_eq!(read(off).unwrap().iothreads.count, 0);
}

/// As Kata: that thread is the controller's.
#[test]
fn enable_iothreads_alone_makes_one_thread_for_a_scsi_controller() {
    for driver in ["", "block_device_driver = \"virtio-scsi\"\n"] {
        let config = read(&format!(
            "[hypervisor.qemu]\nenable_iothreads = true\n{driver}"
        ))
        .unwrap();
        assert_eq!(
            (config.driver, config.iothreads.count),
            (DiskDriver::VirtioScsi, 1)
        );
    }
}

#[test]
fn keys_without_an_effect_are_refused_with_line_and_key() {
    assert_eq!(
        problems("indep_iothreads = 4\nblock_device_driver = \"nvdimm\""),
        [
            "line 2: `indep_iothreads` is 4, and has no effect without `enable_iothreads = true`",
            "line 3: `block_device_driver` is a driver without IOThread support, but `indep_iothreads = 4`; use \"virtio-blk-pci\", \"virtio-blk\" or \"virtio-scsi\"",
        ]
    );
    assert_eq!(
        problems("block_device_cache_direct = true"),
        [
            "line 2: `block_device_cache_direct` is true, and has no effect without `block_device_cache_set = true`"
        ]
    );
}

#[test]
fn keys_of_threads_are_refused_without_threads() {
    let keys = [
        ("indep_iothreads_aio_max_batch", "16"),
        ("indep_iothreads_cpus", "[\"0\"]"),
        ("indep_iothreads_placement", "\"round-robin\""),
        ("indep_iothreads_poll_grow", "2"),
        ("indep_iothreads_poll_max_ns", "0"),
        ("indep_iothreads_poll_shrink", "2"),
        ("indep_iothreads_poll_weight", "3"),
        ("indep_iothreads_thread_pool_max", "2"),
        ("indep_iothreads_thread_pool_min", "1"),
    ];
    for (key, value) in keys {
        let expected = format!("`{key}` has no effect without threads; set `indep_iothreads`");
        assert_eq!(
            problems(&format!("{key} = {value}")),
            [format!("line 2: {expected}")]
        );
        // A thread of the controller's is enough.
        let on = format!("[hypervisor.qemu]\nenable_iothreads = true\n{key} = {value}");
        assert!(read(&on).is_ok(), "{on}");
    }
}

/// What a disk that says nothing has: a queue for each vCPU.
#[test]
fn a_spread_over_more_threads_than_queues_is_refused() {
    let on = "enable_iothreads = true\nindep_iothreads = 4\nblock_device_driver = \"virtio-blk\"\n\
              indep_iothreads_placement = \"spread:4\"\n";
    let message = |vcpus| {
        format!(
            "line 5: `indep_iothreads_placement` is \"spread:4\", but a disk has one queue for each \
             of {vcpus} vCPUs; set `default_vcpus` to 4 or more, or spread over fewer threads"
        )
    };
    assert_eq!(problems(on), [message(1)]);
    assert_eq!(problems(&format!("{on}default_vcpus = 3")), [message(3)]);
    assert!(read(&format!("[hypervisor.qemu]\n{on}default_vcpus = 4")).is_ok());
}

/// Kata's key of hot-plugged disks.
#[test]
fn queues_of_disks_are_those_of_the_configuration() {
    let queues = |body: &str| {
        let config = read(&format!("[hypervisor.qemu]\n{body}")).unwrap();
        BlockOptions::from(&config).queues
    };
    assert_eq!(queues("default_vcpus = 3"), 3);
    assert_eq!(queues("default_vcpus = 3\nnum_queues = 2"), 2);
    assert_eq!(queues("default_vcpus = 3\nnum_queues = 0"), 3);
    assert_eq!(
        problems("num_queues = 1023"),
        ["line 2: `num_queues` is 1023; expected 1 to 1022, or 0 for one queue per vCPU"]
    );
    assert_eq!(problems("num_queues = -1").len(), 1);
    let blk = "block_device_driver = \"virtio-blk\"\n";
    assert_eq!(queues(&format!("{blk}num_queues = 1024")), 1024);
    let spread = format!(
        "{blk}enable_iothreads = true\nindep_iothreads = 4\ndefault_vcpus = 4\nnum_queues = 2\n\
         indep_iothreads_placement = \"spread:3\""
    );
    assert_eq!(
        problems(&spread),
        [
            "line 7: `indep_iothreads_placement` is \"spread:3\", but `num_queues` gives a disk 2 \
             queues; set `num_queues` to 3 or more, or spread over fewer threads"
        ]
    );
}

#[test]
fn queue_size_is_for_every_queue_of_a_disk() {
    let size = |value: u32| {
        let config = read(&format!("[hypervisor.qemu]\nqueue_size = {value}")).unwrap();
        BlockOptions::from(&config).queue_size
    };
    assert_eq!(size(0), None);
    assert_eq!(size(256), Some(256));
    for wrong in ["2", "100", "2048", "-1", "65540"] {
        let expected = format!(
            "line 2: `queue_size` is {wrong}; expected a power of two from 4 to 1024, or 0 for QEMU's \
             default"
        );
        assert_eq!(problems(&format!("queue_size = {wrong}")), [expected]);
    }
}

#[test]
fn properties_of_threads_are_read_and_checked() {
    let on = "enable_iothreads = true\nblock_device_driver = \"virtio-blk\"\nindep_iothreads = 1\n";
    let all = "indep_iothreads_poll_weight = 3\nindep_iothreads_aio_max_batch = 16\n\
               indep_iothreads_thread_pool_min = 2\nindep_iothreads_thread_pool_max = 8";
    let config = read(&format!("[hypervisor.qemu]\n{on}{all}")).unwrap();
    let expected = IoThreadProperties {
        poll_weight: Some(3),
        aio_max_batch: Some(16),
        thread_pool_min: Some(2),
        thread_pool_max: Some(8),
        ..IoThreadProperties::default()
    };
    assert_eq!(config.iothreads.properties, expected);
    let wrong = |body: &str| problems(&format!("{on}{body}"));
    assert_eq!(
        wrong("indep_iothreads_thread_pool_min = 65"),
        [
            "line 5: `indep_iothreads_thread_pool_min` is 65, but the maximum is 64; set \
             `indep_iothreads_thread_pool_max` to 65 or more"
        ]
    );
    assert_eq!(
        wrong("indep_iothreads_thread_pool_min = 3\nindep_iothreads_thread_pool_max = 2").len(),
        1
    );
    assert_eq!(
        wrong("indep_iothreads_thread_pool_max = 0"),
        ["line 5: `indep_iothreads_thread_pool_max` is 0, which QEMU refuses; expected 1 or more"]
    );
}

#[test]
fn more_threads_than_a_scsi_controller_uses_are_refused() {
    let on = "enable_iothreads = true\ndefault_vcpus = 4\nindep_iothreads = ";
    assert_eq!(
        problems(&format!("{on}4")),
        [
            "line 4: `indep_iothreads` is 4, but virtio-scsi has one controller for all disks, which 1 of \
          them can serve; set it to 1, spread the controller with `indep_iothreads_placement`, or set \
          `block_device_driver = \"virtio-blk-pci\"`"
        ]
    );
    let spread = "indep_iothreads_placement = \"spread:3\"";
    assert_eq!(problems(&format!("{on}4\n{spread}")).len(), 1);
    for fits in ["1".to_owned(), format!("3\n{spread}")] {
        let text = format!("[hypervisor.qemu]\n{on}{fits}");
        assert!(read(&text).is_ok(), "{text}");
    }
}

#[test]
fn native_aio_without_direct_io_is_refused() {
    let native = "block_device_aio = \"native\"\n";
    assert_eq!(
        problems(native),
        [
            "line 2: `block_device_aio` is \"native\", which QEMU accepts only with \
             `block_device_cache_set = true` and `block_device_cache_direct = true`"
        ]
    );
    let direct = "block_device_cache_set = true\nblock_device_cache_direct = true";
    let text = format!("[hypervisor.qemu]\n{native}{direct}");
    assert!(read(&text).is_ok());
}

#[test]
fn counts_out_of_range_are_refused() {
    let on = "enable_iothreads = true\nblock_device_driver = \"virtio-blk\"\n";
    for count in [-1, 65, i64::MAX] {
        assert_eq!(
            problems(&format!("{on}indep_iothreads = {count}")),
            [format!(
                "line 4: `indep_iothreads` is {count}; expected 1 to 64, or 0 for no threads"
            )]
        );
    }
}

#[test]
fn a_syntax_error_has_its_line() {
    let error = read("[hypervisor.qemu]\nindep_iothreads = 4 4").unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("line 2"), "{source}");
}

#[test]
fn a_file_without_the_qemu_table_is_refused() {
    let error = read("[hypervisor.clh]\n").unwrap_err().to_string();
    assert!(error.contains("`hypervisor.qemu` is missing"), "{error}");
}

proptest! {
    #[test]
    fn no_text_causes_a_panic(text in "(\\[hypervisor.qemu\\]\n)?(indep_iothreads = )?.{0,80}") {
        let _ = read(&text);
    }
}

#[test]
fn own_keys_default_to_the_behaviour_of_kata() {
    let on = "[hypervisor.qemu]\nenable_iothreads = true\nindep_iothreads = 4\n\
              block_device_driver = \"virtio-blk\"\ndefault_vcpus = 2\n";
    let threads = read(on).unwrap().iothreads;
    assert_eq!(threads.placement, Placement::First);
    assert_eq!(
        (threads.properties, threads.cpus_of(&IoThreadId::indep(0))),
        (IoThreadProperties::default(), None)
    );

    let ours = "indep_iothreads_placement = \"spread:2\"\nindep_iothreads_poll_max_ns = 0\n\
                indep_iothreads_cpus = [\"0\", \"1-2\"]";
    let threads = read(&format!("{on}{ours}")).unwrap().iothreads;
    assert!(matches!(threads.placement, Placement::Spread(n) if n.get() == 2));
    assert_eq!(threads.properties.poll_max_ns, Some(0));
    let cpus = [0, 1, 2].map(|n| threads.cpus_of(&IoThreadId::indep(n)).unwrap().to_string());
    assert_eq!(cpus, ["0", "1,2", "0"]);
}

#[test]
fn one_error_lists_every_problem() {
    let text = "machine_type = \"microvm\"\nindep_iothreads_placement = \"best\"\n\
                indep_iothreads_poll_grow = -1\nindep_iothreads_cpus = [\"0\", \"x\"]\n\
                block_device_aio = \"fast\"\nblock_device_driver = \"virtio-blk-pic\"\n\
                indep_iothreads = \"four\"\nenable_iothreads = 1\ndefault_memory = 0";
    insta::assert_snapshot!(problems(text).join("\n"));
}

const PREFIX: &str = "io.katacontainers.config.hypervisor.";

/// Reads a file with the annotations of a pod.
fn annotated(file: &str, values: &[(&str, &str)]) -> Result<HypervisorConfig, ConfigError> {
    let annotations = values
        .iter()
        .map(|(key, value)| (format!("{PREFIX}{key}"), (*value).to_owned()))
        .collect();
    read_annotated(file, &annotations)
}

#[test]
fn annotations_override_the_file() {
    let file = "[hypervisor.qemu]\nindep_iothreads = 0\nblock_device_driver = \"virtio-blk-pci\"\n\
                enable_annotations = [\"enable_iothreads\", \"indep_.*\"]";
    let both = [
        ("enable_iothreads", "true"),
        ("indep_iothreads", "3"),
        ("default_vcpus", "x"),
    ];
    assert_eq!(annotated(file, &both).unwrap().iothreads.count, 3);
    let message = |values: &[_]| annotated(file, values).unwrap_err().to_string();
    let alone = message(&[("indep_iothreads", "3")]);
    let expected = "`indep_iothreads` is 3, and has no effect without `enable_iothreads = true`";
    assert!(alone.ends_with(expected), "{alone}");
    let bad = message(&[("enable_iothreads", "yes")]);
    let expected = format!("`{PREFIX}enable_iothreads` is \"yes\"");
    assert!(bad.contains(&expected), "{bad}");
}

/// Kata's files allow neither of the two.
#[test]
fn an_annotation_that_is_not_allowed_is_refused() {
    for file in [GO, RUST, "[hypervisor.qemu]\nenable_annotations = [\"(\"]"] {
        let message = annotated(file, &[("indep_iothreads", "3")]).unwrap_err();
        let expected = format!(
            "the configuration is invalid: `{PREFIX}indep_iothreads` is not allowed: it matches no \
             entry of `enable_annotations`"
        );
        assert_eq!(message.to_string(), expected);
    }
}
