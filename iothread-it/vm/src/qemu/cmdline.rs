//! Makes QEMU's command line.

use std::ffi::OsString;

use guest_agent::protocol::{KVM_PARAMETER, NETWORK_PARAMETER, PORT_NAME};
use serde_json::json;

use super::iothread::OnThreadStarted;
use super::memory::{GuestMemory, backend};
use super::topology::BRIDGE;
use super::{Accelerator, Topology, Trace, boot};
use crate::artifacts::{GuestImage, Manifest, QemuInstall, SANDBOX};
use crate::config::HypervisorConfig;
use iothread_hotplug::ColdPlugged;
use iothread_pool::{IoThreadId, root_port_id};
use qmp_client::command::IoThreadObject;

/// Slot of the first root port on `pcie.0`. Built-in devices have the lower slots.
const FIRST_ROOT_PORT: usize = 0x08;

/// The number of addresses of root ports: 0x1f is the chipset's own.
const ROOT_PORT_SLOTS: usize = 0x1f - FIRST_ROOT_PORT;

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
    /// The number of NUMA nodes, each with the same share of CPUs and memory; at most [`MAX_NUMA_NODES`](super::MAX_NUMA_NODES), and a
    /// divisor of the number of CPUs.
    pub numa_nodes: u32,
    /// Whether the guest has a network card with QEMU's user-mode networking.
    pub user_network: bool,
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
            numa_nodes: 1,
            user_network: false,
            kernel_arguments: String::new(),
            cpu: None,
            on_thread_started: None,
            arguments: Vec::new(),
        }
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
    /// The first memory file, if there is one. Those of further NUMA nodes follow.
    pub const RAM: i32 = 5;
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
    line.machine(spec, accelerator, memory, &manifest.qemu);
    line.memory(spec, memory, manifest.qemu.opens_ram_read_only());
    line.guest(&manifest.guest, spec, accelerator);
    if matches!(memory, GuestMemory::Draft(_)) {
        // A kernel that panics before there is a template would boot again and again.
        line.flag("no-reboot");
    }
    line.iommu(spec);
    line.channels();
    line.network(spec);
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

    fn machine(
        &mut self,
        spec: &VmSpec,
        accelerator: &Accelerator,
        memory: &GuestMemory<'_>,
        qemu: &QemuInstall,
    ) {
        self.flag("no-user-config");
        self.flag("nodefaults");
        self.option("display", "none");
        // Sets the names of threads, up to 15 characters.
        self.option("name", "iothread-it,debug-threads=on");
        // Of several nodes, each names its own.
        let backend = match spec.numa_nodes > 1 || memory.is_unnamed() {
            true => "",
            false => ",memory-backend=ram",
        };
        let machine = spec.topology.machine();
        self.option(
            "machine",
            format!("{machine},{}{backend}", boot::MACHINE_OPTIONS),
        );
        self.option("accel", accelerator.name());
        let model = || boot::cpu(accelerator, spec.guest_kvm, qemu);
        self.option("cpu", spec.cpu.clone().unwrap_or_else(model));
        let cpus = spec.config.vcpus;
        match spec.numa_nodes {
            1 => self.option("smp", cpus.to_string()),
            // CPUs of a socket share caches, which Linux does not accept of CPUs on several nodes.
            nodes => self.option("smp", format!("{cpus},sockets={nodes}")),
        }
        self.option("m", format!("{}M", spec.config.memory_mib));
    }

    /// Opens the memory by its descriptors, so that it is the files that were checked.
    fn memory(&mut self, spec: &VmSpec, memory: &GuestMemory<'_>, opens_read_only: bool) {
        let has_nodes = spec.numa_nodes > 1;
        if memory.is_incoming() {
            self.option("incoming", "defer");
        }
        if memory.is_unnamed() && !has_nodes {
            return;
        }
        let sizes = spec.memory_sizes();
        for (node, size) in sizes.iter().enumerate() {
            let id = match node {
                0 => "ram".to_owned(),
                node => format!("ram{node}"),
            };
            let backend = backend(&id, node, *size, memory, opens_read_only);
            self.option("object", backend.to_string());
            if has_nodes {
                let cpus = spec.config.vcpus as usize / sizes.len();
                let (first, last) = (node * cpus, (node + 1) * cpus - 1);
                self.option(
                    "numa",
                    format!("node,nodeid={node},cpus={first}-{last},memdev={id}"),
                );
            }
        }
    }

    fn guest(&mut self, guest: &GuestImage, spec: &VmSpec, accelerator: &Accelerator) {
        self.option("kernel", guest.bootable_kernel());
        self.option("initrd", guest.initramfs.as_os_str());
        let tsc = match accelerator {
            Accelerator::Tcg { tsc_khz, .. } => *tsc_khz,
            Accelerator::Kvm => None,
        };
        let mut arguments = vec![boot::KERNEL_ARGUMENTS.to_owned()];
        arguments.extend(tsc.map(|khz| format!("tsc_early_khz={khz}")));
        let more = spec.kernel_arguments.as_str();
        let parts = [
            (spec.guest_kvm, KVM_PARAMETER),
            (has_iommu(spec), "intel_iommu=on"),
            (spec.user_network, NETWORK_PARAMETER),
            (!more.is_empty(), more),
        ];
        let parts = parts.into_iter().filter(|(is_set, _)| *is_set);
        arguments.extend(parts.map(|(_, part)| part.to_owned()));
        self.option("append", arguments.join(" "));
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
        self.option(
            "device",
            format!("virtserialport,chardev=agent,name={PORT_NAME}"),
        );
    }

    /// A card with a network of its own, in which QEMU translates addresses to sockets of this host: 10.0.2.2 is
    /// this host's loopback. Nothing outside can connect to the guest.
    fn network(&mut self, spec: &VmSpec) {
        if spec.user_network {
            self.option("netdev", "user,id=net0,ipv6=off");
            self.option("device", "virtio-net-pci,netdev=net0,romfile=");
        }
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

    /// If there are more than addresses, each address has several of them, as functions.
    fn root_ports(&mut self, count: usize) {
        for n in 0..count {
            let (slot, function) = (FIRST_ROOT_PORT + n % ROOT_PORT_SLOTS, n / ROOT_PORT_SLOTS);
            let mut port = json!({
                "driver": "pcie-root-port",
                "id": root_port_id(n),
                "bus": "pcie.0",
                "addr": match function {
                    0 => format!("{slot:#x}"),
                    function => format!("{slot:#x}.{function}"),
                },
                "chassis": n + 1,
            });
            if count > ROOT_PORT_SLOTS {
                port["multifunction"] = true.into();
            }
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
        line_with(&spec)
    }

    fn line_with(spec: &VmSpec) -> String {
        line_of_version("11.1.3", spec)
    }

    fn line_of_version(version: &str, spec: &VmSpec) -> String {
        let manifest = Manifest {
            qemu: QemuInstall {
                program: "qemu-system-x86_64".into(),
                prefix_args: Vec::new(),
                env: BTreeMap::new(),
                version: version.into(),
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
            guest_with_tools: None,
        };
        let accelerator = Accelerator::Tcg {
            why: "a test".into(),
            tsc_khz: Some(2_600_000),
        };
        let arguments = arguments(spec, &accelerator, &manifest, &GuestMemory::Anonymous);
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
    fn many_root_ports_share_addresses() {
        let spec = VmSpec {
            root_ports: 25,
            ..VmSpec::new(HypervisorConfig::default())
        };
        let text = line_with(&spec);
        for address in ["0x8", "0x1e", "0x8.1", "0x9.1"] {
            assert!(
                text.contains(&format!(r#""addr":"{address}""#)),
                "{address}: {text}"
            );
        }
        assert!(!text.contains("0x1f"), "{text}");
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
    fn an_emulated_cpu_of_an_old_qemu_has_no_cmpxchg16b() {
        let versions = ["7.2.22 (Debian 1:7.2+dfsg-7)", "unknown", "8.0.0", "10.0.4"];
        for (guest_kvm, model) in [(false, "Nehalem,+rdrand"), (true, "max,+svm")] {
            let spec = VmSpec {
                guest_kvm,
                ..VmSpec::new(HypervisorConfig::default())
            };
            let without = format!("\n-cpu {model},-cx16\n");
            let is_without = |version| line_of_version(version, &spec).contains(&without);
            assert_eq!(
                versions.map(is_without),
                [true, true, false, false],
                "{model}"
            );
        }
    }

    #[test]
    fn numa_nodes_have_memory_and_a_socket_each_and_a_network_has_a_card() {
        let spec = VmSpec {
            numa_nodes: 2,
            user_network: true,
            ..VmSpec::new(HypervisorConfig {
                vcpus: 8,
                memory_mib: 513,
                ..HypervisorConfig::default()
            })
        };
        let (plain, text) = (line(Topology::Q35), line_with(&spec));
        let is_new = |line: &&str| !plain.lines().any(|other| other == *line);
        let new: Vec<&str> = text.lines().filter(is_new).collect();
        let expected = [
            "-smp 8,sockets=2",
            "-m 513M",
            r#"-object {"id":"ram","qom-type":"memory-backend-ram","size":269484032}"#,
            "-numa node,nodeid=0,cpus=0-3,memdev=ram",
            r#"-object {"id":"ram1","qom-type":"memory-backend-ram","size":268435456}"#,
            "-numa node,nodeid=1,cpus=4-7,memdev=ram1",
        ];
        assert_eq!(new[..6], expected);
        assert!(new[6].ends_with(" guest_agent.network"), "{}", new[6]);
        let card = [
            "-netdev user,id=net0,ipv6=off",
            "-device virtio-net-pci,netdev=net0,romfile=",
        ];
        assert_eq!(new[7..9], card);
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
