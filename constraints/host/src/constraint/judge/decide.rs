//! One atom, one verdict.

use crate::constraint::Atom;
use crate::constraint::asked::Asked;
use crate::constraint::kernel::{Range, Release};
use crate::constraint::need::{cgroup, distro, place, size, user};
use crate::facts::{Question, judge_kvm};
use crate::verdict::Verdict;

pub(super) fn decide(atom: &Atom, asked: &Asked<'_>) -> Verdict {
    match atom {
        Atom::Root => user::uid(asked, |uid| uid == "0"),
        Atom::NonRoot => user::uid(asked, |uid| uid != "0"),
        Atom::Uid(wanted) => user::uid(asked, |uid| uid.parse() == Ok(*wanted)),
        Atom::RealRoot => user::real_root(asked),
        Atom::Cap(capability) => capability.judge(asked),
        Atom::Kernel(range) => kernel(asked, range),
        Atom::VendorKernel(vendor) => vendor.judge(asked),
        Atom::Kvm => kvm(asked),
        Atom::Command(tool) => tool.judge(asked),
        Atom::Device(device) => asked.is_there(Question::Device(device.0)),
        Atom::Module(name) => asked.is_there(Question::Module(name)),
        Atom::Kconfig(kconfig) => kconfig.judge(asked),
        Atom::Cgroup(version) => asked.judge(Question::Cgroup, |seen| {
            seen.is(seen.text == *version, || {
                format!("the hierarchy is {}", seen.text)
            })
        }),
        Atom::CgroupController(name) => cgroup::judge_controller(name, asked),
        Atom::Namespace(kind) => asked.is_there(Question::Namespace(kind)),
        Atom::Arch(name) => asked.judge(Question::Arch, |seen| {
            seen.is(seen.text == *name, || {
                format!("this was compiled for {}", seen.text)
            })
        }),
        Atom::Distro(distro) => distro.judge(asked),
        Atom::DistroLike(id) => distro::judge_like(id, asked),
        Atom::Container => place::judge_container(asked),
        Atom::Virt(kind) => place::judge_virt(kind, asked),
        Atom::CpusGe(count) => size::judge_count(*count, Question::Cpus, asked),
        Atom::MemAvailableGe(size) => size.judge(Question::MemAvailable, asked),
        Atom::DiskFreeGe(size) => size.judge(Question::DiskFree, asked),
        Atom::CpuFeature(name) => asked.is_there(Question::CpuFeature(name)),
        Atom::Env(variable) => variable.judge(asked),
        Atom::OptIn(name) => asked.is_there(Question::OptIn(name)),
        Atom::When(probe) => asked.is_there(Question::Probe(*probe)),
    }
}

fn kvm(asked: &Asked<'_>) -> Verdict {
    judge_kvm(asked.host.ask(Question::Kvm).into_owned())
}

fn kernel(asked: &Asked<'_>, range: &Range) -> Verdict {
    asked.judge(Question::KernelRelease, |seen| {
        let Some(running) = Release::parse(seen.text) else {
            return seen.undetermined(|| {
                format!(
                    "kernel release {:?} does not begin with a version",
                    seen.text
                )
            });
        };
        seen.may_be(
            range.holds(&running),
            || format!("kernel is {}", seen.text),
            || format!("kernel {} has another vendor's numbering", seen.text),
        )
    })
}
