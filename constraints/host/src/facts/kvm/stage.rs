//! The steps of the KVM probe, and the finding that a failure of each one results in.

use nix::errno::Errno;

use crate::facts::Finding;

/// The steps of the probe, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    ApiVersion,
    CreateVm,
    Memory,
    CreateVcpu,
    Registers,
    Run,
    /// The guest stopped for another reason than `hlt`.
    Exit,
}

const STAGES: [Stage; 8] = [
    Stage::Open,
    Stage::ApiVersion,
    Stage::CreateVm,
    Stage::Memory,
    Stage::CreateVcpu,
    Stage::Registers,
    Stage::Run,
    Stage::Exit,
];

/// The step that failed, with the error number, API version or exit reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) stage: Stage,
    pub(super) code: i32,
}

impl Failure {
    #[cfg_attr(
        target_arch = "x86_64",
        expect(dead_code, reason = "the guest reports it here")
    )]
    pub(super) fn open(code: i32) -> Self {
        Self {
            stage: Stage::Open,
            code,
        }
    }

    /// Returns `Absent` if KVM is missing, and `Unknown` if it is there and does not work as it should.
    pub(super) fn finding(self) -> Finding {
        let errno = Errno::from_raw(self.code);
        let absent = |text: &str| Finding::Absent(text.to_owned());
        match (self.stage, errno) {
            (Stage::Open, Errno::ENOENT) => absent("there is no /dev/kvm"),
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
            (Stage::Exit, _) => Finding::Unknown(format!(
                "the guest stopped with KVM exit reason {}",
                self.code
            )),
            (stage, errno) => Finding::Unknown(format!("/dev/kvm: {}: {errno}", stage.call())),
        }
    }
}

impl Stage {
    fn call(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::ApiVersion => "KVM_GET_API_VERSION",
            Self::CreateVm => "KVM_CREATE_VM",
            Self::Memory => "KVM_SET_USER_MEMORY_REGION",
            Self::CreateVcpu => "KVM_CREATE_VCPU",
            Self::Registers => "KVM_SET_SREGS",
            Self::Run | Self::Exit => "KVM_RUN",
        }
    }
}

/// The probe's result in a fixed form: its child must not allocate.
pub(super) fn encode(ended: Result<u64, Failure>) -> [u8; 9] {
    let (tag, value) = match ended {
        Ok(nanoseconds) => (u8::MAX, nanoseconds),
        Err(Failure { stage, code }) => (stage as u8, u64::from(code as u32)),
    };
    let mut bytes = [tag; 9];
    bytes[1..].copy_from_slice(&value.to_le_bytes());
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Option<Result<u64, Failure>> {
    let (tag, value) = bytes.split_first()?;
    let value = u64::from_le_bytes(value.try_into().ok()?);
    if *tag == u8::MAX {
        return Some(Ok(value));
    }
    let stage = *STAGES.get(usize::from(*tag))?;
    Some(Err(Failure {
        stage,
        code: u32::try_from(value).ok()? as i32,
    }))
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
        assert_eq!(decode(&encode(Ok(34_000_000))), Some(Ok(34_000_000)));
        assert_eq!(decode(&[8; 9]), None);
        assert_eq!(decode(&[]), None);
    }

    #[test]
    fn each_failure_has_its_own_text() {
        use Errno::{EACCES, EBUSY, EIO, ENODEV, ENOENT, EPERM};
        let mut texts = Vec::new();
        for errno in [ENOENT, EACCES, EPERM, ENODEV, EBUSY] {
            match (Failure {
                stage: Stage::Open,
                code: errno as i32,
            })
            .finding()
            {
                Finding::Absent(text) => texts.push(text),
                other => panic!("{errno}: {other:?}"),
            }
        }
        let count = texts.len();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), count);
        let broken = Failure {
            stage: Stage::CreateVcpu,
            code: EIO as i32,
        }
        .finding();
        assert!(matches!(&broken, Finding::Unknown(text) if text.contains("KVM_CREATE_VCPU")));
    }
}
