//! Makes QEMU's command line.

use std::ffi::OsString;
use std::fs::File;

use serde_json::json;

use super::iothread::OnThreadStarted;
use super::ram::{DraftRam, TemplateRam};
use super::topology::BRIDGE;
use super::{Accelerator, Topology, Trace, boot};
use crate::artifacts::{GuestImage, Manifest, SANDBOX};
use crate::config::HypervisorConfig;
use iothread_hotplug::ColdPlugged;
use iothread_pool::{IoThreadId, root_port_id};
use qmp_client::command::IoThreadObject;

/// Slot of the first root port on `pcie.0`. Built-in devices have the lower slots.
const FIRST_ROOT_PORT: usize = 0x08;

/// The configuration of a VM. Set its fields before the VM is started.
#[derive(Debug, Clone)]
pub struct VmSpec {
    /// The keys of Kata's configuration.
    pub config: HypervisorConfig,
    /// The machine type and its buses. By default that of the configured machine type, which is not used
    /// otherwise.
    pub topology: Topology,
    /// The number of root ports, if the topology has root ports.
    pub root_ports: usize,
    /// The cold-plugged devices.
    pub cold: ColdPlugged,
    /// The trace events to record.
    pub trace: Option<Trace>,
    /// Whether the guest has KVM, by nested virtualization, and the modules that tests of VM managers use.
    pub guest_kvm: bool,
    /// Further arguments of the guest's kernel, behind all others.
    pub kernel_arguments: String,
    /// QEMU's CPU model, instead of the one that fits the accelerator.
    pub cpu: Option<String>,
    /// What is called with each IOThread that QEMU has started.
    pub on_thread_started: Option<OnThreadStarted>,
    /// Further arguments of QEMU, behind all others.
    pub arguments: Vec<OsString>,
}

impl VmSpec {
    /// Makes the spec of a configuration, with four root ports and no cold-plugged devices.
    pub fn new(config: HypervisorConfig) -> Self {
        Self {
            topology: config.machine.into(),
            config,
            root_ports: 4,
            cold: ColdPlugged::default(),
            trace: None,
            guest_kvm: false,
            kernel_arguments: String::new(),
            cpu: None,
            on_thread_started: None,
            arguments: Vec::new(),
        }
    }

    /// Returns the size of the guest's memory in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        u64::from(self.config.memory_mib) << 20
    }

    /// Returns the ids of the IOThreads.
    pub fn threads(&self) -> Vec<IoThreadId> {
        (0..self.config.iothreads.count)
            .map(IoThreadId::indep)
            .collect()
    }
}

/// Numbers of the descriptors that QEMU inherits, after its standard streams.
pub mod inherited_fds {
    /// The QMP socket.
    pub const QMP: i32 = 3;
    /// The socket of the guest agent.
    pub const AGENT: i32 = 4;
    /// The memory file, if there is one.
    pub const RAM: i32 = 5;
}

/// The backend of the guest's memory.
#[derive(Debug)]
pub enum GuestMemory<'a> {
    /// Anonymous memory of the QEMU process.
    Anonymous,
    /// A shared mapping of a file, to make a template.
    Draft(&'a DraftRam),
    /// A private mapping of the memory of a template. QEMU waits for an incoming migration.
    Template(&'a TemplateRam),
    /// Anonymous memory, which an incoming migration fills. QEMU waits for it.
    Incoming {
        /// Whether the guest that was saved had a memory file: the memory then has that one's name.
        had_file: bool,
    },
}

impl GuestMemory<'_> {
    /// Returns the memory file, if there is one.
    pub(crate) fn file(&self) -> Option<&File> {
        match self {
            Self::Anonymous | Self::Incoming { .. } => None,
            Self::Draft(ram) => Some(ram.file()),
            Self::Template(ram) => Some(ram.file()),
        }
    }
}

/// Returns QEMU's arguments without those of the trace, which do not change the VM.
pub fn arguments(
    spec: &VmSpec,
    accelerator: &Accelerator,
    manifest: &Manifest,
    memory: &GuestMemory<'_>,
) -> Vec<OsString> {
    let mut line = CommandLine::default();
    line.option("sandbox", SANDBOX);
    line.machine(spec, accelerator, memory);
    line.memory(spec, memory, manifest.qemu.opens_ram_read_only());
    line.guest(&manifest.guest, spec);
    if matches!(memory, GuestMemory::Draft(_)) {
        // A kernel that panics before there is a template would boot again and again.
        line.flag("no-reboot");
    }
    line.iommu(spec);
    line.channels();
    line.iothreads(spec);
    line.hotplug_buses(spec);
    line.0.extend_from_slice(spec.cold.arguments());
    line.0.extend_from_slice(&spec.arguments);
    line.0
}

