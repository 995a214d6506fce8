//! The table of constraints. Each row defines a constructor, the run-time parser's entry, an entry for
//! suggestions and listings, and the reference documentation.

use super::atom::{self, Kind};
use super::range::{Operator, Range};
use super::text::try_const;
use super::{Atom, Constraint, Probe};
use crate::verdict::Verdict;

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name as it stands in the attribute.
    pub name: &'static str,
    /// What it requires, in Markdown.
    pub doc: &'static str,
    /// How it is used, in the attribute's grammar.
    pub example: &'static str,
    pub(crate) build: Build,
}

/// The value that follows a name, and the atom that it makes.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a constant cannot be boxed, and these live in read-only data"
)]
pub(crate) enum Build {
    Flag(Kind),
    Text(fn(&'static str) -> Result<Kind, &'static str>),
    Number(fn(u32) -> Result<Kind, &'static str>),
    /// The path of a function, which a text at run time cannot name.
    Function,
}

macro_rules! table {
    ($( $(#[doc = $doc:literal])+ $name:ident $example:literal $shape:ident($($arg:ident)?) => $atom:expr; )+) => {
        $( constructor! {
            $(#[doc = $doc])+
            #[doc = concat!("\n", example!($example))]
            $shape $name($($arg)?) $atom
        } )+

        /// Every constraint that an attribute can name.
        pub const TABLE: &[Entry] = &[
            $( Entry {
                name: stringify!($name),
                doc: concat!($($doc, "\n"),+),
                example: $example,
                build: build!($shape $($arg)? => $atom),
            } ),+
        ];

        /// The names alone.
        pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),+];
    };
}

/// A documentation test with the example, so that rustc checks it.
macro_rules! example {
    ($example:literal) => {
        concat!(
            "```\n# mod path { pub mod to { use kata_test::Verdict; pub fn probe() -> Verdict { \
             Verdict::met(\"\", \"\") } } }\n# mod unit {\n# use super::path;\n# use \
             kata_test::kata_test;\n#[kata_test(",
            $example,
            ")]\nfn needs_it() {}\n# }\n# fn main() {}\n```"
        )
    };
}

macro_rules! constructor {
    ($(#[doc = $doc:expr])+ flag $name:ident() $atom:expr) => {
        $(#[doc = $doc])+
        #[must_use]
        pub const fn $name() -> Constraint {
            Constraint::Atom(Atom($atom))
        }
    };
    ($(#[doc = $doc:expr])+ text $name:ident($arg:ident) $atom:expr) => {
        $(#[doc = $doc])+
        #[track_caller]
        #[must_use]
        pub const fn $name($arg: &'static str) -> Constraint {
            accept($atom)
        }
    };
    ($(#[doc = $doc:expr])+ number $name:ident($arg:ident) $atom:expr) => {
        $(#[doc = $doc])+
        #[track_caller]
        #[must_use]
        pub const fn $name($arg: u32) -> Constraint {
            accept($atom)
        }
    };
    ($(#[doc = $doc:expr])+ function $name:ident($arg:ident) $atom:expr) => {
        $(#[doc = $doc])+
        #[must_use]
        pub const fn $name(name: &'static str, run: fn() -> Verdict) -> Constraint {
            let $arg = Probe { name, run };
            Constraint::Atom(Atom($atom))
        }
    };
}

macro_rules! build {
    (flag => $atom:expr) => {
        Build::Flag($atom)
    };
    (text $arg:ident => $atom:expr) => {
        Build::Text(|$arg| $atom)
    };
    (number $arg:ident => $atom:expr) => {
        Build::Number(|$arg| $atom)
    };
    (function $arg:ident => $atom:expr) => {
        Build::Function
    };
}

/// The keys of the attribute that describe the test and are not constraints.
///
/// The attribute's macro cannot depend on this crate, so it has a list of its own; its tests compare
/// the two.
pub const METADATA: &[&str] = &[
    "expect_failure",
    "unstable",
    "retries",
    "issue",
    "reason",
    "timeout",
    "serial",
    "own_machine",
    "crate",
];

/// Makes a bad literal a compile error at the place of the constructor's caller.
#[track_caller]
const fn accept(atom: Result<Kind, &'static str>) -> Constraint {
    match atom {
        Ok(kind) => Constraint::Atom(Atom(kind)),
        Err(problem) => panic!("{}", problem),
    }
}

table! {
    /// The effective uid is 0.
    ///
    /// Read by geteuid(2). Capabilities and the user namespace are not checked: root in a container may
    /// lack capabilities, or be root of a namespace only. See [`real_root`] and [`caps`].
    root "root" flag() => Kind::Root;
    /// The effective uid is 0, and root in a user namespace suffices.
    ///
    /// Read by geteuid(2), as for [`root`]. The runner takes a test with this constraint to the place `userns`,
    /// and one with `root` only where it is root of a host. Root in a user namespace mounts file systems such
    /// as tmpfs, configures its own network and changes owners among the ids that it has; it creates no
    /// device nodes, mounts no block devices and loads no modules.
    root_in_userns "root_in_userns" flag() => Kind::RootInUserns;
    /// The effective uid is not 0.
    ///
    /// Read by geteuid(2).
    non_root "non_root" flag() => Kind::NonRoot;
    /// The effective uid is this one.
    ///
    /// Read by geteuid(2).
    uid "uid = 1000" number(uid) => Ok(Kind::Uid(uid));
    /// The effective uid is 0, in the user namespace that the kernel starts with.
    ///
    /// Read by geteuid(2) and from /proc/self/ns/user. If that link cannot be read, a map of uids other
    /// than the identity proves another namespace; the identity proves nothing, so it is undetermined.
    /// Real root in a container may still lack capabilities.
    real_root "real_root" flag() => Kind::RealRoot;
    /// This thread has the capability in its effective set.
    ///
    /// Read from CapEff in /proc/thread-self/status. A capability in a user namespace does not extend to
    /// resources of the initial one, and a device cgroup or seccomp can still deny an operation: prefer a
    /// constraint on the operation itself.
    caps r#"caps("CAP_SYS_ADMIN", "CAP_NET_ADMIN")"# text(name) => atom::user::capability(name);
    /// The running kernel is in a range.
    ///
    /// Read by uname(2). Each version is compared as far as it is stated.
    kernel r#"kernel = ">= 5.10, < 6.9""# text(range) => in_range(Range::of_kernels(range));
    /// The running kernel is that version as far as the requirement states it: any 6.1.x.
    ///
    /// Read by uname(2). A suffix, such as `-18-amd64`, counts only if one is stated.
    kernel_eq r#"kernel_eq = "6.1""# text(version) => in_range(Range::one(Operator::Eq, version));
    /// The running kernel is another version than that.
    ///
    /// Read by uname(2).
    kernel_ne r#"kernel_ne = "6.1""# text(version) => in_range(Range::one(Operator::Ne, version));
    /// The running kernel is older than any 6.1.
    ///
    /// Read by uname(2).
    kernel_lt r#"kernel_lt = "6.1""# text(version) => in_range(Range::one(Operator::Lt, version));
    /// The running kernel is a 6.1 or older.
    ///
    /// Read by uname(2).
    kernel_le r#"kernel_le = "6.1""# text(version) => in_range(Range::one(Operator::Le, version));
    /// The running kernel is newer than any 6.1.
    ///
    /// Read by uname(2).
    kernel_gt r#"kernel_gt = "6.1""# text(version) => in_range(Range::one(Operator::Gt, version));
    /// The running kernel is a 6.1 or newer.
    ///
    /// Read by uname(2). Distributions backport features without changing the version: prefer to
    /// require the feature itself, or add the vendors' kernels, see [`vendor_kernel`]. A release
    /// candidate counts as its release, unless the requirement states `-rcN`.
    kernel_ge r#"kernel_ge = "6.1""# text(version) => in_range(Range::one(Operator::Ge, version));
    /// The running kernel is built by this vendor, in a range of versions.
    ///
    /// For a feature that was backported: `any(kernel_ge = "6.3", vendor_kernel = "rhel9 >=
    /// 5.14.0-441")`.
    ///
    /// The vendor is read from the kernel, not from the distribution, which differs in a container:
    /// from `.el9`, `.fc40`, `.amzn2023`, `.azl3`, `.oe2403` and `.el8uek` in uname(2)'s release for
    /// `rhel9` (and its rebuilds), `fedora40`, `amzn2023`, `azl3`, `openeuler2403` and `uek8`, and
    /// from the name in uname(2)'s version for `ubuntu` and `debian`.
    vendor_kernel r#"any(kernel_ge = "6.3", vendor_kernel = "rhel9 >= 5.14.0-441")"# text(text) => atom::vendor::vendor(text);
    /// KVM works: /dev/kvm opens and runs a guest.
    ///
    /// A tiny guest in real mode writes and reads an I/O port, writes and reads where it has no memory,
    /// writes to one of its pages, and halts. Each exit must be reported with the right value, the dirty log
    /// must have that page and none that the guest did not use, `KVM_GET_SUPPORTED_CPUID` must describe a
    /// CPU, and the guest's CPUID must be what was set. A node that opens, ioctls that succeed and the CPU's
    /// flags are not sufficient: one wrong effect, or none within 5 seconds, makes this constraint unmet.
    ///
    /// It does not mean that KVM is fast: KVM in a VM whose CPU QEMU emulates meets it, see
    /// [`kvm_hardware`]. A KVM that interprets its guests can do the I/O of this guest right and still give
    /// it other features than were set (seen with `kvm_pvm`, where single steps differ as well). It is
    /// unmet there, since tests that pass on every other KVM fail on it.
    kvm "kvm" flag() => Kind::Kvm;
    /// KVM works at the speed of hardware.
    ///
    /// As [`kvm`], and an iteration of a loop in a 64-bit guest takes at most 400 ns; it takes about 35 ns
    /// outside of KVM. The reason for an unmet one is coarse, `emulated` or `interprets`; the measured
    /// time is the fact `kvm speed`. Tests that boot a whole system or measure time need it; most tests of ioctls do not.
    kvm_hardware "kvm_hardware" flag() => Kind::KvmHardware;
    /// KVM works and has a capability, by its name in linux/kvm.h.
    ///
    /// As [`kvm`], and `KVM_CHECK_EXTENSION` of a VM returns a positive number.
    kvm_cap r#"kvm_cap = "KVM_CAP_IRQFD""# text(name) => atom::kvm::capability(name);
    /// KVM works, on CPUs with the virtualization of this vendor: `intel` (VMX) or `amd` (SVM).
    ///
    /// As [`kvm`], and every CPU has `vmx` or `svm` in /proc/cpuinfo. CPUs of other manufacturers that have
    /// one of the two count as well.
    kvm_vendor r#"kvm_vendor = "amd""# text(name) => atom::kvm::vendor(name);
    /// PATH has an executable regular file of this name, possibly with a range of versions.
    ///
    /// The version is the first one that `--version` prints within five seconds. A command that exists and
    /// prints none is undetermined, since it is broken and not absent.
    command r#"command = "qemu-img >= 8.0""# text(text) => atom::command::command(text);
    /// A device node that this process can open for reading and writing.
    ///
    /// It is opened without blocking, in a child with a deadline, and closed at once; each error has
    /// its own text. The node's mode and group are not evaluated. A watchdog is refused, since opening it
    /// starts it, and a node that has no driver yet is not opened, since that would load one.
    device r#"device = "/dev/vhost-vsock""# text(path) => atom::device::device(path);
    /// A kernel module that is loaded or built in.
    ///
    /// Read from /sys/module, then from modules.builtin of the running kernel, since a built-in module
    /// without parameters is not in the first. `-` and `_` are the same. No module is loaded.
    module r#"module = "vhost_net""# text(name) => atom::module::module(name);
    /// A symbol of the kernel's configuration, possibly with its value.
    ///
    /// A symbol alone is met by `y` and `m`; `=n` requires that it is not set. Combine symbols by
    /// `all(…)`, `any(…)` and `not(…)`. Read from the first of `$KCONFIG_PATH`, /proc/config.gz,
    /// `/lib/modules/$release/{build/.config,config}`, `/boot/config-$release` and
    /// `/lib/kernel/config-$release`; without any it is undetermined. The compressed one is read by
    /// the command gzip. A module (`=m`) may not be installed, and what is built in (`=y`) may be
    /// disabled on the kernel command line.
    kconfig r#"kconfig = "CONFIG_USER_NS=y""# text(text) => atom::kconfig::kconfig(text);
    /// The running kernel was started with this argument: `nosmt`, or `isolcpus=1` with its value.
    ///
    /// Read from /proc/cmdline, where it has to be a word. A VM of the runner gets it.
    kernel_arg r#"kernel_arg = "nosmt""# text(argument) => atom::kernel_arg::argument(argument);
    /// The version of the cgroup hierarchy at /sys/fs/cgroup.
    ///
    /// Read by statfs(2). A unified hierarchy that is mounted together with v1 hierarchies counts as `v1`. For
    /// `v1` a VM of the runner mounts each controller by itself, as far as its kernel has it: combine it with
    /// [`cgroup_controller`].
    cgroup r#"cgroup = "v2""# text(version) => atom::cgroup::version(version);
    /// A cgroup controller that is available in this process's group.
    ///
    /// Read from `cgroup.controllers` of the group that /proc/self/cgroup names, or under v1 from
    /// that file itself. The process may still lack permission to write to it.
    cgroup_controller r#"cgroup_controller = "memory""# text(name) => atom::cgroup::controller(name);
    /// A namespace of this kind can be created by this process.
    ///
    /// Created by unshare(2) in a child that ends at once. A user namespace has to come with capabilities:
    /// one without them, as some security modules allow it, does not count.
    namespace r#"namespace = "time""# text(kind) => atom::namespace::namespace(kind);
    /// A network with a way to other hosts: `user`, which a VM of the runner gets by QEMU's user-mode networking.
    ///
    /// Met by a default route in /proc/net/route or /proc/net/ipv6_route. Whether another host answers is not
    /// tried. Other VMs have the loopback interface only.
    network r#"network = "user""# text(kind) => atom::network::network(kind);
    /// The test has a network of its own: a new network namespace with the loopback interface, which is up.
    ///
    /// Met if this process can create one, by unshare(2) in a child that ends at once: as root, as root in a user
    /// namespace (the place `userns`), and in VMs. The harness creates it before it drops privileges, and it ends
    /// with the last process of the test. Under Rust's own harness it is that of the test's thread, and of the
    /// threads and processes that it starts. Only `isolated_network` by itself has this effect, not within `any` or
    /// `not`. /sys/class/net goes on to show the interfaces outside; /proc/thread-self/net shows the test's own.
    isolated_network "isolated_network" flag() => Kind::IsolatedNetwork;
    /// The architecture that this program was compiled for, by Rust's name for it.
    ///
    /// It is the program's, not the kernel's: a kernel may run programs of several architectures.
    arch r#"arch = "x86_64""# text(name) => atom::cpu::arch(name);
    /// The distribution, possibly of certain versions.
    ///
    /// Read from /etc/os-release, else from /usr/lib/os-release. In a container it is the image's, not
    /// the kernel's. A comparison is undetermined without a version, as on rolling distributions, or with
    /// one that is not precise enough (`9` against `>= 9.2`).
    distro r#"distro = "ubuntu >= 22.04""# text(text) => atom::distro::distro(text);
    /// The distribution, or one that it is derived from.
    ///
    /// Read from ID and ID_LIKE of the same file as [`distro`].
    distro_like r#"distro_like = "rhel""# text(id) => atom::distro::like(id);
    /// This process is in a container.
    ///
    /// Detected by the kernel's name (gVisor, WSL), by the marks of container managers (/.dockerenv,
    /// /run/.containerenv, /run/systemd/container, /run/host/container-manager), and by a PID namespace
    /// that is not the initial one. A VM whose image was made from a container may still have a mark.
    container "container" flag() => Kind::Container;
    /// The hypervisor that this host runs on, or `none`.
    ///
    /// Detected by CPUID, by the firmware's tables in /sys/class/dmi/id, and on other architectures than x86
    /// by the device tree. KVM with the signature of Hyper-V is `microsoft`.
    virt r#"virt = "none""# text(kind) => atom::virt::virt(kind);
    /// This process may use at least this number of CPUs.
    ///
    /// Read from its affinity and the cgroup's quota. A VM of the runner gets that many, also more than the host
    /// has.
    cpus_ge "cpus_ge = 2" number(count) => Ok(Kind::CpusGe(count));
    /// At least this much memory is available.
    ///
    /// Read from MemAvailable of /proc/meminfo and from the limits of this process's cgroups; the smaller
    /// value counts (`memory.max` and `memory.high`, under v1 `memory.limit_in_bytes`). Inactive page cache
    /// (`inactive_file` of memory.stat) counts as available there, as it does for kubelet and docker.
    /// If the process was moved out of its cgroup namespace, so that its limits cannot be read, it is
    /// undetermined. A VM of the runner gets that much, if the host has it available.
    mem_available_ge r#"mem_available_ge = "2GiB""# text(size) => atom::size::mem_available(size);
    /// At least this much is free in the folder for temporary files.
    ///
    /// Read by statvfs(2) of the folder that `TMPDIR` names, or of /tmp. A VM of the runner has it in memory.
    disk_free_ge r#"disk_free_ge = "1GiB""# text(size) => atom::size::disk_free(size);
    /// At least this number of NUMA nodes is online.
    ///
    /// Read from /sys/devices/system/node/online. A kernel without that file has one. A VM of the runner gets
    /// that many, up to 8, with the same share of CPUs and memory each.
    numa_nodes_ge "numa_nodes_ge = 2" number(count) => Ok(Kind::NumaNodesGe(count));
    /// A feature that every CPU has, by its name in /proc/cpuinfo.
    ///
    /// The names are the kernel's, `sse4_2`, not those of Rust or of CPUID.
    cpu_feature r#"cpu_feature = "avx2""# text(name) => atom::cpu::feature(name);
    /// An environment variable that is set and not empty, or that has a certain value.
    ///
    /// It is read once in each process: with `harness = false` before any test can change it, under Rust's
    /// own harness when the first test with this constraint begins. Its value is not shown.
    env r#"env = "CI=true""# text(text) => atom::env::variable(text);
    /// An opt-in, which the user allows by `KATA_TEST_ALLOW=slow,destructive`.
    opt_in r#"opt_in = "slow""# text(name) => atom::env::opt_in(name);
    /// The verdict of your own function, `fn() -> kata_test::Verdict`.
    ///
    /// It is called in a child process, once in each test process, with a time limit of ten seconds.
    when "when = path::to::probe" function(probe) => Kind::When(probe);
}

const fn in_range(range: Result<Range, &'static str>) -> Result<Kind, &'static str> {
    Ok(Kind::Kernel(try_const!(range)))
}
