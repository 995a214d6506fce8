//! The shape of a place's VM: its size, and what else makes it another machine than the place's usual one.

use std::fmt;

use guest_vm::guest::protocol::{CGROUP_V1_PARAMETER, TMP_PARAMETER};
use guest_vm::qemu::{MAX_KERNEL_ARGUMENTS, MAX_NUMA_NODES};
use kata_test::constraint::Demand;
use kata_test::facts::{Finding, Here, Host as _, Question};
use kata_test_runner::Reason;
use serde::{Deserialize, Serialize};

/// The memory of the usual VM, in MiB. Modules, binaries and the files that tests write are in it too.
pub(super) const MEMORY_MIB: u32 = 1024;
const CPUS: u32 = 2;

/// The largest boot image, with the modules of a kernel: a guest needs three times as much memory.
pub(super) const MAX_IMAGE_MIB: u32 = 1024;

/// The same of a VM with KVM: tests of VM managers start guests with several CPUs in it.
const KVM_MEMORY_MIB: u32 = 3072;
const KVM_CPUS: u32 = 4;

/// The most CPUs of a VM: with emulation and two CPUs of the host they boot in half a minute, and 240 not in time.
const MAX_CPUS: u32 = 64;

/// Memory that tests do not have available: the kernel, its modules, and what the agent delivers.
const RESERVED_MIB: u32 = 352;

/// The part of all memory, one of so many, that describes the memory.
const PART: u32 = 24;

/// The size of memory is a multiple of this, so that similar demands lead to the same shape.
const STEP_MIB: u32 = 256;

/// The memory that QEMU itself takes.
const QEMU_MIB: u32 = 256;

/// The shape of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shape {
    pub(super) cpus: u32,
    pub(super) memory_mib: u32,
    /// The size of the folder for temporary files, which is in memory. `None`: half of the memory.
    tmp_mib: Option<u32>,
    pub(super) numa_nodes: u32,
    /// Further arguments of the kernel.
    kernel_args: String,
    cgroup_v1: bool,
    pub(super) network: bool,
}

impl Shape {
    /// Returns the shape of a VM for tests that ask for nothing.
    pub(super) fn usual(kvm: bool, kernel_args: &str, network: bool) -> Self {
        let (cpus, memory_mib) = match kvm {
            true => (KVM_CPUS, KVM_MEMORY_MIB),
            false => (CPUS, MEMORY_MIB),
        };
        Self {
            cpus,
            memory_mib,
            tmp_mib: None,
            numa_nodes: 1,
            kernel_args: kernel_args.to_owned(),
            cgroup_v1: false,
            network,
        }
    }

    /// Returns the shape with enough memory for a boot image of this size, in MiB. While the kernel unpacks it, the
    /// image is in memory, and its content may take half of the rest. The kernel drops what does not fit.
    pub(super) fn with_room_for(self, image_mib: u32) -> Self {
        const KERNEL_MIB: u32 = 128;
        let needed = 3 * image_mib.min(MAX_IMAGE_MIB) + KERNEL_MIB;
        Self {
            memory_mib: self.memory_mib.max(needed.next_multiple_of(STEP_MIB)),
            ..self
        }
    }

    /// Returns the smallest shape that has what this one has, and what a demand asks for.
    ///
    /// # Errors
    /// Why no VM on this host has that.
    pub(super) fn meeting(&self, demand: &Demand) -> Result<Self, Reason> {
        let mut shape = self.clone();
        limit("numa_nodes", demand.numa_nodes, MAX_NUMA_NODES)?;
        limit("cpus", demand.cpus, MAX_CPUS)?;
        // Each node has as many CPUs as the others.
        let cpus = self.cpus.max(demand.cpus);
        let nodes = self.numa_nodes.max(demand.numa_nodes);
        let has_few_cpus = |nodes: &u32| cpus.next_multiple_of(*nodes) <= MAX_CPUS;
        shape.numa_nodes = (nodes..MAX_NUMA_NODES)
            .find(has_few_cpus)
            .unwrap_or(MAX_NUMA_NODES);
        shape.cpus = cpus.next_multiple_of(shape.numa_nodes);
        shape.cgroup_v1 |= demand.cgroup_v1;
        shape.network |= demand.network;
        shape.add_arguments(&demand.kernel_args)?;
        shape.grow(demand);
        if shape.memory_mib > self.memory_mib {
            shape.check_memory(demand)?;
        }
        Ok(shape)
    }

