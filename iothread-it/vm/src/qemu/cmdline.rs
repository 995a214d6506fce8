//! QEMU's command line, made from what the VM shall be.

use std::ffi::OsString;
use std::fs::File;

use serde_json::json;

use super::ram::{DraftRam, TemplateRam};
use super::topology::BRIDGE;
use super::{Accelerator, Topology, Trace, boot};
use crate::artifacts::{GuestImage, Manifest, SANDBOX};
use crate::config::HypervisorConfig;
use iothread_hotplug::ColdPlugged;
use iothread_pool::{IoThreadId, root_port_id};

/// Where the first root port goes on q35's own bus. The slots below hold what is always there.
const FIRST_ROOT_PORT: usize = 0x08;

/// Everything that a VM is started with.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Kata's keys.
    pub config: HypervisorConfig,
    /// Where devices are plugged in. It brings its own machine type: that of the configuration
    /// chose it, if nobody else did.
    pub topology: Topology,
    /// How many root ports there are, where the topology has some.
    pub root_ports: usize,
    /// The devices that are there from the start.
    pub cold: ColdPlugged,
    /// What QEMU is to trace.
    pub trace: Option<Trace>,
}

impl Shape {
    /// Makes the shape that a configuration asks for.
    pub fn new(config: HypervisorConfig) -> Self {
        Self {
            topology: config.machine.into(),
            config,
            root_ports: 4,
            cold: ColdPlugged::default(),
            trace: None,
        }
    }

    /// Returns the size of the guest's memory.
    pub fn memory_bytes(&self) -> u64 {
        u64::from(self.config.memory_mib) << 20
    }

    /// Returns the ids of the pool's threads.
    pub fn threads(&self) -> Vec<IoThreadId> {
        (0..self.config.iothreads.count)
            .map(IoThreadId::indep)
            .collect()
    }
}

/// The numbers that descriptors have in QEMU's process, behind its standard streams.
#[derive(Debug, Clone, Copy)]
pub struct Wiring {
    /// The monitor.
    pub qmp: i32,
    /// The guest agent's port.
    pub agent: i32,
    /// The guest's memory, if it is a file.
    pub ram: i32,
}

impl Default for Wiring {
    fn default() -> Self {
        Self {
            qmp: 3,
            agent: 4,
            ram: 5,
        }
    }
}

/// Where the guest's memory is.
#[derive(Debug)]
pub enum Memory<'a> {
    /// In QEMU's own process.
    Own,
    /// In a file that the guest writes to: it is going to be a template.
    Draft(&'a DraftRam),
    /// In a file that the guest does not write to: QEMU maps it privately, and waits for the state
    /// of the devices before the guest goes on.
    Template(&'a TemplateRam),
}

impl Memory<'_> {
    /// Returns the file, if it is one.
    pub(crate) fn file(&self) -> Option<&File> {
        match self {
            Self::Own => None,
            Self::Draft(ram) => Some(ram.file()),
            Self::Template(ram) => Some(ram.file()),
        }
    }
}

/// Returns QEMU's arguments, but for those of a trace, which make no other VM of it.
pub fn arguments(
    shape: &Shape,
    accelerator: &Accelerator,
    manifest: &Manifest,
    wiring: Wiring,
    memory: &Memory<'_>,
) -> Vec<OsString> {
    let mut line = CommandLine::default();
    line.option("sandbox", SANDBOX);
    line.machine(shape, accelerator, memory);
    line.memory(shape, wiring, memory, manifest.qemu.opens_ram_read_only());
    line.guest(&manifest.guest);
    line.channels(wiring);
    line.iothreads(shape);
    line.hotplug_buses(shape);
    line.0.extend_from_slice(shape.cold.arguments());
    line.0
}

