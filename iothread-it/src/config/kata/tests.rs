//! Kata's form, read and refused.

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
    assert_eq!(config.iothreads.count, 0);
}

#[test]
fn threads_need_the_switch_the_number_and_the_driver() {
    for driver in POOL_DRIVERS {
        let config = read(&format!(
            "[hypervisor.qemu]\nenable_iothreads = true\nindep_iothreads = 4\nblock_device_driver = \"{driver}\""
        ));
        assert_eq!(config.unwrap().iothreads.count, 4);
    }
    let off = "[hypervisor.qemu]\nenable_iothreads = true\nindep_iothreads = 0";
    assert_eq!(read(off).unwrap().iothreads.count, 0);
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

#[test]
fn our_keys_default_to_what_kata_does() {
    let on = "[hypervisor.qemu]\nenable_iothreads = true\nindep_iothreads = 4\n\
              block_device_driver = \"virtio-blk\"\n";
    let threads = read(on).unwrap().iothreads;
    assert_eq!(threads.placement, Placement::First);
    assert_eq!(
        (threads.polling, threads.cpus_of(0)),
        (Polling::default(), None)
    );

    let ours = "indep_iothreads_placement = \"spread:2\"\nindep_iothreads_poll_max_ns = 0\n\
                indep_iothreads_cpus = [\"0\", \"1-2\"]";
    let threads = read(&format!("{on}{ours}")).unwrap().iothreads;
    assert!(matches!(threads.placement, Placement::Spread(n) if n.get() == 2));
    assert_eq!(threads.polling.max_ns, Some(0));
    let cpus = [0, 1, 2].map(|n| threads.cpus_of(n).unwrap().to_string());
    assert_eq!(cpus, ["0", "1,2", "0"]);
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let text = "machine_type = \"microvm\"\nindep_iothreads_placement = \"best\"\n\
                indep_iothreads_poll_grow = -1\nindep_iothreads_cpus = [\"0\", \"x\"]\n\
                block_device_aio = \"fast\"";
    insta::assert_snapshot!(problems(text).join("\n"));
}

#[test]
fn annotations_override_the_file() {
    const PREFIX: &str = "io.katacontainers.config.hypervisor.";
    let read = |values: &[(&str, &str)]| {
        let annotations = values
            .iter()
            .map(|(key, value)| (format!("{PREFIX}{key}"), (*value).to_owned()))
            .collect();
        let file =
            "[hypervisor.qemu]\nindep_iothreads = 0\nblock_device_driver = \"virtio-blk-pci\"";
        read_annotated(file, &annotations).map(|config| config.iothreads.count)
    };
    let both = [
        ("enable_iothreads", "true"),
        ("indep_iothreads", "3"),
        ("default_vcpus", "x"),
    ];
    assert_eq!(read(&both).unwrap(), 3);
    let alone = read(&[("indep_iothreads", "3")]).unwrap_err().to_string();
    assert!(
        alone.ends_with(
            "`indep_iothreads` is 3, and does nothing without `enable_iothreads = true`"
        ),
        "{alone}"
    );
    let bad = read(&[("enable_iothreads", "yes")])
        .unwrap_err()
        .to_string();
    assert!(
        bad.contains("`io.katacontainers.config.hypervisor.enable_iothreads` is \"yes\""),
        "{bad}"
    );
}
