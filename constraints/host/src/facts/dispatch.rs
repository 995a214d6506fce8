//! Dispatches each question to the file that answers it.

use super::system::{System, uname};
use super::{Answer, Question};
use super::{cgroup, container, cpu, distro, env, kconfig, kernel_arg, kvm, module, network};
use super::{resources, user, virt};

/// Answers a question.
pub(crate) fn answer(question: Question, system: &dyn System) -> Answer {
    look_up(question, system).unwrap_or_else(|unknown| unknown)
}

/// The same, where what cannot be read is an error.
fn look_up(question: Question, system: &dyn System) -> Result<Answer, Answer> {
    Ok(match question {
        Question::EffectiveUid => Answer::is(system.effective_uid().to_string(), "geteuid"),
        Question::UserNamespace => user::namespace(system),
        Question::Capabilities => user::capabilities(system)?,
        Question::KernelRelease => Answer::is(uname(system)?.release, "uname"),
        Question::KernelBuild => Answer::is(uname(system)?.version, "uname"),
        Question::Module(name) => module::answer(name, system)?,
        Question::Kconfig(symbol) => kconfig::answer(symbol, system),
        Question::KernelArg(argument) => kernel_arg::answer(argument, system)?,
        Question::Cgroup => cgroup::version(system),
        Question::CgroupControllers => cgroup::controllers(system)?,
        Question::Network => network::answer(system)?,
        Question::Arch => Answer::is(system.arch(), "compile target"),
        Question::Distro => distro::answer("VERSION_ID", system)?,
        Question::DistroLike => distro::answer("ID_LIKE", system)?,
        Question::Container => container::answer(system),
        Question::Virt => virt::answer(system),
        Question::Cpus => resources::cpus(system),
        Question::MemAvailable => resources::memory(system)?,
        Question::DiskFree => resources::disk(system),
        Question::NumaNodes => resources::numa_nodes(system),
        Question::CpuFeature(name) => cpu::feature(name, system)?,
        Question::Env(name) => env::variable(name, system),
        Question::OptIn(name) => env::opt_in(name, system),
        Question::KvmVendor => kvm::vendor(system)?,
        Question::Kvm => kvm::with_cause(system.probe(question), system),
        Question::KvmSpeed
        | Question::KvmCapabilities
        | Question::Command(_)
        | Question::CommandVersion(_)
        | Question::Device(_)
        | Question::Namespace(_)
        | Question::IsolatedNetwork
        | Question::Probe(_) => system.probe(question),
    })
}