    fn add_arguments(&mut self, wanted: &[String]) -> Result<(), Reason> {
        for argument in wanted {
            let mut present = self.kernel_args.split_whitespace();
            if !present.any(|word| word == argument) {
                let space = if self.kernel_args.is_empty() { "" } else { " " };
                self.kernel_args += space;
                self.kernel_args += argument;
            }
            if self.kernel_arguments().len() > MAX_KERNEL_ARGUMENTS {
                let constraint = format!("kernel_arg {argument}");
                let observed = format!(
                    "a VM has room for {MAX_KERNEL_ARGUMENTS} bytes of further kernel arguments"
                );
                return Err(Reason::constraint(constraint, observed, SOURCE));
            }
        }
        Ok(())
    }

    /// Whether a VM that was made from this usual shape for the demands `all` meets another demand, and is no other
    /// machine than that asks for.
    pub(super) fn covers(&self, all: &Demand, one: &Demand) -> bool {
        kind(all) == kind(&self.missing(one))
            && all.cpus >= one.cpus
            && all.memory >= one.memory
            && all.disk >= one.disk
            && all.numa_nodes >= one.numa_nodes
    }

    /// Returns the demand without the kernel arguments and the network that the shape has.
    fn missing(&self, demand: &Demand) -> Demand {
        let mut missing = demand.clone();
        let is_missing =
            |one: &String| !self.kernel_args.split_whitespace().any(|word| word == one);
        missing.kernel_args.retain(is_missing);
        missing.network &= !self.network;
        missing
    }

    /// Sets the sizes of memory and of the folder for temporary files.
    fn grow(&mut self, demand: &Demand) {
        let mut available = mib(demand.memory);
        if mib(demand.disk) > self.memory_mib / 5 * 2 {
            // The agent puts files there, too.
            let tmp_mib = mib(demand.disk).saturating_add(16);
            self.tmp_mib = Some(tmp_mib);
            available = available.max(self.available_mib()).saturating_add(tmp_mib);
        }
        if available > self.available_mib() {
            let all = u64::from(available.saturating_add(RESERVED_MIB)) * u64::from(PART)
                / u64::from(PART - 1)
                + 1;
            let all = all.next_multiple_of(u64::from(STEP_MIB));
            self.memory_mib = u32::try_from(all).unwrap_or(u32::MAX);
        }
    }

    /// Returns how much memory tests have available at least, in MiB.
    fn available_mib(&self) -> u32 {
        (self.memory_mib / PART * (PART - 1)).saturating_sub(RESERVED_MIB)
    }

    /// Checks that this host has the memory.
    fn check_memory(&self, demand: &Demand) -> Result<(), Reason> {
        let answer = Here.ask(Question::MemAvailable);
        let available = match &answer.finding {
            Finding::Is(bytes) => bytes.parse::<u64>().ok(),
            Finding::Absent(_) | Finding::Unknown(_) => None,
        };
        let Some(available) = available.map(|bytes| bytes >> 20) else {
            return Ok(());
        };
        let needed = u64::from(self.memory_mib) + u64::from(QEMU_MIB);
        if needed <= available {
            return Ok(());
        }
        let constraint = match mib(demand.disk) > mib(demand.memory) {
            true => format!("disk_free >= {}", Size(mib(demand.disk).into()).word()),
            false => format!(
                "mem_available >= {}",
                Size(mib(demand.memory).into()).word()
            ),
        };
        let observed = format!(
            "a VM for it takes {} of memory, and this host has {} available",
            Size(needed),
            Size(available)
        );
        Err(Reason::constraint(constraint, observed, &*answer.source))
    }

    /// Returns the memory that the VM and its QEMU may take, in MiB.
    pub(super) fn taken_mib(&self) -> u32 {
        self.memory_mib.saturating_add(QEMU_MIB)
    }

    /// Returns the arguments of the kernel that the shape consists of.
    pub(super) fn kernel_arguments(&self) -> String {
        let mut words = Vec::new();
        if self.cgroup_v1 {
            words.push(CGROUP_V1_PARAMETER.to_owned());
        }
        if let Some(mib) = self.tmp_mib {
            words.push(format!("{TMP_PARAMETER}{mib}m"));
        }
        if !self.kernel_args.is_empty() {
            words.push(self.kernel_args.clone());
        }
        words.join(" ")
    }

