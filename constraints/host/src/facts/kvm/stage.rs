//! The steps of the KVM probes, and the finding that a failure of each one results in.

use nix::errno::Errno;

use crate::facts::Finding;

/// The steps of the probes. Those before `PortOut` fail with an error number, later ones with an exit
/// reason or a wrong value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    ApiVersion,
    CreateVm,
    Memory,
    CreateVcpu,
    Registers,
    Run,
    DirtyLog,
    Cpuid,
    SetCpuid,
    Sse42,
    PortOut,
    PortIn,
    MmioWrite,
    MmioRead,
    Halt,
    Stored,
    DirtyPages,
    CpuidFeatures,
    CpuidOfGuest,
}

const STAGES: [Stage; 20] = [
    Stage::Open,
    Stage::ApiVersion,
    Stage::CreateVm,
    Stage::Memory,
    Stage::CreateVcpu,
    Stage::Registers,
    Stage::Run,
    Stage::DirtyLog,
    Stage::Cpuid,
    Stage::SetCpuid,
    Stage::Sse42,
    Stage::PortOut,
    Stage::PortIn,
    Stage::MmioWrite,
    Stage::MmioRead,
    Stage::Halt,
    Stage::Stored,
    Stage::DirtyPages,
    Stage::CpuidFeatures,
    Stage::CpuidOfGuest,
];

/// The step that failed, with the error number, exit reason or value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) stage: Stage,
    pub(super) code: i32,
}

impl Failure {
    /// Returns `Absent` if KVM is missing or a guest shows that it does not work, and `Unknown` if no
    /// guest could be made.
    pub(super) fn finding(self) -> Finding {
        let errno = Errno::from_raw(self.code);
        let absent = |text: &str| Finding::Absent(text.to_owned());
        match (self.stage, errno) {
            (Stage::Open, Errno::ENOENT) => absent(NO_NODE),
            (Stage::Open, Errno::EACCES) => {
                absent("opening /dev/kvm: EACCES, this user has no permission")
            }
            (Stage::Open, Errno::EPERM) => {
                absent("opening /dev/kvm: EPERM, a device cgroup or a security module forbids it")
            }
            (Stage::Open, Errno::ENODEV | Errno::ENXIO) => {
                absent("opening /dev/kvm: there is a node but no kernel module behind it")
            }
            (Stage::Open | Stage::CreateVm, Errno::EBUSY) => {
                absent("/dev/kvm: EBUSY, another hypervisor uses the hardware")
            }
            (Stage::ApiVersion, _) => Finding::Absent(format!(
                "/dev/kvm has version {} of its API, not 12",
                self.code
            )),
            (Stage::Sse42, _) => Finding::Unknown(
                "KVM offers its guests no SSE 4.2, which its speed is measured with".to_owned(),
            ),
            (stage, errno) => match stage.wrong() {
                Some(wrong) => Finding::Absent(format!("{BROKEN}{wrong}{}", self.detail())),
                None => Finding::Unknown(format!("/dev/kvm: {}: {errno}", stage.call())),
            },
        }
    }

    fn detail(self) -> String {
        match (self.stage, self.code) {
            (Stage::DirtyPages, pages) => format!(": it has pages {pages:#b}"),
            (Stage::Stored, value) => format!(": it holds {value:#x}"),
            (Stage::CpuidFeatures, features) => format!(": EDX of leaf 1 is {features:#x}"),
            // The difference depends on the machine, and the cause does not.
            (Stage::CpuidOfGuest, _) => String::new(),
            (_, 0) => String::new(),
            (_, reason) => format!(": KVM exit reason {reason}"),
        }
    }
}

/// The text about a missing node, which its cause is added to.
pub(super) const NO_NODE: &str = "there is no /dev/kvm";

/// The beginning of each text about a KVM that is there and does not work.
const BROKEN: &str = "/dev/kvm opens but does not work: ";

impl Stage {
    pub(super) fn failed(self, code: i32) -> Failure {
        Failure { stage: self, code }
    }

