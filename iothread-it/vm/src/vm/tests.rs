//! **Scope**: restore and boot with a script in place of QEMU. The suite uses a real QEMU.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::*;
use crate::artifacts::{GuestImage, Origin, QemuInstall};
use crate::config::HypervisorConfig;
use guest_agent::protocol::{BootId, Message, VERSION, encode};

/// Completes every migration. Its guest greets if it boots, and hangs if it is restored.
const SCRIPT: &str = r#"#!/bin/sh
case "$*" in
*-incoming*) ;;
*) cat "$0.greeting" >&4 ;;
esac
printf '{"QMP":{"version":{"qemu":{"micro":0,"minor":2,"major":8},"package":""},"capabilities":[]}}\n' >&3
while read -r line <&3; do
    id=${line##*\"id\":}
    id=${id%%[!0-9]*}
    value='{}'
    case "$line" in
    *query-version*) value='{"qemu":{"micro":0,"minor":2,"major":8},"package":""}' ;;
    esac
    printf '{"return":%s,"id":%s}\n' "$value" "$id" >&3
    case "$line" in
    *'"migrate"'* | *'"migrate-incoming"'*)
        printf '{"event":"MIGRATION","data":{"status":"completed"}}\n' >&3 ;;
    *'"quit"'*) exit 0 ;;
    esac
done
"#;

struct Fake {
    manifest: Manifest,
    spec: VmSpec,
    store: WarmStore,
}

impl Fake {
    fn new(directory: &Path) -> Self {
        let file = |name: &str, content: &[u8]| -> PathBuf {
            let path = directory.join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let program = file("qemu", SCRIPT.as_bytes());
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let greeting = Message::Greeting(Greeting {
            protocol: VERSION,
            boot_id: BootId("saved".into()),
            kernel: "6.1".into(),
            cpus: 1,
        });
        file("qemu.greeting", &encode(&greeting));
        let manifest = Manifest {
            qemu: QemuInstall {
                program,
                prefix_args: Vec::new(),
                env: std::collections::BTreeMap::new(),
                version: "8.2.0".into(),
                origin: Origin::Host,
            },
            guest: GuestImage {
                kernel: file("vmlinuz", b"kernel"),
                vmlinux: None,
                kernel_release: "6.1".into(),
                initramfs: file("initramfs", b"initramfs"),
                agent_sha256: String::new(),
                origin: Origin::Host,
            },
            guest_with_tools: None,
        };
        Self {
            manifest,
            spec: VmSpec::new(HypervisorConfig::default()),
            store: WarmStore::at(directory.join("warm")),
        }
    }

    fn accelerator() -> Accelerator {
        Accelerator::Tcg {
            why: "a test".into(),
            tsc_khz: None,
        }
    }

    fn start(&self) -> Vm {
        let span = Duration::from_millis(200);
        let (manifest, spec, accelerator) = (&self.manifest, &self.spec, Self::accelerator());
        Vm::restore_or_boot_within(manifest, spec, &self.store, accelerator, span).unwrap()
    }

    fn ram(&self) -> PathBuf {
        let accelerator = Self::accelerator();
        let launch = LaunchSpec::new(&self.manifest, &self.spec, &accelerator);
        self.store
            .ram_of(&launch.snapshottable().unwrap().key().unwrap())
    }
}

#[test]
fn a_clone_that_hangs_is_replaced_by_a_booted_guest_and_its_template_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::new(directory.path());
    let vm = fake.start();
    let Start::ColdFallback(WarmError::Restore(why)) = vm.start() else {
        panic!("{:?}", vm.start());
    };
    let why = with_causes(why.as_ref());
    assert!(why.contains("the restored guest"), "{why}");
    assert!(!fake.ram().exists(), "the template is kept");
}

/// From QEMU 8.2 on, the memory is opened only for reading.
#[test]
fn the_memory_of_a_template_is_read_only() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::new(directory.path());
    let accelerator = Fake::accelerator();
    let launch = LaunchSpec::new(&fake.manifest, &fake.spec, &accelerator);
    let guest = launch.snapshottable().unwrap();
    let make = |ram: &_| Ok(restore::boot_and_save(&guest, ram).unwrap());
    let key = guest.key().unwrap();
    let template = fake.store.template(&key, &[1 << 20], make).unwrap();
    let mode = template.ram.file().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o400);
}

#[test]
fn a_saved_guest_is_refused_if_anything_differs() {
    let directory = tempfile::tempdir().unwrap();
    let mut fake = Fake::new(directory.path());
    let path = directory.path().join("state");
    let vm = Vm::boot(&fake.manifest, &fake.spec).unwrap();
    let saved = vm.save(&fake.manifest, &fake.spec, &path).unwrap();
    let restore = |fake: &Fake, saved: &SavedGuest| {
        Vm::restore_saved(&fake.manifest, &fake.spec, saved, &path, |_| Ok(())).unwrap_err()
    };

    let mut older = serde_json::to_value(&saved).unwrap();
    older["greeting"]["protocol"] = (VERSION - 1).into();
    let older: SavedGuest = serde_json::from_value(older).unwrap();
    let error = restore(&fake, &older);
    assert!(matches!(error, SavedGuestError::Version { saved } if saved == VERSION - 1));

    // A writable state is not this user's alone.
    let set_mode = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, mode).unwrap();
    };
    set_mode(0o620);
    assert!(matches!(restore(&fake, &saved), SavedGuestError::Changed));
    set_mode(0o600);
    std::fs::write(&path, "more").unwrap();
    assert!(matches!(restore(&fake, &saved), SavedGuestError::Changed));
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let linked = Vm::restore_saved(&fake.manifest, &fake.spec, &saved, &link, |_| Ok(()));
    assert!(matches!(linked.unwrap_err(), SavedGuestError::File(_)));

    fake.spec.config.vcpus += 1;
    assert!(matches!(
        restore(&fake, &saved),
        SavedGuestError::OtherMachine
    ));
    std::fs::remove_file(&fake.manifest.guest.kernel).unwrap();
    assert!(matches!(restore(&fake, &saved), SavedGuestError::Gone(_)));

    // Nothing is written over.
    let vm = Fake::new(directory.path());
    let running = Vm::boot(&vm.manifest, &vm.spec).unwrap();
    let again = running.save(&vm.manifest, &vm.spec, &path);
    assert!(matches!(again.unwrap_err(), SavedGuestError::File(_)));
}
