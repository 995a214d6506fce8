//! The options that a guest needs of its kernel.

use super::configuration::{Configuration, Value};

/// An option, and the module that it makes if it is set to `m`.
struct Needed {
    option: &'static str,
    module: Option<&'static str>,
}

const fn built_in(option: &'static str) -> Needed {
    Needed {
        option,
        module: None,
    }
}

const fn or_module(option: &'static str, module: &'static str) -> Needed {
    Needed {
        option,
        module: Some(module),
    }
}

/// What QEMU, the guest agent and the root file system of a place use.
const NEEDED: [Needed; 24] = [
    built_in("64BIT"),
    // The agent is the init process of an initramfs, and writes to the serial console.
    built_in("BLK_DEV_INITRD"),
    built_in("BINFMT_ELF"),
    built_in("SERIAL_8250_CONSOLE"),
    built_in("MULTIUSER"),
    built_in("FUTEX"),
    built_in("EPOLL"),
    built_in("EVENTFD"),
    built_in("INOTIFY_USER"),
    // Messages about devices come by netlink.
    built_in("NET"),
    built_in("PROC_FS"),
    built_in("PROC_SYSCTL"),
    built_in("SYSFS"),
    built_in("DEVTMPFS"),
    built_in("TMPFS"),
    built_in("CGROUPS"),
    built_in("UNIX98_PTYS"),
    // The disks with a binary and its package.
    or_module("EROFS_FS", "erofs"),
    or_module("OVERLAY_FS", "overlay"),
    built_in("PCI"),
    built_in("HOTPLUG_PCI_ACPI"),
    or_module("VIRTIO_PCI", "virtio_pci"),
    or_module("VIRTIO_BLK", "virtio_blk"),
    or_module("VIRTIO_CONSOLE", "virtio_console"),
];

/// Returns the names of all options, for a kernel whose configuration is not known.
#[must_use]
pub fn all() -> String {
    names(NEEDED.iter().map(|needed| needed.option))
}

fn names<'a>(options: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = options.map(|option| format!("CONFIG_{option}")).collect();
    names.join(", ")
}

/// Returns what is missing, and what to do. `has_module` tells whether there is a module.
pub(super) fn lacking(config: &Configuration, has_module: &dyn Fn(&str) -> bool) -> Vec<String> {
    let (mut unset, mut modules) = (Vec::new(), Vec::new());
    for Needed { option, module } in &NEEDED {
        match (config.of(option), module) {
            (Some(Value::BuiltIn), _) => {}
            (Some(Value::Module), Some(module)) if has_module(module) => {}
            (Some(Value::Module), Some(_)) => modules.push(*option),
            (Some(Value::Module), None) | (None, _) => unset.push(*option),
        }
    }
    let mut lacks = Vec::new();
    if !unset.is_empty() {
        lacks.push(format!("it needs {}", names(unset.into_iter())));
    }
    if !modules.is_empty() {
        lacks.push(format!(
            "it needs modules (`=m`) that are not there: {}; name their folder by `--modules`, or build them in (`=y`)",
            names(modules.into_iter())
        ));
    }
    lacks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl Fn(&Needed) -> Option<&'static str>) -> Configuration {
        let lines = NEEDED.iter().filter_map(|needed| {
            let value = change(needed)?;
            Some(format!("CONFIG_{}={value}\n", needed.option))
        });
        Configuration::parse(&lines.collect::<String>(), String::new())
    }

    #[test]
    fn each_missing_option_is_named() {
        let none = |_: &str| false;
        assert!(lacking(&config(|_| Some("y")), &none).is_empty());
        for missing in &NEEDED {
            let config = config(|needed| (needed.option != missing.option).then_some("y"));
            let expected = format!("it needs CONFIG_{}", missing.option);
            assert_eq!(lacking(&config, &none), [expected]);
        }
    }

    /// The recipe for a small kernel sets each of them.
    #[test]
    fn the_document_has_them() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../constraints/docs/own-kernel.md"
        );
        let text = std::fs::read_to_string(path).unwrap();
        let recipe = text.split("needed=\"").nth(1).unwrap();
        let listed = recipe.split('"').next().unwrap().split_whitespace();
        let needed = NEEDED.iter().map(|needed| needed.option);
        assert_eq!(listed.collect::<Vec<_>>(), needed.collect::<Vec<_>>());
    }

    #[test]
    fn a_module_must_be_there() {
        let config = config(|needed| Some(needed.module.map_or("y", |_| "m")));
        assert!(lacking(&config, &|_| true).is_empty());
        let lacks = lacking(&config, &|module| module != "virtio_blk");
        assert!(
            lacks[0].contains("not there: CONFIG_VIRTIO_BLK;") && lacks.len() == 1,
            "{lacks:?}"
        );
    }
}