/// Whether the guest has an IOMMU, which only PCI Express has.
fn has_iommu(spec: &VmSpec) -> bool {
    spec.guest_kvm && spec.topology != Topology::Pc
}

/// Collects the arguments, with one method for each group.
#[derive(Default)]
struct CommandLine(Vec<OsString>);

impl CommandLine {
    fn flag(&mut self, name: &str) {
        self.0.push(format!("-{name}").into());
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.flag(name);
        self.0.push(value.into());
    }

    fn machine(&mut self, spec: &VmSpec, accelerator: &Accelerator, memory: &GuestMemory<'_>) {
        self.flag("no-user-config");
        self.flag("nodefaults");
        self.option("display", "none");
        // Sets the names of threads, up to 15 characters.
        self.option("name", "iothread-it,debug-threads=on");
        let backend = match memory {
            GuestMemory::Anonymous | GuestMemory::Incoming { had_file: false } => "",
            GuestMemory::Draft(_)
            | GuestMemory::Template(_)
            | GuestMemory::Incoming { had_file: true } => ",memory-backend=ram",
        };
        let machine = spec.topology.machine();
        self.option(
            "machine",
            format!("{machine},{}{backend}", boot::MACHINE_OPTIONS),
        );
        self.option("accel", accelerator.name());
        let model = boot::cpu(accelerator, spec.guest_kvm);
        self.option("cpu", spec.cpu.as_deref().unwrap_or(model));
        self.option("smp", spec.config.vcpus.to_string());
        self.option("m", format!("{}M", spec.config.memory_mib));
    }

    /// Opens the memory by its descriptor, so that it is the file that was checked.
    fn memory(&mut self, spec: &VmSpec, memory: &GuestMemory<'_>, opens_read_only: bool) {
        let share = match memory {
            GuestMemory::Anonymous => return,
            GuestMemory::Incoming { had_file } => return self.incoming_memory(spec, *had_file),
            GuestMemory::Draft(_) => true,
            GuestMemory::Template(_) => false,
        };
        let mut backend = json!({
            "qom-type": "memory-backend-file",
            "id": "ram",
            "mem-path": format!("/proc/self/fd/{}", inherited_fds::RAM),
            "size": spec.memory_bytes(),
            "share": share,
        });
        // Before QEMU 8.2, `readonly=on` makes the memory read-only for the guest.
        if !share && opens_read_only {
            backend["readonly"] = true.into();
            backend["rom"] = "off".into();
        }
        self.option("object", backend.to_string());
        if !share {
            self.option("incoming", "defer");
        }
    }

    fn incoming_memory(&mut self, spec: &VmSpec, had_file: bool) {
        if had_file {
            let size = spec.memory_bytes();
            let backend = json!({"qom-type": "memory-backend-ram", "id": "ram", "size": size});
            self.option("object", backend.to_string());
        }
        self.option("incoming", "defer");
    }

    fn guest(&mut self, guest: &GuestImage, spec: &VmSpec) {
        self.option("kernel", guest.bootable_kernel());
        self.option("initrd", guest.initramfs.as_os_str());
        let kvm = match spec.guest_kvm {
            true => format!(" {}", guest_agent::protocol::KVM_PARAMETER),
            false => String::new(),
        };
        let more = match spec.kernel_arguments.as_str() {
            "" => String::new(),
            more => format!(" {more}"),
        };
        let iommu = if has_iommu(spec) {
            " intel_iommu=on"
        } else {
            ""
        };
        let arguments = boot::KERNEL_ARGUMENTS;
        self.option("append", format!("{arguments}{kvm}{iommu}{more}"));
    }

    /// An IOMMU, which QEMU needs before other devices, and a network card that nothing uses, so that tests can
    /// bind it to VFIO.
    fn iommu(&mut self, spec: &VmSpec) {
        if has_iommu(spec) {
            self.option("device", "intel-iommu,caching-mode=on");
            self.option("device", "e1000e,romfile=");
        }
    }

    /// Channels are inherited descriptors: they leave no files, and no other process can connect. The
    /// console is standard output.
    fn channels(&mut self) {
        self.option("chardev", "stdio,id=console,signal=off");
        self.option("serial", "chardev:console");
        self.option(
            "chardev",
            format!("socket,id=qmp,fd={}", inherited_fds::QMP),
        );
        self.option("mon", "chardev=qmp,mode=control");
        self.option(
            "chardev",
            format!("socket,id=agent,fd={}", inherited_fds::AGENT),
        );
        self.option("device", "virtio-serial-pci,id=serial0");
        let port = guest_agent::protocol::PORT_NAME;
        self.option(
            "device",
            format!("virtserialport,chardev=agent,name={port}"),
        );
    }