/// The arguments so far: one method for each group.
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

    fn machine(&mut self, shape: &Shape, accelerator: &Accelerator, memory: &Memory<'_>) {
        self.flag("no-user-config");
        self.flag("nodefaults");
        self.option("display", "none");
        // Names the threads, as far as the kernel's 15 characters go.
        self.option("name", "iothread-it,debug-threads=on");
        let backend = match memory {
            Memory::Own => "",
            Memory::Draft(_) | Memory::Template(_) => ",memory-backend=ram",
        };
        let machine = shape.topology.machine();
        self.option(
            "machine",
            format!("{machine},{}{backend}", boot::MACHINE_OPTIONS),
        );
        self.option("accel", accelerator.name());
        self.option("cpu", boot::cpu(accelerator));
        self.option("smp", shape.config.vcpus.to_string());
        self.option("m", format!("{}M", shape.config.memory_mib));
    }

    /// By its descriptor, so that it is the very file that was looked at.
    fn memory(
        &mut self,
        shape: &Shape,
        wiring: Wiring,
        memory: &Memory<'_>,
        opens_read_only: bool,
    ) {
        let share = match memory {
            Memory::Own => return,
            Memory::Draft(_) => true,
            Memory::Template(_) => false,
        };
        let mut backend = json!({
            "qom-type": "memory-backend-file",
            "id": "ram",
            "mem-path": format!("/proc/self/fd/{}", wiring.ram),
            "size": shape.memory_bytes(),
            "share": share,
        });
        // Before QEMU 8.2, `readonly=on` makes guest memory that the guest cannot write to.
        if !share && opens_read_only {
            backend["readonly"] = true.into();
            backend["rom"] = "off".into();
        }
        self.option("object", backend.to_string());
        if !share {
            self.option("incoming", "defer");
        }
    }

    fn guest(&mut self, guest: &GuestImage) {
        self.option("kernel", guest.bootable_kernel());
        self.option("initrd", guest.initramfs.as_os_str());
        self.option("append", boot::KERNEL_ARGUMENTS);
    }

    /// Channels are descriptors, not paths: nothing of them is left on disk, and nobody else can
    /// connect. The console goes to standard output, which the owner keeps.
    fn channels(&mut self, wiring: Wiring) {
        self.option("chardev", "stdio,id=console,signal=off");
        self.option("serial", "chardev:console");
        self.option("chardev", format!("socket,id=qmp,fd={}", wiring.qmp));
        self.option("mon", "chardev=qmp,mode=control");
        self.option("chardev", format!("socket,id=agent,fd={}", wiring.agent));
        self.option("device", "virtio-serial-pci,id=serial0");
        let port = guest_agent::protocol::PORT_NAME;
        self.option(
            "device",
            format!("virtserialport,chardev=agent,name={port}"),
        );
    }

    fn iothreads(&mut self, shape: &Shape) {
        let polling = shape.config.iothreads.polling;
        for thread in shape.threads() {
            let object = iothread_hotplug::iothread_object(&thread, polling);
            self.option("object", json!(object).to_string());
        }
    }

    /// `pcie.0` itself never hot-plugs, so the ports and the bridge are there from the start.
    fn hotplug_buses(&mut self, shape: &Shape) {
        match shape.topology {
            Topology::Pc => {}
            Topology::Q35 => self.root_ports(shape.root_ports),
            Topology::Q35Native => {
                self.option(
                    "global",
                    "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
                );
                self.root_ports(shape.root_ports);
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
    use crate::config::{IoThreads, Polling};

    fn line(topology: Topology) -> String {
        let config = HypervisorConfig {
            iothreads: IoThreads {
                count: 2,
                polling: Polling {
                    max_ns: Some(0),
                    ..Polling::default()
                },
                ..IoThreads::default()
            },
            ..HypervisorConfig::default()
        };
        let shape = Shape {
            topology,
            root_ports: 2,
            ..Shape::new(config)
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
        let wiring = Wiring::default();
        let arguments = arguments(&shape, &accelerator, &manifest, wiring, &Memory::Own);
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