    fn call(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::ApiVersion => "KVM_GET_API_VERSION",
            Self::CreateVm => "KVM_CREATE_VM",
            Self::Memory => "KVM_SET_USER_MEMORY_REGION",
            Self::CreateVcpu => "KVM_CREATE_VCPU",
            Self::Registers => "KVM_SET_SREGS",
            Self::DirtyLog => "KVM_GET_DIRTY_LOG",
            Self::Cpuid => "KVM_GET_SUPPORTED_CPUID",
            Self::SetCpuid => "KVM_SET_CPUID2",
            _ => "KVM_RUN",
        }
    }

    /// What did not happen although each call succeeded.
    fn wrong(self) -> Option<&'static str> {
        Some(match self {
            Self::PortOut => "a guest's write to an I/O port is not reported",
            Self::PortIn => "a guest's read from an I/O port is not reported",
            Self::MmioWrite => "a guest's write outside of its memory is not reported",
            Self::MmioRead => "a guest's read outside of its memory is not reported",
            Self::Halt => "a guest does not come to its HLT",
            Self::Stored => "a guest's memory does not have what it wrote",
            Self::DirtyPages => "the dirty log is not what a guest wrote",
            Self::CpuidFeatures => "KVM_GET_SUPPORTED_CPUID describes no CPU",
            Self::CpuidOfGuest => "a guest's CPUID is not what was set",
            _ => return None,
        })
    }
}

/// What a probe sends: a tag and four numbers. Its child must not allocate.
pub(super) type Encoded = [u8; 33];

pub(super) fn encode(ended: Result<[u64; 4], Failure>) -> Encoded {
    let (tag, values) = match ended {
        Ok(values) => (u8::MAX, values),
        Err(Failure { stage, code }) => (stage as u8, [u64::from(code as u32), 0, 0, 0]),
    };
    let mut bytes = [tag; 33];
    for (to, value) in bytes[1..].chunks_exact_mut(8).zip(values) {
        to.copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Option<Result<[u64; 4], Failure>> {
    let (tag, rest) = bytes.split_first()?;
    if rest.len() != 32 {
        return None;
    }
    let mut values = [0; 4];
    for (value, from) in values.iter_mut().zip(rest.chunks_exact(8)) {
        *value = u64::from_le_bytes(from.try_into().ok()?);
    }
    if *tag == u8::MAX {
        return Some(Ok(values));
    }
    let stage = STAGES.get(usize::from(*tag))?;
    let code = u32::try_from(values[0]).ok()? as i32;
    Some(Err(stage.failed(code)))
}

#[cfg(test)]
mod tests {
    //! Scope: the pipe's form, and that each failure has a text of its own.

    use super::*;

    #[test]
    fn results_survive_the_pipe() {
        for stage in STAGES {
            let failure = Err(Failure { stage, code: -7 });
            assert_eq!(decode(&encode(failure)), Some(failure));
        }
        let values = Ok([34_000_000, 0, u64::MAX, 1]);
        assert_eq!(decode(&encode(values)), Some(values));
        assert_eq!(decode(&[STAGES.len() as u8; 33]), None);
        assert_eq!(decode(&[0; 9]), None);
        assert_eq!(decode(&[]), None);
    }

    #[test]
    fn each_failure_has_its_own_text() {
        use Errno::{EACCES, EBUSY, EIO, ENODEV, ENOENT, EPERM};
        let opened = [ENOENT, EACCES, EPERM, ENODEV, EBUSY].map(Failure::open_with);
        let wrong = STAGES[STAGES.len() - 9..].iter().map(|stage| Failure {
            stage: *stage,
            code: 0,
        });
        let mut texts = Vec::new();
        for failure in opened.into_iter().chain(wrong) {
            match failure.finding() {
                Finding::Absent(text) => texts.push(text),
                other => panic!("{failure:?}: {other:?}"),
            }
        }
        let count = texts.len();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), count, "{texts:#?}");
        let failed = Failure {
            stage: Stage::CreateVcpu,
            code: EIO as i32,
        }
        .finding();
        assert!(matches!(&failed, Finding::Unknown(text) if text.contains("KVM_CREATE_VCPU")));
        let unmeasured = Failure {
            stage: Stage::Sse42,
            code: 0,
        }
        .finding();
        assert!(matches!(&unmeasured, Finding::Unknown(text) if text.contains("SSE 4.2")));
    }

    impl Failure {
        fn open_with(errno: Errno) -> Self {
            Self {
                stage: Stage::Open,
                code: errno as i32,
            }
        }
    }
}