    fn iothreads(&mut self, spec: &VmSpec) {
        let properties = spec.config.iothreads.properties;
        for thread in spec.threads() {
            let object = IoThreadObject::new(thread.as_str(), properties);
            self.option("object", json!(object).to_string());
        }
    }

    /// `pcie.0` has no hotplug, so root ports and bridge are cold-plugged.
    fn hotplug_buses(&mut self, spec: &VmSpec) {
        match spec.topology {
            Topology::Pc => {}
            Topology::Q35 => self.root_ports(spec.root_ports),
            Topology::Q35Native => {
                self.option(
                    "global",
                    "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
                );
                self.root_ports(spec.root_ports);
            }
            Topology::Q35Bridge => {
                self.root_ports(1);
                let bridge = json!({
                    "driver": "pcie-pci-bridge",
                    "id": BRIDGE,
                    "bus": root_port_id(0),
                    "addr": "0x0",
                });
                self.option("device", bridge.to_string());
            }
        }
    }

    fn root_ports(&mut self, count: usize) {
        for n in 0..count {
            let port = json!({
                "driver": "pcie-root-port",
                "id": root_port_id(n),
                "bus": "pcie.0",
                "addr": format!("{:#x}", FIRST_ROOT_PORT + n),
                "chassis": n + 1,
            });
            self.option("device", port.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::artifacts::{Origin, QemuInstall};
    use crate::config::{IoThreadProperties, IoThreads};

    fn line(topology: Topology) -> String {
        line_of(topology, false)
    }

    fn line_of(topology: Topology, guest_kvm: bool) -> String {
        let config = HypervisorConfig {
            iothreads: IoThreads {
                count: 2,
                properties: IoThreadProperties {
                    poll_max_ns: Some(0),
                    ..IoThreadProperties::default()
                },
                ..IoThreads::default()
            },
            ..HypervisorConfig::default()
        };
        let spec = VmSpec {
            topology,
            root_ports: 2,
            guest_kvm,
            ..VmSpec::new(config)
        };
        let manifest = Manifest {
            qemu: QemuInstall {
                program: "qemu-system-x86_64".into(),
                prefix_args: Vec::new(),
                env: BTreeMap::new(),
                version: "11.1.3".into(),
                origin: Origin::Host,
            },
            guest: GuestImage {
                kernel: "vmlinuz".into(),
                vmlinux: Some("vmlinux".into()),
                kernel_release: "6.1".into(),
                initramfs: "initramfs".into(),
                agent_sha256: String::new(),
                origin: Origin::Host,
            },
        };
        let accelerator = Accelerator::Tcg {
            why: "a test".into(),
        };
        let arguments = arguments(&spec, &accelerator, &manifest, &GuestMemory::Anonymous);
        let mut text = String::new();
        for argument in &arguments {
            let argument = argument.to_string_lossy();
            text.push(if argument.starts_with('-') { '\n' } else { ' ' });
            text.push_str(&argument);
        }
        text
    }

    #[test]
    fn q35_has_root_ports_and_the_threads() {
        insta::assert_snapshot!(line(Topology::Q35));
    }

    #[test]
    fn a_guest_with_kvm_has_another_cpu_and_an_iommu_on_pci_express() {
        let added = |topology| -> Vec<String> {
            let (plain, kvm) = (line(topology), line_of(topology, true));
            let is_new = |line: &&str| !plain.lines().any(|other| other == *line);
            kvm.lines().filter(is_new).map(str::to_owned).collect()
        };
        let on_q35 = added(Topology::Q35);
        assert_eq!(on_q35.len(), 4, "{on_q35:#?}");
        assert_eq!(on_q35[0], "-cpu max,+svm");
        assert!(on_q35[1].ends_with(" guest_agent.kvm intel_iommu=on"));
        let devices = [
            "-device intel-iommu,caching-mode=on",
            "-device e1000e,romfile=",
        ];
        assert_eq!(on_q35[2..], devices);
        let on_pc = added(Topology::Pc);
        assert_eq!(on_pc.len(), 2, "{on_pc:#?}");
        assert!(on_pc[1].ends_with(" guest_agent.kvm"));
    }

    #[test]
    fn pc_has_the_threads_and_no_root_ports() {
        insta::assert_snapshot!(line(Topology::Pc));
    }

    #[test]
    fn native_q35_has_the_ports_and_no_acpi_for_them() {
        insta::assert_snapshot!(line(Topology::Q35Native));
    }

    #[test]
    fn a_bridge_stands_behind_one_port() {
        insta::assert_snapshot!(line(Topology::Q35Bridge));
    }
}
