//! The verdict on one atom.

use crate::constraint::atom::{Atom, Kind};
use crate::constraint::atom::{cgroup, command, distro, env, kconfig, kvm, size, user, virt};
use crate::constraint::evaluator::Evaluator;
use crate::constraint::kernel::release_in;
use crate::facts::{Question, kvm_hardware};
use crate::verdict::Verdict;

pub(super) fn decide(Atom(kind): &Atom, evaluator: &Evaluator<'_>) -> Verdict {
    match kind {
        Kind::Root | Kind::RootInUserns => user::uid(evaluator, |uid| uid == "0"),
        Kind::NonRoot => user::uid(evaluator, |uid| uid != "0"),
        Kind::Uid(wanted) => user::uid(evaluator, |uid| uid.parse() == Ok(*wanted)),
        Kind::RealRoot => user::real_root(evaluator),
        Kind::Cap(capability) => capability.decide(evaluator),
        Kind::Kernel(range) => {
            evaluator.decide(Question::KernelRelease, &|seen| release_in(range, seen))
        }
        Kind::VendorKernel(vendor) => vendor.decide(evaluator),
        Kind::Kvm => evaluator.require_present(Question::Kvm),
        Kind::KvmHardware => kvm_hardware(evaluator.host),
        Kind::KvmCap(capability) => capability.decide(evaluator),
        Kind::KvmVendor(name) => kvm::decide_vendor(name, evaluator),
        Kind::Command(command) => command::decide(command, evaluator),
        Kind::Device(path) => evaluator.require_present(Question::Device(path)),
        Kind::Module(name) => evaluator.require_present(Question::Module(name)),
        Kind::Kconfig(symbol) => kconfig::decide(symbol, evaluator),
        Kind::KernelArg(argument) => evaluator.require_present(Question::KernelArg(argument)),
        Kind::Cgroup(version) => evaluator.decide(Question::Cgroup, &|seen| {
            seen.met_if(seen.text == *version, &|| {
                format!("the cgroup hierarchy is {}", seen.text)
            })
        }),
        Kind::CgroupController(name) => cgroup::decide_controller(name, evaluator),
        Kind::Namespace(kind) => evaluator.require_present(Question::Namespace(kind)),
        Kind::Network(_) => evaluator.require_present(Question::Network),
        Kind::IsolatedNetwork => evaluator.require_present(Question::IsolatedNetwork),
        Kind::Arch(name) => evaluator.decide(Question::Arch, &|seen| {
            seen.met_if(seen.text == *name, &|| {
                format!("this program was compiled for {}", seen.text)
            })
        }),
        Kind::Distro(distro) => distro::decide(distro, evaluator),
        Kind::DistroLike(id) => distro::decide_like(id, evaluator),
        Kind::Container => virt::decide_container(evaluator),
        Kind::Virt(kind) => virt::decide_virt(kind, evaluator),
        Kind::CpusGe(count) => {
            size::decide_count(*count, Question::Cpus, evaluator, |count| match count {
                1 => "this process may use 1 CPU".to_owned(),
                count => format!("this process may use {count} CPUs"),
            })
        }
        Kind::NumaNodesGe(count) => size::decide_count(
            *count,
            Question::NumaNodes,
            evaluator,
            |count| match count {
                1 => "1 NUMA node is online".to_owned(),
                count => format!("{count} NUMA nodes are online"),
            },
        ),
        Kind::MemAvailableGe(size) => size.decide(Question::MemAvailable, evaluator),
        Kind::DiskFreeGe(size) => size.decide(Question::DiskFree, evaluator),
        Kind::CpuFeature(name) => evaluator.require_present(Question::CpuFeature(name)),
        Kind::Env(variable) => env::decide(variable, evaluator),
        Kind::OptIn(name) => evaluator.require_present(Question::OptIn(name)),
        Kind::When(probe) => evaluator.require_present(Question::Probe(*probe)),
    }
}
