//! The host that this process runs on.
#![expect(
    unsafe_code,
    reason = "a child of a process with threads may do no more than statvfs(3)"
)]

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Hypervisor, Loaded, System, Uname};
use crate::facts::here::has_one_thread;
use crate::facts::{Answer, Question, command, kvm, probe};
#[cfg(target_os = "linux")]
use crate::facts::{device, namespace};
use crate::sys::{Ran, TRUNCATED, answer_within, free_bytes, run_within};

/// No file that a fact is read from is larger.
const LARGEST: u64 = 16 << 20;
/// How long a decompression may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The time limit for statvfs(3).
const DISK_LIMIT: Duration = Duration::from_secs(3);

/// The kernel's configuration, which every symbol is looked up in.
static CONFIG: Mutex<Option<Loaded>> = Mutex::new(None);

/// The host that this process runs on.
pub(in crate::facts) struct Live;

impl Live {
    /// Forgets what it has kept.
    pub(in crate::facts) fn forget() {
        *CONFIG.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl System for Live {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // Opening a FIFO would block, so only regular files are opened.
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

    #[cfg(target_os = "linux")]
    fn magic(&self, path: &str) -> io::Result<u64> {
        Ok(crate::sys::file_system(Path::new(path))?)
    }

    #[cfg(not(target_os = "linux"))]
    fn magic(&self, _: &str) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
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
        let free = disk_free(&folder);
        (folder.display().to_string(), free)
    }

    fn kconfig(&self, load: &dyn Fn() -> Loaded) -> Loaded {
        let mut config = CONFIG.lock().unwrap_or_else(PoisonError::into_inner);
        config.get_or_insert_with(load).clone()
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
            Ran::TooLate | Ran::Stopped => Err("gzip did not end in time".to_owned()),
        }
    }

    fn probe(&self, question: Question) -> Answer {
        match question {
            Question::Kvm | Question::KvmSpeed | Question::KvmCapabilities => kvm::answer(question),
            Question::Command(name) => command::answer(name),
            Question::CommandVersion(name) => command::version(name),
            #[cfg(target_os = "linux")]
            Question::Device(path) => device::answer(path),
            #[cfg(target_os = "linux")]
            Question::Namespace(kind) => namespace::answer(kind),
            #[cfg(target_os = "linux")]
            Question::IsolatedNetwork => namespace::answer("net"),
            // SAFETY: the contract of `one_thread`.
            Question::Probe(user) => unsafe { probe::answer(user, has_one_thread()) },
            other => Answer::unknown("no probe answers this question", other.to_string()),
        }
    }
}

/// Calls statvfs(3) in a child: for a file system on a server that is gone it never returns.
fn disk_free(folder: &Path) -> io::Result<u64> {
    let folder = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: the child makes system calls only.
    let answer = unsafe {
        answer_within(DISK_LIMIT, |send| {
            let (code, bytes) = match free_bytes(&folder) {
                Ok(bytes) => (0, bytes),
                Err(errno) => (errno as i64, 0),
            };
            send([code.to_le_bytes(), bytes.to_le_bytes()].as_flattened());
        })
    };
    let answer = answer.map_err(|problem| io::Error::other(problem.to_string()))?;
    let truncated = || io::Error::other(TRUNCATED);
    let (code, bytes) = answer.split_first_chunk().ok_or_else(truncated)?;
    match i64::from_le_bytes(*code) {
        0 => Ok(u64::from_le_bytes(
            bytes.try_into().map_err(|_| truncated())?,
        )),
        code => Err(io::Error::from_raw_os_error(code as i32)),
    }
}

#[cfg(target_arch = "x86_64")]
fn hypervisor() -> Hypervisor {
    use std::arch::x86_64::{__cpuid, CpuidResult};

    // It is an unsafe function up to Rust 1.93, and a safe one since.
    let cpuid: unsafe fn(u32) -> CpuidResult = __cpuid;
    // SAFETY: every x86_64 CPU has the instruction.
    let cpuid = |leaf| unsafe { cpuid(leaf) };
    let present = cpuid(1).ecx >> 31 == 1;
    if !present {
        return Hypervisor::None;
    }
    let leaf = cpuid(0x4000_0000);
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

#[cfg(test)]
mod tests {
    //! Scope: what crosses a pipe on its way here.

    use super::*;

    #[test]
    fn free_space_is_that_of_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let total = total_bytes(folder.path());
        let free = disk_free(folder.path()).expect("an answer");
        assert!(free > 0 && free <= total, "{free} of {total}");
        let missing = disk_free(&folder.path().join("missing")).expect_err("no folder");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    /// By stat(1).
    fn total_bytes(folder: &Path) -> u64 {
        let mut stat = std::process::Command::new("stat");
        let output = stat
            .args(["--file-system", "--format=%b %S"])
            .arg(folder)
            .output();
        let text = String::from_utf8(output.expect("stat runs").stdout).expect("text");
        let (blocks, size) = text.trim().split_once(' ').expect("two numbers");
        let number = |text: &str| text.parse::<u64>().expect("a number");
        number(blocks) * number(size)
    }
}
