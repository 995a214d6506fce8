//! What constraints ask of a machine that can be made to measure, such as a VM.

use super::Constraint;
use super::atom::{Atom, Kind};

/// What constraints ask of a machine that can be made to measure. Zero, and nothing, ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    /// The number of CPUs.
    pub cpus: u32,
    /// Available memory in bytes.
    pub memory: u64,
    /// Free bytes for temporary files.
    pub disk: u64,
    /// The number of NUMA nodes.
    pub numa_nodes: u32,
    /// Arguments of the kernel, sorted.
    pub kernel_args: Vec<String>,
    /// Whether the cgroup hierarchy is v1.
    pub cgroup_v1: bool,
    /// Whether it has a network.
    pub network: bool,
}

impl Demand {
    /// Collects what these constraints ask for. Of `any`, that is what its first alternative asks for; `not` asks
    /// for nothing.
    #[must_use]
    pub fn of(constraints: &[Constraint]) -> Self {
        let mut demand = Self::default();
        constraints.iter().for_each(|one| demand.add(one));
        demand
    }

    fn add(&mut self, constraint: &Constraint) {
        match constraint {
            Constraint::Atom(Atom(kind)) => self.add_atom(kind),
            Constraint::All(of) => of.iter().for_each(|one| self.add(one)),
            Constraint::Any(of) => of.iter().take(1).for_each(|one| self.add(one)),
            Constraint::Not(_) => {}
        }
    }

    fn add_atom(&mut self, kind: &Kind) {
        match kind {
            Kind::CpusGe(count) => self.cpus = self.cpus.max(*count),
            Kind::MemAvailableGe(size) => self.memory = self.memory.max(size.bytes()),
            Kind::DiskFreeGe(size) => self.disk = self.disk.max(size.bytes()),
            Kind::NumaNodesGe(count) => self.numa_nodes = self.numa_nodes.max(*count),
            Kind::Cgroup(version) => self.cgroup_v1 |= *version == "v1",
            Kind::Network(_) => self.network = true,
            Kind::KernelArg(argument) => {
                if let Err(at) = self
                    .kernel_args
                    .binary_search_by(|one| (**one).cmp(argument))
                {
                    self.kernel_args.insert(at, (*argument).to_owned());
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constraint::parse;

    #[test]
    fn the_largest_of_all_and_the_first_of_any_are_asked_for() {
        let demand = |text| Demand::of(&parse(text).expect(text));
        assert_eq!(demand("root, cgroup = \"v2\""), Demand::default());
        let text = "cpus_ge = 2, all(cpus_ge = 4, cpus_ge = 3), any(mem_available_ge = \"2KiB\", network = \
                    \"user\"), not(numa_nodes_ge = 2), kernel_arg(\"b\", \"a\"), kernel_arg = \"b\", cgroup = \"v1\", \
                    disk_free_ge = \"1KiB\"";
        let expected = Demand {
            cpus: 4,
            memory: 2048,
            disk: 1024,
            numa_nodes: 0,
            kernel_args: vec!["a".to_owned(), "b".to_owned()],
            cgroup_v1: true,
            network: false,
        };
        assert_eq!(demand(text), expected);
    }
}