    /// Returns what distinguishes the shape from the usual one, as the end of a place's name: `+8cpus+6.5GiB`.
    pub(super) fn suffix(&self, usual: &Self) -> String {
        let mut parts = Vec::new();
        if self.cpus != usual.cpus {
            parts.push(format!("{}cpus", self.cpus));
        }
        if self.memory_mib != usual.memory_mib {
            parts.push(Size(self.memory_mib.into()).word());
        }
        if let Some(mib) = self.tmp_mib {
            parts.push(format!("tmp={}", Size(mib.into()).word()));
        }
        if self.numa_nodes != usual.numa_nodes {
            parts.push(format!("{}nodes", self.numa_nodes));
        }
        if self.cgroup_v1 {
            parts.push("cgroup=v1".to_owned());
        }
        if self.network && !usual.network {
            parts.push("network".to_owned());
        }
        let own = usual.kernel_args.as_str();
        let added = self.kernel_args.strip_prefix(own).unwrap_or_default();
        parts.extend(added.split_whitespace().map(|word| format!("arg:{word}")));
        parts.iter().map(|part| format!("+{part}")).collect()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = Size(self.memory_mib.into());
        write!(f, "{} CPUs, {memory} of memory", self.cpus)?;
        if let Some(mib) = self.tmp_mib {
            write!(f, ", {} for temporary files in it", Size(mib.into()))?;
        }
        if self.numa_nodes > 1 {
            write!(f, ", {} NUMA nodes", self.numa_nodes)?;
        }
        if self.cgroup_v1 {
            f.write_str(", cgroup v1")?;
        }
        if self.network {
            f.write_str(", a network")?;
        }
        match self.kernel_args.as_str() {
            "" => Ok(()),
            args => write!(f, ", kernel arguments {args}"),
        }
    }
}

/// Joins demands that one VM of the `usual` shape can meet together, if this host has the memory: they differ in
/// size only. Those that it meets as it is, and those that none meets, are left out.
pub(super) fn joined(usual: &Shape, demands: &[&Demand]) -> Vec<(Demand, Shape)> {
    let mut joined: Vec<(Demand, Shape)> = Vec::new();
    for demand in demands.iter().map(|demand| usual.missing(demand)) {
        let shape = match usual.meeting(&demand) {
            Ok(shape) if shape != *usual => shape,
            _ => continue,
        };
        let together = joined.iter_mut().find_map(|(other, shape)| {
            let both = join(other, &demand)?;
            let larger = usual.meeting(&both).ok()?;
            Some((other, shape, both, larger))
        });
        match together {
            Some((other, shape, both, larger)) => (*other, *shape) = (both, larger),
            None => joined.push((demand, shape)),
        }
    }
    joined
}

fn join(one: &Demand, other: &Demand) -> Option<Demand> {
    (kind(one) == kind(other)).then(|| Demand {
        cpus: one.cpus.max(other.cpus),
        memory: one.memory.max(other.memory),
        disk: one.disk.max(other.disk),
        numa_nodes: one.numa_nodes.max(other.numa_nodes),
        ..one.clone()
    })
}

/// What makes a VM another machine, and not a larger one.
fn kind(demand: &Demand) -> (&[String], bool, bool) {
    (&demand.kernel_args, demand.cgroup_v1, demand.network)
}

/// The source of limits that are ours.
const SOURCE: &str = "cargo kata-test";

fn limit(what: &str, wanted: u32, most: u32) -> Result<(), Reason> {
    if wanted <= most {
        return Ok(());
    }
    let observed = format!("a VM has at most {most}");
    Err(Reason::constraint(
        format!("{what} >= {wanted}"),
        observed,
        SOURCE,
    ))
}

/// Converts bytes to MiB, rounded up.
fn mib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX)
}

/// A size in MiB.
struct Size(u64);

impl Size {
    /// As in a constraint and in the name of a place: `6.5GiB`.
    fn word(&self) -> String {
        self.to_string().replace(' ', "")
    }
}

impl fmt::Display for Size {
    /// In the largest unit that is not larger: `6.5 GiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, shift) = match self.0 >> 10 {
            0 => ("MiB", 0),
            gib if gib < 1024 => ("GiB", 10),
            _ => ("TiB", 20),
        };
        let tenths = (self.0 * 10) >> shift;
        match tenths % 10 {
            0 => write!(f, "{} {unit}", tenths / 10),
            rest => write!(f, "{}.{rest} {unit}", tenths / 10),
        }
    }
}

#[cfg(test)]
mod tests {
    //! **Scope**: which shapes there are. `tests/places/shapes.rs` boots them.

    use super::*;

    fn usual() -> Shape {
        Shape::usual(false, "lsm=landlock", false)
    }

    fn demand(change: impl FnOnce(&mut Demand)) -> Demand {
        let mut demand = Demand::default();
        change(&mut demand);
        demand
    }

    #[test]
    fn small_demands_are_met_by_the_usual_vm() {
        let small = demand(|one| {
            (one.cpus, one.numa_nodes) = (2, 1);
            (one.memory, one.disk) = (512 << 20, 256 << 20);
            one.kernel_args = vec!["lsm=landlock".to_owned()];
        });
        assert_eq!(usual().meeting(&small).unwrap(), usual());
        assert!(joined(&usual(), &[&small, &Demand::default()]).is_empty());
    }

