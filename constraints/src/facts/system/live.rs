//! The host that this process runs on.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use super::{Hypervisor, System, Uname};
use crate::facts::here::has_one_thread;
use crate::facts::kconfig::Loaded;
use crate::facts::{Answer, Question, command, device, kvm, namespace, probe};
use crate::sys::{Ran, run_within};

/// No file that a fact is read from is larger.
const LARGEST: u64 = 16 << 20;
/// How long a decompression may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The host that this process runs on.
pub(in crate::facts) struct Live;

impl System for Live {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // A FIFO in the place of a file would be waited for; what is no file is not opened.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn link(&self, path: &str) -> io::Result<String> {
        Ok(std::fs::read_link(path)?.to_string_lossy().into_owned())
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        Path::new(path).try_exists()
    }

    fn magic(&self, path: &str) -> io::Result<u64> {
        magic(path)
    }

    fn uname(&self) -> io::Result<Uname> {
        let uname = nix::sys::utsname::uname()?;
        Ok(Uname {
            release: uname.release().to_string_lossy().into_owned(),
            version: uname.version().to_string_lossy().into_owned(),
        })
    }

    fn effective_uid(&self) -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }

    fn arch(&self) -> &str {
        std::env::consts::ARCH
    }

    fn hypervisor(&self) -> Hypervisor {
        hypervisor()
    }

    fn cpus(&self) -> io::Result<usize> {
        std::thread::available_parallelism().map(usize::from)
    }

    fn disk_free(&self) -> (String, io::Result<u64>) {
        let folder = std::env::temp_dir();
        #[expect(
            clippy::useless_conversion,
            reason = "the width of these fields is the system's"
        )]
        let free = nix::sys::statvfs::statvfs(&folder)
            .map(|stat| u64::from(stat.blocks_available()) * u64::from(stat.fragment_size()));
        (folder.display().to_string(), free.map_err(io::Error::from))
    }

    fn kconfig(&self, load: &dyn Fn() -> Loaded) -> Loaded {
        static CONFIG: OnceLock<Loaded> = OnceLock::new();
        CONFIG.get_or_init(load).clone()
    }

    fn gunzip(&self, path: &str) -> Result<Vec<u8>, String> {
        match run_within(LIMIT, Path::new("gzip"), &["-dc", path]) {
            Ran::Ended {
                success: true,
                stdout,
                ..
            } => Ok(stdout),
            Ran::Ended { how, .. } => Err(format!("gzip {how}")),
            Ran::NotStarted(error) => Err(format!("gzip: {}", super::why(&error))),
            Ran::TooLate => Err("gzip did not end in time".to_owned()),
        }
    }

    fn act(&self, question: Question) -> Answer {
        match question {
            Question::Kvm => kvm::look(),
            Question::Command(name) => command::look(name),
            Question::CommandVersion(name) => command::version(name),
            Question::Device(path) => device::look(path),
            Question::Namespace(kind) => namespace::look(kind),
            Question::Probe(user) => probe::look(user, has_one_thread()),
            other => Answer::unknown("nothing is done to answer this", other.to_string()),
        }
    }
}

#[cfg(target_os = "linux")]
fn magic(path: &str) -> io::Result<u64> {
    let stat = nix::sys::statfs::statfs(path)?;
    #[expect(
        clippy::cast_sign_loss,
        reason = "the sign of the field is the architecture's, its 32 bits are not"
    )]
    Ok(stat.filesystem_type().0 as u64 & 0xffff_ffff)
}

#[cfg(not(target_os = "linux"))]
fn magic(_: &str) -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_arch = "x86_64")]
fn hypervisor() -> Hypervisor {
    use std::arch::x86_64::__cpuid;

    let present = __cpuid(1).ecx >> 31 == 1;
    if !present {
        return Hypervisor::None;
    }
    let leaf = __cpuid(0x4000_0000);
    let letters: Vec<u8> = [leaf.ebx, leaf.ecx, leaf.edx]
        .iter()
        .flat_map(|register| register.to_le_bytes())
        .take_while(|byte| *byte != 0)
        .collect();
    Hypervisor::Signature(String::from_utf8_lossy(&letters).into_owned())
}

#[cfg(not(target_arch = "x86_64"))]
fn hypervisor() -> Hypervisor {
    Hypervisor::NoCpuid
}