    #[test]
    fn demands_that_differ_in_size_share_a_vm_and_others_do_not() {
        let cpus = demand(|one| one.cpus = 7);
        let memory = demand(|one| one.memory = 1 << 30);
        let nodes = demand(|one| one.numa_nodes = 2);
        let network = demand(|one| one.network = true);
        let argument = demand(|one| one.kernel_args = vec!["debug".to_owned()]);
        let all = [&cpus, &memory, &network, &nodes, &argument];
        let joined = joined(&usual(), &all);
        let names: Vec<String> = joined
            .iter()
            .map(|(_, shape)| shape.suffix(&usual()))
            .collect();
        assert_eq!(names, ["+8cpus+1.5GiB+2nodes", "+network", "+arg:debug"]);
        let (large, shape) = &joined[0];
        assert!(
            [&cpus, &memory, &nodes]
                .iter()
                .all(|one| usual().covers(large, one))
        );
        assert!(!usual().covers(large, &network) && !usual().covers(&network, &cpus));
        assert_eq!(
            shape.to_string(),
            "8 CPUs, 1.5 GiB of memory, 2 NUMA nodes, kernel arguments lsm=landlock"
        );
        assert_eq!(joined[2].1.kernel_arguments(), "lsm=landlock debug");
    }

    #[test]
    fn what_the_usual_vm_has_makes_no_other_vm() {
        let usual = Shape::usual(false, "lsm=landlock", true);
        let cpus = demand(|one| one.cpus = 8);
        let with_all = demand(|one| {
            (one.cpus, one.network) = (6, true);
            one.kernel_args = vec!["lsm=landlock".to_owned()];
        });
        for demands in [[&cpus, &with_all], [&with_all, &cpus]] {
            let joined = joined(&usual, &demands);
            assert_eq!(joined.len(), 1, "{joined:?}");
            assert!(demands.iter().all(|one| usual.covers(&joined[0].0, one)));
        }
    }

    #[test]
    fn nodes_are_added_rather_than_too_many_cpus() {
        let many = demand(|one| (one.cpus, one.numa_nodes) = (64, 7));
        let shape = usual().meeting(&many).unwrap();
        assert_eq!((shape.cpus, shape.numa_nodes), (64, 8));
        let few = demand(|one| (one.cpus, one.numa_nodes) = (7, 3));
        let shape = usual().meeting(&few).unwrap();
        assert_eq!((shape.cpus, shape.numa_nodes), (9, 3));
    }

    #[test]
    fn a_large_boot_image_has_room_in_memory() {
        let memory = |image| usual().with_room_for(image).memory_mib;
        assert_eq!([0, 97, 298].map(memory), [MEMORY_MIB; 3]);
        assert_eq!([299, 386, 560].map(memory), [1280, 1536, 2048]);
        assert_eq!(memory(u32::MAX), memory(MAX_IMAGE_MIB));
    }

    #[test]
    fn temporary_files_are_in_further_memory() {
        let disk = demand(|one| one.disk = 1 << 30);
        let shape = usual().meeting(&disk).unwrap();
        assert_eq!(
            shape.kernel_arguments(),
            "guest_agent.tmp=1040m lsm=landlock"
        );
        assert!(shape.available_mib() >= usual().available_mib() + 1024);
    }

    #[test]
    fn what_no_vm_has_is_a_reason_with_a_figure() {
        let lack = |demand: &Demand| {
            let reason = usual().meeting(demand).unwrap_err();
            assert!(joined(&usual(), &[demand]).is_empty());
            reason.to_string()
        };
        assert_eq!(
            lack(&demand(|one| one.cpus = 65)),
            "needs cpus >= 65: a VM has at most 64 (cargo kata-test)"
        );
        assert_eq!(
            lack(&demand(|one| one.numa_nodes = 9)),
            "needs numa_nodes >= 9: a VM has at most 8 (cargo kata-test)"
        );
        let memory = lack(&demand(|one| one.memory = 1 << 50));
        let start = "needs mem_available >= 1024TiB: a VM for it takes ";
        assert!(
            memory.starts_with(start) && memory.contains("this host has "),
            "{memory}"
        );
        let disk = lack(&demand(|one| one.disk = 1 << 50));
        assert!(disk.starts_with("needs disk_free >= 1024TiB: "), "{disk}");
        let argument = lack(&demand(|one| one.kernel_args = vec!["x".repeat(2000)]));
        assert!(
            argument.contains("bytes of further kernel arguments"),
            "{argument}"
        );
    }
}
